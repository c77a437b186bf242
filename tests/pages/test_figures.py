"""Figures from made-up measurements and results: the csv, what is drawn, and equal bytes."""

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
from page_records import Record, drawn, few_shot, few_shot_times, figure_spec, read_csv, texts

from multistep.files import UserError
from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.figures import cost, curves, write_figure
from multistep.pages.frame import PROCESS, WALL

COST: Record = {
    "kind": "cost",
    "title": "Figure 9",
    "caption": "{data}: cost over inner steps",
    "dataset": "omniglot",
    "panels": {"5way_1shot": "5-way 1-shot", "20way_1shot": "20-way 1-shot"},
    "methods": ["maml", "multistep4", "multistep8", "fomaml"],
    "remarks": {"fomaml": "not drawn", "multistep4": "half as many", "maml": "half as many"},
}
CURVES = {key: value for key, value in COST.items() if key != "remarks"}
CURVES |= {"kind": "curves", "title": "Curves", "panels": {"5way_1shot": "5-way 1-shot"}}
COST_SPEC, CURVES_SPEC = figure_spec(COST), figure_spec(CURVES)
ROWS: list[tuple[str, int, list[float], int]] = [
    ("maml", 8, [0.9, 0.8, 1.0, 2.0, 0.7], 800_000_000),
    ("maml", 4, [0.5, 0.5, 0.5, 0.5, 0.5], 400_000_000),
    ("multistep4", 4, [0.3, 0.3, 0.3, 0.3, 0.3], 200_000_000),
    ("multistep4", 8, [0.45, 0.45, 0.45, 0.45, 0.45], 300_000_000),
]


def near(points: list[list[float]]) -> Any:
    return pytest.approx(np.array(points, dtype=float))


def test_cost_csv_holds_medians_and_quartiles(tmp_path: Path, context: Context) -> None:
    paths = write_figure(tmp_path / "figure9", COST_SPEC, context, [few_shot_times(rows=ROWS)])
    assert sorted(path.name for path in paths) == [
        "figure9.csv",
        "figure9.json",
        "figure9.png",
        "figure9.svg",
    ]
    rows = read_csv((tmp_path / "figure9.csv").read_text(encoding="utf-8"))
    assert [(row["method"], row["steps"], row["seconds"], row["bytes"]) for row in rows] == [
        ("maml", "4", "0.5", "400000000"),
        ("maml", "8", "0.9", "800000000"),
        ("multistep4", "4", "0.3", "200000000"),
        ("multistep4", "8", "0.45", "300000000"),
    ]
    assert (rows[1]["seconds_low"], rows[1]["seconds_high"], rows[1]["rounds"]) == ("0.8", "1", "5")
    assert {row["clock"] for row in rows} == {"process seconds"}
    assert {row["memory"] for row in rows} == {"bytes saved for backward per task"}
    assert {(row["scale"], row["data"], row["tasks"]) for row in rows} == {
        ("paper", "Omniglot", "32")
    }


def test_cost_figure_draws_the_points_and_says_what_was_measured(context: Context) -> None:
    figure = drawn(COST_SPEC, context, [few_shot_times(rows=ROWS)])
    time, memory = figure.axes  # the other panel was not measured and takes no room
    assert time.lines[0].get_xydata() == near([[4, 500], [8, 900]])
    assert time.lines[1].get_xydata() == near([[4, 300], [8, 450]])
    assert memory.lines[0].get_xydata() == near([[4, 400], [8, 800]])
    assert time.get_ylim()[0] == memory.get_ylim()[0] == 0
    written = texts(figure)
    for phrase in (
        "Omniglot: cost over inner steps",
        "scale: paper; data: Omniglot; device: Imaginary CPU, 1 thread\n",
        "Time: process seconds, median and quartiles over 5 rounds. Memory: bytes saved",
        "\nMAML and Multi-step (4): half as many.\n",
        "Not measured: 20-way 1-shot; Multi-step (8); FO-MAML.",
        "5-way 1-shot, 32 tasks: time",
        "process time (ms)",
        "saved for backward per task (MB)",
        "Multi-step (4)  0.50×",  # 0.45 s of 0.9 s
        "Multi-step (4)  0.38×",  # 300 MB of 800 MB
    ):
        assert phrase in written
    assert "not drawn" not in written


def test_cost_on_a_gpu_names_its_clock_and_device(context: Context) -> None:
    rows = [("maml", 8, [0.004, 0.005, 0.006], 3_000_000_000)]
    written = texts(drawn(COST_SPEC, context, [few_shot_times(rows=rows, gpu=True, tasks=4)]))
    for phrase in (
        "device: Imaginary GPU",
        "CUDA-event time (ms)",
        "peak allocated (GB)",
        "5-way 1-shot, 4 tasks: time",
    ):
        assert phrase in written


