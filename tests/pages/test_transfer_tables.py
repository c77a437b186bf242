"""Tables 1, 2, 3 and 6 from made-up records: every number, what is compared, and what is not."""

import math
import re

import pytest
import yaml
from page_reading import Write, plain, read_csv, table, table_spec
from page_records import prepared, transfer, transfer_times

from multistep.files import UserError
from multistep.pages.context import Context

ACCURACIES, TIMES, SPLITS = yaml.safe_load_all("""
kind: transfer
title: Table 9
caption: "{data}: accuracy (%)"
columns: {stl10: STL-10, bird: Bird}
sources: {stl10: tiny, bird: imagenet}
rows:
  scratch: {stl10: sgd, bird: sgd}
  l2t: {stl10: adam_32, bird: adam_224}
  multistep: {stl10: adam_32, bird: adam_224}
literature:
  scratch_literature:
    {title: Scratch, source: jang, method: scratch,
     values: {stl10: [65.18, 0.91], bird: [42.1, 0.75]}}
paper:
  source: kim
  epochs: 3
  values:
    l2t: {stl10: [80.61, 0.29], bird: [66.26, 0.51]}
    multistep: {stl10: [79.58, 0.54], bird: [66.51, 1.08]}
references: {kim: Kim (2020)., jang: "[16] Jang (2019)."}
---
kind: epoch_time
title: Table 8
caption: "{data}: time"
dataset: bird
experiment: sgd
methods: [l2t, multistep]
epochs: 200
paper:
  source: kim
  device: Titan Xp
  seconds: {l2t: [379.7, 30.9], multistep: [248.7, 14.2]}
  hours: {l2t: 21, multistep: 14}
  ratio: {l2t: 1.0, multistep: 0.65}
references: {kim: Kim (2020).}
---
kind: splits
title: Table 7
caption: Images
rows: {stl10: STL-10, bird: Bird}
paper:
  source: kim
  values:
    stl10: {train: 45, validation: 5, test: 80, total: 130}
    bird: {train: 50, validation: 10, test: 58, total: 118}
references: {kim: Kim (2020).}
""")


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
    l2t = rows["l2t", "bird"]
    sd = math.sqrt((9 + 1 + 16) / 2)  # the sample's: divided by n - 1
    numbers = {"ours": 63, "n": 3, "seed_sd": sd, "ours_low": 63 - sd, "gap": -3.26}
    assert {key: float(l2t[key]) for key in numbers} == pytest.approx(numbers, abs=1e-3)
    for cell, found in (
        (("l2t", "bird"), {"paper": "66.26", "paper_spread": "0.51", "quoted": ""}),
        (("multistep", "bird"), {"seed_sd": "", "ours_high": "", "gap": "-0.51"}),
        (("scratch", "bird"), {"paper": "42.1", "quoted": "yes", "source": ""}),
        (("l2t", "stl10"), {"ours": "", "n": "0"}),
        (("scratch_literature", "bird"), {"section": "literature"}),
    ):
        assert {key: rows[cell][key] for key in found} == found

    lines = plain(texts["md"]).splitlines()
    start = lines.index("| Method | STL-10 | Bird |")
    assert lines[0] == "**Table 9.** Birds 2011: accuracy (%)"
    assert "*scale: paper; data: Birds 2011; source: ImageNet*" in lines
    assert "Training. STL-10: not run; Bird: 3 epochs (as the paper)." in lines
    assert lines[start + 2 : start + 18] == [
        "| Source | TinyImageNet | ImageNet |",
        "| *Ours, and below it the paper's* |  |  |",
        "| Scratch (ours) | – | 40.00 |",
        "| seeds | – | n = 1 |",
        "| quoted | 65.18 ± 0.91 | 42.10 ± 0.75 |",
        "| gap | – | −2.10 |",
        "| L2T-ww (ours) | – | 63.00 ± 3.61 |",
        "| seeds | – | n = 3 |",
        "| paper | **80.61 ± 0.29** | 66.26 ± 0.51 |",
        "| gap | – | −3.26 |",
        "| Multi-step | – | 66.00 |",  # the best of ours, of a single seed
        "| seeds | – | n = 1 |",
        "| paper | 79.58 ± 0.54 | **66.51 ± 1.08** |",
        "| gap | – | −0.51 |",
        "| *Quoted by the paper from earlier work* |  |  |",
        "| Scratch [16] | 65.18 ± 0.91 | 42.10 ± 0.75 |",
    ]
    for phrase in (
        "Bold: the best that the paper prints.\n",
        "a quoted number is not the paper's own. Gap: ours − printed, in points",
    ):
        assert phrase in texts["md"]
    assert "\\textbf{80.61\\,$\\pm$\\,0.29}" in texts["tex"]
    assert texts["tex"].isascii()
    assert "<strong>80.61 ± 0.29</strong>" in texts["html"]


