"""Figures from made-up records: the csv, what is drawn and said, looks, and equal bytes."""

import itertools
import json
import os
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_records import (
    Record,
    drawn,
    few_shot,
    few_shot_times,
    figure_spec,
    read_csv,
    said,
    texts,
    transfer,
    transfer_times,
)
from scipy import optimize

from multistep.files import UserError, read_json
from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.figures import described, write_figure
from multistep.pages.frame import PROCESS, WALL

COST: Record = {
    "kind": "cost", "title": "Figure 9", "caption": "{data}: cost over inner steps",
    "panels": {"5way_1shot": "5-way 1-shot", "20way_1shot": "20-way 1-shot"},
    "dataset": "omniglot", "methods": ["maml", "multistep4", "multistep8", "fomaml"],
    "remarks": {"fomaml": "not drawn", "multistep4": "half as many", "maml": "half as many"},
}  # fmt: skip
CURVES = {key: value for key, value in COST.items() if key != "remarks"}
CURVES |= {"kind": "curves", "title": "Curves", "panels": {"5way_1shot": "5-way 1-shot"}}
ONE: Record = {"title": "Figure 9", "caption": "{data}: something", "dataset": "bird"}
ONE |= {"experiment": "sgd", "methods": ["l2t", "l2t_multistep"]}
PANELS: Record = {
    "title": "Figure 8", "caption": "{data}", "methods": ["l2t", "l2t_multistep"],
    "panels": {"stl10": "STL-10", "bird": "Bird", "dog": "Dog"},
    "experiments": {"stl10": "adam_32", "bird": "adam_224", "dog": "adam_224"},
}  # fmt: skip
STEPS: Record = {
    "kind": "steps", "title": "Figure 7", "caption": "{data}", "dataset": "bird",
    "bars": {
        "zero": {"label": "0-step", "experiment": "steps"},
        "l2t": {"label": "2-step", "experiment": "adam"},
        "l2t_multistep": {"label": "2-step Est.", "experiment": "adam", "of": "l2t"},
    },
    "measured": "steps",
    "paper": {
        "device": "Titan Xp", "accuracy": {"zero": [48.91, 0.83]},
        "seconds": {"zero": [121.3, 4.97]},
    },
}  # fmt: skip
COST_SPEC, CURVES_SPEC, STEPS_SPEC = map(figure_spec, (COST, CURVES, STEPS))
TRANSFER = [ONE | {"kind": "drift"}, ONE | {"kind": "where", "epochs": [1, 10]}]
TRANSFER += [ONE | {"kind": "meta_gradient"}, STEPS]
TRANSFER += [PANELS | {"kind": kind} for kind in ("transfer_curves", "epoch_time")]
DRIFT_SPEC, WHERE_SPEC, NORM_SPEC, _, TRANSFER_CURVES_SPEC, EPOCH_SPEC = map(figure_spec, TRANSFER)
ROWS: list[tuple[str, int, list[float], int]] = [
    ("maml", 8, [0.9, 0.8, 1.0, 2.0, 0.7], 800_000_000),
    ("maml", 4, [0.5, 0.5, 0.5, 0.5, 0.5], 400_000_000),
    ("multistep4", 4, [0.3, 0.3, 0.3, 0.3, 0.3], 200_000_000),
    ("multistep4", 8, [0.45, 0.45, 0.45, 0.45, 0.45], 300_000_000),
]
DRIFT = [[(10, 1.0, 0.5), (20, 0.8, 0.4)], [(30, 0.6, 0.3)]]


@pytest.fixture
def birds() -> Context:
    return Context(
        scale="paper",
        datasets={"bird": "Birds 2011", "drawn": "Drawn birds (stand-in)"},
        methods={"scratch": "Scratch", "l2t": "L2T-ww (ours)", "l2t_multistep": "Multi-step"},
        source_networks={"imagenet": "ImageNet"},
    )


def of(rows: Any, *keys: str) -> list[tuple[Any, ...]]:
    """The values of some columns of a csv or a frame."""
    found = rows if isinstance(rows, list) else rows.to_dict("records")
    return [tuple(row[key] for key in keys) for row in found]


