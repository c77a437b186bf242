"""What every few-shot algorithm has to do; a file of `algorithms` is found and checked by itself.

Its numbers are those of the `reference` in its test file, for all its CASES (`fewshot_case`).
"""

import importlib
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fewshot_case import case, params, relative, settings
from helpers import prepared_dataset
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from multistep import cli
from multistep.data import prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.settings import FewShot
from multistep.fewshot.trainer import Trainer
from multistep.job import checkpoint, results

NAMES = algorithms.names()
every_algorithm = pytest.mark.parametrize("name", NAMES)


def own_tests(name: str) -> ModuleType:
    """The algorithm's own tests, with a reference in them."""
    file = Path(__file__).with_name(f"test_{name}.py")
    module = importlib.import_module(f"fewshot.{file.stem}") if file.exists() else ModuleType(name)
    lacks = [what for what in ("CASES", "reference") if not hasattr(module, what)]
    if lacks:
        pytest.fail(
            f"{file.name} lacks {' and '.join(lacks)}: write CASES, a list of changes of settings, "
            f"and reference(case), the meta-gradient of algorithms/{name}.py computed naively in "
            "float64, as tests/fewshot_case.py says; test_first_order.py is a short example"
        )
    return module


def test_declarations_are_read_without_torch() -> None:
    """Snakemake reads them for every plan, and torch takes seconds to import."""
    code = """
import sys
from multistep.fewshot import algorithms as few_shot
from multistep.transfer import algorithms as transfer
for family in (few_shot, transfer):
    assert [family.get(name) for name in family.names()]
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@every_algorithm
def test_meta_gradient_is_that_of_its_reference(name: str) -> None:
    tests = own_tests(name)
    for changes in tests.CASES:
        work = case(name, changes, tasks=2)
        adapted, shared, losses, *own = tests.reference(work)
        found = work.gradient()
        tolerance = getattr(tests, "TOLERANCE", 1e-11)
        torch.testing.assert_close(found.loss, losses, rtol=tolerance, atol=0, msg=str(changes))
        assert relative(found.adapted, adapted) < tolerance, changes
        assert relative(found.shared, shared) < tolerance, changes
        for key, g in (own[0] if own else work.theta.learned).items():
            assert relative(found.learned[key], g) < tolerance, (changes, key)


@every_algorithm
def test_meta_gradient_is_the_slope_of_the_query_loss(name: str) -> None:
    """By finite differences, where it is the derivative of something: under SLOPES."""
    for changes in getattr(own_tests(name), "SLOPES", []):
        work = case(name, changes)
        found, along = work.gradient(), work.directions()
        if name == "memory_reduced":
            along.adapted[work.head :] = 0.0  # where the head starts is no meta-parameter
        expected = found.adapted @ along.adapted + found.shared @ along.shared
        assert work.slope(along) == pytest.approx(expected.item(), rel=1e-5), changes


@every_algorithm
def test_chunks_and_the_order_of_tasks_do_not_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meta-batch in parts (CPU), several at once, or whole (CUDA) gives one gradient."""
    work, order = case(name, tasks=5), [3, 0, 4, 1, 2]
    whole, permuted = work.gradient(), work.permuted(order).gradient()
    monkeypatch.setattr(meta, "chunk_size", lambda *_: 2)
    others = [work.gradient()]
    torch.set_num_threads(2)
    others.append(work.gradient())
    torch.set_num_threads(1)
    if not work.theta.carried:  # else every task depends on those before it
        torch.testing.assert_close(permuted.loss, whole.loss[order], rtol=1e-8, atol=0)
        others.append(permuted)
    for other in others:
        assert relative(other.adapted, whole.adapted) < 1e-8
        assert relative(other.shared, whole.shared) < 1e-8


@every_algorithm
def test_its_cost_is_what_it_says(name: str) -> None:
    """In operations, one forward pass of an image as the unit."""
    for scheme in ("keep", "replay"):
        # Of one task: torch counts the backward pass of grouped convolutions once per group.
        work = case(name, {"scheme": scheme, "network": {"filters": 64}}, tasks=1).to("meta")
        tasks = work.tasks
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            tasks.query.logits(tasks.start())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work.algorithm.meta_gradient(tasks)
        passes = work.algorithm.query_images * counter.get_total_flops()
        cost = passes / forward.get_total_flops()
        assert cost == pytest.approx(work.algorithm.cost(), rel=0.03)


