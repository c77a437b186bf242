"""`multistep compare A B`: two runs, scales or commits, cell by cell: beyond noise or not."""

import argparse
import io
import itertools
import re
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from multistep import kinds, options, stats
from multistep.files import UserError, read_json, write_json
from multistep.job import results
from multistep.pages import query
from multistep.pages.claims import accuracy, cost
from multistep.pages.frame import CELL
from multistep.pages.scales import Run

COMPARISON = "a comparison"  # in kinds.json
Key = tuple[str, ...]  # scale, experiment, dataset, and the method of a result


def add_parser(subparsers: Any) -> None:
    """Add `compare` to the command line of `multistep`."""
    parser = subparsers.add_parser(
        "compare", help="compare the results of two runs, scales or commits, cell by cell"
    )
    for name in ("a", "b"):
        parser.add_argument(
            name,
            type=options.filled,
            metavar=name.upper(),
            help="a folder: project, scale, results; or a commit",
        )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the comparison as JSON too"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the comparison as Markdown."""
    if args.json:
        kinds.check_place(args.json, COMPARISON)
    found = compare(read(args.a), read(args.b))
    if args.json:
        write_json(args.json, {"a": args.a, "b": args.b, **found})
    print(markdown(found, args.a, args.b), end="")


def read(place: str) -> dict[Key, list[Run]]:
    """Results (by seed) and measurements of a folder, or of a commit of this repository.

    Raises UserError: there are none, or one isn't as it was written.
    """
    folder = Path(place)
    if not folder.exists():
        with tempfile.TemporaryDirectory() as temporary:
            _extract(place, Path(temporary))
            return read(temporary)
    homes = (folder, *sorted(folder.glob("scales/*")))
    found: dict[Key, list[Run]] = {}
    seen = query.Seen()
    for home in [h / "results" for h in homes if (h / "results").is_dir()] or [folder]:
        for path in sorted(home.rglob("*.json")):
            within = f"/results/{path.relative_to(home).as_posix()}"
            if "/results/choices/" in within or not path.is_file():
                continue
            about = read_json(path)
            if isinstance(about, dict) and not about.keys() & {"cell", "schema", "seal"}:
                continue  # somebody else's
            if kinds.of(about) not in (None, kinds.RESULT, kinds.MEASUREMENT):
                continue
            record = results.in_place(path, results.checked(path, about))
            seen.add(record, str(path))
            if not results.is_candidate(record):
                cell, kind = record["cell"], () if "metrics" in record else ("measure",)
                key = (cell["scale"], *kind, *(cell[name] for name in CELL if name in cell))
                found.setdefault(key, []).append(record)
    if not found:
        raise UserError(
            f"{place}: no results in it; name a project, a scale or a folder of results"
        )
    return found


def _extract(commit: str, into: Path) -> None:
    """The results of a commit, as files."""
    listed = ["git", "ls-tree", "-r", "--full-tree", commit]
    try:
        names = subprocess.run(listed, capture_output=True, text=True, check=False)
        why = names.stderr.strip().rpartition("\n")[2] if names.returncode else ""
    except OSError as error:
        why = f"git: {error.strerror}"
    if why:
        told = f"{commit}: neither a folder nor a commit ({why})"
        raise UserError(f"{told}; name one that there is, in a clone, or a folder")
    # Files alone, whose modes begin with 100: no links.
    files = re.findall(r"(?m)^100.*\t((?:.*/)?results/.*\.json)$", names.stdout)
    if files:
        top = subprocess.check_output(["git", "rev-parse", "--show-toplevel"], text=True).strip()
        zipped = ["git", "-C", top, "archive", "--format=zip", commit, "--", *files]
        with zipfile.ZipFile(io.BytesIO(subprocess.check_output(zipped))) as archive:
            archive.extractall(into)


def compare(a: dict[Key, list[Run]], b: dict[Key, list[Run]]) -> dict[str, Any]:
    """Every cell and timed method of both: B minus A in points, or B over A, with its interval.

    `beyond_noise`: its 95% interval for all comparisons of a quantity at once (Bonferroni) leaves
    out no difference; `alone`: that of this comparison by itself does. Both are None without an
    interval, but False where nothing differs.
    """
    # Of one scale each, two scales are compared by their cells.
    if all(len({key[0] for key in of}) == 1 for of in (a, b)):
        a, b = ({("", *key[1:]): runs for key, runs in of.items()} for of in (a, b))
    rows = [row for key in a if key in b for row in _rows(key, a[key], b[key])]
    many = Counter(row["of"] for row in rows)
    for row in rows:
        level = 1 - 0.05 / many[row["of"]]
        estimate = row.pop("estimate")
        none = 1.0 if estimate.ratio or estimate.exact else 0.0
        row |= {"difference": estimate.shown, "interval": None, "n": dict(estimate.n)}
        same = False if estimate.shown == none else None  # whatever the noise is
        row |= {"beyond_noise": same, "alone": same}
        if (interval := estimate.interval()) is not None:
            low, high = estimate.interval(level)
            row |= {"interval": list(interval), "beyond_noise": not low <= none <= high}
            row |= {"alone": not interval[0] <= none <= interval[1]}
    only = {name: ["/".join(filter(None, key)) for key in one if key not in other]
            for name, one, other in (("only_a", a, b), ("only_b", b, a))}  # fmt: skip
    return {"rows": rows, **only}