def written(path: Path, spec: Any, context: Context, records: list[Any]) -> list[dict[str, str]]:
    """The csv of a figure, written with the rest."""
    paths = write_figure(path / "figure", spec, context, records)
    assert [p.suffix for p in paths] == [".svg", ".png", ".pdf", ".csv", ".json"]
    assert all(p.stat().st_size > 1000 for p in paths[:3])
    return read_csv(paths[3].read_text(encoding="utf-8"))


def near(points: list[list[float]]) -> Any:
    return pytest.approx(np.array(points, dtype=float))


def phrases(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text


def test_cost_has_medians_and_quartiles_and_draws_them(tmp_path: Path, context: Context) -> None:
    measurement = few_shot_times(rows=ROWS)
    rows = written(tmp_path, COST_SPEC, context, [measurement])
    assert of(rows, "method", "steps", "seconds", "bytes") == [
        ("maml", "4", "0.5", "400000000"),
        ("maml", "8", "0.9", "800000000"),
        ("multistep4", "4", "0.3", "200000000"),
        ("multistep4", "8", "0.45", "300000000"),
    ]
    assert of(rows[1:2], "seconds_low", "seconds_high", "rounds") == [("0.8", "1", "5")]
    assert set(of(rows, "clock", "memory", "scale", "data", "tasks")) == {
        ("process seconds", "bytes saved for backward per task", "paper", "Omniglot", "32")
    }
    figure = drawn(COST_SPEC, context, [measurement])
    time, memory = figure.axes  # the other panel was not measured and takes no room
    assert time.lines[0].get_xydata() == near([[4, 500], [8, 900]])
    assert time.lines[1].get_xydata() == near([[4, 300], [8, 450]])
    assert memory.lines[0].get_xydata() == near([[4, 400], [8, 800]])
    assert time.get_ylim()[0] == memory.get_ylim()[0] == 0
    phrases(
        texts(figure).replace("\n", " "),
        "5-way 1-shot, 32 tasks",
        "process time (ms)",
        "saved for backward per task (MB)",
        "Multi-step (4)  0.50×",  # 0.45 s of 0.9 s
        "Multi-step (4)  0.38×",  # 300 MB of 800 MB
    )
    about = read_json(tmp_path / "figure.json")["caption"]
    assert about["title"] == "Figure 9"
    assert about["caption"] == "Omniglot: cost over inner steps"
    assert about["provenance"] == "scale: paper; data: Omniglot; device: Imaginary CPU, 1 thread"
    first, how, lacks = about["notes"][:3]
    assert first == "MAML and Multi-step (4): half as many."
    phrases(how, "Time: process seconds, median and quartiles over 5 rounds. Memory: bytes saved")
    assert lacks == "Not measured: 20-way 1-shot; Multi-step (8); FO-MAML."
    assert "half as many." in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_cost_on_a_gpu_names_its_clock_and_device(context: Context) -> None:
    rows = [("maml", 8, [0.004, 0.005, 0.006], 3_000_000_000)]
    records = [few_shot_times(rows=rows, gpu=True, tasks=4)]
    found = texts(drawn(COST_SPEC, context, records))
    phrases(found, "CUDA-event time (ms)", "peak allocated (GB)", "5-way 1-shot, 4 tasks")
    assert "device: Imaginary GPU" in said(COST_SPEC, context, records)


def test_methods_that_some_panels_lack_are_named_with_them(context: Context) -> None:
    records = [
        few_shot_times(rows=ROWS),
        few_shot_times("20way_1shot", rows=[*ROWS, ("fomaml", 8, [1.0], 1)]),
    ]
    found = said(COST_SPEC, context, records)
    assert "Not measured: Multi-step (8); FO-MAML (5-way 1-shot)." in found
    every = [(method, 8, [1.0], 1) for method in COST["methods"]]
    found = said(COST_SPEC, context, [few_shot_times("20way_1shot", rows=every)])
    assert "Not measured: 5-way 1-shot." in found


def test_another_number_of_tasks_is_named_and_not_set_in_relation(context: Context) -> None:
    measurement = few_shot_times(rows=ROWS, settings={"multistep4": {"meta_batch": 5}})
    found = texts(drawn(COST_SPEC, context, [measurement]))
    phrases(found, "5-way 1-shot, 32 tasks (Multi-step (4): 5)", "Multi-step (4)\n")
    assert "0.50×" not in found


def test_labels_do_not_overlap_and_open_markers_stand_in_turns(context: Context) -> None:
    methods = ["maml", "imaml", "reptile", "anil"]
    spec = figure_spec(COST | {"methods": methods, "remarks": {}})
    seconds = dict(zip(methods, (1.0, 0.999, 0.998, 0.02), strict=True))
    rows = [(m, steps, [s], 10**9) for m, s in seconds.items() for steps in range(1, 9)]
    for axes in drawn(spec, context, [few_shot_times(rows=rows)]).axes:
        marked = [[*range(8)][slice(*line.get_markevery(), None)][:1] for line in axes.lines]
        assert marked == [[0], [1], [2], [0]]
        assert [line.get_markerfacecolor() == "none" for line in axes.lines] == [False, *[True] * 3]
        places = sorted(text.get_position()[1] for text in axes.texts)
        assert len(places) == 4
        assert all(high - low > 0.08 for low, high in itertools.pairwise(places))
        assert 0 <= places[0] < places[-1] <= 1


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([few_shot_times(rows=ROWS, scale="demo")], "5way_1shot/omniglot: made at scale demo"),
        ([few_shot_times(rows=ROWS, dataset="other")], "belongs to Figure 9: .*dataset omniglot$"),
        ([few_shot_times(rows=ROWS)] * 2, "5way_1shot/omniglot: two files of one name"),
        ([few_shot(), few_shot(seed=1, scale="demo")], "made at scale demo, but the scale here is"),
    ],
)
def test_records_that_are_not_the_page_s_are_refused(
    context: Context, records: list[Record], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        described(CURVES_SPEC if "metrics" in records[0] else COST_SPEC, context, records)


def test_curves_average_seeds_where_all_have_a_point(tmp_path: Path, context: Context) -> None:
    history = [(10, 1.0, 30.0), (20, 1.0, None), (30, 1.0, 60.0)]
    records = [
        few_shot(seed=0, history=history, seconds=[1.0, 2.0, 3.0]),
        few_shot(seed=1, history=[(10, 1.0, 40.0), (30, 1.0, 64.0)], seconds=[2.0, 5.0]),
        few_shot(method="fomaml", history=[(10, 1.0, 25.0), (20, 1.0, 35.0)]),
    ]
    for timing in (record["timing"] for record in records):
        timing["history_process_seconds"] = timing["history_seconds"]
    spec = figure_spec(CURVES | {"beyond": True})
    rows = written(tmp_path, spec, context, records)
    keys = ("method", "iteration", "tasks", "seconds", "accuracy", "accuracy_low", "seeds", "split")
    assert of(rows, *keys) == [
        ("maml", "10", "320", "1.5", "35", "30", "2", "validation"),
        ("maml", "30", "960", "4", "62", "60", "2", "validation"),
        ("fomaml", "10", "320", "10", "25", "25", "1", "validation"),
        ("fomaml", "20", "640", "20", "35", "35", "1", "validation"),
    ]
    figure = drawn(spec, context, records)
    iterations, time = figure.axes
    assert iterations.lines[0].get_xydata() == near([[10, 35], [30, 62]])
    assert time.lines[0].get_xydata() == near([[1.5, 35], [4, 62]])
    assert iterations.lines[-1].get_ydata()[0] == 20  # chance at 5-way
    found = texts(figure)
    phrases(found, "validation\naccuracy (%)", "training time (s)", "FO-MAML")
    assert "Multi-step" not in found
    phrases(
        said(spec, context, records),
        "Omniglot: cost over inner steps. Not in the paper.",
        "Lines: mean over 1 or 2 seeds; bands: lowest and highest seed. Time: process seconds of",
    )


@pytest.mark.parametrize(
    ("device", "kept", "right", "seconds"),
    [
        (None, None, PROCESS, [1.0, 2.0]),  # older results, by what was done
        (None, [0.5, 2.0], PROCESS, [0.5, 2.0]),
        ("Imaginary GPU", [0.5, 2.0], WALL, [7.0, 8.0]),
    ],
)
def test_time_is_the_cell_s_own_on_a_processor_and_the_clock_s_on_a_gpu(
    context: Context, device: str | None, kept: list[float] | None, right: str, seconds: list[float]
) -> None:
    result = few_shot(history=[(10, 1.0, 30.0), (20, 1.0, 40.0)], seconds=[7.0, 8.0])
    result["timing"] |= {"train_seconds": 8.0, "process_seconds": 2.0}
    if kept is not None:
        result["timing"]["history_process_seconds"] = kept
    result["environment"]["device"] = device or result["environment"]["device"]
    found = of(described(CURVES_SPEC, context, [result])[1], "seconds", "clock")
    assert found == [(s, right) for s in seconds]


def test_without_validation_the_curves_show_training_accuracy(context: Context) -> None:
    records = [
        few_shot(history=[(10, 33.0, None)]),
        few_shot(method="fomaml", history=[(10, 44.0, 50.0)]),
    ]
    found = of(described(CURVES_SPEC, context, records)[1], "split", "accuracy")
    assert found == [("training", 33.0), ("training", 44.0)]
    assert "training\naccuracy (%)" in texts(drawn(CURVES_SPEC, context, records))


def test_drift_has_every_seed_and_their_mean(tmp_path: Path, birds: Context) -> None:
    second = [[(10, 3.0, 1.5), (20, 1.0, 0.5)], []]  # stopped earlier
    records = [
        transfer(accuracies=[1.0, 2.0], drift=DRIFT),
        transfer(accuracies=[1.0, 2.0], drift=second, seed=1),
        transfer(method="l2t_multistep"),  # has no two gradients to compare
    ]
    rows = written(tmp_path, DRIFT_SPEC, birds, records)
    everything = [row for row in rows if row["part"] == "all"]
    assert of(everything, "seed", "iteration", "drift") == [
        *(("0", "10", "1"), ("0", "20", "0.8"), ("0", "30", "0.6")),
        *(("1", "10", "3"), ("1", "20", "1")),
        *(("mean", "10", "2"), ("mean", "20", "0.9")),
    ]
    assert {r["drift"] for r in rows if r["part"] == "backbone"} >= {"0.5", "0.3", "0.45"}
    for axes, end in zip(drawn(DRIFT_SPEC, birds, records).axes, (2.0, 1.0), strict=True):
        lines = [line.get_xydata() for line in axes.lines if len(line.get_xdata())]
        assert len(lines) == 3
        assert lines[-1][0] == near([10, end])
    about = said(DRIFT_SPEC, birds, records)
    phrases(about, "scale: paper; data: Birds 2011; source: ImageNet; device: Imaginary CPU")
    alone = drawn(DRIFT_SPEC, birds, records[:1]).axes[0]  # its own mean
    assert sum(len(line.get_xdata()) > 0 for line in alone.lines) == 1


def test_where_shows_the_epochs_asked_for_and_the_last(tmp_path: Path, birds: Context) -> None:
    lambdas = [[float(e)] * 5 + [2.0 * e] for e in (1, 2, 3)]
    dead = [1.0, 0.4, 0.5, 0.0, 0.0, 0.0]
    taps = {"source_taps": [2, 10]}
    records = [transfer(seed=s, lambdas=lambdas, dead=dead, settings=taps) for s in (0, 1)]
    rows = written(tmp_path, WHERE_SPEC, birds, records)
    assert of(rows, "epoch") == [("1",)] * 6 + [("3",)] * 6
    pairs = [("2", "1"), ("2", "2"), ("2", "3"), ("10", "1"), ("10", "2"), ("10", "3")]
    assert of(rows[:6], "source_tap", "target_tap") == pairs
    assert of(rows[6:], "weight") == [("3",)] * 5 + [("6",)]
    first, last = (axes.collections[0] for axes in drawn(WHERE_SPEC, birds, records).axes)
    assert last.get_array().tolist() == [[3.0, 3.0, 3.0], [3.0, 3.0, 6.0]]
    assert first.get_clim() == last.get_clim() == (0.0, 6.0)
    marked = [text.get_text() for text in first.axes.texts]
    assert marked[:3] == ["1.00\n×", "1.00", "1.00\n×"]
    assert "in those its λ could not learn." in said(WHERE_SPEC, birds, records)


def test_norms_are_on_one_logarithmic_scale(tmp_path: Path, birds: Context) -> None:
    records = [
        transfer(norms=[4.0, 2.0, 1.0]),
        transfer(norms=[2.0, 2.0, 3.0], seed=1),
        transfer(method="l2t_multistep", norms=[0.0, 0.0, 0.0]),
    ]
    rows = written(tmp_path, NORM_SPEC, birds, records)
    right = [("3", "2", "4"), ("2", "2", "2"), ("2", "1", "3")]
    assert of(rows[:3], "norm", "norm_low", "norm_high") == right
    assert of(rows[:6], "term") == [("meta-gradient",)] * 3 + [("weight decay",)] * 3
    figure = drawn(NORM_SPEC, birds, records)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    shown = [line for line in figure.axes[1].lines if len(line.get_xdata())]
    assert [line.get_ydata()[0] for line in shown] == [pytest.approx(1e-3)]  # weight decay alone
    assert "Norms of exactly zero have no place" in said(NORM_SPEC, birds, records)


def test_transfer_curves_show_the_targets_that_were_run(tmp_path: Path, birds: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "transfer_curves", "methods": ["scratch", "l2t"]})
    records = [
        transfer("adam_224", "bird", "l2t", accuracies=[10.0, 30.0]),
        transfer("adam_224", "bird", "l2t", 1, accuracies=[20.0, 50.0]),
        transfer("adam_224", "bird", "scratch", accuracies=[5.0, 6.0]),
    ]
    rows = written(tmp_path, spec, birds, records)
    keys = ("method", "epoch", "seconds", "accuracy", "accuracy_low", "test_accuracy", "seeds")
    assert of(rows, *keys) == [
        ("scratch", "1", "10", "5", "5", "4", "1"),
        ("scratch", "2", "20", "6", "6", "5", "1"),
        ("l2t", "1", "10", "15", "10", "14", "2"),
        ("l2t", "2", "20", "40", "30", "39", "2"),
    ]
    assert len(drawn(spec, birds, records).axes) == 2
    phrases(said(spec, birds, records), "Not run: STL-10, Dog.", "data: Birds 2011;")


