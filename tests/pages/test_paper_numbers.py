"""The printed numbers in params.yaml: they parse, and what is said about them is true of them."""

from pathlib import Path

import numpy as np
import pytest

from multistep import stats
from multistep.pages.kinds.tables import AccuracyTable, EpochTimeTable, SplitsTable, TransferTable
from multistep.pages.spec import figure_spec, table_spec
from multistep.plan import params

PARAMS = params.load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture
def table4() -> AccuracyTable:
    return table_spec("table4", PARAMS.tables["table4"].model_dump())


def test_every_table_and_figure_of_the_paper_is_well_formed() -> None:
    for name, table in PARAMS.tables.items():
        assert table_spec(name, table.model_dump()) == table
    for name, figure in PARAMS.figures.items():
        assert figure_spec(name, figure.model_dump()) == figure


def printed(table4: AccuracyTable) -> list[tuple[float, float, int]]:
    assert table4.paper is not None
    return [
        (mean, half_width, table4.paper.meta_batch[column])
        for values in table4.paper.values.values()
        for column, (mean, half_width) in values.items()
    ]


def test_six_of_the_paper_s_twenty_intervals_are_too_wide_for_600_episodes(
    table4: AccuracyTable,
) -> None:
    cells = printed(table4)
    assert len(cells) == 20
    too_wide = 0
    for mean, half_width, _ in cells:
        lowest, _ = stats.float16_interval(mean)  # the most generous mean and rounding
        too_wide += not stats.is_feasible(lowest, half_width - 0.005, 600)
    assert too_wide == 6


def test_the_rescaled_intervals_are_possible(table4: AccuracyTable) -> None:
    assert table4.paper is not None
    assert table4.paper.interval_n == "episodes/meta_batch"
    for mean, half_width, meta_batch in printed(table4):
        assert stats.is_feasible(mean, stats.rescaled_half_width(half_width, meta_batch), 600)


def test_every_printed_mean_is_the_short_form_of_a_float16_number(table4: AccuracyTable) -> None:
    for mean, _, _ in printed(table4):
        short = np.format_float_positional(np.float16(mean / 100), unique=True)
        assert float(short) == pytest.approx(mean / 100, abs=1e-12)


def test_the_parts_of_table_6_add_up() -> None:
    table = PARAMS.tables["table6"]
    assert isinstance(table, SplitsTable)
    assert table.paper is not None
    for sizes in table.paper.values.values():
        assert sizes["train"] + sizes["validation"] + sizes["test"] == sizes["total"]


def test_the_hours_and_ratio_of_table_1_follow_from_its_seconds() -> None:
    table = PARAMS.tables["table1"]
    assert isinstance(table, EpochTimeTable)
    assert table.paper is not None
    seconds = {method: mean for method, (mean, _) in table.paper.seconds.items()}
    for method, mean in seconds.items():
        assert round(mean * table.epochs / 3600) == table.paper.hours[method]
        assert round(mean / seconds["l2t"], 2) == table.paper.ratio[method]


@pytest.mark.parametrize(
    ("name", "ours"),  # columns in which the paper prints Multi-step in bold
    [("table2", {"cifar100", "indoor", "dog"}), ("table3", {"cifar100", "bird", "action", "dog"})],
)
def test_multi_step_is_best_where_the_paper_has_it_in_bold(name: str, ours: set[str]) -> None:
    table = PARAMS.tables[name]
    assert isinstance(table, TransferTable)
    assert table.paper is not None
    rows = [*table.paper.values.values(), *(quoted.values for quoted in table.literature.values())]
    assert all(set(row) == set(table.columns) for row in rows)
    multistep = table.paper.values["l2t_multistep"]
    best = {c for c in table.columns if multistep[c][0] == max(row[c][0] for row in rows)}
    assert best == ours


def test_scratch_is_the_same_in_both_tables_and_the_text() -> None:
    tables = [PARAMS.tables[name] for name in ("table2", "table3", "first_order")]
    quoted = [
        table.literature["scratch_literature"].values
        for table in tables
        if isinstance(table, TransferTable)
    ]
    assert quoted[0] == quoted[1]
    assert quoted[2] == {"bird": quoted[0]["bird"]}
