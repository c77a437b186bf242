"""The site: its links, what screen readers need, its numbers against the frame, partial results."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, prepared_dataset
from PIL import Image

from multistep import cli
from multistep.pages import catalogue, inputs, scales, site
from multistep.pages.claims import closed_form
from multistep.pages.scales import Scale
from multistep.plan import params, status

SCALE = "omniglot-cpu"


class Read(HTMLParser):
    """What a page of the site has: links, ids, words, and what is wrong with it for its readers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.links += [link for key in ("href", "src") if (link := given.get(key))]
        self.ids += [name] if (name := given.get("id")) else []
        if tag == "img" and "alt" not in given:
            self.wrong.append("an image without alt")
        if tag in ("script", "iframe", "object", "form"):
            self.wrong.append(f"<{tag}>")
        if tag == "th" and "scope" not in given:
            self.wrong.append("a heading of a table without scope")

    def handle_endtag(self, tag: str) -> None:
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one scale's results, one of them missing."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("params.yaml", "CITATION.cff"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    shutil.copytree(ROOT / "scales" / SCALE / "results", folder / "scales" / SCALE / "results")
    (folder / "scales" / SCALE / "results/5way_1shot/omniglot/multistep4/2.json").unlink()
    return folder


@pytest.fixture(scope="module")
def told(project: Path) -> str:
    """What is said while the report is drawn, beside what an earlier one has left, and a damaged
    result of a scale that isn't shown.
    """
    out, other = project / "reports", project / "scales/other/results/0.json"
    left = [out / name for name in ("gone/tables/table4.csv", "metrics/gone.json")]
    for file in (*left, other):
        file.parent.mkdir(parents=True)
        file.write_text("{")
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert cli.main(["report", "site", "--project", str(project), "--out", str(out)]) == 0
    shutil.rmtree(out / "gone")
    left[1].unlink()
    shutil.rmtree(project / "scales/other")
    return said.getvalue()


@pytest.fixture(scope="module")
def reports(project: Path, told: str) -> Path:
    return project / "reports"


def test_what_a_scale_that_has_gone_has_left_is_told(reports: Path, told: str) -> None:
    left = f"{reports}/gone/tables, {reports}/metrics/gone.json"
    assert f"warning: {left}: of an earlier report, which showed gone; it has no results" in told
    assert told.count("of an earlier report") == 1


@pytest.fixture(scope="module")
def pages(reports: Path) -> dict[Path, Read]:
    return {path.resolve(): Read(path) for path in (reports / "site").rglob("*.html")}


