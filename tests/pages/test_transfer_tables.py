"""Tables 1, 2, 3 and 6 from made-up records: every number, what is compared, and what is not."""

import math
import re

import pytest
from page_records import (
    Record,
    Write,
    prepared,
    read_csv,
    table,
    table_spec,
    transfer,
    transfer_times,
)

from multistep.files import UserError
from multistep.pages.context import Context

REFERENCES = {"kim": "Kim (2020).", "jang": "[16] Jang (2019)."}
ACCURACIES: Record = {
    "kind": "transfer",
    "title": "Table 9",
    "caption": "{data}: accuracy (%)",
    "columns": {"stl10": "STL-10", "bird": "Bird"},
    "sources": {"stl10": "tiny", "bird": "imagenet"},
    "rows": {
        "scratch": {"stl10": "sgd", "bird": "sgd"},
        "l2t": {"stl10": "adam_32", "bird": "adam_224"},
        "multistep": {"stl10": "adam_32", "bird": "adam_224"},
    },
    "literature": {
        "scratch_literature": {
            "title": "Scratch",
            "source": "jang",
            "method": "scratch",
            "values": {"stl10": [65.18, 0.91], "bird": [42.1, 0.75]},
        }
    },
    "paper": {
        "source": "kim",
        "epochs": 3,
        "values": {
            "l2t": {"stl10": [80.61, 0.29], "bird": [66.26, 0.51]},
            "multistep": {"stl10": [79.58, 0.54], "bird": [66.51, 1.08]},
        },
    },
    "references": REFERENCES,
}
TIMES: Record = {
    "kind": "epoch_time",
    "title": "Table 8",
    "caption": "{data}: time",
    "dataset": "bird",
    "experiment": "sgd",
    "methods": ["l2t", "multistep"],
    "epochs": 200,
    "paper": {
        "source": "kim",
        "device": "Titan Xp",
        "seconds": {"l2t": [379.7, 30.9], "multistep": [248.7, 14.2]},
        "hours": {"l2t": 21, "multistep": 14},
        "ratio": {"l2t": 1.0, "multistep": 0.65},
    },
    "references": REFERENCES,
}
SPLITS: Record = {
    "kind": "splits",
    "title": "Table 7",
    "caption": "Images",
    "rows": {"stl10": "STL-10", "bird": "Bird"},
    "paper": {
        "source": "kim",
        "values": {
            "stl10": {"train": 45, "validation": 5, "test": 80, "total": 130},
            "bird": {"train": 50, "validation": 10, "test": 58, "total": 118},
        },
    },
    "references": REFERENCES,
}


@pytest.fixture
def context() -> Context:
    return Context(
        scale="paper",
        datasets={"stl10": "STL-10", "bird": "Birds 2011", "drawn": "Drawn birds (stand-in)"},
        methods={"scratch": "Scratch (ours)", "l2t": "L2T-ww (ours)", "multistep": "Multi-step"},
        source_networks={"tiny": "TinyImageNet", "imagenet": "ImageNet", "shapes": "Drawn shapes"},
    )


@pytest.fixture
def stand_in(context: Context) -> Context:
    replaced = {"bird": "drawn", "imagenet": "shapes"}
    return context.model_copy(
        update={"scale": "demo", "stand_ins": replaced, "drawn": [*replaced.values()]}
    )


def by_cell(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["row"], row["column"]): row for row in read_csv(text)}