def test_epoch_bars_say_what_is_saved(tmp_path: Path, birds: Context) -> None:
    seconds = {"l2t": [1.0, 1.0], "l2t_multistep": [0.6, 0.7]}
    records = [
        transfer_times("adam_32", "stl10", seconds={"l2t": [0.1], "l2t_multistep": [0.11]}),
        transfer_times("adam_224", "bird", seconds=seconds),
    ]
    rows = written(tmp_path, EPOCH_SPEC, birds, records)
    assert of(rows, "dataset", "method", "seconds", "ratio") == [
        *(("stl10", "l2t", "10", "1"), ("stl10", "l2t_multistep", "11", "1.1")),
        *(("bird", "l2t", "100", "1"), ("bird", "l2t_multistep", "65", "0.65")),
    ]
    small, large = drawn(EPOCH_SPEC, birds, records).axes
    assert [bar.get_height() for bar in large.patches] == [100.0, pytest.approx(65.0)]
    assert small.texts[1].get_text() == "+10%\n11.00"
    assert large.texts[1].get_text() == "−35%\n65.00"
    about = said(EPOCH_SPEC, birds, records)
    phrases(about, "Not measured: Dog.", "device: Imaginary GPU", "the graph is kept")


def test_steps_take_cells_of_two_experiments_and_one_measurement(
    tmp_path: Path, birds: Context
) -> None:
    seconds = {"zero": [1.0], "l2t": [3.0], "l2t_multistep": [2.0]}
    records = [
        transfer("steps", "bird", "zero", test=48.0),
        transfer("adam", "bird", "l2t", test=60.0),
        transfer("adam", "bird", "l2t", 1, test=62.0),
        transfer_times("steps", "bird", seconds=seconds),
    ]
    rows = written(tmp_path, STEPS_SPEC, birds, records)
    keys = ("label", "accuracy", "seeds", "seconds", "paper_accuracy", "paper_seconds")
    assert of(rows, *keys) == [
        ("0-step", "48", "1", "100", "48.91", "121.3"),
        ("2-step", "61", "2", "300", "", ""),
        ("2-step Est.", "", "0", "200", "", ""),
    ]
    figure = drawn(STEPS_SPEC, birds, records)
    accuracy, time = figure.axes
    assert [bar.get_height() for bar in accuracy.patches if bar.get_height()] == [48.0, 61.0]
    assert [bar.get_height() for bar in time.patches if bar.get_height()] == [100.0, 300.0, 200.0]
    marks = [line.get_xydata() for line in time.lines if line.get_marker() == "D"]
    assert [tuple(points[np.isfinite(points[:, 1])][0]) for points in marks] == [(0, 121.3)]
    assert "the paper, Titan Xp" in texts(figure)
    about = said(STEPS_SPEC, birds, records)
    phrases(about, "Not run: 2-step Est.", "mean ± sd over 1 or 2 seeds, 3 epochs")
    phrases(said(STEPS_SPEC, birds, records[:2]), "Accuracies: one seed, 3 epochs.")


