"""What the site says of methods and datasets."""

import importlib
import inspect
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.data.settings import Dataset
from multistep.job.results import unequal
from multistep.pages import inputs
from multistep.pages.scales import Scale
from multistep.plan import families
from multistep.plan.schema import Method


def methods(paper: Scale, shown: Sequence[Scale]) -> Iterator[dict[str, Any]]:
    """A card for each method of the paper's plan, and of those that a scale alone has: its formula,
    cost, settings, where it is used, and what scales that have run it set otherwise.
    """
    first: dict[str, tuple[Scale, str]] = {}  # which has it, and its family
    for scale in (paper, *shown):
        for experiment in scale.plan.params.experiments.values():
            timed = experiment.measured.methods if experiment.measured else []
            for name in (*experiment.methods, *timed):
                first.setdefault(name, (scale, experiment.family))
    for name, (scale, family) in first.items():
        params = scale.plan.params
        method = params.methods[name]
        algorithms = families.module(family, "algorithms")
        about = algorithms.get(method.algorithm).__module__
        tested = (c for c in scale.plan.cells.values() if c.method == name and c.kind == "cell")
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
            "otherwise": {s.name: text for s in shown if (text := _otherwise(s, name, method))},
            "cost": cost,
            "about": inspect.getdoc(importlib.import_module(about)),
        }


def _otherwise(scale: Scale, name: str, method: Method) -> str:
    """In which settings of a method a scale that has results of it differs; empty if in none."""
    other = scale.plan.params.methods.get(name)
    if other is None or not _has_run(scale, name):
        return ""
    both = (one.model_dump(exclude={"title"}) for one in (other, method))
    keys = [(key.lstrip(".").removeprefix("settings."), *of) for key, *of in unequal("", *both)]
    return inputs.told(keys) if keys else ""


def _has_run(scale: Scale, name: str) -> bool:
    """Whether it has results of a method or a dataset."""
    return any(name in Path(file).parts for file in scale.files)


def datasets(paper: Scale, shown: Sequence[Scale], sheets: Path) -> Iterator[dict[str, Any]]:
    """A card for each dataset of the paper's plan and of the scales, one more where `scales` have
    another one of its name; of those that are prepared here with their balance, and a sheet of
    their images, which is drawn into the folder `sheets`. `page`: a card's name among them.
    """
    cards: list[tuple[str, Dataset, list[Scale]]] = []
    for scale in (paper, *(s for s in shown if s is not paper)):
        for name, dataset in scale.plan.params.datasets.items():
            of = next((card[2] for card in cards if card[:2] == (name, dataset)), None)
            if of is None:
                cards.append((name, dataset, of := []))
            of.append(scale)
    first = {name: dataset for name, dataset, _ in reversed(cards)}
    for name, dataset, of in cards:
        loader = importlib.import_module(f"multistep.data.loaders.{dataset.loader}")
        page = name if dataset is first[name] else f"{name}-{of[0].name}"
        used = [s.name for s in of if _has_run(s, name)]
        facts = {"classes": f"{dataset.classes:,}"}
        if dataset.images:
            facts |= {f"{part} images": f"{n:,}" for part, n in dataset.images.items()}
        if dataset.images_per_class:
            facts["images a class"] = f"{dataset.images_per_class:,}"
        facts |= {f"prepared with {k}": str(v) for k, v in dataset.prepare.items()}
        for archive, entry in dataset.archives.items():
            otherwise = "drawn here" if entry.drawn is not None else "unverified"
            known, urls = entry.sha256 or entry.sha1 or otherwise, " ".join(entry.urls)
            facts[f"archive {archive}"] = f"{known}; {urls or 'brought by its user'}"
        folders = (s.home / "data" / "processed" / name for s in of)
        folder = next((f for f in folders if (f / "dataset.json").exists()), None)
        data = prepared.read(folder, name) if folder else None
        yield {
            "name": name,
            "page": page,
            "scales": [s.name for s in of],
            "title": dataset.title,
            "loader": dataset.loader,
            "about": inspect.getdoc(loader),
            "used": used,
            "facts": facts,
            "balance": _balance(data) if data else [],
            "sheet": _sheet(data, sheets / f"{page}.png") if data else "",
        }


def _balance(data: Prepared) -> list[list[str]]:
    """Classes and images of each part of a prepared dataset."""
    rows = []
    for part, indices in data.splits.items():
        counts = np.bincount(data.labels[indices])
        counts = counts[counts > 0]
        extremes = [counts.min(), counts.max()] if len(counts) else [0, 0]
        rows.append([part, *(f"{x:,}" for x in [len(counts), counts.sum(), *extremes])])
    return rows


def _sheet(data: Prepared, path: Path) -> str:
    """Ten images of each of six classes as one PNG; its way from the site's folder."""
    if data.shapes is not None:  # images of their own sizes make no sheet
        return ""
    images, labels = data.images, data.labels
    rows, classes = [], np.unique(labels)
    for label in classes[:: max(1, len(classes) // 6)][:6]:
        row = [*images[np.flatnonzero(labels == label)[:10]]]
        row += [np.zeros_like(images[0])] * (10 - len(row))
        rows.append(np.concatenate(row, axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path, optimize=True)
    return f"sheets/{path.name}"


def decisions(project: Path) -> Any:
    """docs/decisions.md below its first heading, its links as plain text; nothing without it."""
    page = project / "docs" / "decisions.md"
    if not page.exists():
        return ""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page.read_text(encoding="utf-8"))
    html = MarkdownIt().render(text.partition("\n")[2].replace("\n## ", "\n### "))
    return Markup(html)