def test_accuracies_are_means_over_seeds_beside_the_printed_ones(write: Write) -> None:
    records = [
        *(transfer("adam_224", "bird", "l2t", s, test=x) for s, x in enumerate((60, 62, 67))),
        transfer("adam_224", "bird", "multistep", test=66.0),
        transfer("sgd", "bird", "scratch", test=40.0),
        transfer("sgd", "bird", "l2t", test=1.0),  # of another table
    ]
    texts = write(records, table_spec(ACCURACIES))
    rows = by_cell(texts["csv"])
    l2t, one, scratch = (rows[m, "bird"] for m in ("l2t", "multistep", "scratch"))
    sd = math.sqrt((9 + 1 + 16) / 2)  # the sample's: divided by n - 1
    assert (float(l2t["ours"]), int(l2t["n"])) == (63.0, 3)
    assert float(l2t["seed_sd"]) == pytest.approx(sd, abs=1e-4)
    assert float(l2t["ours_low"]) == pytest.approx(63 - sd, abs=1e-3)
    assert (l2t["paper"], l2t["paper_spread"], l2t["quoted"]) == ("66.26", "0.51", "")
    assert float(l2t["gap"]) == pytest.approx(-3.26)
    assert (one["seed_sd"], one["ours_high"], one["gap"]) == ("", "", "-0.51")
    assert (scratch["paper"], scratch["quoted"], scratch["source"]) == ("42.1", "yes", "")
    assert rows["l2t", "stl10"]["ours"] == ""
    assert rows["scratch_literature", "bird"]["section"] == "literature"

    lines = texts["md"].splitlines()
    for line in (
        "**Table 9.** Birds 2011: accuracy (%)",
        "*scale: paper; data: Birds 2011; source: ImageNet*",
        "Training. STL-10: not run; Bird: 3 epochs (as the paper).",
        "| Method | STL-10 | Bird |",
        "| &emsp;<sub>Source</sub> | <sub>TinyImageNet</sub> | <sub>ImageNet</sub> |",
        "| Scratch \\[16\\] | 65.18 ± 0.91 | 42.10 ± 0.75 |",
        f"| L2T-ww (ours) | – | 63.00 ± {sd:.2f} |",
        "| Multi-step | – | 66.00 |",  # the best of ours, of one seed
        "| &emsp;<sub>seeds</sub> | <sub>–</sub> | <sub>n = 3</sub> |",
        "| &emsp;<sub>paper</sub> | <sub>**80.61 ± 0.29**</sub> | <sub>66.26 ± 0.51</sub> |",
        "| &emsp;<sub>quoted</sub> | <sub>65.18 ± 0.91</sub> | <sub>42.10 ± 0.75</sub> |",
        "| &emsp;<sub>gap</sub> | <sub>–</sub> | <sub>−3.26</sub> |",
    ):
        assert line in lines
    for phrase in (
        "Bold: the best that the paper prints.\n",
        "a quoted number is not the paper's own. Gap: ours − printed, in points",
    ):
        assert phrase in texts["md"]
    assert "\\textbf{80.61\\,$\\pm$\\,0.29}" in texts["tex"]
    assert texts["tex"].isascii()
    assert "<strong>80.61 ± 0.29</strong>" in texts["html"]


def test_notes_are_of_what_the_page_shows(write: Write) -> None:
    tests = {"l2t": 1.0, "multistep": 2.0}
    records = [
        transfer("adam_224", "bird", method, seed, test=x)
        for method, x in tests.items() for seed in (0, 1)
    ]  # fmt: skip
    alone = {k: v for k, v in ACCURACIES.items() if k not in ("paper", "literature")}
    text = write(records, table_spec(alone))["md"]
    assert "- Bold: the best of ours.\n" in text
    assert "| Multi-step | **2.00 ± 0.00** |" in text.replace(" – |", "")
    assert "**2.00" not in write(records[:3], table_spec(alone))["md"]  # of a single seed
    assert not re.search(r"[Pp]aper, quoted|Gap", text)
    for spec in (alone, ACCURACIES):
        text = write(records, table_spec(spec | {"beyond": True}))["md"]
        assert "Bold" not in text
        assert "**" not in text.replace("**Table 9.**", "")


def test_a_run_that_is_not_the_paper_s_has_no_gap(context: Context) -> None:
    spec = table_spec(ACCURACIES)
    differences = {"adam_224/bird/l2t": "batch_size 32 (the paper's: 128)"}
    other = context.model_copy(update={"differences": differences})
    for names, accuracies, differs in (
        (context, [10.0], "1 epoch (the paper's: 3)"),
        (other, None, "batch_size 32 (the paper's: 128)"),
    ):
        rows = table(spec, names, [transfer("adam_224", "bird", "l2t", accuracies=accuracies)])
        row = next(row for row in rows if row.n)
        assert (row.gap, row.otherwise) == (None, differs)


def test_stand_ins_are_named_and_never_compared(stand_in: Context, write: Write) -> None:
    settings = {"source": "shapes"}
    record = transfer("adam_224", "drawn", "l2t", scale="demo", settings=settings)
    texts = write([record], table_spec(ACCURACIES), context=stand_in)
    row = by_cell(texts["csv"])["l2t", "bird"]
    assert (row["n"], row["gap"], row["note"]) == ("1", "", "Not compared: stand-in data.")
    assert (row["data"], row["source"], row["scale"]) == (
        *("Drawn birds (stand-in)", "shapes", "demo"),
    )
    assert "own.\n" in texts["md"]
    assert "Gap" not in texts["md"]
    for text in ("data: Drawn birds (stand-in); source: Drawn shapes", "Stand-in data, not a"):
        assert all(text in texts[kind] for kind in ("md", "tex", "html"))
    assert (
        "<sub>Our data</sub> | <sub>STL-10</sub> | <sub>Drawn birds (stand-in)</sub>"
        in (texts["md"])
    )
    assert (
        "<sub>Our source</sub> | <sub>TinyImageNet</sub> | <sub>Drawn shapes</sub>" in (texts["md"])
    )


def test_real_data_with_a_stand_in_for_its_source_is_not_compared(context: Context) -> None:
    swapped = context.model_copy(update={"stand_ins": {"imagenet": "shapes"}, "drawn": ["shapes"]})
    record = transfer("adam_224", "bird", "l2t", settings={"source": "shapes"})
    row = next(r for r in table(table_spec(ACCURACIES), swapped, [record]) if r.n)
    assert (row.gap, row.note) == (None, "Not compared: stand-in data.")


