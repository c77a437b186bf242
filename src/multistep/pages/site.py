"""The report of all scales that were run: their pages, verdicts, and a static site around them.

`build` draws everything from the results in a checkout into one folder (reports/): `<scale>/tables`
and `<scale>/figures`, claims.json, frame.csv.gz, a small JSON of metrics and a csv of curves for
each scale (for DVC), and site/index.html. The site needs no network, script or server; what is not
run is said to be so.
"""

from __future__ import annotations

import importlib
import inspect
import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multistep.files import UserError, read_json, write_json, write_text
from multistep.pages import audit, claims, frame, inputs, query, templates
from multistep.pages import project as whole
from multistep.pages.claims import EVERY, Scale
from multistep.pages.context import Context
from multistep.pages.draw import pages
from multistep.pages.figures import caption, rows_of, write_figure
from multistep.pages.record import SUFFIXES
from multistep.pages.spec import Spec
from multistep.pages.tables import draw, write_table
from multistep.plan import families, status
from multistep.plan.mistakes import unknown

if TYPE_CHECKING:
    import pandas as pd

CURVES = {  # quantity of a history -> its heading
    "validation_accuracy": "Validation accuracy, %",
    "test_accuracy": "Test accuracy, %",
    "train_accuracy": "Training accuracy, %",
    "train_loss": "Training loss",
}


@dataclass
class Shown:
    """A scale as the site shows it."""

    scale: Scale
    context: Context
    project: Path
    tables: list[dict[str, Any]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)
    coverage: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.jobs = list(status.jobs(self.scale.plan.params, self.project / self.scale.folder))
        self.done = sum(job.state == "done" for job in self.jobs)

    @property
    def name(self) -> str:
        return self.scale.name

    @property
    def overlay(self) -> Path | None:
        """Its file under workflow/scales; the paper's scale has none."""
        path = Path("workflow") / "scales" / f"{self.name}.yaml"
        return path if (self.project / path).exists() else None

    @property
    def about(self) -> str:
        """What its overlay says at its head."""
        if self.overlay is None:
            return "The paper's own settings."
        lines = (self.project / self.overlay).read_text(encoding="utf-8").splitlines()
        head = (line for line in lines[: next((i for i, x in enumerate(lines) if x[:1] != "#"), 0)])
        return " ".join(line.lstrip("# ") for line in head)

    @property
    def command(self) -> str:
        """What runs it; a page's name or a result's path after it makes that alone."""
        overlay = f" --configfile {self.overlay}" if self.overlay else " --resources gpu=1"
        return f"snakemake --cores all{overlay} --"


def build(project: Path, out: Path, only: Collection[str] = ()) -> dict[str, int]:
    """Write the report of the project's results into `out`; how many there are of what.

    `only`: the scales to show; none: all that have results, but those whose data are all drawn.

    Raises UserError: a result isn't as it was sealed, or isn't what the plan says.
    """
    found = claims.scales(project, whole=True)
    known = {one.plan.params.scale for one in found}
    if wrong := unknown("--scale", only, known, "scale with results"):
        raise UserError("\n".join(wrong))
    found = [one for one in found if one is found[0] or _wanted(one, only)]
    entries = claims.evaluate(project, found)
    claims.write(out / "claims.json", entries)
    findings = audit.findings(project)
    audit.write(out / "audit.json", findings)
    shown = [Shown(s, inputs.context(s.plan.params), project) for s in found if s.records]
    numbers = whole.frame(project)
    here = numbers.scale.isna() | numbers.scale.isin([one.name for one in shown])
    numbers = numbers[here.to_numpy()]
    whole.write(out / "frame.csv.gz", numbers)
    for one in shown:
        for folder in ("tables", "figures"):
            shutil.rmtree(out / one.name / folder, ignore_errors=True)
        _draw_pages(one, out)
        one.cells = list(_cells(one))
        _for_dvc(one, out, numbers, entries)
    _site(project, out / "site", found[0], shown, entries, findings)
    return {
        "claims": len({entry["id"] for entry in entries}),
        "scales": len(shown),
        "tables": sum(len(one.tables) for one in shown),
        "figures": sum(len(one.figures) for one in shown),
        "cells": sum(len(one.cells) for one in shown),
    }


def _wanted(scale: Scale, only: Collection[str]) -> bool:
    drawn = inputs.context(scale.plan.params).drawn
    real = any(cell.dataset not in drawn for cell in scale.plan.cells.values())
    return scale.name in only if only else real


