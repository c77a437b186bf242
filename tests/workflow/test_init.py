"""What `multistep init` writes runs as it is, and only that."""

import argparse
import re
import zipfile
from pathlib import Path

import pytest
import workspace

from multistep.data.standins import photographs
from multistep.files import UserError, read_json
from multistep.plan import cells, init, params

ROOT = workspace.ROOT
BASE = params.load(ROOT / "params.yaml")


def begin(folder: Path, *words: str, status: int = 0) -> str:
    return workspace.run(folder, "python", "-m", "multistep.cli", "init", *words, status=status)


def images(file: Path, classes: int = 10, each: int = 6) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(classes * each):
            png = photographs.encoded(photographs.image("stl10", i % classes, i, 24, 0), "jpeg")
            archive.writestr(f"root/class{i % classes:02}/{i}.jpg", png)
    return file


def smaller(overlay: Path) -> str:
    """The overlay with fewer iterations, so that a test needn't wait for minutes."""
    text = re.sub(r"(iterations|validate_every): \d+ ", r"\1: 4 ", overlay.read_text())
    overlay.write_text(re.sub(r"_episodes: \d+ ", "_episodes: 6 ", text) + "threads: 1\n")
    return f"workflow/scales/{overlay.name}"


def test_a_method_and_a_dataset_run_at_once_and_alone(fresh):
    folder = fresh()
    first = begin(folder, "method", "mine", "--like", "maml")
    assert "workflow/scales/mine.yaml -n" in first
    overlay = smaller(folder / "workflow/scales/mine.yaml")
    made = {"download": 2, "prepare": 1, "train_cell": 2, "table": 1}
    assert workspace.pending(folder, "--configfile", overlay) == made
    workspace.snakemake(folder, "--configfile", overlay, "--cores", "2")
    home = folder / "scales/mine"
    mine, maml = (
        read_json(home / f"results/mine/drawn_first/{name}/0.json") for name in ("mine", "maml")
    )
    assert mine["cell"]["algorithm"] == "mine"
    assert mine["metrics"] == maml["metrics"]
    assert "| mine " in (home / "reports/tables/mine.md").read_text()
    again = begin(folder, "method", "mine", status=2)
    assert "src/multistep/fewshot/algorithms/mine.py, workflow/scales/mine.yaml" in again

    archive = images(folder.parent / "birds.zip")
    begin(folder, "dataset", "birds", str(archive), "--episodes")
    overlay = smaller(folder / "workflow/scales/birds.yaml")
    made |= {"download": 1, "train_cell": 3}
    assert workspace.pending(folder, "--configfile", overlay) == made
    workspace.snakemake(folder, "--configfile", overlay, "--cores", "2")
    tested = [
        read_json(file)["metrics"]["test_episodes"]
        for file in (folder / "scales/birds/results").rglob("*.json")
    ]
    assert tested == [6, 6, 6]


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    init.add_parser(parser.add_subparsers())
    return parser.parse_args(["init", *words, "--project", str(ROOT)])


LIKES = sorted({m for e in BASE.experiments.values() for m in e.methods})


@pytest.mark.parametrize("like", LIKES)
def test_every_method_can_be_begun_from(like, tmp_path):
    files = dict(init.own_method(arguments("method", "my_own", "--like", like), BASE))
    assert all(f"{path}".count("my_own") for path in files)
    for path, text in files.items():
        if path.suffix == ".py":
            compile(text, path, "exec")
            assert max(map(len, text.splitlines())) <= 100
    (algorithm,) = (text for path, text in files.items() if path.parent.name == "algorithms")
    assert "\nclass MyOwn(" in algorithm
    (tests,) = (text for path, text in files.items() if path.parts[0] == "tests")  # as it says
    assert "\ndef test_" in tests or "\ndef reference(" in tests
    overlay = tmp_path / "overlay.yaml"  # planned with the algorithm that was copied
    text = files[Path("workflow/scales/my_own.yaml")]
    overlay.write_text(
        text.replace("algorithm: my_own", f"algorithm: {BASE.methods[like].algorithm}")
    )
    plan = cells.plan(params.load(ROOT / "params.yaml", overlay))
    assert [c.method for c in plan] == [like, "my_own"]
    settings = [re.sub(r'"(options|iterations)": .*?, "', "", c.settings) for c in plan]
    assert settings[0] == settings[1]


@pytest.mark.parametrize(
    ("words", "family"),
    [((), "transfer"), (("--size", "64"), "transfer"), (("--episodes",), "few_shot")],
)
def test_a_dataset_is_counted(words, family, tmp_path):
    archive = images(tmp_path / "a.zip")
    files = dict(init.own_dataset(arguments("dataset", "birds", str(archive), *words), BASE))
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(files[Path("workflow/scales/birds.yaml")])
    plan = params.load(ROOT / "params.yaml", overlay)
    assert {c.family for c in cells.plan(plan)} == {family}
    entry = plan.datasets["birds"]
    assert entry.classes == 10
    held = {"transfer": 10 * 1, "few_shot": 2 * 6}[family]
    assert entry.images == {"train": 60 - 2 * held, "validation": held, "test": held}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("method Mine", "begins with a-z"),
        ("method class", "a word of Python, YAML or this project"),
        ("method null", "a word of Python, YAML or this project"),
        ("method choices", "a word of Python, YAML or this project"),
        ("method options --like reptile", "the class would be called Options, as another"),
        (f"method {'m' * 65}", "at most 64"),
        ("method maml", "one of the methods of params.yaml"),
        ("method mine --like mamml", "did you mean 'maml'"),
        ("method mine --like maml_replay", "no experiment of params.yaml trains it"),
        ("dataset birds absent.zip", "absent.zip: no such file; pack"),
        ("dataset birds FEW.zip", "2 classes, 1 images in the smallest, .*; too few"),
        ("dataset birds ONE.zip", "1 classes of images; it takes two folders or more"),
        ("dataset birds MANY.zip --episodes", "class00: one image; episodes need two or more"),
        ("dataset birds FEW.zip FEW.zip", "FEW.zip: given more than once"),
        ("dataset birds FEW.zip COPY.zip", "COPY.zip: .* is in FEW.zip already; take one of"),
        ("dataset birds NONE.zip", "not a zip .*; pack it anew$"),
        ("dataset birds FEW.zip --size 2", "too few"),
        (
            "dataset birds GOOD.zip --size 5000",
            "^--size: Input should be less than or equal to 4096",
        ),
        (
            "dataset birds GOOD.zip --size 16",
            r"^birds: .*settings\.size: 16; vgg9 needs 32 at least",
        ),
        ("dataset table4 GOOD.zip", "^workflow/report/tables/table4.yaml: there already"),
        ("dataset train GOOD.zip", "a word of Python, YAML or this project"),
        ("dataset birds ~nobody-here/GOOD.zip", "whose home is not known here; write the whole"),
    ],
)
def test_what_cannot_be_begun_is_one_line(words, said, tmp_path):
    for name, classes in (("FEW", 2), ("COPY", 2), ("ONE", 1), ("MANY", 9), ("GOOD", 4)):
        images(tmp_path / f"{name}.zip", classes, 9 if name == "GOOD" else 1)
    (tmp_path / "NONE.zip").write_bytes(b"none")
    words = re.sub(r"(?<!/)[A-Z]+\.zip", lambda name: str(tmp_path / name[0]), words)
    with pytest.raises(UserError, match=said) as told:
        init.run(arguments(*words.split()))
    assert "\n" not in str(told.value)
