"""What a scale of one's own says otherwise in workflow/report/<scale>/: how its keys lie over those
below, and that what it names and doesn't run is told before anything is run.
"""

import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import PARAMS, ROOT

from multistep.files import UserError
from multistep.pages import checks, claims, inputs, load
from multistep.plan import params

SCALE = {"scale": "mine", "directory": "scales/mine", "pages_of": "dogs32-cpu"}
LINE = "x: {kind: linear, text: t, at_most: 1.0, cells: {dogs32: [steps_32]}, methods: "
FIGURE4 = (ROOT / "workflow/report/dogs32-long/figures/figure4.yaml").read_text()


@functools.cache
def _plan(pages_of: str) -> inputs.Plan:
    """Of a scale with the experiments of dogs32-long, of which `steps_32` is its own."""
    overlay = params.read(ROOT / "workflow/scales/dogs32-long.yaml")
    over = overlay | SCALE | {"pages_of": pages_of}
    return inputs.Plan.of(params.validate(params.merge(params.read(PARAMS), over)))


@functools.cache
def _paper() -> inputs.Plan:
    return inputs.Plan.of(params.load(PARAMS))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "workflow"
    shutil.copytree(ROOT / "workflow/report", folder / "report")
    shutil.copytree(ROOT / "workflow/scales", folder / "scales")
    return folder / "report"


@pytest.fixture
def own(report: Path) -> Iterator[Path]:
    yield report / "mine"
    shutil.rmtree(report / "mine", ignore_errors=True)


def _write(own: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)


def _told(own: Path, pages_of: str = "dogs32-cpu") -> list[str]:
    """What is told of the scale, but for cells that it shows nowhere."""
    try:
        found = checks.warnings(own.parent, _plan(pages_of), _paper)
    except UserError as error:
        return str(error).splitlines()[1:]
    return [line for line in found if not line.startswith("no page shows")]


def _accuracy(more: str, of: str = "[l2t]", to: str = "[scratch]") -> dict[str, str]:
    compare = f"[{{of: {of}, to: {to}, {more}}}]"
    return {"claims/x.yaml": f"x: {{kind: accuracy, text: t, at_least: 0.0, compare: {compare}}}"}


def _claim(text: str) -> dict[str, str]:
    return {"claims/x.yaml": text}


def _figure4(before: str, after: str) -> dict[str, str]:
    assert before in FIGURE4
    return {"figures/figure4.yaml": FIGURE4.replace(before, after)}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        # that these are cells of the paper says nothing of a scale that names them itself
        (_accuracy("cells: {dogs32: [sgd_32], bird: [sgd_224]}"), "x lists sgd_224 on bird, of wh"),
        (_accuracy("cells: {bird: [sgd_224]}"), "x isn't tested: scale mine runs nothing of what"),
        (_accuracy("cells: {omniglot: [5way_1shot]}", "[maml]", "[fomaml]"), "x isn't tested: "),
        (_figure4("l2t_3: {experiment: steps_32", "l2t_3: {experiment: adam_32"),
         "figure4 lists l2t_3 in adam_32 on dogs32, of which it gets no result; add it to `met"),
        (_figure4("measured: steps_32", "measured: adam_32"),
         "figure4 lists l2t_0 timed in adam_32 on dogs32, l2t_1 timed in adam_32 on dogs32, l2t_1"),
        (_figure4("  l2t_3: {experiment: steps_32}\n", ""), "figure4 lists steps on dogs32, of wh"),
        ({"tables/dogs32_adam.yaml": "columns: {bird: B}\nsources: {bird: imagenet_resnet34}"},
         "dogs32_adam.yaml: columns: no row has bird"),
        # what would be tested otherwise than it says, or as nothing
        (_accuracy("cells: {dogs32: [sgd_32]}, elsewhere: {l2t_3: steps_32}"),
         "x: compare.elsewhere: no compared method named 'l2t_3'"),
        (_claim("x: {kind: cost, text: t, at_most: 1.0, compare: [{of: [l2t_3], to: [l2t], cells: "
                "{dogs32: [steps_32]}, elsewhere: {l2t: adam_32}}]}"),
         "x: compare.elsewhere: one job times both; name its experiment in cells"),
        (_accuracy("cells: {dogs32: [sgd_32, sgd_32]}"), "'sgd_32' stands there more than once"),
        (_accuracy("cells: &c {dogs32: [sgd_32]}}, {of: [l2t], to: [scratch], cells: *c"),
         "x: compares l2t with scratch twice (sgd_32 on dogs32)"),
        (_accuracy("cells: {}"), "x: compare.0.cells: dictionary should have at least 1 item"),
        (_accuracy("cells: {dogs32: []}"), "cells.dogs32: list should have at least 1 item"),
        (_claim("x: {kind: drift, text: t, method: l2t, cells: {dogs32: [sgd_32]}, during: [0.9, "
                "1.0]}"), "x.yaml: x: says neither at_least nor at_most"),
        (_claim("x: {kind: drift, text: t, at_most: 0.5, method: scratch, cells: {dogs32: [sgd_32]}"
                ", during: [0.9, 1.0]}"), "x: method: scratch takes 0 inner steps in sgd_32, and"),
        (_claim(LINE + "{l2t_0: [0], l2t_1: [2], l2t: [1]}}"),
         "x: methods.l2t_1: it takes 1 inner steps in steps_32"),
        # misspelt names of what was to be said otherwise
        (_claim("transfer_boost: {reading: other}"),
         "transfer_boost: kind: missing; is it to lie over transfer_boosts?"),
        (_claim("transfer_boost: null"), "transfer_boost: must hold keys, or null for a claim"),
        (_claim("x: {text: t}"), "x: kind: missing; known: accuracy, chosen, "),
        ({"tables/dogs32_adma.yaml": "rows: {}"}, "kind: missing; is it to lie over dogs32_adam?"),
    ],
)  # fmt: skip
def test_what_a_scale_of_ones_own_names_in_vain_is_told(
    files: dict[str, str], told: str, own: Path
) -> None:
    _write(own, files)
    assert told in "\n".join(_told(own))


