"""A JSON of ours that is right, but of another kind than is wanted, is no damaged one."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import records
from helpers import ROOT

import multistep
from multistep import cli, kinds
from multistep.data import prepared
from multistep.files import UserError, read_json
from multistep.job import results
from multistep.pages import cli as report
from multistep.pages import compare, place
from multistep.pages.record import SUFFIXES
from multistep.plan import params
from multistep.transfer import source_record

CHOICE = "miniimagenet-long/results/choices/mini_5way_1shot/miniimagenet_x100/multistep8.json"
FILES = {  # where a project has one of each kind
    kinds.RESULT: "scales/dogs32-long/results/sgd_32/dogs32/l2t/0.json",
    kinds.MEASUREMENT: "scales/omniglot-cpu/results/measure/5way_5shot/omniglot.json",
    kinds.EVALUATION: "scales/omniglot-long/evaluations/5way_1shot/omniglot/fomaml/0.json",
    kinds.CHOICE: f"scales/{CHOICE}",
    "the record of a page": "reports/omniglot-long/tables/table4.json",
    "the record of a report": "reports/report.json",
    "claims with their verdicts": "reports/claims.json",
    "the audit of the paper": "reports/audit.json",
    "the metrics of a report": "reports/metrics/omniglot-long.json",
}

DATASET, NETWORK = (f"the description of a {of}" for of in ("prepared dataset", "source network"))


@pytest.fixture
def one_of_each(tmp_path: Path) -> dict[str, Path]:
    """A copy of a file of each kind, without what lies beside it there."""
    found = {kind: tmp_path / kind.replace(" ", "-") / "0.json" for kind in FILES}
    for kind, path in found.items():
        path.parent.mkdir()
        shutil.copy2(ROOT / FILES[kind], path)
    return found


def test_every_kind_is_told_from_all_others(
    one_of_each: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, path in one_of_each.items():
        assert kinds.of(read_json(path)) == kind
    assert cli.main(["plan", "--json", str(ROOT / "params.yaml")]) == 0
    (tmp_path / "plan.json").write_text(capsys.readouterr().out)
    assert kinds.of(read_json(tmp_path / "plan.json")) == "a plan"
    for record in ([], {}, None, "text", [1], {"cell": {}}, {"schema": 2, "seal": ""}):
        assert kinds.of(record) is None
    for make in (*records.RESULTS.values(), *records.MEASUREMENTS.values()):
        assert kinds.of(make()) in (kinds.RESULT, kinds.MEASUREMENT, kinds.EVALUATION)
    assert kinds.of({**prepared.Description.model_fields}) == DATASET
    assert kinds.of({**source_record.Network.model_fields}) == NETWORK


def test_who_wants_a_result_says_what_it_was_given(one_of_each: dict[str, Path]) -> None:
    readers: dict[Any, tuple[str, ...]] = {
        multistep.load: (kinds.RESULT,),
        results.read: (kinds.RESULT, kinds.MEASUREMENT, kinds.EVALUATION),
        results.read_choice: (kinds.CHOICE,),
    }
    for reader, wanted in readers.items():
        for kind, path in one_of_each.items():
            if kind not in wanted:
                told = re.escape(f"{path}: {kind}, but {' or '.join(wanted)} is wanted here; name")
                with pytest.raises(UserError, match=told):
                    reader(path)
    with pytest.raises(UserError, match=r"0\.json: not YAML; name params\.yaml"):
        params.load(one_of_each[kinds.RESULT])


def test_a_folder_is_compared_by_its_results_alone(one_of_each: dict[str, Path]) -> None:
    folder = next(iter(one_of_each.values())).parents[1]
    result = one_of_each.pop(kinds.RESULT)
    with pytest.raises(UserError, match="it is of the cell 5way_5shot/omniglot"):
        compare.read(str(folder))  # a measurement in another's place
    one_of_each.pop(kinds.MEASUREMENT).unlink()
    place = folder / "sgd_32/dogs32/l2t/0.json"
    place.parent.mkdir(parents=True)
    result.rename(place)
    assert [key[-1] for key in compare.read(str(folder))] == ["l2t"]
    place.unlink()
    with pytest.raises(UserError, match="no results in it"):
        compare.read(str(folder))


def test_nothing_is_written_over_a_file_of_another_kind(
    one_of_each: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a result, which took days, by `report audit --out`; told before any work."""
    choice = str(one_of_each[kinds.CHOICE])
    archive = ["--dataset", "a", "--archive", "a.zip", "--loader", "image_folder"]
    archive += ["--spec", '{"drawn": {}}', "--out", "a.zip"]
    page = ["--name", "a", "--spec", "{}", "--context", "{}"]
    commands = {
        report.CLAIMS: ["report", "claims", "--project", str(ROOT), "--out", ""],
        report.AUDIT: ["report", "audit", "--project", str(ROOT), "--out", ""],
        compare.COMPARISON: ["compare", str(ROOT), str(ROOT), "--json", ""],
        "the record of an archive": ["data", "download", *archive, "--record", ""],
        kinds.CHOICE: ["choose", "--setting", "inner_lr", choice, "--out", ""],
        report.PAGE: ["report", "table", *page, "--out", ""],
    }
    for own, (*command, end) in commands.items():
        for kind, path in one_of_each.items():
            if kind != own:
                before = path.read_bytes()
                place = path.with_suffix("") if own == report.PAGE else path
                assert cli.main([*command, f"{place}{end}"]) == 2
                assert capsys.readouterr().err.startswith(
                    f"error: {path}: in the way, and {kind}; move it away, or name another place"
                )
                assert path.read_bytes() == before


