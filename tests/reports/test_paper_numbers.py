"""The printed numbers in params.yaml: they parse, and what is said about them is true of them."""

from pathlib import Path

import numpy as np
import pytest

from multistep import params, stats
from multistep.reports.spec import figure_spec, table_spec
from multistep.schema import Table

PARAMS = params.load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def table4() -> Table:
    return table_spec("table4", PARAMS.tables["table4"].model_dump())


def test_every_table_and_figure_of_the_paper_is_well_formed() -> None:
    for name, table in PARAMS.tables.items():
        assert table_spec(name, table.model_dump()) == table
    for name, figure in PARAMS.figures.items():
        assert figure_spec(name, figure.model_dump()) == figure


def printed(table4: Table) -> list[tuple[float, float, int]]:
    assert table4.paper is not None
    return [
        (mean, half_width, table4.paper.meta_batch[column])
        for values in table4.paper.values.values()
        for column, (mean, half_width) in values.items()
    ]


def test_six_of_the_paper_s_twenty_intervals_are_too_wide_for_600_episodes(table4: Table) -> None:
    cells = printed(table4)
    assert len(cells) == 20
    too_wide = 0
    for mean, half_width, _ in cells:
        lowest, _ = stats.float16_interval(mean)  # the most generous mean and rounding
        too_wide += not stats.is_feasible(lowest, half_width - 0.005, 600)
    assert too_wide == 6


def test_the_rescaled_intervals_are_possible(table4: Table) -> None:
    for mean, half_width, meta_batch in printed(table4):
        assert stats.is_feasible(mean, stats.rescaled_half_width(half_width, meta_batch), 600)


def test_every_printed_mean_is_the_short_form_of_a_float16_number(table4: Table) -> None:
    for mean, _, _ in printed(table4):
        short = np.format_float_positional(np.float16(mean / 100), unique=True)
        assert float(short) == pytest.approx(mean / 100, abs=1e-12)
