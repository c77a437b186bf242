"""Entries of tables: and figures:, what they want of a plan, and mistakes in them."""

from typing import Any

import pytest
from helpers import PARAMS

from multistep.files import UserError
from multistep.pages import inputs
from multistep.plan import cells, params

BASE = params.read(PARAMS)
LOADED = params.load(PARAMS)
PLAN = cells.plan(LOADED)
MEASURED = cells.measurements(LOADED)


def wanted(overlay: dict[str, Any], name: str) -> list[str]:
    """The files behind a page of a plan."""
    p = params.validate(params.merge(BASE, overlay))
    pages: dict[str, Any] = {**p.tables, **p.figures}
    return inputs.results(pages[name], cells.plan(p), cells.measurements(p), p)


def test_a_table_shows_every_seed_of_its_cells_and_nothing_else() -> None:
    paths = inputs.results(LOADED.tables["table3"], PLAN, MEASURED, LOADED)
    assert len(paths) == 3 * 6 * 3  # rows, targets, seeds
    assert "results/sgd_32/stl10/scratch/0.json" in paths
    assert "results/adam_224/dog/l2t_multistep/2.json" in paths
    assert not [path for path in paths if "sgd" in path and "scratch" not in path]


def test_a_page_may_show_cells_and_measurements() -> None:
    paths = inputs.results(LOADED.figures["figure4"], PLAN, MEASURED, LOADED)
    assert paths[-1] == "results/measure/steps/bird.json"
    assert {path.split("/")[1] for path in paths} == {"steps", "adam_224", "measure"}
    times = inputs.results(LOADED.figures["figure3"], PLAN, MEASURED, LOADED)
    assert times[0] == "results/measure/adam_32/cifar100.json"
    assert len(times) == 6


def test_sizes_are_of_the_datasets_that_the_plan_uses() -> None:
    table = LOADED.tables["table6"]
    paths = inputs.results(table, PLAN, MEASURED, LOADED)
    assert paths[0] == "data/processed/cifar100/dataset.json"
    assert len(paths) == 6
    one = [cell for cell in PLAN if cell.dataset == "stl10"]
    assert inputs.results(table, one, {}, LOADED) == ["data/processed/stl10/dataset.json"]


def test_a_benchmark_shows_cells_and_their_measurements() -> None:
    table: dict[str, Any] = {
        "kind": "benchmark",
        "title": "Side by side",
        "caption": "{data}",
        "dataset": "omniglot",
        "columns": {"5way_1shot": "1-shot", "20way_5shot": "5-shot"},
        "methods": ["maml", "multistep8"],
    }
    paths = wanted({"tables": {"new": table}}, "new")
    assert len(paths) == 2 * 2 * 3 + 2  # columns, methods, seeds; measurements
    assert paths[-2:] == [f"results/measure/{e}/omniglot.json" for e in table["columns"]]
    assert not [path for path in paths if "multistep4" in path or "20way_1shot" in path]


def test_each_method_belongs_to_the_family_that_runs_or_times_it() -> None:
    families = inputs.families(LOADED)
    assert set(families) <= set(LOADED.methods)
    assert (families["fomaml"], families["l2t_3_est"]) == ("few_shot", "transfer")
    only_timed = {"experiments": {"adam_224": {"methods": []}, "steps": {"methods": []}}}
    p = params.validate(params.merge(BASE, only_timed))
    assert inputs.families(p)["l2t_3_est"] == "transfer"


def test_a_page_beyond_the_paper_says_so_once() -> None:
    figure = LOADED.figures["figure2"]
    assert figure.remark == ""
    beyond = figure.model_copy(update={"beyond": True})
    assert beyond.remark == ". Not in the paper."
    assert beyond.model_copy(update={"title": "Figure 2, beyond the paper"}).remark == ""


def test_a_stand_in_takes_its_dataset_s_place() -> None:
    overlay = {"stand_ins": {"bird": "dog"}}
    assert wanted(overlay, "table1") == ["results/measure/sgd_224/dog.json"]
    assert "results/sgd_224/dog/l2t/0.json" in wanted(overlay, "figure1")


