"""Figures of meta-transfer from made-up records: the csv, what is drawn and said."""

from pathlib import Path

import numpy as np
import pytest
from page_reading import columns, drawn, empty, figure_spec, near, phrases, said, texts, written
from page_records import Record, transfer, transfer_times

from multistep.pages.context import Context

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
TRANSFER = [ONE | {"kind": "drift"}, ONE | {"kind": "where", "epochs": [1, 10]}]
TRANSFER += [ONE | {"kind": "meta_gradient"}, STEPS]
TRANSFER += [PANELS | {"kind": kind} for kind in ("transfer_curves", "epoch_time")]
DRIFT_SPEC, WHERE_SPEC, NORM_SPEC, STEPS_SPEC, _, EPOCH_SPEC = map(figure_spec, TRANSFER)
DRIFT = [[(10, 1.0, 0.5), (20, 0.8, 0.4)], [(30, 0.6, 0.3)]]


@pytest.fixture
def birds() -> Context:
    return Context(
        scale="paper",
        datasets={"bird": "Birds 2011", "drawn": "Drawn birds (stand-in)"},
        methods={"scratch": "Scratch", "l2t": "L2T-ww (ours)", "l2t_multistep": "Multi-step"},
        source_networks={"imagenet": "ImageNet"},
    )


def test_drift_has_every_seed_and_their_mean(tmp_path: Path, birds: Context) -> None:
    second = [[(10, 3.0, 1.5), (20, 1.0, 0.5)], []]  # stopped earlier
    records = [
        transfer(accuracies=[1.0, 2.0], drift=DRIFT),
        transfer(accuracies=[1.0, 2.0], drift=second, seed=1),
        transfer(method="l2t_multistep"),  # has no two gradients to compare
    ]
    rows = written(tmp_path, DRIFT_SPEC, birds, records)
    everything = [row for row in rows if row["part"] == "all"]
    assert columns(everything, "seed", "iteration", "drift") == [
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


def test_methods_of_one_name_have_a_line_each(birds: Context) -> None:
    """Beside ours, whose names say so, may be another's."""
    names = birds.model_copy(update={"methods": birds.methods | {"l2t_multistep": "L2T-ww"}})
    records = [
        transfer(method=method, accuracies=[1.0, 2.0], drift=DRIFT)
        for method in ("l2t", "l2t_multistep")
    ]
    axes = drawn(DRIFT_SPEC, names, records).axes[0]
    assert sum(len(line.get_xdata()) > 0 for line in axes.lines) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["L2T-ww"] * 2


def test_where_shows_the_epochs_asked_for_and_the_last(tmp_path: Path, birds: Context) -> None:
    lambdas = [[float(e)] * 5 + [2.0 * e] for e in (1, 2, 3)]
    dead = [1.0, 0.4, 0.5, 0.0, 0.0, 0.0]
    taps = {"source_taps": [2, 10]}
    records = [transfer(seed=s, lambdas=lambdas, dead=dead, settings=taps) for s in (0, 1)]
    rows = written(tmp_path, WHERE_SPEC, birds, records)
    assert columns(rows, "epoch") == [("1",)] * 6 + [("3",)] * 6
    pairs = [("2", "1"), ("2", "2"), ("2", "3"), ("10", "1"), ("10", "2"), ("10", "3")]
    assert columns(rows[:6], "source_tap", "target_tap") == pairs
    assert columns(rows[6:], "weight") == [("3",)] * 5 + [("6",)]
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
    assert columns(rows[:3], "norm", "norm_low", "norm_high") == right
    assert columns(rows[:6], "term") == [("meta-gradient",)] * 3 + [("weight decay",)] * 3
    figure = drawn(NORM_SPEC, birds, records)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    shown = [line for line in figure.axes[1].lines if len(line.get_xdata())]
    assert [line.get_ydata()[0] for line in shown] == [pytest.approx(1e-3)]  # weight decay alone
    assert "Norms of exactly zero have no place" in said(NORM_SPEC, birds, records)
    for entry in records[2]["history"]:
        entry["meta_decay_norm"] = 0.0
    phrases(said(NORM_SPEC, birds, records), "Nothing to show of: Multi-step.")
    assert [axes.get_title("left") for axes in drawn(NORM_SPEC, birds, records).axes] == ["L2T-ww"]


def test_transfer_curves_show_the_targets_that_were_run(tmp_path: Path, birds: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "transfer_curves", "methods": ["scratch", "l2t"]})
    records = [
        transfer("adam_224", "bird", "l2t", accuracies=[10.0, 30.0]),
        transfer("adam_224", "bird", "l2t", 1, accuracies=[20.0, 50.0]),
        transfer("adam_224", "bird", "scratch", accuracies=[5.0, 6.0]),
    ]
    rows = written(tmp_path, spec, birds, records)
    keys = ("method", "epoch", "seconds", "accuracy", "accuracy_low", "test_accuracy", "seeds")
    assert columns(rows, *keys) == [
        ("scratch", "1", "10", "5", "5", "4", "1"),
        ("scratch", "2", "20", "6", "6", "5", "1"),
        ("l2t", "1", "10", "15", "10", "14", "2"),
        ("l2t", "2", "20", "40", "30", "39", "2"),
    ]
    assert len(drawn(spec, birds, records).axes) == 2
    about = said(spec, birds, records[:2])
    phrases(
        about, "Not run: STL-10; Dog; Scratch.", "data: Birds 2011;", "mean over 2 seeds; bands"
    )
    assert "mean over 2 seeds (Scratch: 1); bands" in said(spec, birds, records)


