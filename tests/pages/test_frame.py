"""The frame of all numbers: what it holds of each record, and pages drawn again from it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import records
from helpers import PARAMS, ROOT
from page_reading import table
from page_records import few_shot, few_shot_times, put

import multistep
from multistep import cli
from multistep.files import UserError, write_json
from multistep.pages import frame, inputs, load, query
from multistep.pages import project as whole
from multistep.pages.context import Context
from multistep.pages.spec import Spec
from multistep.plan import params


def project(folder: Path, *records: dict[str, Any]) -> Path:
    """A project of the paper's plan in which these results lie."""
    shutil.copytree(ROOT / "workflow" / "report", folder / "workflow" / "report")
    shutil.copy2(PARAMS, folder)
    for record in records:
        put(folder / "scales" / record["cell"]["scale"], record)
    return folder


def test_every_number_of_a_cell_is_a_row(tmp_path: Path) -> None:
    record = few_shot(
        seed=3, episodes=[40.0, 60.0], history=[(10, 30.0, 31.0), (20, 50.0, 51.0)], scale="small"
    )
    whole = multistep.frame(project(tmp_path, record))
    assert list(whole.columns) == list(frame.COLUMNS)
    ours = whole[whole.scale == "small"]
    assert set(ours.source) == {"scales/small/results/5way_1shot/omniglot/maml/3.json"}
    assert {tuple(row) for row in ours[["experiment", "dataset", "method", "seed"]].values} == {
        ("5way_1shot", "omniglot", "maml", 3)
    }
    episodes = ours[ours.quantity == "episode_accuracy"]
    assert dict(zip(episodes.episode, episodes.value, strict=True)) == {0: 40.0, 1: 60.0}
    curve = ours[(ours.quantity == "validation_accuracy") & ours.iteration.notna()]
    assert list(zip(curve.iteration, curve.value, strict=True)) == [(10, 31.0), (20, 51.0)]
    assert ours[(ours.quantity == "test_accuracy")].value.tolist() == [50.0]
    fewer = multistep.frame(tmp_path, episodes=False, history=False)
    assert fewer.episode.notna().sum() == fewer.iteration.notna().sum() == 0
    assert set(fewer.quantity) < set(whole.quantity)


def test_evaluations_have_protocols_and_floors(tmp_path: Path) -> None:
    cell = few_shot(scale="small")["cell"]
    cell["settings"]["test_episodes"] = 4
    record = records.evaluation({"cell": cell})
    folder = project(tmp_path)
    path = folder / "scales" / "small" / "evaluations" / "5way_1shot/omniglot/maml/0.json"
    path.parent.mkdir(parents=True)
    write_json(path, record)
    ours = multistep.frame(folder).query("scale == 'small'")
    means = ours[ours.quantity == "evaluated_accuracy"].set_index("protocol").value
    trained = record["rows"]["trained"]
    assert means.to_dict() == {protocol: row["mean"] for protocol, row in trained.items()}
    adds = ours[ours.quantity == "evaluated_episode.(meta-training adds)"]
    assert adds.groupby("protocol", observed=True).value.apply(list).to_dict() == {
        protocol: row["episodes"] for protocol, row in record["rows"]["meta-training adds"].items()
    }
    assert set(ours.source) == {path.relative_to(folder).as_posix()}
    assert {name.split(".")[0] for name in ours.quantity} <= set(frame.QUANTITIES)


def test_measurements_have_rounds_and_steps(tmp_path: Path) -> None:
    record = few_shot_times(rows=[("maml", 8, [0.5, 0.25], 100)], scale="small")
    ours = multistep.frame(project(tmp_path, record)).query("scale == 'small'")
    assert ours[["method", "steps", "quantity", "value"]].values.tolist() == [
        *(["maml", 8, "seconds", 0.5], ["maml", 8, "seconds", 0.25], ["maml", 8, "bytes", 100.0]),
    ]
    assert ours["round"].dropna().tolist() == [0, 1]


def test_the_paper_s_numbers_stand_beside_ours(tmp_path: Path) -> None:
    pages = load.pages(ROOT / "workflow" / "report", params.load(PARAMS))
    whole = multistep.frame(project(tmp_path))
    assert whole.scale.isna().all()
    table4 = whole[(whole.table == "table4") & (whole.source == "kim2020")]
    printed = table4[table4.quantity == "test_accuracy"].pivot(
        index="method", columns="experiment", values="value"
    )
    for method, values in pages["tables"]["table4"].paper.values.items():  # type: ignore[attr-defined]
        assert {column: printed.loc[method, column] for column in values} == {
            column: mean for column, (mean, _) in values.items()
        }
    for name in ("table1", "table2", "table3", "table5", "table6", "first_order", "figure4"):
        assert (whole.table == name).any()
    jang = whole[(whole.table == "table2") & (whole.source == "jang2019")]
    assert set(jang.method) == {"scratch", "l2t"}  # under our methods, with the cells beside them
    assert jang.experiment.notna().all()


