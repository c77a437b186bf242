"""All pages of a project's results in one process, by the command line."""

import shutil
from pathlib import Path

import pytest
from helpers import PARAMS, ROOT
from page_reading import read_csv
from page_records import made_up

from multistep import cli
from multistep.files import UserError, read_json, write_json
from multistep.pages import checks, draw, inputs, load, query, record
from multistep.pages.scales import scales
from multistep.plan import params


def test_the_pages_of_what_was_run_are_drawn_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(*more: str) -> int:
        return cli.main(["report", "pages", "--project", str(ROOT), "--out", str(tmp_path), *more])

    assert drawn("table4", "extended_miniimagenet") == 0
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    data = {"table4": "omniglot", "extended_miniimagenet": "miniimagenet"}
    assert files == {
        f"{scale.name}/tables/{name}.{suffix}"
        for name, dataset in data.items()
        for scale in (ROOT / "scales").iterdir()
        if any(scale.glob(f"results/*shot/{dataset}*"))
        for suffix in ("csv", "md", "tex", "html", "json")
    }
    assert set(capsys.readouterr().out.split()) == {str(tmp_path / file) for file in files}

    _, (scale,) = scales(ROOT, ["omniglot-cpu"])
    plan = scale.plan
    settled = plan.params
    spec = load.pages((ROOT / "workflow" / "report").resolve(), settled)["tables"]["table4"]
    there = [ROOT / settled.directory / f for f in inputs.results(spec, plan)]
    given = [query.read(path) for path in there if path.is_file()]
    paper = inputs.Plan.of(params.load(ROOT / "params.yaml"))
    names = inputs.context_of(spec, plan, paper)
    page = tmp_path / "omniglot-cpu" / "tables" / "table4.json"
    record.check(page, "tables", spec, names, given)  # the page that the workflow asks for
    assert len(read_json(page)["made_from"]["records"]) == len(given)

    assert drawn("--scale", "omniglot-gpu") == 2
    assert "--scale: no scale with results named 'omniglot-gpu'" in capsys.readouterr().err
    own = tmp_path / "own.yaml"  # an overlay need not lie in workflow/scales
    own.write_text((ROOT / "workflow/scales/miniimagenet-cpu.yaml").read_text())
    assert drawn("--scale", str(own), "table5") == 0
    assert (tmp_path / "miniimagenet-cpu" / "tables" / "table5.md").is_file()
    assert not (tmp_path / "omniglot-cpu" / "tables" / "table5.md").is_file()
    capsys.readouterr()
    assert drawn("tabel4") == 2
    assert "no page named 'tabel4'; did you mean 'table4'?" in capsys.readouterr().err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a scale's results but those of multistep4, and pages of one's own."""
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    shutil.copy2(PARAMS, tmp_path)
    kept = tmp_path / "scales/omniglot-cpu/results"
    shutil.copytree(ROOT / "scales/omniglot-cpu/results", kept)
    for gone in kept.glob("*/omniglot/multistep4/*.json"):
        gone.unlink()
    report = tmp_path / "workflow/report"
    page = {"kind": "accuracy", "title": "Mine", "caption": "", "dataset": "omniglot"}
    (report / "omniglot-cpu/tables").mkdir(parents=True)
    for name, experiment, methods in (
        ("tables/nowhere", "5way_1shot", ["l2t"]),
        ("tables/waits", "5way_1shot", ["multistep4"]),
        ("tables/elsewhere", "mini_5way_1shot", ["maml"]),  # the paper's scale runs it
        ("omniglot-cpu/tables/own", "20way_5shot", ["maml"]),  # that one does, this doesn't
    ):
        columns = {"columns": {experiment: "one"}, "methods": methods}
        of = {"dataset": "miniimagenet"} if experiment.startswith("mini") else {}
        write_json(report / f"{name}.yaml", page | columns | of)  # JSON is YAML
    return tmp_path


def test_pages_that_are_not_drawn_are_told_with_the_reason(project: Path) -> None:
    paper, there = scales(project)
    told = {line.partition(" ")[0]: line for line in draw.undrawn(paper, there)}
    assert told == {
        "nowhere": "nowhere isn't drawn: scale omniglot-cpu, like params.yaml, runs nothing of "
        "what it names (5way_1shot on omniglot (l2t)); name what is run, or add it to its "
        "experiments",
        "own": "own isn't drawn: scale omniglot-cpu runs nothing of what it names (20way_5shot on "
        "omniglot (maml)); name what is run, or add it to its experiments",
        "waits": "waits isn't drawn: none of its 3 results at scale omniglot-cpu is there; "
        "snakemake --configfile workflow/scales/omniglot-cpu.yaml -- reports/tables/waits.json",
    }
    (asked,) = draw.undrawn(paper, there, ["elsewhere", "table4"])
    assert asked == "elsewhere isn't drawn: scale omniglot-cpu runs nothing of it"
    plan = params.load(project / "params.yaml", project / "workflow/scales/omniglot-cpu.yaml")
    folder = project / "workflow/report"
    pages, own = load.pages(folder, plan), load.own(folder, plan)
    planned = checks.unshown(pages, inputs.Plan.of(plan), lambda: paper.plan, own)
    assert planned == [told["nowhere"], told["own"]]  # and where the plan is made


def test_a_folder_in_the_place_of_a_result_is_told(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the pages would be drawn without it."""
    gone = project / "scales/omniglot-cpu/results/5way_1shot/omniglot/multistep4/0.json"
    gone.mkdir()
    for kind in ("pages", "claims"):
        out = str(project / f"out/{kind}.json")
        assert cli.main(["report", kind, "--project", str(project), "--out", out]) == 2
        assert f"error: {gone}: a folder; name a file" in capsys.readouterr().err


