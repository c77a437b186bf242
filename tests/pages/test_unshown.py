"""Warnings of cells that no page shows, and of methods of pages that nothing runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multistep import cli
from multistep.files import UserError
from multistep.pages import claims, inputs, load
from multistep.plan import params

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = sorted((ROOT / "workflow/scales").glob("*.yaml"))
NEW = """
scale: mine
directory: scales/mine
only: [mine]
experiments:
  mine:
    family: few_shot
    datasets: [omniglot]
    methods: [maml, fomaml]
    settings: {ways: 5, shots: 1, meta_batch: 2}
"""


@pytest.fixture(scope="module")
def paper() -> tuple[Any, inputs.Plan]:
    settled = params.load(ROOT / "params.yaml")
    return load.pages(ROOT / "workflow/report", settled), inputs.Plan.of(settled)


def test_the_paper_shows_all_that_it_runs_and_runs_all_that_it_shows(paper: Any) -> None:
    pages, plan = paper
    assert inputs.unshown(pages, plan, lambda: plan) == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda file: file.stem)
def test_a_scales_results_have_their_pages_before_they_are_there(overlay: Path, paper: Any) -> None:
    plan = inputs.Plan.of(params.load(ROOT / "params.yaml", overlay))
    pages = load.pages(ROOT / "workflow/report", plan.params)
    assert inputs.unshown(pages, plan, lambda: paper[1]) == []
    assert any(inputs.results(spec, plan) for form in pages.values() for spec in form.values())


def test_pages_of_another_scale_lie_under_a_scales_own() -> None:
    overlay = ROOT / "workflow/scales/dogs32-long.yaml"
    settled = params.load(ROOT / "params.yaml", overlay)
    pages = load.pages(ROOT / "workflow/report", settled)
    table: Any = pages["tables"]["dogs32_sgd"]
    assert [*table.rows] == ["scratch", "l2t", "l2t_multistep", "l2t_first_order"]
    assert pages["figures"]["figure1"].wants().datasets == ["dogs32"]
    said = claims.claims(ROOT / "workflow/report", settled, pages["tables"])
    assert {dataset for _, dataset, _ in said["transfer_boosts"].wants().cells} == {"dogs32"}


def test_a_scale_that_pages_are_taken_from_has_some() -> None:
    over = {"scale": "mine", "directory": "scales/mine", "pages_of": "dogs32cpu"}
    settled = params.validate(params.merge(params.read(ROOT / "params.yaml"), over))
    with pytest.raises(UserError, match=r"pages_of: no scale .* 'dogs32cpu'; did you mean 'dog"):
        load.pages(ROOT / "workflow/report", settled)


def test_a_method_that_none_of_a_pages_experiments_runs_is_said(paper: Any) -> None:
    pages, plan = paper
    table = pages["tables"]["table4"]
    wrong = table.model_copy(update={"methods": [*table.methods, "l2t", "scratch"]})
    more = {**pages, "tables": pages["tables"] | {"table4": wrong}}
    (told,) = inputs.unshown(more, plan, lambda: plan)
    assert told.startswith("table4 lists l2t, scratch, of which it shows no cell; add it to `meth")
    columns = {**table.columns, "mini_5way_1shot": "?"}
    more["tables"]["table4"] = table.model_copy(update={"columns": columns})
    (told,) = inputs.unshown(more, plan, lambda: plan)
    assert told.startswith("table4 lists mini_5way_1shot on omniglot, of which it shows no cell")


def test_other_cells_than_the_paper_s_in_its_folder_are_said(paper: Any) -> None:
    pages, plan = paper
    over = {"methods": {"maml": {"settings": {"iterations": 5}}}}
    base = params.read(ROOT / "params.yaml")
    for change, said in (({}, True), ({"scale": "mine", "directory": "scales/mine"}, False)):
        other = inputs.Plan.of(params.validate(params.merge(base, over | change)))
        told = " ".join(inputs.unshown(pages, other, lambda: plan))
        assert ("aren't those of params.yaml, in whose folder they lie" in told) == said


def test_a_scale_that_runs_less_than_the_paper_is_no_mistake(paper: Any) -> None:
    pages, plan = paper
    some = {path: cell for path, cell in plan.cells.items() if cell.method == "maml"}
    assert inputs.unshown(pages, replace(plan, cells=some), lambda: plan) == []


def test_cells_that_no_page_shows_are_said_where_the_plan_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(NEW)
    for command in ("params", "plan"):
        assert cli.main([command, str(ROOT / "params.yaml"), str(tmp_path / "mine.yaml")]) == 0
        told = capsys.readouterr().err.splitlines()[0]
        assert told == (
            "warning: no page shows 6 of 6 cells: mine on omniglot (maml, fomaml); add a page "
            "(docs/adding.md), or leave them out"
        )