def _draw_pages(shown: Shown, out: Path) -> None:
    """Draw those pages of which something is run, and count what each of them lacks."""
    states = {job.path: job.state for job in shown.jobs}
    for page in pages(shown.scale.plan, shown.scale.paper, shown.project):
        counts = Counter(states[file] for file in page.planned if file in states)
        if not page.planned:
            continue
        row = [page.name, *(counts[state] for state in status.STATES), sum(counts.values())]
        shown.coverage.append(row)
        if page.files:
            prefix = out / shown.name / page.form / page.name
            about = _table if page.form == "tables" else _figure
            found = about(prefix, page.spec, page.context(), page.records())
            found |= {"name": page.name, "form": page.form, "suffixes": SUFFIXES[page.form]}
            getattr(shown, page.form).append(found)


def _table(prefix: Path, spec: Spec, context: Context, records: Sequence[Any]) -> dict[str, Any]:
    from markupsafe import Markup

    write_table(prefix, spec, context, records)
    page, _ = draw(spec, context, records)
    return {**vars(page), "grid": Markup(templates.render(page, "grid.html"))}


def _figure(prefix: Path, spec: Spec, context: Context, records: Sequence[Any]) -> dict[str, Any]:
    write_figure(prefix, spec, context, records)
    said = caption(spec, context, records, rows_of(spec, context, records))
    badge = context.badge(*map(context.dataset, spec.wants().datasets))
    return said._asdict() | {"badge": badge, "training": "", "grid": "", "references": ()}


def _cells(shown: Shown) -> Iterator[dict[str, Any]]:
    """What the site says of each result, measurements apart."""
    params = shown.scale.plan.params
    for path, record in shown.scale.records.items():
        if "metrics" not in record:
            continue
        cell, metrics, environment = record["cell"], record["metrics"], record["environment"]
        name = query.cell_name(cell)
        parameters = Path(shown.scale.file(path)).with_suffix(".safetensors")
        trained = {"iterations": "meta-iterations", "epochs": "epochs"}
        yield {
            **{key: cell[key] for key in ("experiment", "dataset", "method", "seed")},
            "name": name,
            "path": path,
            "file": shown.scale.file(path),
            "href": f"cells/{name.replace('/', '-')}.html",
            "method_title": params.methods[cell["method"]].title,
            "dataset_title": shown.context.dataset_title(cell["dataset"]),
            "parameters": parameters.as_posix() if (shown.project / parameters).exists() else "",
            "accuracy": metrics.get("test_accuracy", metrics.get("validation_accuracy")),
            "trained": next(
                (f"{metrics[k]:,} {v}" for k, v in trained.items() if k in metrics), "diverged"
            ),
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


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings or metrics as texts; of long lists their length alone."""
    texts: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            texts |= _flat(value, f"{before}{key}.")
        elif isinstance(value, list) and len(value) > 8:
            texts[f"{before}{key}"] = f"{len(value):,} numbers"
        elif value is not None:
            texts[f"{before}{key}"] = number(value) if isinstance(value, float) else str(value)
    return texts


def _curves(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What training recorded, as small drawings."""
    history = record["history"]
    at = "epoch" if history and "epoch" in history[0] else "iteration"
    for quantity, title in CURVES.items():
        points = [(e[at], e[quantity]) for e in history if e.get(quantity) is not None]
        if len(points) > 1:
            yield {"title": title, "svg": _polyline(points, f"{title}, by {at}")}


def _polyline(points: Sequence[tuple[float, float]], label: str) -> Any:
    """A curve as an svg that takes the page's colours."""
    from markupsafe import Markup, escape

    width, height, left, below = 520, 150, 55, 20
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    across, up = (width - left - 5) / (x1 - x0 or 1), (height - below - 8) / (y1 - y0 or 1)
    line = " ".join(
        f"{left + (x - x0) * across:.1f},{height - below - (y - y0) * up:.1f}" for x, y in points
    )
    base = height - below
    return Markup(
        f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}'
        f', from {number(points[0][1])} to {number(points[-1][1])}">'
        f'<line x1="{left}" x2="{width}" y1="{base}" y2="{base}"/><line x1="{left}" x2="{left}" '
        f'y1="0" y2="{base}"/><polyline points="{line}"/>'
        f'<text x="{left - 4}" y="12" text-anchor="end">{number(y1)}</text>'
        f'<text x="{left - 4}" y="{base}" text-anchor="end">{number(y0)}</text>'
        f'<text x="{left}" y="{height - 5}">{x0:,}</text>'
        f'<text x="{width - 2}" y="{height - 5}" text-anchor="end">{x1:,}</text></svg>'
    )