def test_an_overlay_that_can_not_be_run_stops_its_own_scale_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "not_run"):
        overlay = project / f"workflow/scales/{name}.yaml"
        overlay.write_text(f"scale: {name}\ndirectory: scales/{name}\nonly: [5way_1shto]\n")
    assert [scale.name for scale in scales(project, ["omniglot-cpu"])[1]] == ["omniglot-cpu"]
    assert [scale.name for scale in scales(project)[1]] == ["omniglot-cpu"]
    told = capsys.readouterr().err
    assert f"{project}/workflow/scales/not_run.yaml) can't be run" in told
    assert f"{project}/workflow/scales/not_run.yaml is left out, since nothing of it" in told
    shutil.copytree(project / "scales/omniglot-cpu", project / "scales/brought")
    assert [scale.name for scale in scales(project)[1]] == ["omniglot-cpu"]
    assert f"warning: {project}/scales/brought is left out: workflow" in capsys.readouterr().err
    (project / "scales/run/results").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"(?s)5way_1shto.*\n  nothing was drawn; mend .*/run\.yaml, or"
    ):
        scales(project)


def test_sizes_are_drawn_of_the_datasets_that_are_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflow" / "report", tmp_path / "workflow" / "report")
    shutil.copy2(PARAMS, tmp_path)
    (tmp_path / "results").mkdir()
    plan = inputs.Plan.of(params.load(PARAMS))
    spec = load.pages(ROOT / "workflow" / "report", plan.params)["tables"]["table6"]
    file = inputs.results(spec, plan)[1]
    (made,) = made_up([file], plan)
    (tmp_path / file).parent.mkdir(parents=True)
    write_json(tmp_path / file, made)
    _, (scale,) = scales(tmp_path)
    out = list(draw.draw(scale, tmp_path / "out"))
    rows = read_csv(out[0].read_text(encoding="utf-8"))
    assert {path.stem for path in out} == {"table6"}
    assert [row["row"] for row in rows if row["ours"]] == ["stl10"] * 4