def test_a_page_of_which_nothing_is_computed_wants_nothing() -> None:
    none = {"experiments": {name: {"datasets": []} for name in BASE["experiments"]}}
    for name in (*BASE["tables"], *BASE["figures"]):
        assert wanted(none, name) == []


MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"tables": {"table2": {"kind": "transfers"}}},
        "tables.table2.kind: should be one of accuracy, benchmark, epoch_time, splits, ",
    ),
    ({"figures": {"new": {"title": "x"}}}, "figures.new.kind: should be one of cost, curves, dri"),
    ({"tables": {"table2": {"colums": {}}}}, "tables.table2.colums: unknown key; did you mean 'c"),
    ({"tables": {"table2": {"methods": []}}}, "tables.table2.methods: unknown key; known: beyond,"),
    (
        {"tables": {"table2": {"paper": {"epoch": 1}}}},
        "tables.table2.paper.epoch: unknown key; did you mean 'epochs'?",
    ),
    ({"figures": {"figure1": {"dataset": 3}}}, "figures.figure1.dataset: input should be a valid"),
    (
        {"figures": {"figure1": {"caption": "{dat}: x"}}},
        "figures.figure1.caption: value error, unknown placeholder {dat}; known: {data}",
    ),
    ({"tables": {"table4": {"caption": "{data"}}}, "tables.table4.caption: value error, expected"),
    (
        {"tables": {"table2": {"rows": {"l2t": {"birds": "sgd_224"}}}}},
        "tables.table2.rows.l2t: no column named 'birds'; did you mean 'bird'?",
    ),
    (
        {"tables": {"table2": {"rows": {"l2t": {"bird": "sgd_225"}}}}},
        "tables.table2.rows.l2t: no experiment named 'sgd_225'; did you mean 'sgd_224'?",
    ),
    (
        {"tables": {"table2": {"sources": {"bird": "resnet"}}}},
        "tables.table2.sources: no source network named 'resnet'",
    ),
    (
        {"tables": {"table2": {"literature": {"l2t_literature": {"method": "l2tt"}}}}},
        "tables.table2.literature.l2t_literature.method: no row named 'l2tt'; did you mean 'l2t'?",
    ),
    ({"tables": {"table1": {"paper": {"hours": {"x": 1.0}}}}}, "tables.table1.paper.hours: no met"),
    (
        {"tables": {"table4": {"paper": {"inner_lr": {"maml": {"5way_1sht": 0.1}}}}}},
        "tables.table4.paper.inner_lr.maml: no column named '5way_1sht'; did you mean ",
    ),
    (
        {"tables": {"table4": {"paper": {"interval_n": "meta_batch"}}}},
        "tables.table4.paper.interval_n: input should be 'episodes' or 'episodes/meta_batch'",
    ),
    ({"tables": {"table6": {"rows": {"birds": "x"}}}}, "tables.table6.rows: no dataset named 'bir"),
    (
        {"tables": {"table2": {"paper": {"values": {"l2t_multistep": {"bird": [64.89]}}}}}},
        "tables.table2.paper.values.l2t_multistep.bird: list should have at least 2 items",
    ),
    (
        {"figures": {"figure4": {"bars": {"l2t_3_est": {"of": "l2t_33"}}}}},
        "figures.figure4.bars.l2t_3_est.of: no bar named 'l2t_33'; did you mean 'l2t_3'?",
    ),
    (
        {"figures": {"figure2": {"remarks": {"repti": "as many"}}}},
        "figures.figure2.remarks: no method named 'repti'; did you mean 'reptile'?",
    ),
    ({"figures": {"figure4": {"measured": "step"}}}, "figures.figure4.measured: no experiment nam"),
    (
        {"figures": {"figure3": {"experiments": {"birds": "sgd_224"}}}},
        "figures.figure3.experiments: no panel named 'birds'; did you mean 'bird'?",
    ),
    ({"figures": {"where_bird": {"epochs": [0]}}}, "figures.where_bird.epochs.0: input should be"),
]


@pytest.mark.parametrize(("overlay", "message"), MISTAKES, ids=lambda x: str(x)[:40])
def test_a_mistake_in_a_page_is_one_line_with_its_path(
    overlay: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        params.validate(params.merge(BASE, overlay))
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 1 or "title" in str(overlay), lines
    assert any(line.strip().startswith(message) for line in lines), lines