def test_methods_that_some_panels_lack_are_named_with_them(context: Context) -> None:
    few = few_shot_times(rows=ROWS)
    more = few_shot_times("20way_1shot", rows=[*ROWS, ("fomaml", 8, [1.0], 1)])
    written = texts(drawn(COST_SPEC, context, [few, more]))
    assert "Not measured: Multi-step (8); FO-MAML (5-way 1-shot)." in written
    more = few_shot_times("20way_1shot", rows=[(m, 8, [1.0], 1) for m in COST_SPEC.methods])
    written = texts(drawn(COST_SPEC, context, [more]))
    assert "Not measured: 5-way 1-shot." in written


def test_a_stand_in_is_named_on_the_figure(stand_in: Context) -> None:
    measurement = few_shot_times(rows=ROWS, scale="demo", dataset="omniglot_standin")
    written = texts(drawn(COST_SPEC, stand_in, [measurement]))
    assert "Drawn characters (stand-in): cost over inner steps" in written
    assert "scale: demo; data: Drawn characters (stand-in); this is not a reproduction" in written


def test_another_number_of_tasks_is_named_and_not_set_in_relation(context: Context) -> None:
    measurement = few_shot_times(rows=ROWS, settings={"multistep4": {"meta_batch": 5}})
    written = texts(drawn(COST_SPEC, context, [measurement]))
    assert "5-way 1-shot, 32 tasks (Multi-step (4): 5): time" in written
    assert "Multi-step (4)\n" in written
    assert "0.50×" not in written


def test_open_markers_stand_in_turns_and_the_header_says_so(context: Context) -> None:
    rows = [(m, steps, [1.0], 10**9) for m in COST_SPEC.methods for steps in range(1, 9)]
    measurement = few_shot_times(rows=rows)
    figure = drawn(COST_SPEC, context, [measurement])
    assert "Open markers" not in texts(figure)
    before = dict.fromkeys(("a", "b", "c", "d", "e"), "others")  # those drawn come sixth and later
    crowded = context.model_copy(update={"methods": before | context.methods})
    figure = drawn(COST_SPEC, crowded, [measurement])
    marked = [[*range(8)][line.get_markevery()] for line in figure.axes[1].lines]
    assert marked == [[7, 4, 1], [6, 3, 0], [5, 2], [7, 4, 1]]
    assert "Open markers are drawn at every third point," in texts(figure).replace("\n", " ")


def test_a_figure_beyond_the_paper_says_so(context: Context) -> None:
    spec = figure_spec(CURVES | {"beyond": True})
    written = texts(curves.draw(spec, context, []))
    assert "Omniglot: cost over inner steps. Not in the paper." in written


def test_measurements_of_another_scale_or_dataset_are_refused(context: Context) -> None:
    with pytest.raises(UserError, match="5way_1shot/omniglot: made at scale demo"):
        cost.points(COST_SPEC, context, [few_shot_times(rows=ROWS, scale="demo")])
    with pytest.raises(UserError, match=r"belongs to Figure 9: .*, dataset omniglot$"):
        cost.points(COST_SPEC, context, [few_shot_times(rows=ROWS, dataset="other")])
    with pytest.raises(UserError, match="5way_1shot/omniglot: measured twice"):
        cost.points(COST_SPEC, context, [few_shot_times(rows=ROWS)] * 2)


def test_figures_without_any_result_say_so(tmp_path: Path, context: Context) -> None:
    assert "nothing measured" in texts(cost.draw(COST_SPEC, context, []))
    assert "nothing run" in texts(curves.draw(CURVES_SPEC, context, []))
    write_figure(tmp_path / "curves9", CURVES_SPEC, context, [])
    assert read_csv((tmp_path / "curves9.csv").read_text(encoding="utf-8")) == []
    assert (tmp_path / "curves9.png").stat().st_size > 1000


