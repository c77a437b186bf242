"""What the documentation says is so: links, code, overlays, the messages that it quotes."""

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import multistep
from multistep import cli, verify
from multistep.files import read_json
from multistep.plan import params, status

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
DRAWN = ("reports", "docs/images")  # by a command, so a checkout may be without them


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_tables_are_whole_and_links_lead_somewhere(page):
    tables = re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [t for t in tables if not re.match(r"\|.*\n\|[-:| ]+\n\|", t)] == []
    absent = tuple(str(ROOT / name) for name in DRAWN if not (ROOT / name).exists())
    links = re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8"))
    targets = [(page.parent / link).resolve() for link in links if "://" not in link]
    assert [t for t in targets if not t.exists() and not str(t).startswith(absent or "-")] == []


def test_the_readme_is_short_and_its_picture_and_pages_are_linked():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 1700
    linked = set(re.findall(r"docs/([\w-]+\.md)", text))
    others = " ".join((ROOT / f"docs/{name}").read_text(encoding="utf-8") for name in linked)
    written = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert written == linked | {name for name in written if f"]({name})" in others}


def test_the_inner_loop_of_the_readme():
    exec(blocks("README.md", "python")[0], names := {})
    theta, x, y = names["theta"]["w"], names["x"], names["y"]
    w = theta.detach()
    for _ in range(2):  # two gradients, four steps with each
        w = w - 4 * 0.1 * 2 / 16 * x.T @ (x @ w - y)
    torch.testing.assert_close(names["phi"]["w"].detach(), w)
    assert theta.grad.norm() > 0


def test_the_frame_of_the_readme(monkeypatch):
    monkeypatch.chdir(ROOT)
    code = blocks("README.md", "python")[1]
    assert len(code.strip().splitlines()) <= 6
    exec(code, names := {})
    found = names["table"]
    for method in ("maml", "multistep4"):
        files = (ROOT / "scales/omniglot-cpu/results/5way_1shot/omniglot" / method).glob("*.json")
        tested = [read_json(file)["metrics"]["test_accuracy"] for file in files]
        column = found.loc[method].xs("5way_1shot", level=1)
        assert column["mean"] == pytest.approx(np.mean(tested))
        assert column["std"] == pytest.approx(np.std(tested, ddof=1))
        assert column["count"] == len(tested) > 1


def test_the_three_lines_that_load_parameters_are_those_that_are_tested():
    text = inspect.getdoc(multistep.load) or ""
    tested = textwrap.dedent("\n".join(x for x in text.splitlines() if x.startswith("    ")))
    for page in ("README.md", "docs/evaluating.md"):
        assert blocks(page, "python")[-1].strip() == f"import multistep\n\n{tested}"


def test_the_readers_of_curves(tmp_path, monkeypatch):
    """A stand-in for tensorboardX, which isn't installed, notes what it is given."""
    monkeypatch.chdir(tmp_path)
    written = []

    class Writer:
        def __init__(self, folder):
            self.add_scalar = lambda *what: written.append((folder, *what))
            self.close = list

    monkeypatch.setitem(sys.modules, "tensorboardX", SimpleNamespace(SummaryWriter=Writer))
    folder = tmp_path / "scratch/results/5way_1shot/omniglot/maml"
    folder.mkdir(parents=True)
    lines = ['{"iteration": 4, "train_loss": 0.5}', '{"iteration": 8, "validation_accuracy": 51.5}']
    (folder / "0.jsonl").write_text("\n".join(lines))
    (folder / "1.jsonl").write_text('{"epoch": 0, "train_loss": 0.25, "lambda_mean": [1, 2]}\n')
    for code in blocks("docs/running.md", "python"):
        exec(code, names := {**locals()})
        curves = names["curves"]
    paths = [str(p.relative_to(tmp_path)) for p in (folder / "0.jsonl", folder / "1.jsonl")]
    assert curves.sort_values("cell").train_loss.dropna().tolist() == [0.5, 0.25]
    assert set(curves.cell) == {*paths}
    assert sorted(written) == [
        (f"runs/{paths[0]}", "train_loss", 0.5, 4),
        (f"runs/{paths[0]}", "validation_accuracy", 51.5, 8),
        (f"runs/{paths[1]}", "train_loss", 0.25, 0),
    ]


@pytest.mark.parametrize("number", range(len(blocks("docs/bringing-your-data.md", "yaml"))))
def test_the_overlays_of_the_page_on_data_can_be_planned(number, tmp_path):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(blocks("docs/bringing-your-data.md", "yaml")[number], encoding="utf-8")
    assert params.load(ROOT / "params.yaml", overlay).sources


