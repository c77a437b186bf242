"""`multistep report table|figure|pages|frame|claims|audit|site`: draw one table or figure from
files of results, or all that a project has results for; write all numbers as one frame, a verdict
on every claim, the audit of the paper, or all of these with a site around them.

Of one page the spec and the names around it come as JSON, exactly as the workflow takes them from
the page's file and params.yaml, so that any table can be drawn again by hand. Only its kind is
imported.
"""

import argparse
import gc
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from multistep import kinds, settings
from multistep.files import UserError
from multistep.plan.mistakes import check_known
from multistep.progress import say

# What is written, as in kinds.json.
PAGE, CLAIMS = "the record of a page", "claims with their verdicts"
AUDIT = "the audit of the paper"


def add_parser(subparsers: Any) -> None:
    """Add `report` to the command line of `multistep`."""
    parser = subparsers.add_parser("report", help="draw tables and figures from results")
    parser.set_defaults(run=run)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, writes in (("table", "csv, md, tex and html"), ("figure", "svg, png, pdf and csv")):
        sub = kinds.add_parser(kind, help=f"draw one {kind}: {writes}")
        sub.add_argument("--name", required=True, help=f"its name, as in workflow/report/{kind}s/")
        sub.add_argument("--spec", required=True, help="what its file there says, as JSON")
        sub.add_argument("--context", required=True, help="JSON with scale, titles and stand_ins")
        sub.add_argument("--plan", help="JSON of what the results have to be")
        sub.add_argument(
            "--out", required=True, type=Path, help=f"path without suffix; writes {writes}"
        )
        sub.add_argument(
            "results", nargs="*", type=Path, metavar="RESULT.json",
            help="what to draw from (default: all that --plan names, below this folder)",
        )  # fmt: skip
    for kind, writes, out in (
        ("pages", "draw the pages of all scales that have results", "a folder; one a scale in it"),
        ("frame", "write every number as one tidy csv", "a .csv or .csv.gz file; .md beside it"),
        ("claims", "write a verdict on every claim, at every scale", "a .json file; .md, .csv too"),
        ("audit", "write what the paper's own numbers and text show", "a .json file; .md too"),
        ("site", "all of these, and a site around them", "a folder, e.g. reports"),
    ):
        sub = kinds.add_parser(kind, help=writes)
        sub.add_argument("--project", type=Path, default=Path(), help="its folder (default: here)")
        sub.add_argument("--out", required=True, type=Path, help=out)
        if kind in ("pages", "site"):
            sub.add_argument(
                "--scale", action="append", metavar="SCALE",
                help="of this scale alone, by name or by its overlay's path (repeatable)",
            )  # fmt: skip
        if kind == "pages":
            sub.add_argument("names", nargs="*", metavar="PAGE", help="these alone, e.g. table4")


def run(args: argparse.Namespace) -> None:
    """Draw what the arguments ask for; a mistake in them is a UserError."""
    gc.set_threshold(200_000)  # thousands of records stay, and looking through them takes a tenth
    WRITERS[args.kind](args)


def _page(args: argparse.Namespace) -> None:
    from multistep.pages.record import SUFFIXES

    form = f"{args.kind}s"
    _check_place(Path(f"{args.out}.json"), PAGE, *SUFFIXES[form])
    from multistep.pages import query
    from multistep.pages.context import Context
    from multistep.pages.spec import parse
    from multistep.plan.unrecorded import OnDisk

    context = settings.parse(Context, settings.json_of("--context", args.context), "--context: ")
    plan = None if args.plan is None else settings.json_of("--plan", args.plan)
    if plan is not None:
        settings.parse(query.Expectations, plan, "--plan: ")
    on_disk = cache(OnDisk)
    records = []
    for path in args.results or map(Path, query.files(plan) if plan else ()):
        # A record beside others in a scale's folder rests on what is there.
        home = next((p.parent for p in path.absolute().parents if p.name == "results"), Path())
        records.append(query.read(path, plan, on_disk(home).expected))
    spec = parse(form, settings.json_of("--spec", args.spec), "--spec: ")
    write: Callable[..., list[Path]]
    if args.kind == "table":
        from multistep.pages.tables import write_table as write
    else:
        from multistep.pages.figures import write_figure as write
    _tell(write(args.out, spec, context, records))


def _pages(args: argparse.Namespace) -> None:
    _check_folder(args.out)
    from multistep.pages import draw, scales

    paper, found = scales.scales(args.project, args.scale or ())
    known = {name for scale in found for name in scale.by_name}
    check_known("report pages", args.names, known, "page")
    for scale in found:
        _tell(draw.draw(scale, args.out / scale.name, args.names))
    for line in draw.undrawn(paper, found, args.names):
        say(f"warning: {line}")


def _frame(args: argparse.Namespace) -> None:
    from multistep.pages import project

    _check_others(project.columns_of(args.out), [args.out])
    found = project.frame(args.project)
    project.write(args.out, found)
    print(f"{args.out}: {len(found):,} numbers")


def _claims(args: argparse.Namespace) -> None:
    _check_place(args.out, CLAIMS, "csv")
    from multistep.pages import verdicts

    entries = verdicts.evaluate(args.project)
    _tell(verdicts.write(args.out, entries))
    counts = Counter(entry["verdict"] for entry in entries)
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))


def _audit(args: argparse.Namespace) -> None:
    _check_place(args.out, AUDIT)
    from multistep.pages import audit

    _tell(audit.write(args.out, audit.findings(args.project)))


def _site(args: argparse.Namespace) -> None:
    _check_folder(args.out)
    from multistep.pages import site

    counts = site.build(args.project, args.out, args.scale or ())
    print(f"{args.out}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))


WRITERS: dict[str, Callable[[argparse.Namespace], None]] = {
    "table": _page, "figure": _page, "pages": _pages, "frame": _frame, "claims": _claims,
    "audit": _audit, "site": _site,
}  # fmt: skip


def _tell(paths: Iterable[Path]) -> None:
    for path in paths:
        print(path)


def _check_place(record: Path, kind: str, *beside: str) -> None:
    """Raise UserError unless a `record` of this kind and what it has `beside` it, by suffix, can be
    written there.
    """
    kinds.check_place(record, kind)
    _check_others(record, (record.with_suffix(f".{suffix}") for suffix in beside))


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file is in the way; name another place")


def _check_others(record: Path, others: Iterable[Path]) -> None:
    """Raise UserError for a file that would be written over, where the `record` that is written
    with it, or the beginning of that, doesn't lie beside it: it is another's.
    """
    ours = record.exists() or record.with_name(f"{record.name}.tmp").exists()
    if not ours and (found := next((o for o in others if o.exists()), None)):
        raise UserError(f"{found}: in the way, and no {record.name} beside it; name another --out")
