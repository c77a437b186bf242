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

import numpy as np
import pytest
from matplotlib.figure import Figure
from page_reading import columns, drawn, empty, figure_spec, near, phrases, said, texts, written
from page_records import Record, as_written, few_shot, few_shot_times
from scipy import optimize

from multistep.files import UserError, read_json
from multistep.pages import style
from multistep.pages.context import Context
from multistep.pages.figures import described
from multistep.pages.frame import PROCESS, WALL

COST: Record = {
    "kind": "cost", "title": "Figure 9", "caption": "{data}: cost over inner steps",
    "panels": {"5way_1shot": "5-way 1-shot", "20way_1shot": "20-way 1-shot"},
    "dataset": "omniglot", "methods": ["maml", "multistep4", "multistep8", "fomaml"],
    "remarks": {"fomaml": "not drawn", "multistep4": "half as many", "maml": "half as many"},
}  # fmt: skip
CURVES = {key: value for key, value in COST.items() if key != "remarks"}
CURVES |= {"kind": "curves", "title": "Curves", "panels": {"5way_1shot": "5-way 1-shot"}}
COST_SPEC, CURVES_SPEC = map(figure_spec, (COST, CURVES))
ROWS: list[tuple[str, int, list[float], int]] = [
    ("maml", 8, [0.9, 0.8, 1.0, 2.0, 0.7], 800_000_000),
    ("maml", 4, [0.5, 0.5, 0.5, 0.5, 0.5], 400_000_000),
    ("multistep4", 4, [0.3, 0.3, 0.3, 0.3, 0.3], 200_000_000),
    ("multistep4", 8, [0.45, 0.45, 0.45, 0.45, 0.45], 300_000_000),
]


def test_cost_has_medians_and_quartiles_and_draws_them(tmp_path: Path, context: Context) -> None:
    measurement = few_shot_times(rows=ROWS)
    rows = written(tmp_path, COST_SPEC, context, [measurement])
    assert columns(rows, "method", "steps", "seconds", "bytes") == [
        ("maml", "4", "0.5", "400000000"),
        ("maml", "8", "0.9", "800000000"),
        ("multistep4", "4", "0.3", "200000000"),
        ("multistep4", "8", "0.45", "300000000"),
    ]
    assert columns(rows[1:2], "seconds_low", "seconds_high", "rounds") == [("0.8", "1", "5")]
    assert set(columns(rows, "clock", "memory", "scale", "data", "tasks")) == {
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
    alone = said(COST_SPEC, context, [few_shot_times(rows=ROWS[-1:])])
    assert "×: relative to" not in alone  # which isn't measured
    assert "half as many." in (tmp_path / "figure.svg").read_text(encoding="utf-8")


def test_cost_on_a_gpu_names_its_clock_and_device(context: Context) -> None:
    rows = [("maml", 8, [0.004, 0.005, 0.006], 3_000_000_000)]
    records = [few_shot_times(rows=rows, gpu=True, tasks=4)]
    one = texts(drawn(COST_SPEC, context, [few_shot_times(rows=rows, gpu=True, tasks=1)]))
    assert "5-way 1-shot, 1 task\n" in one
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
    assert columns(rows, *keys) == [
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
        "Lines: mean over 2 seeds (FO-MAML: 1); bands: lowest and highest seed. Time: process sec",
        "Not run: Multi-step (4); Multi-step (8).",
    )


def test_an_axis_of_nothing_but_right_answers_is_drawn() -> None:
    """Matplotlib asks an axis of one value for what is 5% beyond it."""
    figure = Figure()
    axes = figure.subplots()
    axes.fill_between([0, 1], [100, 100], [100, 100])
    style.spread_high(axes)
    axes.fill_between([0, 1], [100, 100], [100, 100])
    figure.canvas.draw()
    assert axes.get_ylim()[1] > 100


@pytest.mark.parametrize(("end", "height"), [(90.0, 0.857), (99.0, 0.365)])
def test_the_upper_end_of_accuracies_has_more_room_where_curves_reach_it(
    context: Context, end: float, height: float
) -> None:
    records = [few_shot(history=[(10, 1.0, 20.0), (20, 1.0, 80.0), (30, 1.0, end)])]
    for panel in drawn(CURVES_SPEC, context, records).axes:
        low, middle, top = panel.transData.transform([(0, 20), (0, 80), (0, end)])[:, 1]
        assert (middle - low) / (top - low) == pytest.approx(height, abs=0.001)
    assert ("logarithm of 101" in said(CURVES_SPEC, context, records)) == (end > 90)


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
    found = columns(described(CURVES_SPEC, context, [result])[1], "seconds", "clock")
    assert found == [(s, right) for s in seconds]


def test_seeds_of_several_devices_have_the_clocks_of_all(context: Context) -> None:
    results = [few_shot(seed=seed) for seed in range(3)]
    results[1]["environment"] = results[1]["environment"] | {"device": "Imaginary GPU"}
    caption, rows = described(CURVES_SPEC, context, [*results, few_shot(method="fomaml")])
    assert set(rows.clock) == {f"{PROCESS}; {WALL}", PROCESS}
    assert caption.provenance.endswith("; device: Imaginary CPU, 1 thread; Imaginary GPU")
    phrases(caption.text, " or wall clock of training, mean over seeds.")


def test_many_methods_have_room_for_their_names(context: Context) -> None:
    methods = [f"method{i}" for i in range(26)]
    rows = [(method, steps, [1.0], 10**9) for method in methods for steps in (4, 8)]
    results = [few_shot(method=method) for method in methods]
    for values, records in (
        (COST | {"remarks": {}}, [few_shot_times(rows=rows)]),
        (CURVES, results),
    ):
        figure = drawn(figure_spec(values | {"methods": methods}), context, records)
        names = [text for axes in figure.axes for text in axes.texts]
        names = names[:26] or figure.legends[0].get_texts()
        boxes = sorted((text.get_window_extent() for text in names), key=lambda box: box.y0)
        assert len(boxes) >= 26
        assert boxes[0].y0 >= 0
        assert boxes[-1].y1 <= figure.bbox.height
        for lower, higher in itertools.pairwise(boxes):
            assert lower.y0 + 0.8 * lower.height < higher.y0


def test_without_validation_the_curves_show_training_accuracy(context: Context) -> None:
    records = [
        few_shot(history=[(10, 33.0, None)]),
        few_shot(method="fomaml", history=[(10, 44.0, 50.0)]),
    ]
    found = columns(described(CURVES_SPEC, context, records)[1], "split", "accuracy")
    assert found == [("training", 33.0), ("training", 44.0)]
    assert "training\naccuracy (%)" in texts(drawn(CURVES_SPEC, context, records))


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


@pytest.mark.parametrize("spec", [COST, CURVES], ids=lambda spec: spec["kind"])
def test_nothing_to_draw_is_said(tmp_path: Path, context: Context, spec: Record) -> None:
    empty(tmp_path, spec, context)


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
        (tmp_path / f"{kind}.json").write_text(json.dumps(as_written(record)), encoding="utf-8")
        with ThreadPoolExecutor(2) as pool:  # hash seeds order sets
            outputs = list(pool.map(draw, [kind] * 2, ["1", "2"]))
        assert outputs[0] == outputs[1]
        svg, png, pdf = (outputs[0][f"figure.{kind}"] for kind in ("svg", "png", "pdf"))
        assert svg.startswith(b"<?xml")
        assert not re.search(rb"<dc:date>|[Mm]atplotlib v|CreationDate", svg + pdf)
        width, height = struct.unpack(">II", png[16:24])
        assert width == 1485  # 6.75 inches
        assert height > 400
