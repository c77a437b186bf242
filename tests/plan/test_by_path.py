"""`multistep train PATH` is what the rule calls for that path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import PARAMS, ROOT

from multistep.files import UserError
from multistep.plan import by_path, cells, params
from multistep.plan.mistakes import near


def options(file: Path) -> dict[str, str]:
    found = by_path.train(str(file))
    return dict(zip(found[::2], found[1::2], strict=True))


def test_a_path_is_the_cell_of_its_plan() -> None:
    scale = ROOT / "scales" / "miniimagenet-cpu"
    path = "results/mini_5way_1shot/miniimagenet_x100/maml/0.json"
    found = options(scale / path)
    overlay = ROOT / "workflow" / "scales" / "miniimagenet-cpu.yaml"
    cell = next(c for c in cells.plan(params.load(PARAMS, overlay)) if c.path == path)
    assert (found["--cell"], found["--device"]) == (cell.json, "cpu")
    assert found["--out"] == str(scale / path)
    assert found["--data"] == str(scale / "data" / "processed" / "miniimagenet_x100")
    assert found["--choice"] == str(
        scale / "results/choices/mini_5way_1shot/miniimagenet_x100/maml.json"
    )
    assert json.loads(found["--choice-of"])["setting"] == "inner_lr"
    transfer = options(ROOT / "results/sgd_32/cifar100/l2t/0.json")
    assert transfer["--network"] == str(ROOT / "data" / "networks" / "tinyimagenet_resnet32")
    assert "--choice" not in transfer


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("", "the path of a result: it is empty"),
        ("elsewhere/0.json", "not below a folder results/"),
        (
            "results/5way_1shot/miniimagenet/maml/0.json",
            "no cell of scale paper; did you mean results/mini_5way_1shot/miniimagenet/maml/0",
        ),
        ("scales/none/results/5way_1shot/omniglot/maml/0.json", "none.yaml: no such file"),
    ],
)
def test_other_paths_are_refused_in_one_line(file: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        by_path.train(file and str(ROOT / file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("results/5way_1shot/x/maml/0.json", ["results/5way_1shot/omniglot/maml/0.json"]),
        ("results/5way_1shot/omniglot/maml/77.json", ["results/5way_1shot/omniglot/maml/0.json"]),
        ("results/sgd_224/birds/l2t/2.json", ["results/sgd_224/bird/l2t/2.json"]),
        ("table44", ["table4"]),
        ("a/b", []),
    ],
)
def test_what_is_mistyped_is_told_with_the_nearest(mistyped: str, meant: list[str]) -> None:
    planned = [cell.path for cell in cells.plan(params.load(PARAMS))]
    assert near(mistyped, [*planned, "table", "table1", "table4", "data"]) == meant