@pytest.mark.parametrize(
    ("spec", "record", "named"),
    [
        (STEPS, transfer("steps", "drawn", "zero"), "0-step"),
        (TRANSFER[4], transfer("adam_224", "drawn", "l2t"), "Bird (stand-in)"),
        (TRANSFER[5], transfer_times("adam_224", "drawn", seconds={"l2t": [1.0]}),
         "Bird\n(stand-in)"),
    ],
)  # fmt: skip
def test_stand_ins_are_named_and_the_paper_s_marks_left_out(
    birds: Context, spec: Record, record: Record, named: str
) -> None:
    there = birds.model_copy(update={"stand_ins": {"bird": "drawn"}, "drawn": ["drawn"]})
    figure = drawn(figure_spec(spec), there, [record])
    phrases(texts(figure), named, "paper: stand-in data")
    assert not [line for axes in figure.axes for line in axes.lines if line.get_marker() == "D"]
    about = said(figure_spec(spec), there, [record])
    phrases(about, "data: Drawn birds (stand-in); source: ImageNet; this is not a reproduction")
    assert ("The paper's numbers are left out: stand-in data." in about) == (spec is STEPS)


def test_a_badge_is_on_every_picture_that_is_not_the_paper_s(
    context: Context, stand_in: Context
) -> None:
    smaller = context.model_copy(update={"scale": "small"})
    record = few_shot_times(rows=ROWS, scale="small")
    assert "small: not a reproduction" in texts(drawn(COST_SPEC, smaller, [record]))
    record = few_shot_times(rows=ROWS, scale="demo", dataset="omniglot_standin")
    assert "demo: stand-in data" in texts(drawn(COST_SPEC, stand_in, [record]))
    figure = drawn(COST_SPEC, context, [few_shot_times(rows=ROWS)])
    assert (figure.get_suptitle(), figure.get_figwidth()) == ("", style.PAGE)


