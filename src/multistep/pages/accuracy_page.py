"""The page of an accuracy table (Tables 4, 5): the literature above, ours below."""

from __future__ import annotations

from collections.abc import Sequence

from multistep.pages.accuracy import Row
from multistep.pages.kinds.tables import AccuracyTable
from multistep.pages.layout import DASH, Line, Page, Section, line, printed, signed
from multistep.pages.spec import Context


def page(spec: AccuracyTable, context: Context, rows: Sequence[Row]) -> Page:
    """Arrange the rows of `accuracy.rows` as the paper does."""
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.section, row.row), []).append(row)
    literature = [cells for cells in lines.values() if cells[0].section == "literature"]
    ours = [cells for cells in lines.values() if cells[0].section == "ours"]
    dataset = context.dataset(spec.dataset)
    data = context.dataset_title(dataset)
    original = context.dataset_title(spec.dataset)
    sections = []
    if literature:
        groups = tuple((line(cells[0].row_title, cells, _printed),) for cells in literature)
        sections.append(Section(f"Literature on {original}, as the paper quotes it", groups))
    heading = f"Ours on {data}, the paper's on {original}"
    gaps = _has_gaps(rows)
    sections.append(Section(heading, tuple(_group(spec, cells, gaps) for cells in ours)))
    if _shows_rates(rows):
        rates = tuple((line(cells[0].row_title, cells, _rate, "detail"),) for cells in ours)
        sections.append(Section("Inner learning rate: ours / the paper's", rates))
    return Page(
        title=spec.title,
        caption=spec.caption.format(data=data),
        provenance=context.provenance(dataset),
        training=_training(spec, rows),
        headings=tuple(spec.columns.values()),
        sections=tuple(sections),
        notes=(*_legend(spec, rows), *_remarks(spec, context), *spec.notes),
        references=tuple(spec.references.values()),
    )


def _group(spec: AccuracyTable, cells: list[Row], gaps: bool) -> tuple[Line, ...]:
    """One of our methods: its accuracies, and below them the seeds, the paper and any gap."""
    lines = [line(cells[0].row_title, cells, _ours), line("seeds", cells, _seeds, "detail")]
    if any(cell.exact is not None for cell in cells):
        lines.append(line("exact adaptation", cells, _exact, "detail"))
    if any(cell.last is not None for cell in cells):
        lines.append(line("last iterate", cells, _last, "detail"))
    if any(cell.paper is not None for cell in cells):
        rescaled = spec.paper is not None and spec.paper.interval_n != "episodes"
        lines.append(line("paper", cells, _rescaled if rescaled else _paper, "detail"))
        if gaps:
            lines.append(line("gap", cells, _gap, "detail"))
    return tuple(lines)


def _ours(cell: Row) -> str:
    if cell.ours is None or cell.ours_high is None:
        return DASH
    return f"{cell.ours:.2f} ± {cell.ours_high - cell.ours:.2f}"


def _seeds(cell: Row) -> str:
    spread = "" if cell.seed_sd is None else f"sd {cell.seed_sd:.2f}, "
    return f"{spread}n = {cell.n}"


def _exact(cell: Row) -> str:
    if cell.exact is None:
        return DASH
    return f"{cell.exact:.2f} ± {cell.exact_half_width:.2f}"


def _last(cell: Row) -> str:
    if cell.last is None:
        return DASH
    return f"{cell.last:.2f} ± {cell.last_half_width:.2f}"


def _rate(cell: Row) -> str:
    rates = (cell.inner_lr, cell.paper_inner_lr)
    return " / ".join(DASH if rate is None else f"{rate:g}" for rate in rates)


def _printed(cell: Row) -> str:
    return DASH if cell.paper is None else printed(cell.paper, cell.paper_spread)


def _paper(cell: Row) -> str:
    if cell.paper is None:
        return DASH
    return f"{cell.paper:.2f} ± {cell.paper_spread:.2f}"


def _rescaled(cell: Row) -> str:
    return DASH if cell.paper is None else f"{_paper(cell)} [{cell.paper_half_width:.2f}]"