def test_a_target_of_high_accuracies_leaves_the_axes_of_others_alone(birds: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "transfer_curves", "methods": ["l2t"]})
    records = [
        transfer("adam_32", "stl10", "l2t", accuracies=[10.0, 30.0]),
        transfer("adam_224", "bird", "l2t", accuracies=[1.0, 99.0]),
    ]
    axes = drawn(spec, birds, records).axes
    assert [panel.get_yscale() for panel in axes] == ["linear"] * 2 + ["function"] * 2
    assert axes[2].get_ylim()[0] == 0
    assert list(axes[2].get_yticks()) == [20, 60, 80, 90, 95, 98, 100]


def test_epoch_bars_say_what_is_saved(tmp_path: Path, birds: Context) -> None:
    seconds = {"l2t": [1.0, 1.0], "l2t_multistep": [0.6, 0.7]}
    records = [
        transfer_times("adam_32", "stl10", seconds={"l2t": [0.1], "l2t_multistep": [0.11]}),
        transfer_times("adam_224", "bird", seconds=seconds),
    ]
    rows = written(tmp_path, EPOCH_SPEC, birds, records)
    assert columns(rows, "dataset", "method", "seconds", "ratio") == [
        *(("stl10", "l2t", "10", "1"), ("stl10", "l2t_multistep", "11", "1.1")),
        *(("bird", "l2t", "100", "1"), ("bird", "l2t_multistep", "65", "0.65")),
    ]
    small, large = drawn(EPOCH_SPEC, birds, records).axes
    assert [bar.get_height() for bar in large.patches] == [100.0, pytest.approx(65.0)]
    assert small.texts[1].get_text() == "+10%\n11.00"
    assert large.texts[1].get_text() == "−35%\n65.00"
    about = said(EPOCH_SPEC, birds, records)
    phrases(about, "Not measured: Dog.", "device: Imaginary GPU", "the graph is kept")
    assert "%: relative to L2T-ww" in about
    alone = said(
        EPOCH_SPEC, birds, [transfer_times("adam_224", "bird", seconds={"l2t": [1.0, 1.0]})]
    )
    assert "Not measured: STL-10; Dog; Multi-step" in alone
    assert "%: relative to" not in alone


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
    assert columns(rows, *keys) == [
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
    phrases(about, "Not run: 2-step Est.", "mean ± sd over 2 seeds (0-step: 1), 3 epochs")
    some = transfer_times("steps", "bird", seconds={"l2t": [3.0]})
    assert "Not measured: 0-step, 2-step Est." in said(STEPS_SPEC, birds, [*records[:3], some])
    phrases(said(STEPS_SPEC, birds, records[:2]), "Accuracies: one seed, 3 epochs.")
    about = said(STEPS_SPEC, birds, records[3:])  # timed first, and nothing run yet
    phrases(about, "Not run: 0-step, 2-step, 2-step Est.", "±: sd of an epoch.")
    assert [len(axes.patches) > 2 for axes in drawn(STEPS_SPEC, birds, records[3:]).axes]
    about = said(STEPS_SPEC, birds, records[:3])
    assert "Times: not measured.\n" in about
    assert "sd of an epoch" not in about
    alone = drawn(STEPS_SPEC, birds, [records[1]]).axes[0]
    assert alone.get_xlim() == accuracy.get_xlim()  # bars that are missing keep their places


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
    tmp_path: Path, birds: Context, spec: Record, record: Record, named: str
) -> None:
    there = birds.model_copy(update={"stand_ins": {"bird": "drawn"}, "drawn": ["drawn"]})
    figure = drawn(figure_spec(spec), there, [record])
    phrases(texts(figure), named, "paper: stand-in data")
    assert not [line for axes in figure.axes for line in axes.lines if line.get_marker() == "D"]
    about = said(figure_spec(spec), there, [record])
    phrases(about, "data: Drawn birds (stand-in); source: ImageNet; this is not a reproduction")
    assert ("The paper's numbers are left out: stand-in data." in about) == (spec is STEPS)
    for row in written(tmp_path, figure_spec(spec), there, [record]):
        assert not row.get("paper_accuracy"), "left out of the picture, not of the numbers"


@pytest.mark.parametrize("spec", TRANSFER, ids=lambda spec: spec["kind"])
def test_nothing_to_draw_is_said(tmp_path: Path, birds: Context, spec: Record) -> None:
    empty(tmp_path, spec, birds)


@pytest.mark.parametrize("kind", [{"kind": "where", "epochs": [1]}, {"kind": "meta_gradient"}])
def test_a_method_without_what_a_figure_shows_is_named(kind: Record, birds: Context) -> None:
    spec = figure_spec(ONE | kind | {"methods": ["l2t", "scratch"]})
    of = (spec.experiment, spec.dataset)  # type: ignore[attr-defined]
    assert "Nothing to show of: Scratch." in said(
        spec, birds, [transfer(*of), transfer(*of, "scratch")]
    )