class Watch(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        indices = args[1] if func is torch.ops.aten.index.Tensor else ()
        if any(i is not None and i.dtype is torch.bool for i in indices):
            self.seen.add("nonzero")
        return func(*args, **(kwargs or {}))


# Reading a value, sizes that depend on values, and new constants from the host.
FORBIDDEN = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh", "unique"}


def test_the_watch_sees_what_is_forbidden() -> None:
    x = torch.arange(4.0)
    for misuse in (
        lambda: x.sum().item(),
        lambda: bool((x > 1).all()),
        lambda: x[x > 1],
        lambda: x + torch.tensor([1.0, 2.0, 3.0, 4.0]),
    ):
        with Watch() as watch:
            misuse()
        assert watch.seen & FORBIDDEN


@every_algorithm
def test_a_cuda_graph_can_hold_it(name: str) -> None:
    """Tensors without values are enough, and none is asked for on the host."""
    work = case(name).to(torch.float32)
    with Watch() as watch:
        work.gradient()
    assert not watch.seen & FORBIDDEN
    assert "convolution" in watch.seen
    valueless = work.to("meta")
    assert valueless.gradient().adapted.shape == work.theta.adapted.shape
    assert valueless.adapt().shape == work.tasks.start().shape


OUTER = [
    {"meta_optimizer": optimizer, "meta_schedule": schedule}
    for optimizer, schedule in product(("adam", "sgd"), ("constant", "linear"))
]


@every_algorithm
def test_a_resumed_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    data = prepared.read(prepared_dataset(tmp_path))
    for changes in OUTER if name == "multistep" else [{}]:
        s = settings(name, {"meta_batch": 2, "iterations": 4, "queries": 5} | changes)

        def trainer(s: FewShot = s) -> Trainer:
            images = torch.from_numpy(data.images)
            return Trainer.of(algorithms.get(name)(s), data, images, ["train"], seed=0)

        whole, first, second = (trainer() for _ in range(3))
        for i in range(4):
            whole.step(i)
        for i in range(2):
            first.step(i)
        checkpoint.restore(second.state, checkpoint.copies(first.state), torch.device("cpu"))
        for i in range(2, 4):
            second.step(i)
        assert all(torch.equal(p, q) for p, q in zip(*map(flat, (second, whole)), strict=True))
        assert second.means() == whole.means()


def flat(trainer: Trainer) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(trainer.state)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@every_algorithm
def test_it_is_trained_and_measured(name: str, tmp_path: Path) -> None:
    data = str(prepared_dataset(tmp_path / "data"))
    small = {"meta_batch": 2, "iterations": 2, "test_episodes": 3, "validation_episodes": 2}
    few = small | {"queries": 5, "log_every": 1, "validate_every": 2, "test_steps": 4}
    about: dict[str, Any] = {
        "scale": "test", "family": "few_shot", "experiment": "small", "dataset": "omniglot",
        "data": params().datasets["omniglot"].prepare,
    }  # fmt: skip
    cell: dict[str, Any] = about | {
        "method": name,
        "algorithm": name,
        "seed": 0,
        "settings": settings(name, few).model_dump(),
    }
    line = ["--data", data, "--device", "cpu", "--out"]
    out, scratch = str(tmp_path / "cell.json"), str(tmp_path / "cell.pt")
    assert cli.main(["train", "--cell", json.dumps(cell), *line, out, "--checkpoint", scratch]) == 0
    assert len(results.read(tmp_path / "cell.json")["metrics"]["episode_accuracies"]) == 3
    timed = {"steps": [2], "rounds": 1, "tasks": 2, "batches": 1, "alone": True}
    methods = {name: {"algorithm": name, "settings": cell["settings"]}}
    definition = about | {"methods": methods, "measure": timed}
    out = str(tmp_path / "measured.json")
    assert cli.main(["measure", "--definition", json.dumps(definition), *line, out]) == 0
    rows = results.read(tmp_path / "measured.json")["rows"]
    assert rows
    assert all(row["bytes"] > 0 for row in rows)