def _gap(cell: Row) -> str:
    if cell.gap is None:
        return DASH
    verdict = {"yes": ", inside", "no": ", outside", "": ""}[cell.within]
    return signed(cell.gap, 2) + verdict


def _training(spec: AccuracyTable, rows: Sequence[Row]) -> str:
    """How long each column was trained, against the paper's meta-iterations and meta-batch."""
    columns: dict[str, list[str]] = {}
    for column, heading in spec.columns.items():
        runs = {
            (row.iterations, row.meta_batch)
            for row in rows
            if row.column == column and row.iterations is not None
        }
        text = " or ".join(f"{n:,} meta-iterations of {tasks} tasks" for n, tasks in sorted(runs))
        if runs and spec.paper is not None:
            theirs = (spec.paper.iterations, spec.paper.meta_batch[column])
            same = runs == {theirs}
            text += " (as the paper)" if same else f" (the paper: {theirs[0]:,} of {theirs[1]})"
        columns.setdefault(text or "not run", []).append(heading)
    return "Training. " + "; ".join(f"{' and '.join(c)}: {run}" for run, c in columns.items()) + "."


def _legend(spec: AccuracyTable, rows: Sequence[Row]) -> list[str]:
    """How to read the lines of the second section."""
    counts = sorted({row.episodes for row in rows if row.episodes is not None})
    episodes = f"{' or '.join(str(count) for count in counts)} " if counts else ""
    legend = [
        f"Accuracy ± 95% interval over {episodes}test episodes of the mean of the seeds. "
        "Seeds: sample standard deviation of their means (sd), number of seeds (n)."
    ]
    if (paper := spec.paper) is not None:
        printed = f"with its 95% interval over {paper.episodes} episodes"
        if paper.interval_n != "episodes":
            printed = f"± as printed [half-width over {paper.episodes} episodes]"
        text = f"Paper: as printed, {printed}."
        if _has_gaps(rows):
            text += (
                " Gap: ours − paper, in points; inside or outside the joint 95% interval over test "
                "episodes (the spread over seeds comes on top), where the cell was run as the "
                "paper's."
            )
        elif any(row.ours is not None and row.paper is not None for row in rows):
            text += " No gap is given: ours is not the paper's run."
        legend.append(text)
    if exact := [row for row in rows if row.exact is not None]:
        legend.append(
            "Exact adaptation: the same networks, adapted at test time with a gradient per inner "
            f"step instead of one per window{_bound(exact)}."
        )
    if last := [row for row in rows if row.last is not None]:
        legend.append(
            "The tested network is the iterate with the highest accuracy on validation classes; "
            f"last iterate: the one after all meta-iterations{_bound(last)}."
        )
    trained = [row for row in rows if row.inner_lr is not None]
    if any(row.candidates for row in trained):
        which = "is chosen for each cell by accuracy on validation classes"
        if not all(row.candidates for row in trained):
            which = "is chosen by accuracy on validation classes where the csv has candidates"
        legend.append(f"Our inner learning rate {which}; the csv has that of every candidate.")
    return legend


def _bound(rows: Sequence[Row]) -> str:
    """What the ± of exact adaptation or of the last iterate is, where rows have several seeds."""
    several = any(row.n > 1 for row in rows)
    return "; its ± is the mean of the seeds' half-widths, an upper bound" if several else ""


def _has_gaps(rows: Sequence[Row]) -> bool:
    return any(row.gap is not None for row in rows)


def _shows_rates(rows: Sequence[Row]) -> bool:
    """Whether inner learning rates differ from cell to cell by somebody's choice."""
    return any(row.candidates or row.paper_inner_lr is not None for row in rows)


def _remarks(spec: AccuracyTable, context: Context) -> list[str]:
    """The remarks on single cells, each under the name of its cell."""
    return [
        f"{context.methods.get(method, method)}, {spec.columns[column]}: {remark}"
        for method, remarks in spec.cell_notes.items()
        for column, remark in remarks.items()
    ]