def test_nothing_is_written_over_what_is_of_another_name(
    one_of_each: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (kinds.RESULT, kinds.MEASUREMENT, kinds.CHOICE):
        path = one_of_each[kind]
        own = read_json(path).get("cell")
        there = f"{path}: {kind} is there already; what is made now will take its place"
        assert kinds.check_place(path, kind, own) == there
        told = r"in the way, of dataset '\w+', not 'x'; move it away, or name another place"
        with pytest.raises(UserError, match=told):
            kinds.check_place(path, kind, {**own, "dataset": "x"})
    (file := tmp_path / "dataset.json").write_text('{"name": "b"}')
    line = ["data", "prepare", "--dataset", "omniglot", "--params", str(ROOT / "params.yaml")]
    for path in one_of_each.values():
        path.unlink()
        path.parent.rmdir()
    assert cli.main([*line, "--out", str(tmp_path)]) == 2
    told = f"error: {file}: in the way, of 'b', not 'omniglot'; move it away, or name another place"
    assert capsys.readouterr().err == f"{told}\n"


@pytest.mark.parametrize("form", ["tables", "figures"])
def test_a_page_is_drawn_over_its_own_files_alone(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in SUFFIXES[form]:
        (file := tmp_path / f"v1.2.{suffix}").write_text("mine")
        prefix = ["--name", "a", "--spec", "{}", "--context", "{}", "--out", str(tmp_path / "v1.2")]
        assert cli.main(["report", form[:-1], *prefix]) == 2
        told = f"error: {file}: in the way, and no v1.2.json beside it; name another --out\n"
        assert capsys.readouterr().err == told
        shutil.copy2(ROOT / FILES["the record of a page"], tmp_path / "v1.2.json")
        assert cli.main(["report", form[:-1], *prefix]) == 2
        assert "--context: " in capsys.readouterr().err  # the next mistake
        (tmp_path / "v1.2.json").unlink()
        assert file.read_text() == "mine"
        file.unlink()


def test_a_site_is_drawn_over_its_own_files_alone(tmp_path: Path) -> None:
    for name in (*place.RECORDS, "claims.csv", "frame.csv.gz"):
        for text in ("[1]", "mine"):
            (file := tmp_path / name).write_text(text)
            told = re.escape(f"{file}: in the way, and not of a report; name another folder")
            with pytest.raises(UserError, match=told):
                place.check(tmp_path, [])
            file.unlink()


def test_an_evaluation_in_the_place_of_a_result_is_none(one_of_each: dict[str, Path]) -> None:
    """Pages would take it for a cell that isn't run."""
    source = one_of_each[kinds.EVALUATION]
    name = Path(FILES[kinds.EVALUATION]).relative_to("scales/omniglot-long/evaluations")
    for folder, wanted in (("evaluations", None), ("results", "a result"), ("elsewhere", None)):
        path = source.parent / folder / name
        path.parent.mkdir(parents=True)
        shutil.copy2(source, path)
        if wanted is None:
            assert results.read(path)["kind"] == "evaluation"
        else:
            with pytest.raises(UserError, match="an evaluation, but a result is wanted here; name"):
                results.read(path)
            path.unlink()
