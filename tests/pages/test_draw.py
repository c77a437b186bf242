"""All pages of a project's results in one process, by the command line."""

import shutil
from pathlib import Path

import pytest
from helpers import PARAMS, ROOT
from page_records import made_up, read_csv

from multistep import cli
from multistep.files import read_json, write_json
from multistep.pages import draw, inputs, load, query, record
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
    names = inputs.context(settled)
    names = names.model_copy(update={"differences": inputs.differences(spec, plan, paper)})
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
