"""The printed numbers under workflow/report: what is said about them is true of them."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from helpers import PARAMS, ROOT
from page_records import Record

from multistep import stats
from multistep.pages import load
from multistep.plan import params

LOADED = params.load(PARAMS)
TABLES: Record = load.pages(ROOT / "workflow" / "report", LOADED)["tables"]
EXTENDED = {name: table for name, table in TABLES.items() if table.kind == "benchmark"}


def printed(name: str) -> Iterator[tuple[float, float, int]]:
    """The paper's own accuracies of a table: mean, half-width, meta-batch."""
    paper = TABLES[name].paper
    for values in paper.values.values():
        for column, (mean, half_width) in values.items():
            yield mean, half_width, paper.meta_batch[column]


@pytest.mark.parametrize(("name", "cells"), [("table4", 20), ("table5", 10)])
def test_every_printed_mean_is_the_short_form_of_a_float16_number(name: str, cells: int) -> None:
    assert TABLES[name].paper.float16_means
    means = [mean for mean, _, _ in printed(name)]
    assert len(means) == cells
    for mean in means:
        short = np.format_float_positional(np.float16(mean / 100), unique=True)
        assert float(short) == pytest.approx(mean / 100, abs=1e-12)


def test_six_of_the_paper_s_twenty_intervals_are_too_wide_for_600_episodes() -> None:
    too_wide = 0
    for mean, half_width, _ in printed("table4"):
        lowest, _ = stats.float16_interval(mean)  # the most generous mean and rounding
        too_wide += not stats.is_feasible(lowest, half_width - 0.005, 600)
    assert too_wide == 6


def test_the_rescaled_intervals_are_possible() -> None:
    assert TABLES["table4"].paper.interval_n == "episodes/meta_batch"
    for mean, half_width, meta_batch in printed("table4"):
        # As from 1.96 s / sqrt(episodes / meta-batch): over all episodes it is narrower by a root.
        assert stats.is_feasible(mean, half_width / math.sqrt(meta_batch), 600)


def test_the_intervals_of_table_5_fit_600_episodes_as_printed() -> None:
    paper = TABLES["table5"].paper
    assert (paper.interval_n, paper.episodes) == ("episodes", 600)
    for mean, half_width, _ in printed("table5"):
        assert stats.is_feasible(mean, half_width, 600)
        # Of episodes with 75 queries: the queries alone have sd 5.5 to 5.8, classes add to it.
        assert 8 < half_width * math.sqrt(600) / stats.Z95 < 11


def test_the_text_s_drop_of_multi_step_8_follows_from_table_5() -> None:
    values = TABLES["table5"].paper.values
    drop = values["maml"]["mini_5way_5shot"][0] - values["multistep8"]["mini_5way_5shot"][0]
    assert round(drop, 2) == 2.59  # section 5.2


def test_every_rate_was_in_the_paper_s_grid_and_is_in_ours() -> None:
    paper = TABLES["table5"].paper
    assert set(paper.inner_lr) == set(paper.values)
    for experiment in TABLES["table5"].columns:
        choose = LOADED.experiments[experiment].choose
        assert choose is not None
        assert set(choose.values) == {0.1, 0.04, 0.01, 0.004}  # appendix F
        assert {row[experiment] for row in paper.inner_lr.values()} <= set(choose.values)


def test_the_parts_of_table_6_add_up() -> None:
    table = TABLES["table6"]
    for sizes in table.paper.values.values():
        assert sizes["train"] + sizes["validation"] + sizes["test"] == sizes["total"]


def test_the_hours_and_ratio_of_table_1_follow_from_its_seconds() -> None:
    table = TABLES["table1"]
    seconds = {method: mean for method, (mean, _) in table.paper.seconds.items()}
    for method, mean in seconds.items():
        assert round(mean * table.epochs / 3600) == table.paper.hours[method]
        assert round(mean / seconds["l2t"], 2) == table.paper.ratio[method]


@pytest.mark.parametrize(
    ("name", "ours"),  # columns in which the paper prints Multi-step in bold
    [("table2", {"cifar100", "indoor", "dog"}), ("table3", {"cifar100", "bird", "action", "dog"})],
)
def test_multi_step_is_best_where_the_paper_has_it_in_bold(name: str, ours: set[str]) -> None:
    table = TABLES[name]
    rows = [*table.paper.values.values(), *(quoted.values for quoted in table.literature.values())]
    assert all(set(row) == set(table.columns) for row in rows)
    multistep = table.paper.values["l2t_multistep"]
    best = {c for c in table.columns if multistep[c][0] == max(row[c][0] for row in rows)}
    assert best == ours


def test_scratch_is_the_same_in_both_tables_and_the_text() -> None:
    tables = [TABLES[name] for name in ("table2", "table3", "first_order")]
    quoted = [table.literature["scratch_literature"].values for table in tables]
    assert quoted[0] == quoted[1]
    assert quoted[2] == {"bird": quoted[0]["bird"]}


def test_the_extended_tables_show_the_same_methods_and_say_what_they_are() -> None:
    few_shot = [e for e in LOADED.experiments.values() if e.family == "few_shot"]
    assert {table.dataset for table in EXTENDED.values()} == {
        d for e in few_shot for d in e.datasets
    }
    assert len({tuple(table.methods) for table in EXTENDED.values()}) == 1
    for table in EXTENDED.values():
        assert table.beyond
        assert "beyond the paper" in table.title
        for printed in table.literature.values():
            assert printed.values
            assert not printed.spread or any(len(v) == 2 for v in printed.values.values())


def test_numbers_that_two_tables_quote_are_the_same() -> None:
    quoted = {
        "extended_omniglot_5way": "table4",
        "extended_omniglot_20way": "table4",
        "extended_miniimagenet": "table5",
    }
    for extended, table in quoted.items():
        original = TABLES[table]
        for row, there in (
            ("reptile_transductive", "reptile_literature"),
            ("imaml_hessian_free", "imaml_literature"),
        ):
            values = EXTENDED[extended].literature[row].values
            whole = original.literature[there].values
            assert values == {column: whole[column] for column in values}
