"""The report of all scales that were run: their pages, verdicts, and a static site around them.

`build` draws everything from the results in a checkout into one folder (reports/): `<scale>/tables`
and `<scale>/figures`, claims.json, audit.json, frame.csv.gz, a small JSON of metrics and a csv of
curves for each scale (for DVC), site/index.html, and report.json, which has the digests of all of
these. The site needs no network, script or server; what is not run is said to be so.
"""

import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from multistep import kinds
from multistep.files import write_json, write_text
from multistep.job import results
from multistep.job.record import name_of
from multistep.pages import (
    DataFrame,
    apart,
    catalogue,
    frame,
    inputs,
    place,
    templates,
    verdicts,
)
from multistep.pages import project as whole
from multistep.pages.claims import EVERY, closed_form
from multistep.pages.draw import Drawable, pages, prepare, undrawn
from multistep.pages.figures import described, write_figure
from multistep.pages.record import SUFFIXES, write_report
from multistep.pages.scales import Scale, scales
from multistep.pages.tables import draw, write_table
from multistep.plan import status
from multistep.progress import say

CURVES = {  # quantity of a history -> its heading
    "validation_accuracy": "Validation accuracy, %",
    "test_accuracy": "Test accuracy, %",
    "train_accuracy": "Training accuracy, %",
    "train_loss": "Training loss",
}


@dataclass
class Shown:
    """A scale as the site shows it; `accuracies`: of its methods, by table."""

    scale: Scale
    tables: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    coverage: list[list[Any]] = field(default_factory=list)
    accuracies: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = inputs.context(self.scale.plan.params)
        self.jobs = list(status.jobs(self.scale.plan.params, self.scale.home))
        self.done = sum(job.state == "done" for job in self.jobs)

    @property
    def name(self) -> str:
        return self.scale.name

    @property
    def about(self) -> str:
        """What its overlay says at its head."""
        if self.scale.overlay is None:
            return "The paper's own settings."
        lines = self.scale.overlay.read_text(encoding="utf-8").splitlines()
        head = itertools.takewhile(lambda line: line.startswith("#"), lines)
        return " ".join(line.lstrip("# ") for line in head)

    @property
    def command(self) -> str:
        """What runs it; a page's name or a result's path after it makes that alone."""
        overlay, home = self.scale.overlay, self.scale.project
        if overlay is not None and overlay.is_relative_to(home):
            overlay = overlay.relative_to(home)
        options = f"--configfile {overlay}" if overlay else "--resources gpu=1"
        return f"snakemake --cores all {options} --"


def build(project: Path, out: Path, only: Sequence[str] = ()) -> dict[str, int]:
    """Write the report of the project's results into `out`; how many there are of what.

    `only`: the scales to show, by name or overlay; none: all that have results, but those whose
    data are all drawn.

    Raises UserError: a result isn't as it was sealed, or isn't what the plan says.
    """
    paper, there = scales(project, only)
    run = {scale.name for scale in there if scale.files}
    there = [scale for scale in there if scale.files and (only or real(scale))]
    place.check(out, [scale.name for scale in there])
    shown = [Shown(scale) for scale in there]
    known = {s.file(path): record for s in there for path, record in s.records.items()}
    drawn = _draw_pages(paper, shown, out)
    from multistep.pages import audit  # torch, which no process that draws needs

    entries = verdicts.evaluate(project, [paper, *(s for s in there if s is not paper)])
    verdicts.write(out / "claims.json", entries)
    findings = audit.findings(project)
    audit.write(out / "audit.json", findings)
    numbers = whole.read(project, known, of=[scale.home for scale in there])
    here = numbers.scale.isna() | numbers.scale.isin([one.name for one in shown])
    numbers = numbers[here.to_numpy()]
    whole.write(out / "frame.csv.gz", numbers)
    drawn()
    for one in shown:
        one.cells = list(_cells(one))
        _for_dvc(one, out, numbers, entries)
    _site(project, out / "site", paper, shown, entries, findings)
    write_report(out, [one.name for one in shown])
    for line in undrawn(paper, there):
        say(f"warning: {line}")
    for name, left in {} if only else place.left(out, run).items():
        say(
            f"warning: {', '.join(map(str, left))}: of an earlier report, which showed {name}; it "
            "has no results here any more: bring them back, or delete these"
        )
    return {
        "claims": len({entry["id"] for entry in entries}),
        "scales": len(shown),
        "tables": sum(len(one.tables) for one in shown),
        "figures": sum(len(one.figures) for one in shown),
        "cells": sum(len(one.cells) for one in shown),
    }


def real(scale: Scale) -> bool:
    """Whether any of its data aren't drawn."""
    drawn = inputs.context(scale.plan.params).drawn
    return any(cell.dataset not in drawn for cell in scale.plan.cells.values())