def _rows(key: Key, a: list[Run], b: list[Run]) -> Iterator[dict[str, Any]]:
    """The comparisons of one cell, or of one measurement."""
    name = "/".join(filter(None, key))
    of = {"cell": name, "settings": _differing(a[0]["cell"], b[0]["cell"])}
    if "metrics" in a[0]:
        seeds = [{run["cell"]["seed"]: run for run in runs} for runs in (a, b)]
        shared = sorted(seeds[0].keys() & seeds[1].keys())
        pair = [[runs[seed] for seed in shared or sorted(runs)] for runs in seeds]
        values = [accuracy.level(runs).value for runs in pair]
        difference = accuracy.difference(pair[1], pair[0])
        yield of | {"of": "accuracy", "a": values[0], "b": values[1], "estimate": difference}
        return
    for row in a[0]["rows"]:
        other = cost.row_of(b[0], row["method"], row.get("steps"))
        if other is None:
            continue
        at = f"{name}: {row['method']}" + (f", {row['steps']} steps" if "steps" in row else "")
        methods = ({**r["cell"]["methods"][row["method"]], "measure": r["cell"]["measure"]}
                   for r in (a[0], b[0]))  # fmt: skip
        of = {"cell": at, "settings": _differing(*methods)}
        if a[0]["unit"]["time"] == b[0]["unit"]["time"]:
            # Two jobs, so their rounds are no pairs.
            logs = (stats.sampled(np.log(r["seconds"]).tolist(), "rounds", ratio=True)
                    for r in (other, row))  # fmt: skip
            means = (float(np.exp(np.log(r["seconds"]).mean())) for r in (row, other))
            ratio = next(logs) - next(logs)
            yield of | {"of": "seconds", **dict(zip("ab", means, strict=True)), "estimate": ratio}
        if a[0]["unit"]["memory"] == b[0]["unit"]["memory"]:
            ratio = stats.Estimate(other["bytes"] / row["bytes"], exact=True)
            yield of | {"of": "bytes", "a": row["bytes"], "b": other["bytes"], "estimate": ratio}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Settings of which two definitions differ, with both values."""
    cells = [{k: v for k, v in c.items() if k not in ("scale", "seed", "chosen")} for c in (a, b)]
    return {
        key.lstrip(".").removeprefix("settings."): [one, other]
        for key, other, one in results.unequal("", cells[1], cells[0])
    }


def markdown(found: Mapping[str, Any], a: str, b: str) -> str:
    """A row for each accuracy, and each time and size that differs; then what one alone has."""
    counts = [row["beyond_noise"] for row in found["rows"]]
    alone = sum(bool(row["alone"]) and not row["beyond_noise"] for row in found["rows"])
    lines = [
        f"A is {a}, B is {b}. Accuracy in points, B − A; seconds and bytes, B / A.",
        "",
        "| cell | of | A | B | difference | 95% | n | beyond noise | settings, A → B |",
        "|---|---|--:|--:|--:|---|---|---|---|",
    ]
    for row in found["rows"]:
        if row["of"] != "accuracy" and not row["alone"]:
            continue
        ends = "–" if row["interval"] is None else ", ".join(f"{x:.4g}" for x in row["interval"])
        n = ", ".join(
            f"{count:,} {what[:-1] if count == 1 else what}" for what, count in row["n"].items()
        )
        beyond = {None: "?", True: "yes", False: "alone" if row["alone"] else "no"}
        settings = ", ".join(f"{key} {one} → {two}" for key, (one, two) in row["settings"].items())
        numbers = [f"{row[key]:.5g}" for key in ("a", "b", "difference")]
        cells = [row["cell"], row["of"], *numbers, ends, n, beyond[row["beyond_noise"]], settings]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"{len(counts)} comparisons: {counts.count(True)} beyond noise (95% for all of a quantity "
        f"at once), {alone} only where each stands alone, {counts.count(None)} without an interval "
        "(one run, or no spread). Times and sizes that don't differ are left out above.",
    ]
    if any(row["n"].get("seeds") == 1 and row["interval"] for row in found["rows"]):
        lines += [
            "",
            "Of one seed noise is that of the test episodes; nothing is said of another training.",
        ]
    for name, title in (("only_a", f"Only in {a}"), ("only_b", f"Only in {b}")):
        groups = itertools.groupby(found[name], key=lambda cell: cell.rsplit("/", 1)[0])
        only = [f"{where} ({', '.join(c.rsplit('/', 1)[1] for c in of)})" for where, of in groups]
        lines += ["", f"{title}: {'; '.join(only)}."] if only else []
    return "\n".join(lines) + "\n"
