"""The page of a benchmark table: ours above with time and memory, the literature below."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multistep.pages.tables import BenchmarkTable
from multistep.reports import measured
from multistep.reports.benchmark import QUANTITIES, Row
from multistep.reports.layout import DASH, Line, Page, Section, line, printed
from multistep.reports.spec import Context


def page(spec: BenchmarkTable, context: Context, rows: Sequence[Row]) -> Page:
    """Three columns per experiment, and two lines per method of ours: relative, then absolute."""
    data = context.titles([spec.dataset])
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.section, row.row), []).append(row)
    ours = tuple(_group(cells) for (section, _), cells in lines.items() if section == "ours")
    sections = [Section(f"Ours on {data}", ours)]
    if spec.literature:
        original = context.dataset_title(spec.dataset)
        quoted = tuple((_quoted(cells),) for (s, _), cells in lines.items() if s == "literature")
        sections.append(Section(f"Literature on {original}, as printed", quoted))
    return Page(
        title=spec.title,
        caption=spec.caption.format(data=data),
        provenance=context.provenance(context.dataset(spec.dataset)),
        training=_training(spec, rows),
        headings=tuple(
            heading for column in spec.columns.values() for heading in (column, *QUANTITIES[1:])
        ),
        sections=tuple(sections),
        notes=(*_legend(spec, context, rows), *spec.notes),
        references=tuple(spec.references.values()),
    )


def _group(cells: list[Row]) -> tuple[Line, ...]:
    first = line(cells[0].row_title, cells, _value)
    steps = dict.fromkeys(_steps(cell) for cell in cells if cell.steps is not None)
    label = f"T = {' / '.join(steps)}" if steps else "seeds"
    return (first, line(label, cells, _detail, "detail"))


def _steps(cell: Row) -> str:
    """Inner steps of a measurement, e.g. "8", or "8 of 16" where training has more."""
    return f"{cell.steps}" + (
        "" if cell.steps == cell.trained_steps else f" of {cell.trained_steps}"
    )


def _value(cell: Row) -> str:
    if cell.quantity != "accuracy":
        return DASH if cell.ratio is None else f"{cell.ratio:.2f}×"
    if cell.ours is None or cell.ours_high is None:
        return DASH
    return f"{cell.ours:.2f} ± {cell.ours_high - cell.ours:.2f}"


def _detail(cell: Row) -> str:
    """Seeds, or seconds or bytes."""
    if cell.quantity == "accuracy":
        return ("" if cell.seed_sd is None else f"sd {cell.seed_sd:.2f}, ") + f"n = {cell.n}"
    return "" if cell.ours is None else measured.text(cell.quantity, cell.ours)


def _quoted(cells: list[Row]) -> Line:
    """A line of the literature, which has neither times nor memory."""
    texts = []
    means = [repr(cell.paper) for cell in cells if cell.paper is not None]
    decimals = max((len(mean.partition(".")[2]) for mean in means), default=0)
    for cell in cells:
        text = DASH if cell.paper is None else printed(cell.paper, cell.paper_spread, decimals)
        texts += [text, *("" for _ in QUANTITIES[1:])]
    return Line(cells[0].row_title, tuple(texts))


def _training(spec: BenchmarkTable, rows: Sequence[Row]) -> str:
    """Meta-iterations of each column, and of methods that were trained otherwise than the first."""
    columns: dict[str, list[str]] = {}
    for column, heading in spec.columns.items():
        runs: dict[str, list[str]] = {}
        for row in rows:
            if row.column == column and row.iterations is not None:
                run = f"{row.iterations:,} meta-iterations of {row.meta_batch} tasks"
                runs.setdefault(run, []).append(_short(row))
        others = [f"{', '.join(names)}: {run}" for run, names in list(runs.items())[1:]]
        text = next(iter(runs), "not run") + (f" ({'; '.join(others)})" if others else "")
        columns.setdefault(text, []).append(heading)
    return "Training. " + "; ".join(f"{' and '.join(c)}: {run}" for run, c in columns.items()) + "."


def _legend(spec: BenchmarkTable, context: Context, rows: Sequence[Row]) -> list[str]:
    """How to read the lines, what was measured and where, and what the ± of the literature is."""
    episodes = f"{_joined(rows, lambda row: row.episodes)} ".lstrip()
    legend = [
        f"First, accuracy in percent ± 95% interval over {episodes}test episodes of the mean of "
        "the seeds; below it the sample standard deviation of their means (sd) and the number of "
        "seeds (n)."
    ]
    times = [row for row in rows if row.quantity == "time" and row.ours is not None]
    sizes = [row for row in rows if row.quantity == "memory" and row.ours is not None]
    if times:
        first = context.methods.get(spec.methods[0], spec.methods[0]).removesuffix(" (ours)")
        legend += [
            f"Time: {_joined(times, lambda row: row.what)} of a meta-iteration of "
            f"{_joined(times, lambda row: row.tasks)} tasks, median of "
            f"{_joined(times, lambda row: row.n)} rounds, methods interleaved. Memory: "
            f"{_joined(sizes, lambda row: row.what)}. Device: "
            f"{_joined(times, lambda row: row.device)}.",
            f"×: relative to {first}, at T inner steps, as many as each method trains with; where "
            "so many were not measured (T = 8 of 16, say), the most that were.",
        ]
        legend += _uneven(spec, times)
    else:
        legend.append("Time and memory: not measured.")
    kinds: dict[str, list[str]] = {}
    for row in rows:
        if row.spread and row.row_title not in kinds.setdefault(row.spread, []):
            kinds[row.spread].append(row.row_title)
    legend += [f"± of {'; '.join(titles)}: {kind}." for kind, titles in kinds.items()]
    return legend


def _uneven(spec: BenchmarkTable, times: Sequence[Row]) -> list[str]:
    """Methods that can't be set beside the first, since other numbers of tasks were timed."""
    first = {row.column: row.tasks for row in times if row.row == spec.methods[0]}
    odd = [row for row in times if row.tasks != first.get(row.column, row.tasks)]
    if not odd:
        return []
    named = "; ".join(f"{_short(row)}, {row.column_title}: {row.tasks} tasks" for row in odd)
    return [f"No ratio where another number of tasks was measured ({named})."]


def _short(row: Row) -> str:
    return row.row_title.removesuffix(" (ours)")


def _joined(rows: Sequence[Row], value: Callable[[Row], object]) -> str:
    """The differing values of rows, joined by "or"; nothing where there is None."""
    values = dict.fromkeys(value(row) for row in rows)
    return " or ".join(str(found) for found in values if found is not None)