def _draw_pages(paper: Scale, shown: Sequence[Shown], out: Path) -> Callable[[], None]:
    """Begin to draw those pages of which something is run, and count what each of them lacks; what
    is returned ends it.
    """
    todo = []
    for one in shown:
        for form in SUFFIXES:
            shutil.rmtree(out / one.name / form, ignore_errors=True)
        states = {job.path: job.state for job in one.jobs}
        for page in pages(one.scale):
            counts = Counter(
                states.get(file) or ("done" if file in page.files else "waiting")
                for file in page.planned
                if not file.startswith("data/")  # of evaluations status says nothing
            )
            row = [page.name, *(counts[state] for state in status.STATES), sum(counts.values())]
            one.coverage += [row] if page.planned else []
            todo += [(one, page)] if page.files else []
    prepare([page for _, page in todo])
    papers = paper.pages["tables"]
    made = apart.each(lambda item: _draw(item[1], out / item[0].name, papers), todo)

    def end() -> None:
        for (one, page), (about, accuracies) in zip(todo, made(), strict=True):
            getattr(one, page.form).append(about)
            one.accuracies |= {page.name: accuracies} if accuracies else {}

    return end


def _draw(
    page: Drawable, out: Path, papers: Collection[str]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Write the files of a page; what the site says of it, and the mean accuracies of a table that
    the paper has, or that is the scale's alone: none of `papers`.
    """
    prefix, of = out / page.form / page.name, (page.spec, page.context, page.records)
    about = {"name": page.name, "form": page.form, "suffixes": SUFFIXES[page.form]}
    if page.form == "figures":
        caption, rows = described(*of)
        write_figure(prefix, *of, (caption, rows))
        about |= {"badge": of[1].badge(page.spec.wants().datasets)}
        return about | {"training": "", "grid": "", "references": (), **caption._asdict()}, {}
    said, rows = draw(*of)
    write_table(prefix, *of, (said, rows))
    about |= {"grid": Markup(templates.render(said, "grid.html")), **vars(said)}
    own = page.name not in papers
    if page.spec.kind not in ("accuracy", "transfer") or (page.spec.beyond and not own):
        return about, {}
    ours = rows[(rows.section == "ours") & rows.ours.notna()]
    wide = ours.pivot(index="row", columns="column", values="ours").dropna(axis=1)
    return about, wide.mean(axis=1).dropna().round(3).to_dict()


def _cells(shown: Shown) -> Iterator[dict[str, Any]]:
    """What the site says of each result, measurements apart."""
    params = shown.scale.plan.params
    for path, record in shown.scale.records.items():
        if "metrics" not in record:
            continue
        cell, metrics, environment = record["cell"], record["metrics"], record["environment"]
        name, file = name_of(cell), shown.scale.file(path)
        href = f"cells/{name.replace('/', '-')}.html"
        parameters = Path(file).with_suffix(".safetensors")
        pulled = (shown.scale.project / parameters).exists()
        yield {
            **{key: cell[key] for key in ("scale", *kinds.NAMES)},
            "name": name,
            "path": path,
            "file": file,
            "href": href,
            "page": f"{shown.name}/{href}",
            "method_title": params.methods[cell["method"]].title,
            "dataset_title": shown.context.dataset_title(cell["dataset"]),
            "parameters": parameters.as_posix() if pulled else "",
            "accuracy": metrics.get("test_accuracy", metrics.get("validation_accuracy")),
            "trained": _trained(record),
            "device": frame.device_name(environment),
            "commit": (environment.get("commit") or "unknown")[:7],
            "curves": list(_curves(record)),
            "facts": {
                "Metrics": _flat(metrics),
                "Timing": _flat(record["timing"]),
                "Settings": {"algorithm": cell["algorithm"], **_flat(cell["settings"])},
                "Environment": _flat(environment),
            },
        }


def _trained(record: Mapping[str, Any]) -> str:
    """How long, in words; what only helps to choose a setting is called so."""
    metrics, settings = record["metrics"], record["cell"]["settings"]
    if metrics.get("diverged"):
        return "diverged"
    if "epochs" in metrics:
        return f"{metrics['epochs']:,} epochs"
    kind = ", candidate" if results.is_candidate(record) else ""
    return f"{settings['iterations']:,} meta-iterations{kind}"


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Settings or metrics as texts; of long lists their length alone."""

    def text(value: Any) -> str:
        if isinstance(value, list) and len(value) > 8:
            return f"{len(value):,} numbers"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return number(value) if is_number else str(value)

    return {key: text(value) for key, value in frame.flat(values) if value is not None}


def _curves(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What training recorded, for small drawings (parts.html)."""
    history = record["history"]
    at = "epoch" if history and "epoch" in history[0] else "iteration"
    first = 1 if at == "epoch" else 0  # as in the frame
    for quantity, title in CURVES.items():
        points = [(e[at] + first, e[quantity]) for e in history if e.get(quantity) is not None]
        if len(points) > 1:
            yield {"title": title, "at": at, "points": points}


def _for_dvc(
    shown: Shown, out: Path, numbers: DataFrame, entries: Sequence[Mapping[str, Any]]
) -> None:
    """`metrics/<scale>.json`: the mean accuracy of each method in each table, over the columns that
    all of them have, and verdicts: a column each of `dvc metrics`. Of tables that the paper hasn't,
    those that are the scale's alone.

    `curves/<scale>.csv`: validation accuracy by cell; for `dvc plots`.
    """
    counts = Counter(entry["verdict"] for entry in entries if entry["scale"] == shown.name)
    found = {"accuracy": shown.accuracies, "claims": dict(sorted(counts.items()))}
    write_json(out / "metrics" / f"{shown.name}.json", found)
    rows = (numbers.scale == shown.name) & (numbers.quantity == "validation_accuracy")
    at = numbers.iteration.fillna(numbers.epoch)
    curve = numbers.assign(step=at)[(rows & at.notna()).to_numpy()]
    names = [curve[key].astype(str) for key in kinds.NAMES]
    curve = curve.assign(cell=names[0].str.cat(names[1:], "/"), validation_accuracy=curve.value)
    csv = curve[["cell", "step", "validation_accuracy"]].to_csv(
        index=False, float_format="%.4g", lineterminator="\n"
    )
    write_text(out / "curves" / f"{shown.name}.csv", csv)


def _site(
    project: Path,
    site: Path,
    paper: Scale,
    shown: Sequence[Shown],
    entries: Sequence[Mapping[str, Any]],
    findings: Any,
) -> None:
    shutil.rmtree(site, ignore_errors=True)
    by_claim: dict[str, dict[str, Mapping[str, Any]]] = {}
    for entry in entries:
        by_claim.setdefault(entry["id"], {})[entry["scale"]] = entry
    names = [one.name for one in shown]
    places = {
        (one.name, page["name"]): f"{one.name}/{page['form']}/{page['name']}.html"
        for one in shown
        for page in (*one.tables, *one.figures)
    }
    cells = {cell["file"]: cell for one in shown for cell in one.cells}
    common = {
        "scales": shown,
        "claims": by_claim,
        "entries": entries,
        "findings": findings,
        "groups": _groups(by_claim),
        "columns": [*names, EVERY],
        "states": list(status.STATES),
        "paper_run": bool(paper.files),
        "paper_cells": len(paper.plan.cells),
        "number": number,
        "interval": lambda ends: "–" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]",
        "link": lambda href, text: Markup('<a href="{}">{}</a>').format(href, text),
        "page_of": lambda scale, name: places.get((scale, name)),
        "cell_of": cells.get,
        "source_of": lambda name: closed_form.source(name.rpartition(".")[2]),
    }

    def write(path: str, template: str, **own: Any) -> None:
        """A page of the site, from templates/site/<template>.html."""
        here = own["scale"].name if "scale" in own else template
        page, up = templates.template(f"site/{template}.html"), "../" * path.count("/")
        write_text(site / path, page.render(**common, **own, up=up, here=here))

    write_text(site / "style.css", templates.template("site/style.css").render())
    for name in ("index", "claims", "coverage", "audit"):
        write(f"{name}.html", name)
    cards = {
        "method": list(catalogue.methods(paper, [one.scale for one in shown])),
        "dataset": list(catalogue.datasets(paper, [one.scale for one in shown], site / "sheets")),
    }
    for what, of in cards.items():
        write(f"{what}s.html", f"{what}s", **{f"{what}s": of})
        for card in of:
            page = card.get("page", card["name"])
            used = [cell for cell in cells.values() if cell[what] == card["name"]]
            used = [cell for cell in used if cell["scale"] in card.get("scales", names)]
            for cell in used:
                cell[f"{what}_page"] = page
            used = [cell for cell in used if cell["accuracy"] is not None]  # as of candidates
            write(f"{what}s/{page}.html", what, **{what: card}, used=used)
    citation = (project / "CITATION.cff").read_text(encoding="utf-8")
    about = {"citation": citation, "decisions": catalogue.decisions(project)}
    write("about.html", "about", **about, frame_columns=frame.COLUMNS, quantities=frame.QUANTITIES)
    for one in shown:
        write(f"{one.name}/index.html", "scale", scale=one)
        for page in (*one.tables, *one.figures):
            of_scale = [entry for entry in entries if entry["scale"] == one.name]
            resting = [e["id"] for e in of_scale if page["name"] in e["evidence"]["pages"]]
            name = f"{one.name}/{page['form']}/{page['name']}"
            if page["form"] == "figures":
                copy = site / f"{name}.svg"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(site.parent / f"{name}.svg", copy)
            write(f"{name}.html", "page", scale=one, page=page | {"claims": resting})
        for cell in one.cells:
            write(cell["page"], "cell", scale=one, cell=cell)


def _groups(by_claim: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The claims as the first page has them, by heading; those that were not run come last."""
    on_runs, formulas, not_run = list[str](), list[str](), list[str]()
    for name, found in by_claim.items():
        run = any(entry["verdict"] != "not run" for entry in found.values())
        (formulas if EVERY in found else on_runs if run else not_run).append(name)
    return {"Tested on runs": on_runs, "Tested by formulas alone": formulas, "Not run": not_run}


def number(value: float | None) -> str:
    """A number with four digits; a dash for none."""
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