def test_curves_average_seeds_where_all_have_a_point(tmp_path: Path, context: Context) -> None:
    results = [
        few_shot(
            seed=0,
            history=[(10, 1.0, 30.0), (20, 1.0, None), (30, 1.0, 60.0)],
            seconds=[1.0, 2.0, 3.0],
        ),
        few_shot(seed=1, history=[(10, 1.0, 40.0), (30, 1.0, 64.0)], seconds=[2.0, 5.0]),
        few_shot(method="fomaml", history=[(10, 1.0, 25.0), (20, 1.0, 35.0)]),
    ]
    write_figure(tmp_path / "curves9", CURVES_SPEC, context, results)
    rows = read_csv((tmp_path / "curves9.csv").read_text(encoding="utf-8"))
    columns = ("method", "iteration", "tasks", "seconds", "accuracy", "accuracy_low")
    assert [tuple(row[c] for c in columns) for row in rows] == [
        ("maml", "10", "320", "1.5", "35", "30"),
        ("maml", "30", "960", "4", "62", "60"),
        ("fomaml", "10", "320", "10", "25", "25"),
        ("fomaml", "20", "640", "20", "35", "35"),
    ]
    assert [row["seeds"] for row in rows] == ["2", "2", "1", "1"]
    assert {row["split"] for row in rows} == {"validation"}

    figure = drawn(CURVES_SPEC, context, results)
    iterations, time = figure.axes
    assert iterations.lines[0].get_xydata() == near([[10, 35], [30, 62]])
    assert time.lines[0].get_xydata() == near([[1.5, 35], [4, 62]])
    assert iterations.lines[-1].get_ydata()[0] == 20  # chance at 5-way
    written = texts(figure)
    for phrase in (
        "Lines: mean over 1 or 2 seeds; bands: lowest and highest seed. Time: process seconds of",
        "validation accuracy (%)",
        "training time (s)",
        "FO-MAML",
    ):
        assert phrase in written
    assert "Multi-step" not in written


def test_time_is_the_cell_s_own_on_a_processor_and_the_clock_s_on_a_gpu(
    context: Context,
) -> None:
    result = few_shot(history=[(10, 1.0, 30.0), (20, 1.0, 40.0)], seconds=[4.0, 8.0])
    result["timing"] |= {"train_seconds": 8.0, "process_seconds": 2.0}
    points = curves.points(CURVES_SPEC, context, [result])
    assert [(p.seconds, p.clock) for p in points] == [(1.0, PROCESS), (2.0, PROCESS)]
    result["environment"]["device"] = "Imaginary GPU"
    points = curves.points(CURVES_SPEC, context, [result])
    assert [(p.seconds, p.clock) for p in points] == [(4.0, WALL), (8.0, WALL)]


def test_without_validation_the_curves_show_training_accuracy(context: Context) -> None:
    results = [
        few_shot(history=[(10, 33.0, None)]),
        few_shot(method="fomaml", history=[(10, 44.0, 50.0)]),
    ]
    points = curves.points(CURVES_SPEC, context, results)
    assert [(point.split, point.accuracy) for point in points] == [
        ("training", 33.0),
        ("training", 44.0),
    ]
    assert "training accuracy (%)" in texts(curves.draw(CURVES_SPEC, context, points))


def test_curves_of_another_scale_are_refused(context: Context) -> None:
    with pytest.raises(UserError, match="made at scale demo, but the scale here is paper"):
        curves.points(CURVES_SPEC, context, [few_shot(), few_shot(seed=1, scale="demo")])


def test_a_method_looks_the_same_whatever_else_is_drawn(context: Context) -> None:
    looks = [style.look(context, method) for method in context.methods]
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == 4
    assert looks[0].name == "MAML"


def test_labels_at_the_lines_ends_do_not_overlap(context: Context) -> None:
    rows = [
        (method, 8, [value], 10**9)
        for method, value in zip(COST_SPEC.methods, (1.0, 0.999, 0.998, 0.02), strict=True)
    ]
    for axes in drawn(COST_SPEC, context, [few_shot_times(rows=rows)]).axes:
        places = sorted(text.xyann[1] for text in axes.texts)
        assert len(places) == 4
        assert all(high - low > 0.08 for low, high in itertools.pairwise(places))
        assert places[0] >= 0
        assert places[-1] <= 1


def test_equal_numbers_give_equal_bytes_in_any_process(tmp_path: Path, context: Context) -> None:
    def draw(kind: str, seed: str) -> dict[str, bytes]:
        out = tmp_path / kind / seed / "figure"
        arguments = ["--name", kind, "--spec", json.dumps(sources[kind][0])]
        arguments += ["--context", context.model_dump_json(), "--out", str(out)]
        subprocess.run(
            [sys.executable, "-m", "multistep.cli", "report", "figure", *arguments,
             str(tmp_path / f"{kind}.json")],
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
        svg, png = outputs[0]["figure.svg"].decode(), outputs[0]["figure.png"]
        assert svg.startswith("<?xml")
        assert not re.search(r"<dc:date>|[Mm]atplotlib v", svg)
        width, height = struct.unpack(">II", png[16:24])
        assert width == 1600
        assert height > 500