def test_a_key_of_a_claim_replaces_the_one_below_and_null_leaves_a_claim_out(own: Path) -> None:
    said = "transfer_time_linear: {cells: {dogs32: [steps_32]}}\ntransfer_memory: null\n"
    _write(own, _claim(said))
    assert _told(own) == []
    of = _plan("dogs32-cpu").params
    pages = load.pages(own.parent, of)
    found = claims.claims(own.parent, of, {**pages["tables"], **pages["figures"]})
    line: Any = found["transfer_time_linear"]
    assert line.cells == {"dogs32": ["steps_32"]}
    assert line.text.startswith("Training time increases linearly")
    assert "transfer_memory" not in found
    paper = claims.claims(own.parent, _paper().params, {**pages["tables"], **pages["figures"]})
    assert [*found] == [name for name in paper if name != "transfer_memory"]


def test_null_takes_away_what_a_page_has_from_below(own: Path) -> None:
    _write(own, _figure4("l2t_3: {experiment: steps_32}", "l2t_3: null"))
    (told,) = _told(own)
    assert "bars.l2t_3_est.of: no bar named 'l2t_3'" in told
    _write(own, _figure4("l2t_3: {experiment: steps_32}", "l2t_3: null\n  l2t_3_est: null"))
    text = (own / "figures/figure4.yaml").read_text()
    (own / "figures/figure4.yaml").write_text(
        text.replace("  l2t_3_est: {experiment: steps_32}\n", "")
    )
    assert _told(own) == []
    figure: Any = load.pages(own.parent, _plan("dogs32-cpu").params)["figures"]["figure4"]
    assert [*figure.bars] == ["l2t_0", "l2t_1", "l2t_1_double", "l2t", "l2t_multistep"]


def test_pages_of_a_scale_are_all_that_it_has(own: Path) -> None:
    """dogs32-long has those of dogs32-cpu, over which its own lie."""
    assert _told(own, "dogs32-long") == []
    of = _plan("dogs32-long").params
    places = [place.name for place in load.places(own.parent, of)]
    assert places == ["report", "dogs32-cpu", "dogs32-long", "mine"]
    table: Any = load.pages(own.parent, of)["tables"]["dogs32_adam"]
    assert [*table.rows][-1] == "l2t_first_order"
    assert "pages_of: mine has its pages of itself" in _raised(own, "mine")


def _raised(own: Path, pages_of: str) -> str:
    with pytest.raises(UserError) as raised:
        load.places(own.parent, _plan(pages_of).params)
    return str(raised.value)
