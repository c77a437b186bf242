"""Accuracy tables with an inner learning rate or an iterate chosen by validation (Table 5)."""

import pytest
from page_records import Record, Write, few_shot, read_csv, table, table_spec

from multistep.pages.context import Context
from multistep.pages.spec import Spec

RATES = {"maml": {"5way_1shot": 0.01, "20way_1shot": 0.04}, "multistep8": {"5way_1shot": 0.01}}


@pytest.fixture
def spec(table_json: Record) -> Spec:
    paper = table_json["paper"] | {"interval_n": "episodes", "inner_lr": RATES}
    return table_spec(table_json | {"paper": paper})


@pytest.fixture
def results() -> list[Record]:
    chosen = {0.1: None, 0.004: 31.25, 0.04: 45.678}
    return [
        few_shot(seed=0, inner_lr=0.04, chosen=chosen, last=(900, 48.0, 1.0)),
        few_shot(seed=1, inner_lr=0.04, chosen=chosen, last=(1000, 46.0, 2.0)),
        few_shot(method="multistep8", inner_lr=0.01),
    ]


def rows(text: str) -> dict[tuple[str, str], dict[str, str]]:
    found = read_csv(text)
    return {(row["row"], row["column"]): row for row in found if row["section"] == "ours"}


def test_csv_has_ours_the_candidates_and_the_paper_s(results: list[Record], write: Write) -> None:
    found = rows(write(results)["csv"])
    maml = found["maml", "5way_1shot"]
    assert (maml["inner_lr"], maml["paper_inner_lr"]) == ("0.04", "0.01")
    assert maml["candidates"] == "0.004: 31.25; 0.04: 45.68; 0.1: diverged"
    assert (maml["tested"], maml["last"], maml["last_half_width"]) == ("900 1000", "47", "1.5")
    fixed = found["multistep8", "5way_1shot"]
    assert (fixed["inner_lr"], fixed["candidates"], fixed["last"]) == ("0.01", "", "")
    absent = found["maml", "20way_1shot"]
    assert (absent["inner_lr"], absent["paper_inner_lr"]) == ("", "0.04")


def test_the_page_shows_rates_and_last_iterates(results: list[Record], write: Write) -> None:
    text = write(results)["md"]
    for removed in ("<sub>", "</sub>", "&emsp;"):
        text = text.replace(removed, "")
    for line in (
        "| last iterate | 47.00 ± 1.50 | – |",
        "| *Inner learning rate: ours / the paper's* |  |  |",
        "| MAML (ours) | 0.04 / 0.01 | – / 0.04 |",
        "| Multi-step (8) | 0.01 / 0.01 | – / – |",
        "- The tested network is the iterate with the highest accuracy on validation classes; "
        "last iterate: the one after all meta-iterations; its ± is the mean of the seeds' "
        "half-widths, an upper bound.",
        "- Our inner learning rate is chosen by accuracy on validation classes where the csv has "
        "candidates; the csv has that of every candidate.",
    ):
        assert line in text.splitlines(), line
    one_seed = write(results[:1])["md"]
    assert "last iterate: the one after all meta-iterations.\n" in one_seed
    chosen = "Our inner learning rate is chosen for each cell by accuracy on validation classes;"
    assert chosen in write(results[:2])["md"]


def test_intervals_over_episodes_stand_as_printed(results: list[Record], write: Write) -> None:
    texts = write(results)
    maml = rows(texts["csv"])["maml", "5way_1shot"]
    assert (maml["paper_spread"], maml["paper_half_width"]) == ("8", "8")
    assert "<sub>50.00 ± 8.00</sub>" in texts["md"]
    assert "Paper: as printed, with its 95% interval over 600 episodes." in texts["md"]


def test_the_joint_interval_has_the_paper_s_half_width(spec: Spec, context: Context) -> None:
    # Ours has no spread; the paper's is 8 around 50 ± 0.0244 (float16).
    verdicts = {
        x: table(spec, context, [few_shot(episodes=[x, x], inner_lr=0.01)])[0].within
        for x in (58.0, 58.05, 42.0, 41.95)
    }
    assert verdicts == {58.0: "yes", 58.05: "no", 42.0: "yes", 41.95: "no"}


def test_another_rate_is_compared_only_if_it_was_chosen(spec: Spec, context: Context) -> None:
    row = table(spec, context, [few_shot(inner_lr=0.04)])[0]
    assert (row.gap, row.otherwise) == (None, "inner_lr 0.04 (the paper's: 0.01)")
    row = table(spec, context, [few_shot(inner_lr=0.04, chosen={0.04: 50.0})])[0]
    assert (row.note, row.within) == ("", "yes")


def test_a_stand_in_has_no_gap(spec: Spec, stand_in: Context) -> None:
    row = table(spec, stand_in, [few_shot(scale="demo", dataset="omniglot_standin")])[0]
    assert (row.ours, row.paper, row.gap, row.within) == (50.0, 50.0, None, None)
    assert row.note == "Not compared: stand-in data."


def test_a_table_without_choices_has_no_such_lines(table_json: Record, write: Write) -> None:
    text = write([few_shot()], table_spec(table_json))["md"]
    assert "nner learning rate" not in text
    assert "iterate" not in text


def test_a_row_of_the_literature_may_have_a_method_s_name(table_json: Record, write: Write) -> None:
    table_json["literature"]["maml"] = table_json["literature"].pop("reptile_literature")
    text = write([few_shot()], table_spec(table_json))["md"]
    assert "| Reptile† \\[22\\] | 97.68 ± 0.04 | 89.4 ± 0.1 |" in text
    assert "| MAML (ours) | 50.00 ± 13.86 | – |" in text


def test_a_table_beyond_the_paper_says_so(table_json: Record, write: Write) -> None:
    texts = write([], table_spec(table_json | {"beyond": True}))
    assert texts["md"].startswith("**Table 9.** Omniglot: accuracy (%). Not in the paper.\n")
    assert "<title>Table 9. Omniglot: accuracy (%). Not in the paper.</title>" in texts["html"]
    assert "\\caption{Omniglot: accuracy (\\%). Not in the paper.}" in texts["tex"]
