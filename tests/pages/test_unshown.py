"""Warnings of cells that no page shows, and of methods of pages that nothing runs."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multistep import cli
from multistep.files import UserError
from multistep.pages import checks, claims, inputs, load
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
    assert checks.warnings(ROOT / "workflow/report", plan, lambda: plan, pages) == []


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda file: file.stem)
def test_a_scales_results_have_their_pages_before_they_are_there(overlay: Path, paper: Any) -> None:
    plan = inputs.Plan.of(params.load(ROOT / "params.yaml", overlay))
    pages = load.pages(ROOT / "workflow/report", plan.params)
    assert checks.warnings(ROOT / "workflow/report", plan, lambda: paper[1]) == []
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
    (told,) = checks.unshown(more, plan, lambda: plan)
    assert told.startswith("table4 lists l2t, scratch, of which it gets no result; add it to `m")
    columns = {**table.columns, "mini_5way_1shot": "?"}
    more["tables"]["table4"] = table.model_copy(update={"columns": columns})
    (told,) = checks.unshown(more, plan, lambda: plan)
    assert told.startswith("table4 lists mini_5way_1shot on omniglot, of which it gets no result")


def test_other_cells_than_the_paper_s_in_its_folder_are_said(paper: Any) -> None:
    pages, plan = paper
    over = {"methods": {"maml": {"settings": {"iterations": 5}}}}
    base = params.read(ROOT / "params.yaml")
    for change, said in (({}, True), ({"scale": "mine", "directory": "scales/mine"}, False)):
        other = inputs.Plan.of(params.validate(params.merge(base, over | change)))
        told = " ".join(checks.unshown(pages, other, lambda: plan))
        assert ("aren't those of params.yaml, in whose folder they lie" in told) == said


def test_a_scale_that_runs_less_than_the_paper_is_no_mistake(paper: Any) -> None:
    pages, plan = paper
    some = {path: cell for path, cell in plan.cells.items() if cell.method == "maml"}
    assert checks.unshown(pages, replace(plan, cells=some), lambda: plan) == []


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


CLAIMS = """
name: {kind: accuracy, compare: [{of: [maml], to: [fomamml], cells: &c {omniglot: [5way_1shot]}}]}
page: {kind: printed, page: table44, spread: episodes}
other: {kind: sizes, page: figure2}
times: {kind: printed, page: table1, spread: episodes}
part: {kind: drift, cells: {bird: [sgd_224]}, method: l2t, during: [0.5]}
family: {kind: drift, cells: {omniglot: [5way_1shot]}, method: maml, during: [0.0, 0.5]}
hours: {kind: hours, epochs: 2, device: A, compare: [{of: [maml], to: [fomaml], cells: *c}]}
where: {kind: level, scale: fin2017, method: maml, cells: {omniglot: [5way_1shot]}}
"""
TOLD = """
page: page: no page named 'table44'; did you mean 'table4'?
other: page: figure2 prints no such numbers of the paper's own
times: page: table1 prints no such numbers of the paper's own
part: during: from where to where, as shares of training: [0.0, 0.1], got [0.5]
family: cells.omniglot: 5way_1shot is of the family few_shot, and drift shows transfer; name
hours: compare.cells.omniglot: 5way_1shot is of the family few_shot, and hours shows transfer; name
name: compare.to: no method named 'fomamml'; did you mean 'fomaml'?
where: scale: no scale named 'fin2017'; did you mean 'finn2017'?
"""
IN_VAIN = """
runs: {kind: accuracy, compare: [{of: [maml], to: [fomaml], cells: {bird: [sgd_224]}}]}
times: {kind: cost, compare: [{of: [maml], to: [l2t], cells: &c {omniglot: [5way_1shot]}}]}
steps: {kind: cost, steps: [8, 9], compare: [{of: [maml], to: [fomaml], cells: *c}]}
line: {kind: linear, cells: *c, methods: {maml: [1, 2, 16]}}
value: {kind: chosen, dataset: miniimagenet, chosen: {mini_5way_1shot: {maml: 0.1, fomaml: 2}}}
"""
CASES = {  # files of workflow/report: a text and what stands in its place; what is told of them
    "claims": ({"claims/mine.yaml": ("", CLAIMS)}, TOLD),
    "claims in vain": (
        {"claims/mine.yaml": ("", IN_VAIN), "figures/figure2.yaml": ("ds: [", "ds: [l2t, ")},
        "claim runs isn't tested: scale paper runs nothing of what it names (sgd_224\n"
        "claim times lists l2t, of which it gets no result; add it to `met\n"
        "claim steps lists 9 steps, of which it gets no result; add it to `met\n"
        "claim line lists 16 steps, of which it gets no result; add it to `met\n"
        "claim value lists 2 of fomaml in mini_5way_1shot, of which it gets no result; add it\n"
        "figure2 lists l2t, of which it gets no result; add it to `me",
    ),
    "pages": (
        {"omniglot-long/tables/protocols.yaml": ("together:", "togehter:"),
         "figures/curves_5way_1shot.yaml": ("5way_1shot:", "sgd_32:")},
        "protocols.yaml: columns: no protocol named 'togehter'; did you mean 'together'?\n"
        "curves_5way_1shot.yaml: panels: sgd_32 is of the family transfer, and curves shows few",
    ),
    "audit": (
        {"audit.yaml": ("{exceeding} of", "{exceeding of")},
        "audit.yaml: intervals: unexpected '{' in field name; mend the text",
    ),
    "audit's numbers": (
        {"audit.yaml": ("{deviations[0]:.1f}", "{deviation[0]:.1f}")},
        "audit.yaml: intervals: no number named 'deviation'; did you mean 'deviations'?",
    ),
    "another finding's numbers": (
        {"audit.yaml": ("float16:", "mine: {title: a, source: b, certain: '{rows}'}\nfloat16:")},
        "audit.yaml: mine: no number named 'rows'",
    ),
    "a section that the paper lacks": (
        {"claims/few_shot.yaml": ('section: "5.2"', 'section: "5.3"')},
        "above_first_order_20way_1shot: section: input should be '', '1', '2', '2.1',",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_mistakes_in_pages_and_claims_are_told_by_the_plan(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is run, not after it when they are drawn."""
    changes, told = CASES[case]
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    for name, (before, after) in changes.items():
        file = tmp_path / "workflow/report" / name
        if before:
            after = file.read_text().replace(before, after, 1)
        else:
            after = after.replace("{kind", "{text: a, section: '5', place: b, at_most: 1.0, kind")
        file.write_text(after)
    overlays = ["workflow/scales/omniglot-long.yaml"] * (case == "pages")
    files = [str(tmp_path / file) for file in ("params.yaml", *overlays)]
    assert cli.main(["plan", *files]) == 0
    said = capsys.readouterr().err
    for line in told.strip().splitlines():
        assert line in said


def test_a_plan_is_made_without_what_draws_and_trains() -> None:
    """Which would take longer than the plan itself."""
    code = "import sys; from multistep import cli; cli.main(['plan']); print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.splitlines()[-1].split()
    assert "multistep.pages.claims.closed_form" in loaded
    assert not {"torch", "pandas", "matplotlib", "scipy"} & {*loaded}