def test_the_experiments_that_are_shown_can_be_planned(tmp_path):
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = re.findall(r"dvc exp run[^`\n]* -S ([\w.]+)=([^`\s]+)", text)
    assert shown
    for key, value in shown:
        for name in reversed(key.split(".")):
            value = f"{{{name}: {value}}}"
        (tmp_path / "set.yaml").write_text(value, encoding="utf-8")
        params.load(ROOT / "params.yaml", tmp_path / "set.yaml")


def test_the_messages_that_are_explained_are_those_that_are_written():
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow/rules").glob("*.smk")]
    files += [ROOT / "Snakefile", ROOT / "Makefile"]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts that go on in the next line
    text = (ROOT / "docs/when-things-go-wrong.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    ours = [row for row in rows if not re.search(r"\((Snakemake|the system|DVC)\)|^`dvc ", row)]
    quoted = [said for row in ours for said in re.findall("`([^`]*)`", row)]
    parts = [part for said in quoted for part in said.split("…")]
    assert len(parts) > 60
    assert [part for part in parts if part not in source] == []


def test_the_commands_that_are_shown_are_there():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    shown = re.findall(r"^(?:    |)multistep ([a-z]+)([^#\n]*)", text, re.MULTILINE)
    shown += re.findall(r"`multistep ([a-z]+)([^`]*)`", text)
    assert len(shown) > 20
    known: dict[str, set[str]] = {}
    for command, module in cli.SUBCOMMANDS.items():
        parsers = [argparse.ArgumentParser()]
        importlib.import_module(module).add_parser(parsers[0].add_subparsers())
        for parser in parsers:  # it grows by those inside
            for action in parser._actions:
                known.setdefault(command, set()).update(action.option_strings)
                inner = action.choices if isinstance(action.choices, dict) else {}
                parsers += inner.values()
    missing = [c for c, _ in shown if c not in known]
    missing += [o for c, rest in shown for o in re.findall("--[a-z-]+", rest) if o not in known[c]]
    assert missing == []


@pytest.mark.parametrize(
    ("module", "names"),
    [(verify, verify.CHECKS), (status, (*status.STATES, *status.SELDOM))],
    ids=["verify", "status"],
)
def test_help_and_page_name_all_that_a_command_tells(module, names):
    """Kinds of artefacts, states of jobs: by their stems, "runs" for "running"."""
    words = set(re.findall("[a-z]+", " ".join(names))) - {"and", "elsewhere", "other"}
    stems = {re.sub("(n?ing|ed)$", "", word) for word in words}
    command = f"`multistep {module.__name__.rpartition('.')[2]}"
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8").split("\n\n")
    [told] = [text for text in page if text.startswith(command)]
    for text in (module.__doc__ or "", told):
        assert [stem for stem in sorted(stems) if stem not in text] == []


def test_the_rules_that_commands_say_they_are_called_by_call_them():
    files = (ROOT / "workflow/rules").glob("*.smk")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    rules = dict(re.findall(r"(?ms)^rule (\w+):\n(.*?)(?=^\S|\Z)", text))
    code = (file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py"))
    named = re.findall(r"`multistep (\w+)[^`]*` is what the rule `(\w+)` calls", " ".join(code))
    assert len(named) > 2
    assert [(c, rule) for c, rule in named if f"multistep {c} " not in rules.get(rule, "")] == []


def test_the_glossary_s_words_and_the_paper_s_numbers_can_be_relied_on():
    """What it bans stands nowhere; the heart of the paper is found by its equations' numbers."""
    glossary = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    banned = re.findall(r"\*([^*|]+)\*(?=[^|]*\|$)", glossary, re.MULTILINE)
    assert len(banned) > 3
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    words = "|".join(word.removesuffix("s") for word in banned)
    lines = [(f, x) for f in files for x in f.read_text(encoding="utf-8").splitlines()]
    assert [(f.name, x) for f, x in lines if re.search(words, x, re.IGNORECASE)] == []
    inner = "\n".join(f.read_text(encoding="utf-8") for f in (ROOT / "src").glob("*/inner/*.py"))
    numbers = [f"eq. {n}" for n in (2, 5, 11, 12, 13, *range(20, 28))]
    assert [name for name in (*numbers, "Lemma 1") if not re.search(rf"(?i){name}\b", inner)] == []
