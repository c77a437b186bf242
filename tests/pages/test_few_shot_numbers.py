"""The few-shot numbers beyond Table 4 in params.yaml: what is said of them is true of them."""

import math
from pathlib import Path

import numpy as np
import pytest

from multistep import stats
from multistep.pages.kinds.tables import AccuracyPaper, AccuracyTable, BenchmarkTable
from multistep.plan import params

PARAMS = params.load(Path(__file__).parents[2] / "params.yaml")
ONE, FIVE = "mini_5way_1shot", "mini_5way_5shot"
EXTENDED = {n: t for n, t in PARAMS.tables.items() if isinstance(t, BenchmarkTable)}


@pytest.fixture
def paper() -> AccuracyPaper:
    """The paper's own rows of Table 5."""
    table = PARAMS.tables["table5"]
    assert isinstance(table, AccuracyTable)
    assert table.paper is not None
    return table.paper


def test_the_means_are_short_forms_of_float16_numbers(paper: AccuracyPaper) -> None:
    means = [mean for row in paper.values.values() for mean, _ in row.values()]
    assert len(means) == 10
    for mean in means:
        short = np.format_float_positional(np.float16(mean / 100), unique=True)
        assert float(short) == pytest.approx(mean / 100, abs=1e-12)


def test_the_intervals_fit_600_episodes_as_printed(paper: AccuracyPaper) -> None:
    assert paper.interval_n == "episodes"
    for row in paper.values.values():
        for mean, half_width in row.values():
            assert stats.is_feasible(mean, half_width, paper.episodes)
            deviation = half_width * math.sqrt(paper.episodes) / stats.Z95
            # Of episodes with 75 queries: the queries alone have sd 5.5 to 5.8, classes add to it.
            assert 8 < deviation < 11


def test_the_text_s_drop_of_multi_step_8_follows_from_the_table(paper: AccuracyPaper) -> None:
    drop = paper.values["maml"][FIVE][0] - paper.values["multistep8"][FIVE][0]
    assert round(drop, 2) == 2.59  # section 5.2


def test_every_rate_was_in_the_paper_s_grid_and_is_in_ours(paper: AccuracyPaper) -> None:
    rates = {rate for row in paper.inner_lr.values() for rate in row.values()}
    assert set(paper.inner_lr) == set(paper.values)
    for experiment in (ONE, FIVE):
        choose = PARAMS.experiments[experiment].choose
        assert choose is not None
        assert set(choose.values) == {0.1, 0.04, 0.01, 0.004}  # appendix F
        assert rates <= set(choose.values)


def test_the_extended_tables_show_the_same_methods_and_say_what_they_are() -> None:
    assert {table.dataset for table in EXTENDED.values()} == {
        *("omniglot", "miniimagenet", "cifar_fs", "fc100", "tieredimagenet")
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
        original = PARAMS.tables[table]
        assert isinstance(original, AccuracyTable)
        for row, there in (
            ("reptile_transductive", "reptile_literature"),
            ("imaml_hessian_free", "imaml_literature"),
        ):
            values = EXTENDED[extended].literature[row].values
            whole = original.literature[there].values
            assert values == {column: whole[column] for column in values}
