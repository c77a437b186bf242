"""Figures of meta-transfer from made-up records: the csv, and what is drawn of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_records import Record, drawn, figure_spec, read_csv, texts, transfer, transfer_times

from multistep.pages.context import Context
from multistep.pages.figures import write_figure

ONE: Record = {
    "title": "Figure 9",
    "caption": "{data}: something",
    "dataset": "bird",
    "experiment": "sgd",
    "methods": ["l2t", "multistep"],
}
PANELS: Record = {
    "title": "Figure 8",
    "caption": "{data}",
    "panels": {"stl10": "STL-10", "bird": "Bird", "dog": "Dog"},
    "experiments": {"stl10": "adam_32", "bird": "adam_224", "dog": "adam_224"},
    "methods": ["l2t", "multistep"],
}
STEPS: Record = {
    "kind": "steps",
    "title": "Figure 7",
    "caption": "{data}",
    "dataset": "bird",
    "bars": {
        "zero": {"label": "0-step", "experiment": "steps"},
        "l2t": {"label": "2-step", "experiment": "adam"},
        "multistep": {"label": "2-step Est.", "experiment": "adam", "of": "l2t"},
    },
    "measured": "steps",
    "paper": {
        "device": "Titan Xp",
        "accuracy": {"zero": [48.91, 0.83]},
        "seconds": {"zero": [121.3, 4.97]},
    },
}
DRIFT = [[(10, 1.0, 0.5), (20, 0.8, 0.4)], [(30, 0.6, 0.3)]]


@pytest.fixture
def context() -> Context:
    return Context(
        scale="paper",
        datasets={"bird": "Birds 2011", "drawn": "Drawn birds (stand-in)"},
        methods={"scratch": "Scratch", "l2t": "L2T-ww (ours)", "multistep": "Multi-step"},
        source_networks={"imagenet": "ImageNet"},
    )


@pytest.fixture
def stand_in(context: Context) -> Context:
    return context.model_copy(update={"stand_ins": {"bird": "drawn"}, "drawn": ["drawn"]})


def written(path: Path, spec: Any, context: Context, records: list[Any]) -> list[dict[str, str]]:
    """The csv of a figure, written with the rest."""
    paths = write_figure(path / "figure", spec, context, records)
    assert [p.suffix for p in paths] == [".svg", ".png", ".csv", ".json"]
    assert all(p.stat().st_size > 1000 for p in paths[:2])
    return read_csv(paths[2].read_text(encoding="utf-8"))


def test_drift_has_every_seed_and_their_mean(tmp_path: Path, context: Context) -> None:
    spec = figure_spec(ONE | {"kind": "drift"})
    second = [[(10, 3.0, 1.5), (20, 1.0, 0.5)], []]  # stopped earlier
    records = [
        transfer(accuracies=[1.0, 2.0], drift=DRIFT),
        transfer(accuracies=[1.0, 2.0], drift=second, seed=1),
        transfer(method="multistep"),  # has no two gradients to compare
    ]
    rows = written(tmp_path, spec, context, records)
    found = [(r["seed"], r["iteration"], r["drift"]) for r in rows if r["part"] == "all"]
    assert found == [
        *(("0", "10", "1"), ("0", "20", "0.8"), ("0", "30", "0.6")),
        *(("1", "10", "3"), ("1", "20", "1")),
        *(("mean", "10", "2"), ("mean", "20", "0.9")),
    ]
    assert {r["drift"] for r in rows if r["part"] == "backbone"} >= {"0.5", "0.3", "0.45"}
    figure = drawn(spec, context, records)
    everything, backbone = figure.axes
    assert len(everything.lines) == len(backbone.lines) == 3
    assert everything.lines[-1].get_xydata() == pytest.approx(np.array([[10, 2.0], [20, 0.9]]))
    assert "scale: paper; data: Birds 2011; source: ImageNet; device: Imaginary CPU" in texts(
        figure
    )


def test_where_shows_the_epochs_asked_for_and_the_last(tmp_path: Path, context: Context) -> None:
    spec = figure_spec(ONE | {"kind": "where", "epochs": [1, 10]})
    lambdas = [[float(e)] * 5 + [2.0 * e] for e in (1, 2, 3)]
    dead = [1.0, 0.4, 0.5, 0.0, 0.0, 0.0]
    records = [transfer(seed=s, lambdas=lambdas, dead=dead) for s in (0, 1)]
    rows = written(tmp_path, spec, context, records)
    assert [r["epoch"] for r in rows] == ["1"] * 6 + ["3"] * 6
    taps = [("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("2", "2"), ("2", "3")]
    assert [(r["source_tap"], r["target_tap"]) for r in rows[:6]] == taps
    assert [r["weight"] for r in rows[6:]] == ["3", "3", "3", "3", "3", "6"]
    figure = drawn(spec, context, records)
    first, last = figure.axes[:2]
    assert first.images[0].get_array().shape == (2, 3)
    assert last.images[0].get_array()[1, 2] == 6.0
    assert first.images[0].get_clim() == last.images[0].get_clim() == (0.0, 6.0)
    marked = [text.get_text() for text in first.texts]
    assert marked[:3] == ["1.00\n×", "1.00", "1.00\n×"]
    assert "in those its λ could not learn." in texts(figure).replace("\n", " ")


def test_norms_are_on_one_logarithmic_scale(tmp_path: Path, context: Context) -> None:
    spec = figure_spec(ONE | {"kind": "meta_gradient"})
    records = [
        transfer(norms=[4.0, 2.0, 1.0]),
        transfer(norms=[2.0, 2.0, 3.0], seed=1),
        transfer(method="multistep", norms=[0.0, 0.0, 0.0]),
    ]
    rows = written(tmp_path, spec, context, records)
    assert [(r["norm"], r["norm_low"], r["norm_high"]) for r in rows[:3]] == [
        *(("3", "2", "4"), ("2", "2", "2"), ("2", "1", "3")),
    ]
    assert [r["term"] for r in rows[:6]] == ["meta-gradient"] * 3 + ["weight decay"] * 3
    figure = drawn(spec, context, records)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log"]
    assert len(figure.axes[1].lines) == 1  # weight decay alone
    assert "Norms of exactly zero have no place" in texts(figure)


def test_curves_show_the_targets_that_were_run(tmp_path: Path, context: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "transfer_curves", "methods": ["scratch", "l2t"]})
    records = [
        transfer("adam_224", "bird", "l2t", accuracies=[10.0, 30.0]),
        transfer("adam_224", "bird", "l2t", 1, accuracies=[20.0, 50.0]),
        transfer("adam_224", "bird", "scratch", accuracies=[5.0, 6.0]),
    ]
    rows = written(tmp_path, spec, context, records)
    keys = ("method", "epoch", "seconds", "accuracy", "accuracy_low", "test_accuracy", "seeds")
    assert [tuple(r[k] for k in keys) for r in rows] == [
        ("scratch", "1", "10", "5", "5", "4", "1"),
        ("scratch", "2", "20", "6", "6", "5", "1"),
        ("l2t", "1", "10", "15", "10", "14", "2"),
        ("l2t", "2", "20", "40", "30", "39", "2"),
    ]
    figure = drawn(spec, context, records)
    assert len(figure.axes) == 2
    assert "Not run: STL-10, Dog." in texts(figure)
    assert "data: Birds 2011;" in texts(figure)


def test_panels_and_bars_have_the_short_names_of_stand_ins(stand_in: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "transfer_curves"})
    figure = drawn(spec, stand_in, [transfer("adam_224", "drawn", "l2t")])
    assert figure.axes[0].get_title(loc="left") == "Bird (stand-in): against epochs"
    assert "data: Drawn birds (stand-in);" in texts(figure)
    spec = figure_spec(PANELS | {"kind": "epoch_time"})
    record = transfer_times("adam_224", "drawn", seconds={"l2t": [1.0]})
    figure = drawn(spec, stand_in, [record])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["Bird\n(stand-in)"]


def test_epoch_bars_say_what_is_saved(tmp_path: Path, context: Context) -> None:
    spec = figure_spec(PANELS | {"kind": "epoch_time"})
    seconds = {"l2t": [1.0, 1.0], "multistep": [0.6, 0.7]}
    records = [
        transfer_times("adam_32", "stl10", seconds={"l2t": [0.1], "multistep": [0.11]}),
        transfer_times("adam_224", "bird", seconds=seconds),
    ]
    rows = written(tmp_path, spec, context, records)
    assert [(r["dataset"], r["method"], r["seconds"], r["ratio"]) for r in rows] == [
        *(("stl10", "l2t", "10", "1"), ("stl10", "multistep", "11", "1.1")),
        *(("bird", "l2t", "100", "1"), ("bird", "multistep", "65", "0.65")),
    ]
    figure = drawn(spec, context, records)
    small, large = figure.axes
    assert [bar.get_height() for bar in large.patches] == [100.0, pytest.approx(65.0)]
    assert small.texts[1].get_text() == "+10%\n11.00"
    assert large.texts[1].get_text() == "−35%\n65.00"
    found = texts(figure)
    for phrase in ("Not measured: Dog.", "device: Imaginary GPU", "the graph is kept"):
        assert phrase in found


def test_steps_take_cells_of_two_experiments_and_one_measurement(
    tmp_path: Path, context: Context
) -> None:
    spec = figure_spec(STEPS)
    records = [
        transfer("steps", "bird", "zero", test=48.0),
        transfer("adam", "bird", "l2t", test=60.0),
        transfer("adam", "bird", "l2t", 1, test=62.0),
        transfer_times("steps", "bird", seconds={"zero": [1.0], "l2t": [3.0], "multistep": [2.0]}),
    ]
    rows = written(tmp_path, spec, context, records)
    keys = ("label", "accuracy", "seeds", "seconds", "paper_accuracy", "paper_seconds")
    assert [tuple(r[k] for k in keys) for r in rows] == [
        ("0-step", "48", "1", "100", "48.91", "121.3"),
        ("2-step", "61", "2", "300", "", ""),
        ("2-step Est.", "", "0", "200", "", ""),
    ]
    figure = drawn(spec, context, records)
    accuracy, time = figure.axes
    assert [bar.get_height() for bar in accuracy.patches] == [48.0, 61.0]
    assert [bar.get_height() for bar in time.patches] == [100.0, 300.0, 200.0]
    assert [tuple(line.get_xydata()[0]) for line in time.lines if line.get_marker() == "D"] == [
        (0, 121.3)
    ]
    found = texts(figure)
    for phrase in ("Not run: 2-step Est.", "the paper, Titan Xp", "mean ± sd over 1 or 2 seeds, 3"):
        assert phrase in found
    figure = drawn(spec, context, records[:2])
    assert "Accuracies: one seed, 3 epochs." in texts(figure)


def test_the_paper_s_marks_are_left_out_on_stand_ins(stand_in: Context) -> None:
    spec = figure_spec(STEPS)
    figure = drawn(spec, stand_in, [transfer("steps", "drawn", "zero")])
    assert not [line for axes in figure.axes for line in axes.lines if line.get_marker() == "D"]
    found = texts(figure)
    assert "The paper's numbers are left out: stand-in data." in found
    assert "data: Drawn birds (stand-in); source: ImageNet; this is not a reproduction" in found


@pytest.mark.parametrize(
    "spec",
    [
        ONE | {"kind": "drift"},
        ONE | {"kind": "where", "epochs": [1]},
        ONE | {"kind": "meta_gradient"},
        PANELS | {"kind": "transfer_curves"},
        PANELS | {"kind": "epoch_time"},
        STEPS,
    ],
    ids=lambda spec: spec["kind"],
)
def test_nothing_to_draw_is_said(tmp_path: Path, context: Context, spec: Record) -> None:
    assert written(tmp_path, figure_spec(spec), context, []) == []
    assert "nothing" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