def test_notes_and_bold_are_of_what_the_page_shows(write: Write) -> None:
    records = [
        transfer("adam_224", "bird", method, seed, test=x)
        for method, x in {"l2t": 1.0, "multistep": 2.0}.items()
        for seed in (0, 1)
    ]
    alone = {k: v for k, v in ACCURACIES.items() if k not in ("paper", "literature")}
    text = write(records, table_spec(alone))["md"]
    assert "- Bold: the best of ours.\n" in text
    assert "| Multi-step | **2.00 ± 0.00** |" in text.replace(" – |", "")
    assert not re.search(r"[Pp]aper, quoted|Gap", text)
    bare = [write(records[:3], table_spec(alone))["md"]]  # one of a single seed
    bare += [write(records, table_spec(s | {"beyond": True}))["md"] for s in (alone, ACCURACIES)]
    for text in bare:
        assert not re.search("Bold|[*]{2}", text.replace("**Table 9.**", ""))


def test_numbers_that_read_the_same_are_both_bold(write: Write) -> None:
    records = [
        transfer("sgd" if method == "scratch" else "adam_224", "bird", method, seed, test=x)
        for method, x in {"scratch": 9.804, "l2t": 9.806, "multistep": 9.808}.items()
        for seed in (0, 1)
    ]
    text = write(records, table_spec(ACCURACIES))["md"]
    assert text.count("**9.81 ± 0.00**") == 2
    assert " 9.80 ± 0.00 " in text


def test_a_run_that_is_not_the_paper_s_has_no_gap(context: Context) -> None:
    other = {"differences": {"adam_224/bird/l2t": "batch_size 32 (the paper's: 128)"}}
    swapped = {"stand_ins": {"imagenet": "shapes"}, "drawn": ["shapes"]}
    stand_in = "Not compared: stand-in data."  # though only the source network is
    for changes, record, found in (
        ({}, {"accuracies": [10.0]}, ("1 epoch (the paper's: 3)", "")),
        (other, {}, ("batch_size 32 (the paper's: 128)", "")),
        (swapped, {"settings": {"source": "shapes"}}, ("", stand_in)),
    ):
        names = context.model_copy(update=changes)
        rows = table(table_spec(ACCURACIES), names, [transfer("adam_224", "bird", "l2t", **record)])
        row = next(row for row in rows if row.n)
        assert (row.gap, row.otherwise, row.note) == (None, *found)


def test_stand_ins_are_named_and_never_compared(stand_in: Context, write: Write) -> None:
    settings = {"source": "shapes"}
    record = transfer("adam_224", "drawn", "l2t", scale="demo", settings=settings)
    texts = write([record], table_spec(ACCURACIES), context=stand_in)
    row = by_cell(texts["csv"])["l2t", "bird"]
    assert [row[key] for key in ("n", "gap", "note", "data", "source", "scale")] == [
        *("1", "", "Not compared: stand-in data.", "Drawn birds (stand-in)", "shapes", "demo"),
    ]
    assert "own.\n" in texts["md"]
    assert "Gap" not in texts["md"]
    for kind in ("md", "tex", "html"):
        assert "data: Drawn birds (stand-in); source: Drawn shapes" in texts[kind]
        assert "Stand-in data, not a reproduction of the paper" in texts[kind]
    for line in (
        "| Our source | TinyImageNet | Drawn shapes |",
        "| Our data | STL-10 | Drawn birds (stand-in) |",
    ):
        assert line in plain(texts["md"])