@pytest.mark.parametrize("spec", [COST, CURVES, *TRANSFER], ids=lambda spec: spec["kind"])
def test_nothing_to_draw_is_said(tmp_path: Path, birds: Context, spec: Record) -> None:
    assert written(tmp_path, figure_spec(spec), birds, []) == []
    assert "nothing to show yet" in texts(drawn(figure_spec(spec), birds, []))


def test_a_method_s_name_alone_decides_its_look() -> None:
    few = ["maml", "fomaml", "multistep2", "multistep4", "multistep8", "anil", "anil_uncached"]
    few += ["imaml", "maml_replay", "reptile", "memory_reduced"]
    names = Context(scale="paper", datasets={}, methods={"maml": "MAML (ours)"})
    more = names.model_copy(update={"methods": {"new": "New", **dict.fromkeys(few, "X")}})
    for group in (few, ["scratch", "l2t", "l2t_multistep", "l2t_first_order"]):
        looks = [style.look(names, method) for method in group]
        assert len({(look.colour, look.dashes) for look in looks}) == len(group)
        assert len({(look.marker, look.dashes) for look in looks}) == len(group)  # in print
        there = [style.look(more, method) for method in group]
        assert [(o.colour, o.dashes) for o in there] == [(o.colour, o.dashes) for o in looks]
    assert style.look(names, "maml").name == "MAML"
    unknown = [style.look(names, f"method_{i}") for i in range(200)]
    assert len({(look.colour, look.dashes) for look in unknown}) == 35