@pytest.mark.parametrize(
    ("kind", "out", "there"),
    [
        ("site", ".", "site/index.html"),  # somebody else's
        ("site", ".", "site/cv.pdf"),
        ("site", ".", "report.json"),
        ("site", "a.json", "a.json"),
        ("site", ".", f"{SCALE}/tables/table4.yaml"),
        ("claims", "a.json", "a.md"),
        ("audit", "a.json", "a.md"),
        ("claims", "a.json", "a.csv"),
        ("frame", "a.csv", "a.md"),
        ("frame", "a.csv", "a.csv"),
    ],
)
def test_what_a_report_has_not_made_is_neither_removed_nor_written_over(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    kind: str, out: str, there: str,
) -> None:  # fmt: skip
    (file := tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# Mine")
    line = ["report", kind, "--project", str(project), "--out", str(tmp_path / out)]
    assert cli.main(line) == 2
    assert "name another" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "# Mine"


@pytest.mark.fault("a file of reports/ edited, deleted or put there", "named by `multistep verify`")
def test_a_file_of_a_report_that_is_not_what_was_drawn_is_named(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    shutil.copytree(reports, copy := tmp_path / "reports")
    assert cli.main(["verify", str(copy)]) == 0
    assert "all are as they were written" in capsys.readouterr().out
    entries = json.loads((copy / "claims.json").read_text())
    (copy / "claims.json").write_text(json.dumps(entries[1:]))  # each is as it was sealed
    edited = [
        "audit.md", "claims.csv", "claims.md", "frame.csv.gz", "frame.md", "site/index.html",
        f"curves/{SCALE}.csv", f"metrics/{SCALE}.json", f"site/{SCALE}/tables/table4.html",
        *(f"{SCALE}/tables/table4.{form}" for form in ("csv", "md", "tex", "html", "json")),
    ]  # fmt: skip
    for name in edited:
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
    shutil.rmtree(copy / f"{SCALE}/figures")
    (copy / "site/style.css").unlink()
    (copy / "site/more.html").write_text("Better than the paper")
    assert cli.main(["verify", str(copy)]) == 2
    told = capsys.readouterr().err
    wrong = ["claims.json", *edited, "site/style.css", "site/more.html"]
    wrong += [f"{SCALE}/figures/{file.name}" for file in reports.glob(f"{SCALE}/figures/*.json")]
    assert len(wrong) > 20
    for name in wrong:
        assert f"  {copy / name}: " in told, name
    assert told.count(f"{copy}/site/") == 4  # and no other
    record_property("injected", len(wrong))


def test_a_report_without_a_record_is_told(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(reports, copy := tmp_path / "reports")
    (copy / "report.json").unlink()
    assert cli.main(["verify", str(copy)]) == 0
    assert f"{copy}: without report.json, so of its site" in capsys.readouterr().out


def test_every_link_leads_somewhere_and_nothing_is_fetched(pages: dict[Path, Read]) -> None:
    outside = set()
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if link.startswith("https://"):
                outside.add(link)
                continue
            file = (path.parent / target).resolve() if target else path
            assert file.is_file(), f"{path.name}: {link}"
            assert not anchor or anchor in pages[file].ids, f"{path.name}: {link}"
    assert outside == {"https://arxiv.org/abs/2006.04298"}


def test_every_page_can_be_read_without_eyes(pages: dict[Path, Read]) -> None:
    for path, page in pages.items():
        assert not page.wrong, f"{path.name}: {page.wrong}"
        assert page.tags.count("h1") == page.tags.count("main") == page.tags.count("title") == 1
        assert len(page.ids) == len(set(page.ids)), path.name
        levels = [int(tag[1]) for tag in page.tags if tag in ("h1", "h2", "h3")]
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), path.name


def test_numbers_are_those_of_the_frame_and_of_the_claims(
    reports: Path, pages: dict[Path, Read]
) -> None:
    numbers = pd.read_csv(reports / "frame.csv.gz", low_memory=False)
    tested = numbers[(numbers.quantity == "test_accuracy") & (numbers.scale == SCALE)]
    means = tested.groupby(["experiment", "method"]).value.mean()
    metrics = json.loads((reports / "metrics" / f"{SCALE}.json").read_text())["accuracy"]
    assert list(metrics) == ["table4"]  # and not those that the paper hasn't: a column each
    table = pages[(reports / "site" / SCALE / "tables" / "table4.html").resolve()].text
    for method in ("maml", "fomaml", "multistep2", "multistep4", "multistep8"):
        mean = means["5way_1shot", method]
        both = (mean + means["20way_1shot", method]) / 2
        assert metrics["table4"][method] == pytest.approx(both, abs=6e-4)
        assert f"{mean:.2f} ±" in table
    entries = json.loads((reports / "claims.json").read_text())
    index = pages[(reports / "site" / "index.html").resolve()].text
    index = " ".join(index.split())
    for verdict in ("held", "not held", "undecided"):
        count = sum(e["verdict"] == verdict for e in entries if e["scale"] == SCALE)
        assert f"{verdict} {count}" in index[index.index(f"What was run {SCALE}") :]


def test_methods_datasets_and_decisions_have_pages(reports: Path, pages: dict[Path, Read]) -> None:
    home = (reports / "site").resolve()
    plan = params.load(ROOT / "params.yaml")
    used = pages[home / "methods" / "multistep4.html"]
    assert "window: 4" in used.text
    assert f"At {SCALE}" not in used.text
    other = " ".join(pages[home / "methods" / "reptile.html"].text.split())
    differs = "meta_batch 8 (paper scale: 5); iterations 2,000 (paper scale: 100,000)"
    assert f"At {SCALE}: {differs}" in other
    cells = [link for link in used.links if "/cells/" in link]
    assert len(cells) == len(set(cells)) == 3  # of two experiments, one of five files missing
    assert {p.stem for p in pages if p.parent.name == "datasets"} >= plan.datasets.keys()
    assert "1,623" in pages[home / "datasets" / "omniglot.html"].text
    assert "15 queries per class." in pages[home / "about.html"].text


def test_what_is_missing_is_said(reports: Path, pages: dict[Path, Read]) -> None:
    coverage = " ".join(pages[(reports / "site" / "coverage.html").resolve()].text.split())
    assert " ".join(["Page", *status.STATES, "of"]) in coverage  # the order of the columns below
    row = coverage[coverage.index("table4") :].split()[1:7]
    done, running, failed, stopped, waiting, of = map(int, row)
    assert (done + waiting, running, stopped, failed) == (of, 0, 0, 0)
    assert waiting > 0
    assert "Nothing of the paper's own scale is run here" in coverage
    index = pages[(reports / "site" / "index.html").resolve()].text
    assert "No run at the paper's own scale is in this checkout" in " ".join(index.split())
    assert "`" not in index  # `iterations`, in what a scale says of itself, is set as code


def test_evaluations_are_counted_and_candidates_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper, (one,) = scales.scales(ROOT, ["omniglot-long"])
    drawn = [page for page in site.pages(one) if page.name == "protocols"]
    monkeypatch.setattr(site, "pages", lambda scale: drawn)
    shown = site.Shown(one)
    site._draw_pages(paper, [shown], tmp_path)()
    (table,) = shown.tables
    assert (table["name"], shown.accuracies) == ("protocols", {})
    (row,) = shown.coverage
    done = len(list((one.home / "evaluations").rglob("*.json")))
    assert row == ["protocols", done, 0, 0, 0, row[-1] - done, len(drawn[0].planned)]
    long = ROOT / "scales/miniimagenet-long/results"
    (path,) = (long / "mini_5way_1shot-inner_lr-0.1").glob("*/maml/0.json")
    candidate = json.loads(path.read_text())
    assert site._trained(candidate) == "500 meta-iterations, candidate"
    candidate["metrics"]["diverged"] = "iteration 3"
    assert site._trained(candidate) == "diverged"


def test_drawn_data_are_left_out_unless_they_are_asked_for() -> None:
    for name, right in (("demo", False), (SCALE, True)):
        overlay = ROOT / f"workflow/scales/{name}.yaml"
        plan = inputs.Plan.of(params.load(ROOT / "params.yaml", overlay))
        assert site.real(Scale(plan, plan)) == right


def test_formulas_are_shown(pages: dict[Path, Read]) -> None:
    (claims,) = (page.text for path, page in pages.items() if path.name == "claims.html")
    for name, function in closed_form.FUNCTIONS.items():
        assert f"closed_form.{name}" in claims
        assert inspect.getsource(function).strip() in claims
    assert "def lemma1(" in claims  # which they call


def test_a_prepared_dataset_shows_its_balance_and_images(tmp_path: Path) -> None:
    plan = inputs.Plan.of(params.load(ROOT / "params.yaml"))
    paper = Scale(plan, plan, project=tmp_path)
    prepared_dataset(tmp_path / "data/processed/omniglot")
    cards = {card["name"]: card for card in catalogue.datasets(paper, [], tmp_path / "sheets")}
    assert cards["omniglot"]["balance"] == [
        ["train", "30", "600", "20", "20"],
        ["validation", "10", "200", "20", "20"],
        ["test", "20", "400", "20", "20"],
    ]
    assert cards["omniglot"]["scales"] == ["paper"]
    sheet = np.asarray(Image.open(tmp_path / cards["omniglot"]["sheet"]))
    assert sheet.shape == (6 * 28, 10 * 28)
    images = np.load(tmp_path / "data/processed/omniglot/images.npy")
    assert (sheet[:28, :28] == images[0]).all()
    assert (sheet[-28:, -28:] == images[5 * 10 * 20 + 9]).all()
    assert cards["cifar100"]["balance"] == []


def test_a_method_that_a_scale_alone_has_has_a_card() -> None:
    paper, (scale,) = scales.scales(ROOT, ["dogs32-long"])
    own = scale.plan.params
    experiment = own.experiments["adam_32"]
    experiment = experiment.model_copy(update={"methods": [*experiment.methods, "mine"]})
    own = own.model_copy(
        update={
            "methods": own.methods | {"mine": own.methods["l2t"]},
            "experiments": own.experiments | {"adam_32": experiment},
        }
    )
    shown = [replace(scale, plan=inputs.Plan.of(own))]
    cards = {card["name"]: card for card in catalogue.methods(paper, shown)}
    assert cards["mine"]["experiments"] == ["adam_32"]
    assert "adam_224" in cards["l2t"]["experiments"], "of the paper's, which has it"


def test_two_datasets_of_one_name_have_a_card_each(tmp_path: Path) -> None:
    """dogs32 has 15 images a class at one scale, 60 at another: what was run is on its own card."""
    paper, there = scales.scales(ROOT, ["dogs32-cpu", "dogs32-long"])
    cards = {card["page"]: card for card in catalogue.datasets(paper, there, tmp_path)}
    one, other = cards["dogs32"], cards["dogs32-dogs32-long"]
    for card, scale, images in ((one, "dogs32-cpu", "1,080"), (other, "dogs32-long", "4,800")):
        assert card["name"] == "dogs32"
        assert card["scales"] == card["used"] == [scale]
        assert card["facts"]["train images"] == images
    assert cards["tinyimagenet_x50"]["scales"] == ["dogs32-cpu", "dogs32-long"]
    assert cards["omniglot"]["scales"] == ["paper", "dogs32-cpu", "dogs32-long"]
    shown = [site.Shown(scale) for scale in there]
    for each in shown:
        each.cells = list(site._cells(each))
        epochs = [x for x, _ in each.cells[0]["curves"][0]["points"]]
        assert (epochs[0], epochs[-1]) == (1, 20)
    site._site(ROOT, tmp_path / "site", paper, shown, [], [])
    for page, (images, name) in {
        "dogs32": ("1,080", "dogs32-cpu"),
        "dogs32-dogs32-long": ("4,800", "dogs32-long"),
    }.items():
        read = Read(tmp_path / f"site/datasets/{page}.html")
        assert images in read.text
        cells = [link for link in read.links if "/cells/" in link]
        assert cells
        assert all(link.startswith(f"../{name}/") for link in cells)
        for link in cells:
            assert f"../../datasets/{page}.html" in Read(tmp_path / "site/datasets" / link).links