def test_seeds_that_differ_in_more_than_the_seed_are_refused(context: Context) -> None:
    records = [
        transfer("adam_224", "bird", "l2t", seed, settings={"batch_size": 32 << seed})
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match=r"different settings.batch_size \(32 and 64\)"):
        table(table_spec(ACCURACIES), context, records)
    with pytest.raises(UserError, match="none of the 1 results belongs to Table 9: it shows exp"):
        table(table_spec(ACCURACIES), context, [transfer("other")])


def test_epoch_times_are_scaled_from_mini_batches(write: Write) -> None:
    seconds = {"l2t": [0.9, 1.1, 1.0, 1.0], "multistep": [0.7, 0.7, 0.7, 0.7]}
    record = transfer_times(
        seconds=seconds, iterations=100, settings={"scheme": "replay", "source_features": "step"}
    )
    texts = write([record], table_spec(TIMES))
    rows = by_cell(texts["csv"])
    baseline, ratio = rows["l2t", "seconds"], rows["multistep", "ratio"]
    sd = math.sqrt(0.02 / 3)  # of a mini-batch
    assert (float(baseline["ours"]), baseline["n"]) == (100.0, "4")
    assert float(baseline["epoch_sd"]) == pytest.approx(10 * sd, rel=1e-4)
    assert float(baseline["ours_high"]) == pytest.approx(100 + 1.96 * 100 * sd / 2, rel=1e-4)
    assert baseline["gap"] == rows["l2t", "ratio"]["gap"] == ""  # another device; one by definition
    assert float(rows["l2t", "hours"]["ours"]) == pytest.approx(200 * 100 / 3600, rel=1e-4)
    assert (float(ratio["ours"]), float(ratio["paper"])) == (0.7, 0.65)
    assert float(ratio["gap"]) == pytest.approx(0.05)
    # Only the baseline's mini-batches vary: its relative half-width is the ratio's.
    assert float(ratio["ours_high"]) == pytest.approx(0.7 * (1 + 1.96 * sd / 2), rel=1e-4)
    lines = texts["md"].splitlines()
    assert "| L2T-ww (ours) | 100.0 ± 0.8 | 5.56 | 1.00 |" in lines
    paper = "| &emsp;<sub>paper</sub> | <sub>379.7 ± 30.9</sub> | <sub>21</sub> | <sub>1.00</sub> |"
    assert paper in lines
    for phrase in (
        "4 mini-batches of 64 images of each method",
        "CUDA-event seconds without loading and evaluation",
        "gradients are replayed; source features at every use; device: Imaginary GPU.",
        "The paper: a Titan Xp.",
    ):
        assert phrase in texts["md"]


def test_an_unmeasured_table_has_its_printed_numbers(write: Write) -> None:
    texts = write([], table_spec(TIMES))
    assert "Not measured." in texts["md"]
    assert by_cell(texts["csv"])["multistep", "hours"]["paper"] == "14"


def test_times_on_a_stand_in_have_no_gap(stand_in: Context) -> None:
    seconds = {"l2t": [1.0], "multistep": [0.5]}
    record = transfer_times(dataset="drawn", seconds=seconds, scale="demo")
    rows = table(table_spec(TIMES), stand_in, [record])
    assert [row.ours for row in rows if row.column == "ratio"] == [1.0, 0.5]
    assert {row.gap for row in rows} == {None}


def test_split_sizes_are_counted_and_differences_marked(write: Write) -> None:
    records = [prepared("stl10", 45, 5, 80), prepared("bird", 50, 9, 58)]
    texts = write(records, table_spec(SPLITS))
    rows = by_cell(texts["csv"])
    assert (rows["stl10", "total"]["ours"], rows["stl10", "total"]["gap"]) == ("130", "0")
    assert (rows["bird", "validation"]["gap"], rows["bird", "total"]["gap"]) == ("-1", "-1")
    assert rows["bird", "validation"]["note"] == "Differs from the paper."
    assert "Sizes. STL-10: as the paper; Bird: different from the paper." in texts["md"]
    assert (
        "| &emsp;<sub>difference</sub> | <sub>=</sub> | <sub>**−1**</sub> | <sub>=</sub> | "
        "<sub>**−1**</sub> |"
    ) in texts["md"].splitlines()


def test_sizes_of_stand_ins_are_not_compared(stand_in: Context, write: Write) -> None:
    texts = write([prepared("drawn", 4, 1, 2)], table_spec(SPLITS), context=stand_in)
    assert by_cell(texts["csv"])["bird", "total"]["gap"] == ""
    assert "Sizes. STL-10: not prepared; Bird: not compared." in texts["md"]
    assert "| Drawn birds (stand-in) | 4 | 1 | 2 | 7 |" in texts["md"]
    with pytest.raises(UserError, match="none of the 1 datasets belongs to Table 7"):
        write([prepared("other", 4, 1, 2)], table_spec(SPLITS), context=stand_in)
