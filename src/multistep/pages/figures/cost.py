"""Figures 2 and 5: time and memory of a meta-iteration over the number of inner steps."""

import textwrap
from collections.abc import Sequence
from typing import Any

from multistep.pages import DataFrame, measured, query, style
from multistep.pages.context import Context
from multistep.pages.figures import missing, names, panels
from multistep.pages.layout import counted, joined
from multistep.pages.spec import FewShotFigure, ShownMethod, Wants

COLUMNS = (
    "method steps seconds seconds_low seconds_high rounds bytes clock memory tasks device "
    "experiment scale data"
)


class Spec(FewShotFigure):
    """All methods are interleaved in one job; the axes say which time and which memory.

    Labels give each method's cost relative to the first with as many steps; Multi-step (n) exists
    where n divides the steps.
    """

    remarks: dict[ShownMethod, str] = {}

    def wants(self) -> Wants:
        return Wants(timed=[(e, self.dataset, m) for e in self.panels for m in self.methods])


def rows(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> DataFrame:
    """All points of a cost figure in drawing order; methods lack those that were not measured.

    A window of n steps needs steps divisible by n, so Multi-step (n) has points only there. The
    number of steps that a method alone is trained with is left to the tables.
    """
    found = query.costs(query.data(spec, context, records))
    found = found[[n in shared for n, shared in zip(found.steps, found.shared_steps, strict=True)]]
    return style.ordered(found, experiment=spec.panels, method=spec.methods)


def notes(spec: Spec, context: Context, rows: DataFrame) -> list[str]:
    """What inner steps are, how they were measured, what was not."""
    called, there, first = names(context, spec.methods), set(rows.method), spec.methods[0]
    said: dict[str, list[str]] = {}
    for method, name in called.items():
        if method in spec.remarks and method in there:
            said.setdefault(spec.remarks[method], []).append(name)
    return [
        " ".join(f"{' and '.join(of)}: {remark}." for remark, of in said.items()),
        f"Time: {joined(rows.clock)}, median and quartiles over {joined(rows.rounds)} rounds. "
        f"Memory: {joined(rows.memory)}."
        + f" ×: relative to {called[first]} with as many inner steps."
        * (first in there),
        missing("Not measured", called, rows, spec.panels, "experiment"),
    ]


def draw(spec: Spec, context: Context, rows: DataFrame) -> style.Figure:
    """One row of two panels (time, memory) per experiment, one line per method."""
    shown = panels(spec.panels, rows, "experiment")
    most = max((here.method.nunique() for here in shown.values()), default=0)
    height = max(2.1, 0.7 + 0.125 * most)  # inches: a line for the name of each
    figure, axes = style.panels(rows, (len(shown), 2), height=height)
    for (name, here), (time, memory) in zip(shown.items(), axes, strict=False):
        of = here.drop_duplicates("method").set_index("method").tasks
        odd = [f"{style.look(context, m).name}: {n:g}" for m, n in of.items() if n != of.iloc[0]]
        tasks = counted(of.iloc[0], "task") + (f" ({', '.join(odd)})" if odd else "")
        time.set_title(f"{spec.panels[name]}, {tasks}")
        for panel, quantity, key, measure in (
            (time, "time", "seconds", here.clock.iloc[0]),
            (memory, "memory", "bytes", here.memory.iloc[0]),
        ):
            unit, factor = measured.unit(quantity, here[key].max())
            scaled = {column: here[column] / factor for column in here if column.startswith(key)}
            _panel(panel, spec, context, here.assign(**scaled), key)
            panel.set_ylabel(textwrap.fill(f"{measured.LABELS[measure]} ({unit})", 20))
    return figure


def _panel(axes: style.Axes, spec: Spec, context: Context, rows: DataFrame, key: str) -> None:
    """One line per method, from zero; at the right its name and its cost relative to the first."""
    style.lines(axes, context, rows, "steps", key, open_markers=3)
    first = rows[rows.method == spec.methods[0]].set_index(["steps", "tasks"])[key]
    ends = []
    for last in rows.groupby("method", sort=False).tail(1).to_dict("records"):
        look, alike = style.look(context, last["method"]), (last["steps"], last["tasks"])
        relative = last["method"] != spec.methods[0] and alike in first.index
        text = look.name + (f"  {last[key] / first[alike]:.2f}×" if relative else "")
        ends.append((float(last["steps"]), float(last[key]), text, look.colour))
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set(xticks=sorted(rows.steps.unique()), xlabel="inner steps")
    style.label_ends(axes, ends)