def _for_dvc(
    shown: Shown, out: Path, numbers: pd.DataFrame, entries: Sequence[Mapping[str, Any]]
) -> None:
    """`metrics/<scale>.json`: mean test accuracies and verdicts, in few numbers; for `dvc metrics`.

    `curves/<scale>.csv`: validation accuracy by cell; for `dvc plots`.
    """
    ours = numbers[(numbers.scale == shown.name).to_numpy()]
    tested = ours[(ours.quantity == "test_accuracy").to_numpy() & ours.iteration.isna().to_numpy()]
    tested = tested[tested.epoch.isna()].astype(
        {"experiment": object, "dataset": object, "method": object}
    )
    means = tested.groupby(["experiment", "dataset", "method"]).value.mean().round(3)
    accuracies: dict[str, Any] = {}
    for (experiment, dataset, method), mean in means.items():
        accuracies.setdefault(f"{experiment} {dataset}", {})[method] = float(mean)
    verdicts = Counter(entry["verdict"] for entry in entries if entry["scale"] == shown.name)
    write_json(
        out / "metrics" / f"{shown.name}.json",
        {"test_accuracy": accuracies, "claims": dict(sorted(verdicts.items()))},
    )
    curve = ours[(ours.quantity == "validation_accuracy").to_numpy()]
    at = curve.iteration.fillna(curve.epoch)
    curve = curve.assign(step=at)[at.notna().to_numpy()].astype(
        dict.fromkeys(("experiment", "dataset", "method", "seed"), str)
    )
    name = curve.experiment + "/" + curve.dataset + "/" + curve.method + "/" + curve.seed
    curve = curve.assign(cell=name)[["cell", "step", "value"]].rename(
        columns={"value": "validation_accuracy"}
    )
    write_text(
        out / "curves" / f"{shown.name}.csv",
        curve.to_csv(index=False, float_format="%.4g", lineterminator="\n"),
    )


def _site(
    project: Path,
    site: Path,
    paper: Scale,
    shown: Sequence[Shown],
    entries: Sequence[Mapping[str, Any]],
    findings: Any,
) -> None:
    from markupsafe import Markup

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
    cells = {cell["file"]: f"{one.name}/{cell['href']}" for one in shown for cell in one.cells}
    common = {
        "scales": shown,
        "claims": by_claim,
        "entries": entries,
        "findings": findings,
        "groups": _groups(by_claim),
        "columns": [*names, EVERY],
        "paper_run": bool(paper.records),
        "paper_cells": len(paper.plan.cells),
        "number": number,
        "interval": lambda ends: "–" if ends is None else f"[{number(ends[0])}, {number(ends[1])}]",
        "link": lambda href, text: Markup('<a href="{}">{}</a>').format(href, text),
        "page_of": lambda scale, name: places.get((scale, name)),
        "cell_of": cells.get,
    }
    write = partial(_write, site, common)
    write_text(site / "style.css", templates.template("site/style.css").render())
    for name in ("index", "claims", "coverage", "audit"):
        write(f"{name}.html", name)
    write("methods.html", "methods", methods=list(_methods(paper)))
    write("datasets.html", "datasets", datasets=list(_datasets(project, site, paper, shown)))
    citation = (project / "CITATION.cff").read_text(encoding="utf-8")
    write("about.html", "about", citation=citation, frame_columns=frame.COLUMNS)
    for one in shown:
        write(f"{one.name}/index.html", "scale", scale=one)
        for page in (*one.tables, *one.figures):
            resting = [
                id
                for id, found in by_claim.items()
                if one.name in found and page["name"] in found[one.name]["evidence"]["pages"]
            ]
            name = f"{one.name}/{page['form']}/{page['name']}"
            if page["form"] == "figures":
                copy = site / f"{name}.svg"
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(site.parent / f"{name}.svg", copy)
            write(f"{name}.html", "page", scale=one, page=page | {"claims": resting})
        for cell in one.cells:
            write(f"{one.name}/{cell['href']}", "cell", scale=one, cell=cell)