def test_a_table_is_drawn_again_from_the_frame(tmp_path: Path) -> None:
    """In five lines: of the committed runs, the means that Table 4 shows."""
    whole = multistep.frame(ROOT, episodes=False, history=False)
    scale, p = (
        "omniglot-cpu",
        params.load(PARAMS, ROOT / "workflow" / "scales" / "omniglot-cpu.yaml"),
    )
    spec = load.pages(ROOT / "workflow" / "report", p)["tables"]["table4"]
    final = whole[(whole.scale == scale) & (whole.quantity == "test_accuracy")]
    final = final[final.iteration.isna() & final.method.isin(spec.methods)]  # type: ignore[attr-defined]
    means = final.groupby(["method", "experiment"], observed=True).value.mean()

    files = [ROOT / "scales" / scale / f for f in inputs.results(spec, inputs.Plan.of(p))]
    rows = table(spec, inputs.context(p), [query.read(file) for file in files])
    shown = {(r.row, r.column): r.ours for r in rows if r.section == "ours" and r.ours is not None}
    assert shown
    assert means.to_dict() == pytest.approx(shown)


def test_every_quantity_and_column_is_explained() -> None:
    whole = multistep.frame(ROOT)
    assert {name.split(".")[0] for name in whole.quantity.cat.categories} <= set(frame.QUANTITIES)
    assert whole.value.notna().all()
    keys = [c for c in frame.COLUMNS if c != "value"]
    assert not whole.duplicated(keys).any()


@pytest.mark.parametrize("name", ["frame.csv", "frame.csv.gz"])
def test_the_command_line_writes_equal_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    import pandas as pd

    folder = project(tmp_path / "project", few_shot(scale="small"))
    outs = [tmp_path / f"{i}{name}" for i in (0, 1)]
    for out in outs:
        assert cli.main(["report", "frame", "--project", str(folder), "--out", str(out)]) == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    again, whole = pd.read_csv(outs[0]), multistep.frame(folder)
    assert again.value.tolist() == pytest.approx(whole.value.tolist(), rel=1e-6, abs=0)
    counted = whole.value % 1 == 0
    assert again.value[counted].tolist() == whole.value[counted].tolist()
    assert f"{len(whole):,} numbers" in capsys.readouterr().out
    assert cli.main(["report", "frame", "--project", str(folder), "--out", "x.parquet"]) == 2
    assert "should end in .csv or .csv.gz" in capsys.readouterr().err


def test_a_folder_that_is_no_project_and_a_damaged_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: no such file; give the project that is m"):
        multistep.frame(tmp_path)
    folder = project(tmp_path / "project", few_shot(scale="small"))
    with pytest.raises(UserError, match=rf"params\.yaml: no such file; .* meant, {folder}$"):
        multistep.frame(folder / "scales/small")
    (file,) = folder.glob("scales/small/results/*/*/*/*.json")
    file.write_text(file.read_text().replace('"seed": 0', '"seed": "x"'))
    with pytest.raises(UserError, match=r"0\.json: its content differs from its seal"):
        multistep.frame(folder)
    assert whole.read(folder, {}, of=[folder]).scale.isna().all()  # what isn't asked for isn't read


def test_what_was_run_joins_the_numbers_of_a_page(spec: Spec, stand_in: Context) -> None:
    """Runs, one row a cell, and numbers, under the page's name of the dataset."""
    at = {"scale": "demo", "dataset": "omniglot_standin"}
    cells = [few_shot(seed=seed, inner_lr=0.04, chosen={0.04: 1.0}, **at) for seed in (1, 0)]
    times = few_shot_times(rows=[("maml", 8, [0.5], 100), ("imaml", 16, [0.5], 100)], **at)
    runs, numbers = query.data(spec, stand_in, [times, *cells, few_shot("other", **at)])
    assert runs[["dataset", "data_title", "method", "seed"]].values.tolist() == [
        ["omniglot", "Drawn characters (stand-in)", "maml", seed] for seed in (0, 1)
    ]
    assert runs["settings.inner_lr"].tolist() == [0.04, 0.04]
    assert runs.chosen[0]["value"] == 0.04
    joined = numbers[numbers.quantity == "test_accuracy"].merge(
        runs, on=["experiment", "dataset", "method", "seed"]
    )
    assert len(joined) == 2
    assert (joined.source == joined.file).all()
    assert runs.clock[0] == "process seconds"
    timed = frame.runs([times])
    assert timed[["record", "method", "settings.inner_steps", "unit.memory"]].values.tolist() == [
        ["measurement", method, 8, "bytes saved for backward per task"] for method in timed.method
    ]
    assert (frame.of([]).columns.tolist(), len(frame.runs([]))) == ([*frame.COLUMNS], 0)