def test_seeds_that_differ_in_more_than_the_seed_are_refused(context: Context) -> None:
    records = [
        transfer("adam_224", "bird", "l2t", seed, settings={"batch_size": 32 << seed})
        for seed in (0, 1)
    ]
    with pytest.raises(UserError, match=r"different settings.batch_size \(32 and 64\)"):
        table(table_spec(ACCURACIES), context, records)
    with pytest.raises(UserError, match="none of the 1 results belongs to Table 9: it shows exp"):
        table(table_spec(ACCURACIES), context, [transfer("other")])


def test_epoch_times_are_scaled_from_mini_batches(write: Write, stand_in: Context) -> None:
    seconds = {"l2t": [0.9, 1.1, 1.0, 1.0], "multistep": [0.69, 0.71, 0.7, 0.7]}
    how = {"iterations": 100, "settings": {"scheme": "replay", "source_features": "step"}}
    record = transfer_times(seconds=seconds, **how)
    texts = write([record], table_spec(TIMES))
    rows = by_cell(texts["csv"])
    sd = math.sqrt(0.02 / 3)  # of a mini-batch
    for cell, numbers in (
        (("l2t", "seconds"),
         {"ours": 100, "n": 4, "epoch_sd": 10 * sd, "ours_high": 100 + 1.96 * 100 * sd / 2}),
        (("l2t", "hours"), {"ours": 200 * 100 / 3600}),
        (("multistep", "ratio"),
         {"ours": 0.7, "paper": 0.65, "gap": 0.05,
          "ours_high": 0.7 * (1 + 1.96 * math.hypot(sd, sd / 10 / 0.7) / 2)}),
    ):  # fmt: skip
        found = {key: float(rows[cell][key]) for key in numbers}
        assert found == pytest.approx(numbers, rel=1e-4)
    # Another device; one by definition.
    assert rows["l2t", "seconds"]["gap"] == rows["l2t", "ratio"]["gap"] == ""
    lines = plain(texts["md"]).splitlines()
    for line in (
        "| L2T-ww (ours) | 100.0 ± 0.8 | 5.56 | 1.00 |",
        "| mini-batches | n = 4 |  |  |",
        "| paper | 379.7 ± 30.9 | 21 | 1.00 |",
        "| gap | – | – | +0.05 |",
    ):
        assert line in lines
    for phrase in (
        "4 mini-batches of 64 images of each method",
        "CUDA-event seconds without loading and evaluation",
        "gradients are replayed; source features at every use; device: Imaginary GPU.",
        "The paper: a Titan Xp.",
    ):
        assert phrase in texts["md"]
    record["cell"] |= {"scale": "demo", "dataset": "drawn"}
    demo = table(table_spec(TIMES), stand_in, [record])
    assert [row.ours for row in demo if row.column == "ratio"] == [1.0, 0.7]
    assert {row.gap for row in demo} == {None}


def test_an_unmeasured_table_has_its_printed_numbers(write: Write) -> None:
    texts = write([], table_spec(TIMES))
    assert "Not measured." in texts["md"]
    assert by_cell(texts["csv"])["multistep", "hours"]["paper"] == "14"


def test_split_sizes_are_counted_and_differences_marked(write: Write, stand_in: Context) -> None:
    records = [prepared("stl10", 45, 5, 80), prepared("bird", 50, 9, 58)]
    texts = write(records, table_spec(SPLITS))
    rows = by_cell(texts["csv"])
    assert (rows["stl10", "total"]["ours"], rows["stl10", "total"]["gap"]) == ("130", "0")
    assert (rows["bird", "validation"]["gap"], rows["bird", "total"]["gap"]) == ("-1", "-1")
    assert rows["bird", "validation"]["note"] == "Differs from the paper."
    assert "Sizes. STL-10: as the paper; Bird: different from the paper." in texts["md"]
    assert "| difference | = | **−1** | = | **−1** |" in plain(texts["md"])

    texts = write([prepared("drawn", 4, 1, 2)], table_spec(SPLITS), context=stand_in)
    total = by_cell(texts["csv"])["bird", "total"]
    assert (total["gap"], total["note"]) == ("", "Not compared: stand-in data.")
    assert "Sizes. STL-10: not prepared; Bird: not compared." in texts["md"]
    assert "| Drawn birds (stand-in) | 4 | 1 | 2 | 7 |" in texts["md"]
    with pytest.raises(UserError, match="none of the 1 datasets belongs to Table 7"):
        write([prepared("other", 4, 1, 2)], table_spec(SPLITS), context=stand_in)