def _groups(by_claim: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The claims as the first page has them, by heading; those that were not run come last."""
    groups: dict[str, list[str]] = {
        "Tested on runs": [],
        "Tested by formulas alone": [],
        "Not run": [],
    }
    for name, found in by_claim.items():
        run = any(entry["verdict"] != "not run" for entry in found.values())
        groups[
            "Tested by formulas alone" if EVERY in found else "Tested on runs" if run else "Not run"
        ].append(name)
    return groups


def _write(site: Path, common: Mapping[str, Any], path: str, template: str, **own: Any) -> None:
    """A page of the site, from templates/site/<template>.html."""
    here = own["scale"].name if "scale" in own else template
    text = templates.template(f"site/{template}.html").render(
        **common, **own, up="../" * path.count("/"), here=here
    )
    write_text(site / path, text)


def _methods(paper: Scale) -> Iterator[dict[str, Any]]:
    params = paper.plan.params
    family_of: dict[str, str] = {}
    for experiment in params.experiments.values():
        timed = experiment.measured.methods if experiment.measured else []
        family_of |= dict.fromkeys([*experiment.methods, *timed], experiment.family)
    for name, family in family_of.items():
        method = params.methods[name]
        algorithms = families.module(family, "algorithms")
        about = algorithms.get(method.algorithm).__module__
        tested = (c for c in paper.plan.cells.values() if c.method == name and c.kind == "cell")
        cell = next((c for c in tested if c.choice is None), None)
        cost = ""
        if cell is not None and family == "few_shot":
            run = algorithms.create(method.algorithm, json.loads(cell.settings))
            cost = f"{run.cost():,.0f} forward passes of one image in {cell.experiment}"
        yield {
            "name": name,
            "title": method.title,
            "algorithm": method.algorithm,
            "experiments": [e for e, x in params.experiments.items() if name in x.methods],
            "settings": method.settings,
            "cost": cost,
            "about": inspect.getdoc(importlib.import_module(about)),
        }


def _datasets(
    project: Path, site: Path, paper: Scale, shown: Sequence[Shown]
) -> Iterator[dict[str, Any]]:
    """A card for each dataset of the paper's plan and of the scales; images where they are here."""
    known = {one.name: one.scale.plan.params for one in (*shown,)}
    all_of = {**paper.plan.params.datasets}
    for params in known.values():
        all_of |= params.datasets
    for name, dataset in all_of.items():
        loader = importlib.import_module(f"multistep.data.loaders.{dataset.loader}")
        used = [one.name for one in shown if any(cell["dataset"] == name for cell in one.cells)]
        facts = {"classes": f"{dataset.classes:,}"}
        if dataset.images:
            facts |= {f"{part} images": f"{n:,}" for part, n in dataset.images.items()}
        if dataset.images_per_class:
            facts["images a class"] = f"{dataset.images_per_class:,}"
        facts |= {f"prepared with {k}": str(v) for k, v in dataset.prepare.items()}
        for archive, entry in dataset.archives.items():
            digest = (
                entry.sha256
                or entry.sha1
                or ("drawn here" if entry.drawn is not None else "unverified")
            )
            facts[f"archive {archive}"] = (
                f"{digest}; {' '.join(entry.urls) or 'brought by its user'}"
            )
        homes = (project / p.directory for p in (paper.plan.params, *known.values()))
        prepared = (home / "data" / "processed" / name for home in homes)
        folder = next((f for f in prepared if (f / "dataset.json").exists()), None)
        yield {
            "name": name,
            "title": dataset.title,
            "loader": dataset.loader,
            "about": inspect.getdoc(loader),
            "used": f"Results here at: {', '.join(used)}." if used else "No results here.",
            "facts": facts,
            "balance": _balance(folder) if folder else [],
            "sheet": _sheet(folder, site / "sheets" / f"{name}.png") if folder else "",
        }


def _balance(folder: Path) -> list[list[str]]:
    """Classes and images of each part of a prepared dataset."""
    import numpy as np

    description = read_json(folder / "dataset.json")
    labels = np.asarray(description["labels"])
    rows = []
    for part, indices in description["splits"].items():
        counts = np.bincount(labels[np.asarray(indices, int)])
        counts = counts[counts > 0]
        n = [len(counts), counts.sum(), counts.min(initial=0), counts.max(initial=0)]
        rows.append([part, *(f"{x:,}" for x in n)])
    return rows


def _sheet(folder: Path, path: Path) -> str:
    """Ten images of each of six classes as one PNG; its way from the site's folder."""
    import numpy as np
    from PIL import Image

    images = np.load(folder / "images.npy", mmap_mode="r")
    if images.dtype != np.uint8:  # images of their own sizes are kept otherwise
        return ""
    labels = np.asarray(read_json(folder / "dataset.json")["labels"])
    rows = []
    for label in np.unique(labels)[:: max(1, len(np.unique(labels)) // 6)][:6]:
        chosen = np.flatnonzero(labels == label)[:10]
        row = [
            images[chosen[i]] if i < len(chosen) else np.zeros_like(images[0]) for i in range(10)
        ]
        rows.append(np.concatenate(row, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)
    return f"sheets/{path.name}"


def number(value: float | None) -> str:
    """A number with four digits; a dash for none."""
    return "–" if value is None else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
