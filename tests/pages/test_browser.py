"""The committed site in headless Chromium: links, the console, numbers, both themes, two widths.

Skipped without Playwright (`pip install playwright`) or a Chromium on the PATH. MULTISTEP_SHOTS
names a folder for the screenshots, MULTISTEP_REPORTS another report than reports/.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from helpers import ROOT

REPORTS = Path(os.getenv("MULTISTEP_REPORTS", ROOT / "reports")).resolve()
SITE = REPORTS / "site"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SHOTS = ("index", "claims", "coverage", "omniglot-cpu/index", "omniglot-cpu/tables/table4")
SHOTS += ("omniglot-cpu/figures/figure2", "methods/multistep4", "datasets/omniglot")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    if not CHROMIUM or not (SITE / "index.html").exists():
        pytest.skip("needs chromium on the PATH, and reports/ (`multistep report site`)")
    with api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def test_every_link_is_followed_and_nothing_is_amiss(browser: Any) -> None:
    """On a phone: no error in the console, no dead link or anchor, no page wider than it."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def failed(asked: Any) -> None:
        if not _file(asked.url).is_file():  # else it was left before its pictures were read
            wrong.append(f"not found: {asked.url}")

    page.on("requestfailed", failed)
    waiting, ids, anchors = [(SITE / "index.html").as_uri()], {}, set()
    for url in waiting:  # it grows by what it links to
        page.goto(url)
        ids[url] = set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
        if page.evaluate("document.scrollingElement.scrollWidth > innerWidth"):
            wrong.append(f"{url}: wider than a phone")
        for link in page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)"):
            target, _, anchor = link.partition("#")
            anchors |= {(target, unquote(anchor))} if anchor else set()
            file = _file(target)
            if target.startswith("file:") and not file.is_file():
                wrong.append(f"{url}: no {target}")
            elif file.suffix == ".html" and file.is_relative_to(SITE) and target not in waiting:
                waiting.append(target)
    assert wrong == []
    assert len(waiting) == len(list(SITE.rglob("*.html")))
    assert [(url, id_) for url, id_ in anchors if id_ not in ids[url]] == []


def _file(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def test_the_accuracies_on_pages_are_those_of_the_frame(browser: Any) -> None:
    frame = pd.read_csv(REPORTS / "frame.csv.gz", low_memory=False)
    right = frame[(frame.quantity == "test_accuracy") & frame.epoch.isna()]
    right = right.set_index("source").value
    page, compared = browser.new_page(), 0
    for index in sorted(SITE.glob("*/index.html")):
        page.goto(index.as_uri())
        rows = page.eval_on_selector_all(
            "tbody tr", "all => all.map(r => [...r.children].map(c => c.innerText))"
        )
        for name, shown, *_ in rows:
            source = f"scales/{index.parent.name}/results/{name}.json"
            if source in right:
                assert float(shown) == pytest.approx(right[source], abs=0.006), source
                compared += 1
    assert compared == len(right.filter(like="scales/")) > 0


def test_both_themes_at_two_widths(browser: Any, tmp_path: Path) -> None:
    folder = Path(os.getenv("MULTISTEP_SHOTS", tmp_path))
    for theme, width in itertools.product(("light", "dark"), (1200, 390)):
        page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": 844})
        for name in SHOTS:
            page.goto((SITE / f"{name}.html").as_uri())
            page.screenshot(path=folder / f"{name.replace('/', '-')}-{theme}-{width}.png")
        red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))")
        assert (red > 200) == (theme == "light")
    assert len(list(folder.glob("*.png"))) >= 4 * len(SHOTS)
