"""The claims of the paper tested at each scale: sealed entries, and how they are written.

The JSON is a list of entries, one a claim and scale: id, text, source, scale, verdict, measured and
interval of the part that decides, n, all parts, evidence, what differs from the paper's settings.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pandas as pd

from multistep import seal
from multistep.files import digest, write_beside, write_json, write_text
from multistep.pages import inputs
from multistep.pages.claims import EVERY, Claim, Part, claims, joint_level, side, verdict
from multistep.pages.scales import Scale, scales


def evaluate(project: Path, of: Sequence[Scale] | None = None) -> list[dict[str, Any]]:
    """Every claim at every scale, sealed: see `write`. `of`: the scales, the paper's first, if not
    all that have results.

    Raises UserError: a result isn't as it was sealed, or isn't what the plan says.
    """
    if of is None:
        paper, there = scales(project)
        of = [paper, *(scale for scale in there if scale.files and scale is not paper)]
    folder = (project / "workflow" / "report").resolve()
    said = [claims(folder, scale.plan.params, scale.by_name) for scale in of]
    return [
        _entry(name, here[name], scale)
        for name in dict.fromkeys(itertools.chain(*said))
        for scale, here in zip(of, said, strict=True)
        if name in here and (here[name].scaled or scale is of[0])
    ]


def _entry(name: str, claim: Claim, scale: Scale) -> dict[str, Any]:
    """One claim at one scale."""
    parts = list(claim.parts(scale))
    run = [part for part in parts if part.estimate is not None]
    found = verdict(parts, claim.range, claim.joint)
    shown = _decisive(run, claim)
    # One that would decide if it were the only one; what it has to be clear of among all is told.
    no = "outside" if claim.joint == "all" else "inside"
    alone = found == "undecided" and shown and side(shown, claim.range) == no
    files = sorted({file for part in run for file in part.files})
    wants = claim.wants()
    pages = [
        page
        for page, spec in (scale.by_name.items() if run else ())
        if {*wants.cells, *wants.measured} & {*spec.wants().cells, *spec.wants().measured}
    ]
    differing = {
        cell: keys
        for cell, keys in scale.differing(claim).items()
        if cell.rsplit("/", 1)[1] in claim.methods_of and _rests_on(scale, cell, files)
    }
    differs: dict[str, list[str]] = {}
    for cell, keys in differing.items():
        differs.setdefault(inputs.told(keys), []).append(cell)
    what = scale.name if claim.scaled else EVERY
    entry = {
        "id": name,
        "text": claim.text,
        "source": claim.source,
        "reading": claim.reading,
        "scale": what,
        "reduced": _reduced(differing),
        "claimed": list(claim.range),
        "unit": claim.unit,
        "verdict": found,
        "verdict_of_those_run": verdict(run, claim.range, claim.joint),
        "measured": shown and _number(shown),
        "interval": shown and _interval(shown),
        "interval_of_all": _interval(shown, joint_level(len(parts))) if shown and alone else None,
        "n": dict(shown.estimate.n) if shown and shown.estimate else {},
        "joint": f"{claim.joint} of {len(parts)} parts, {len(run)} of them run",
        "parts": [
            {
                "name": part.name,
                "measured": _number(part),
                "interval": _interval(part),
                "n": dict(part.estimate.n) if part.estimate else {},
                "verdict": verdict([part], claim.range),
                **({"missing": part.missing} if part.missing else {}),
            }
            for part in parts
        ],
        "evidence": {"pages": sorted(pages), "results": files, **claim.evidence},
        "differs": [{"settings": text, "cells": cells} for text, cells in differs.items()],
    }
    home = scale.plan.params.directory
    records = [scale.records[Path(f).relative_to(home).as_posix()] for f in files]
    seals = [record["seal"] for record in records]
    made_from = {"claim": digest(claim.model_dump()), "results": digest([files, seals])}
    return seal.seal({**entry, "words": _words(entry)}, made_from)


def _decisive(run: Sequence[Part], claim: Claim) -> Part | None:
    """The part that stands for a claim: the least favourable where all have to hold, else the most.

    Nearness to the range counts in half-widths, so that a part decides that is clear of its end,
    and one without an interval lies at the end.
    """

    def room(part: Part) -> float:
        assert part.estimate is not None
        low, high = claim.range
        value, ends = part.estimate.shown, part.estimate.interval()
        gaps = [value - low] if low is not None else []
        gaps += [high - value] if high is not None else []
        width = math.inf if ends is None else (ends[1] - ends[0]) / 2
        return min(gaps, default=0.0) / max(width, 1e-12)

    if not run:
        return None
    return (min if claim.joint == "all" else max)(run, key=room)


def _number(part: Part) -> float | None:
    return None if part.estimate is None else float(f"{part.estimate.shown:.9g}")


def _interval(part: Part, level: float = 0.95) -> list[float] | None:
    ends = None if part.estimate is None else part.estimate.interval(level)
    return None if ends is None else [float(f"{end:.9g}") for end in ends]


def _rests_on(scale: Scale, cell: str, files: Sequence[str]) -> bool:
    """Whether any of the results is of a cell, of one of its candidates, or of what is timed of it;
    `cell` as in `inputs.differing`.
    """
    *timed, experiment, dataset, method = cell.split("/")
    dataset = scale.plan.params.used(dataset)
    name = f"measure/{experiment}/{dataset}" if timed else f"{experiment}*/{dataset}/{method}/*"
    return any(fnmatch(file, scale.file(f"results/{name}.json")) for file in files)


_COUNTED = {
    "iterations": "meta-iterations",
    "meta_batch": "tasks",
    "epochs": "epochs",
    "batch_size": "images a mini-batch",
    "test_episodes": "test episodes",
    "measure.tasks": "timed tasks",
    "measure.rounds": "timed rounds",
    "measure.batches": "timed mini-batches",
}


# Settings of a training that what is timed doesn't have: how long it is, and how it is tested.
_UNTIMED = {"iterations", "epochs", "meta_schedule", "log_every", "hold_out_validation"}
_UNTIMED |= {"validate_every", "validation_episodes", "selection", "test_episodes", "test_steps"}


def _reduced(differing: Mapping[str, Sequence[tuple[str, Any, Any]]]) -> str:
    """How a scale is less than the paper's, in words; empty if it is the paper's in all."""
    counts: dict[str, list[str]] = {}
    datasets: dict[str, None] = {}
    others = set()
    for cell, keys in differing.items():
        if not keys:
            datasets["a cell that the paper doesn't have"] = None
        own_tasks = "measure.tasks" in (key for key, *_ in keys)  # instead of the meta-batch
        untimed = _UNTIMED | ({"meta_batch"} if own_tasks else set())
        for key, is_, was in keys:
            if cell.startswith("measure/") and key in untimed:
                continue
            if key == "dataset":
                datasets[f"{is_} for {was}"] = None
            elif key in _COUNTED and isinstance(is_, int) and isinstance(was, int):
                counts.setdefault(f"of {was:,} {_COUNTED[key]}", []).append(f"{is_:,}")
            else:
                others.add(key)
    told = [f"{' or '.join(dict.fromkeys(here))} {of}" for of, here in counts.items()]
    told += datasets
    told += [f"otherwise in {', '.join(sorted(others))}"] if others else []
    return "; ".join(told)


_ONE = re.compile("(?<=ch)es$|s$")  # what the name of one lacks


def _words(entry: Mapping[str, Any]) -> str:
    """A verdict as a sentence that says of what it is one."""
    if entry["verdict"] == "not run":
        reasons = list(dict.fromkeys(part["missing"] for part in entry["parts"]))
        return f"not run: {reasons[0] if len(reasons) == 1 else 'no results'}"
    measured = entry["measured"]
    value = f"{measured:,.0f}" if abs(measured) >= 1000 else f"{measured:.4g}"
    value += entry["unit"]
    ends, n = entry["interval"], entry["n"]
    value += f" [{ends[0]:.4g}, {ends[1]:.4g}]" if ends and ends[0] < ends[1] else ""
    value += "".join(f", {n:,} {_ONE.sub('', k) if n == 1 else k}" for k, n in n.items())
    if ends is None:
        single = 1 in n.values() and not any("episodes" in key for key in n)  # these are several
        value += f"{'' if single else ', without any spread'}, so no interval"
    elif n.get("seeds") == 1:
        value += ", of these networks and no other training"
    elif n and entry["unit"] and all(key.startswith("seeds") for key in n):
        value += ", of these test images and no others"
    words = f"{entry['verdict']}: {value}"
    if (count := len(entry["parts"])) > 1:
        run = sum("missing" not in part for part in entry["parts"])
        words += f", the deciding one of {run}"
        if entry["interval_of_all"]:
            level, (low, high) = 100 * joint_level(count), entry["interval_of_all"]
            words += f" ([{low:.4g}, {high:.4g}] at {level:.4g}%, as due for one of {count})"
        if run < len(entry["parts"]):
            words += f"; {len(entry['parts']) - run} more not run"
            if entry["verdict_of_those_run"] != entry["verdict"]:
                words += f", {entry['verdict_of_those_run']} in those that were"
    if entry["reduced"]:
        words += f" (at {entry['reduced']}: it says nothing of the paper's setting)"
    return words


COLUMNS = ("id", "scale", "verdict", "measured", "low", "high", "unit", "n", "source", "text")


def write(out: Path, entries: Sequence[Mapping[str, Any]]) -> list[Path]:
    """`out` (json), and beside it a table for reading (md) and one for computing (csv).

    Equal results give equal bytes.
    """
    table = pd.DataFrame(
        {
            **{key: [entry[key] for entry in entries] for key in COLUMNS if key in entries[0]},
            "n": ["; ".join(f"{n} {k}" for k, n in entry["n"].items()) for entry in entries],
            "low": [(entry["interval"] or [None])[0] for entry in entries],
            "high": [(entry["interval"] or [None])[-1] for entry in entries],
        },
        columns=COLUMNS,
    )
    paths = [out, out.with_suffix(".md"), out.with_suffix(".csv")]
    write_beside(paths[1], _markdown(entries))
    write_json(out, list(entries))
    write_text(paths[2], table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return paths


def _markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """A claim a line, a scale a column; below, each verdict in words."""
    names = list(dict.fromkeys(e["scale"] for e in entries if e["scale"] != EVERY))
    by: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        keys = ("text", "source", "reading")
        said = {**entry, **{key: re.sub(r"[|<]", r"\\\g<0>", entry[key]) for key in keys}}
        found = by.setdefault(entry["id"], {})
        first = next(iter(found.values()), said)
        said["otherwise"] = any(said[key] != first[key] for key in ("text", "claimed"))
        found[entry["scale"]] = said
    lines = ["# Claims of the paper", ""]
    lines += ["| claim | source | " + " | ".join(names) + " |", "|---" * (2 + len(names)) + "|"]
    for found in by.values():
        first = next(iter(found.values()))
        of = [found.get(n) or found.get(EVERY) for n in names]  # one scale's own claim has neither
        marks = [f"{'*' * bool(e['reduced'])}{'†' * e['otherwise']}" if e else "" for e in of]
        cells = [e["verdict"] + mark if e else "–" for e, mark in zip(of, marks, strict=True)]
        lines.append(f"| {first['text']} | {first['source']} | {' | '.join(cells)} |")
    lines += [
        "",
        "\\* of a scale that differs from the paper's: it says nothing of the paper's setting.",
    ]
    if any(e["otherwise"] for found in by.values() for e in found.values()):
        lines += ["", "† of a claim with other words or another range, which stand below."]
    for name, found in by.items():
        first = next(iter(found.values()))
        reading = f" *Read as:* {first['reading']}" if first["reading"] else ""
        lines += ["", f"## {name}", "", f"{first['text']} ({first['source']}).{reading}", ""]
        run = [e for e in found.values() if e["verdict"] != "not run"]
        for e in run:
            own = f" *Said here:* {e['text']}" if e["text"] != first["text"] else ""
            if e["claimed"] != first["claimed"]:
                own += f" *Claimed here:* {_range(e)}."
            if e["reading"] != first["reading"]:
                own += f" *Read here as:* {e['reading']}"
            lines.append(f"- **{e['scale']}**: {e['words']}{own}")
        lines += [] if run else ["- not run at any scale"]
    return "\n".join(lines) + "\n"


def _range(entry: Mapping[str, Any]) -> str:
    ends = zip(("at least", "at most"), entry["claimed"], strict=True)
    return ", ".join(f"{word} {end:g}{entry['unit']}" for word, end in ends if end is not None)