def test_labels_move_no_further_than_they_must() -> None:
    for seed in range(5):
        wanted = np.sort(np.random.default_rng(seed).random(8) ** 2)
        best = optimize.minimize(
            lambda x, wanted=wanted: np.sum((x - wanted) ** 2),
            np.linspace(0, 1, 8),
            bounds=[(0, 1)] * 8,
            constraints={"type": "ineq", "fun": lambda x: np.diff(x) - 0.1},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert style.apart(wanted.tolist(), spacing=0.1) == pytest.approx(best.x, abs=1e-4)
    many = style.apart([0.4] * 30, spacing=0.085)
    assert many == pytest.approx(np.linspace(0, 1, 30).tolist())
    assert style.apart([], spacing=0.1) == []


def test_equal_numbers_give_equal_bytes_in_any_process(tmp_path: Path, context: Context) -> None:
    def draw(kind: str, seed: str) -> dict[str, bytes]:
        out = tmp_path / kind / seed / "figure"
        arguments = ["--name", kind, "--spec", json.dumps(sources[kind][0])]
        arguments += ["--context", context.model_dump_json(), "--out", str(out)]
        # The second time with scipy.stats, which seaborn takes if it can and we leave out.
        code = f"import {'sys' if seed == '1' else 'scipy.stats'}, sys; from multistep import cli\n"
        code += "assert cli.main(['report', 'figure', *sys.argv[1:]]) == 0\n"
        code += f"assert ('scipy.stats' in sys.modules) is {seed != '1'}"
        subprocess.run(
            [sys.executable, "-c", code, *arguments, str(tmp_path / f"{kind}.json")],
            env=os.environ | {"PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed},
            check=True, capture_output=True,
        )  # fmt: skip
        return {p.name: p.read_bytes() for p in out.parent.iterdir()}

    sources = {"cost": (COST, few_shot_times(rows=ROWS)), "curves": (CURVES, few_shot())}
    for kind, (_, record) in sources.items():
        (tmp_path / f"{kind}.json").write_text(json.dumps(record), encoding="utf-8")
        with ThreadPoolExecutor(2) as pool:  # hash seeds order sets
            outputs = list(pool.map(draw, [kind] * 2, ["1", "2"]))
        assert outputs[0] == outputs[1]
        svg, png, pdf = (outputs[0][f"figure.{kind}"] for kind in ("svg", "png", "pdf"))
        assert svg.startswith(b"<?xml")
        assert not re.search(rb"<dc:date>|[Mm]atplotlib v|CreationDate", svg + pdf)
        width, height = struct.unpack(">II", png[16:24])
        assert width == 1485  # 6.75 inches
        assert height > 400
