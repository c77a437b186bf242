"""What readers have to know of the records behind a page, whatever it shows of them."""

from collections.abc import Iterator, Sequence
from typing import Any

from multistep.pages import DataFrame, frame
from multistep.pages.context import Context
from multistep.pages.spec import Spec


def remarks(spec: Spec, context: Context, records: Sequence[dict[str, Any]]) -> list[str]:
    """Notes on methods whose results come from different machines or versions, choices with their
    diverged candidates, test episodes with numbers that aren't finite, passes held at once where
    the inner loop moves the head alone, and code that no commit has.
    """
    return list(_remarks(spec, context, frame.runs(records, evaluations=True)))


def _remarks(spec: Spec, context: Context, runs: DataFrame) -> Iterator[str]:
    yield from _passes_held(spec, context, runs[runs.record == "measurement"])
    trained = runs[runs.record == "result"]
    mixed: dict[str, list[str]] = {}
    for method, group in runs[runs.record != "measurement"].groupby("method", sort=False):
        differ = []
        for key in ("device", "cpu", "threads", "torch", "commit"):
            values = group.get(f"environment.{key}", group.device.iloc[:0]).dropna().unique()
            if len(values) > 1:
                short = sorted(str(value)[: 7 if key == "commit" else None] for value in values)
                differ.append(f"{key} {' and '.join(short)}")
        if differ:
            name = context.methods.get(str(method), str(method))
            mixed.setdefault("; ".join(differ), []).append(name)
    for text, names in mixed.items():
        yield f"{', '.join(names)}: results differ in where they were made: {text}."
    chosen = trained[trained.chosen.notna()].drop_duplicates(frame.CELL)
    if len(chosen):
        candidates = [c for choice in chosen.chosen for c in choice["candidates"]]
        scores = [candidate["validation_accuracy"] for candidate in candidates]
        yield (
            f"{len(chosen)} choices by validation among {len(scores)} candidates, of which "
            f"{scores.count(None)} diverged; none of them met a test class."
        )
    if broken := trained.get("metrics.non_finite_episodes", trained.seed[:0]).sum():
        yield (
            f"{broken:,.0f} of {trained['metrics.test_episodes'].sum():,.0f} test episodes had "
            "numbers that aren't finite; they count with the accuracy that remains."
        )
    files = runs.drop_duplicates("file")
    if changed := files.get("environment.dirty", files.seed[:0]).eq(True).sum():
        yield f"{changed} of {len(files)} records were made by code that differed from its commit."


def _passes_held(spec: Spec, context: Context, runs: DataFrame) -> Iterator[str]:
    """A note on ANIL and memory-reduced meta-learning, whose memory hangs on one switch."""
    cached = runs.get("settings.options.cache_features", runs.seed).eq(True)
    heads = runs[cached & runs.algorithm.isin(["anil", "memory_reduced"])]
    heads = heads[heads.method.isin(getattr(spec, "methods", ()))]
    again = heads.get("settings.scheme", heads.seed).eq("replay")
    texts = {
        False: "the graphs of one support and one query pass are held at once, as in the published "
        "code of memory-reduced meta-learning.",
        True: "the support pass is computed once more after the query's, so that the larger graph "
        "alone is held; that saving is this project's, not the published code's.",
    }
    for replayed, text in texts.items():
        names = heads[again == replayed].method.unique()
        ordered = [context.methods.get(m, m) for m in getattr(spec, "methods", ()) if m in names]
        if ordered:
            yield f"{' and '.join(ordered)}: {text}"
