"""What `evaluate` is given and keeps: whose images, which records, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import prepared_dataset, small_cell, train
from transfer_data import equal_size, ragged, written

from multistep import cli, seal
from multistep.data import prepared
from multistep.files import read_json
from multistep.job import parameters, results


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "omniglot/multistep2/0.json --steps 3",
            "--steps: 3 steps are not divisible by --window=2",
        ),
        ("omniglot/multistep2/0.json --dataset DATA/patterns", "images of {'size': 32, 'channels'"),
        ("omniglot/multistep2/1.json", "1.json: no such file; build it first"),
        ("omniglot/multistep2/0.json --dataset DATA/absent", "no such file; build it first"),
        ("omniglot/multistep2/0.json --dataset DATA/ragged", "ragged: images of many sizes, but"),
        (
            "omniglot/multistep2/0.json DATA/../../results/e/omniglot/multistep2/0.json --out o",
            "multistep2/0.json: two of the files have this record; --out for each by itself",
        ),
        (
            "omniglot/multistep2/0.json --steps 2 --out DATA/../../evaluations",
            "multistep2/0.json: evaluations/ is for tests with the cell's own settings (steps 2",
        ),
        (
            "omniglot/multistep2/0.json --dataset DATA/omniglot/dataset.json",
            "dataset.json: a file; name the folder of prepared images that it lies in",
        ),
        ("omniglot/multistep2/0.json --out CLASH", "0.json: in the way, and a result; move"),
        (
            "omniglot/multistep2/0.json --out FILE",
            "file/5way_1shot/omniglot/multistep2/0.json: can't",
        ),
        ("patterns/bilevel/0.json --floors", "tested on images, not on episodes"),
        ("patterns/bilevel/0.json --dataset DATA/six", "6 classes, but the network tells 4"),
        (
            "patterns/bilevel/0.json --dataset DATA/turned",
            "turned has other classes than patterns, whose the network tells apart ('class3' in "
            "the place of 'class0')",
        ),
    ],
)
def test_what_cannot_be_tested_is_one_line(
    home: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    six = equal_size(60, size=32, test=10)
    written(home / "data/processed/six", six.__class__(**{**vars(six), "classes": list("abcdef")}))
    turned = {"name": "turned", "classes": equal_size(60).classes[::-1]}
    written(home / "data/processed/turned", six.__class__(**{**vars(six), **turned}))
    many = ragged(60, test=10)
    written(home / "data/processed/ragged", many.__class__(**{**vars(many), "name": "ragged"}))
    (home / "file").touch()
    clash = home / "clash/5way_1shot/omniglot/multistep2"
    shutil.copytree(home / "results/e/omniglot/multistep2", clash, dirs_exist_ok=True)
    for word, place in (("DATA", "data/processed"), ("CLASH", "clash"), ("FILE", "file")):
        line = line.replace(word, str(home / place))
    capsys.readouterr()
    assert cli.main(["evaluate", *f"{home}/results/e/{line}".split()]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_network_is_tested_on_more_images_of_its_classes(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where its own data aren't there, nobody knows whether these are its classes."""
    more = equal_size(90, size=32, test=20)
    data = written(tmp_path / "more", more.__class__(**{**vars(more), "name": "more"}))
    file, unknown = home / "results/e/patterns/bilevel/0.json", "the classes of more are those"
    assert cli.main(["evaluate", str(file), "--dataset", str(data)]) == 0
    assert unknown not in (said := capsys.readouterr()).err
    assert "seed 0, tested on more | " in said.out
    for path in (file, parameters.beside(file)):
        shutil.copy(path, tmp_path)
    assert cli.main(["evaluate", str(tmp_path / "0.json"), "--dataset", str(data)]) == 0
    assert unknown in capsys.readouterr().err


def test_classes_that_were_trained_on_are_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another split of the same classes: pattern00 to pattern29 were trained on, the next ten
    validated. Those that another dataset trains on don't count.
    """
    names = ("pattern05", "pattern29", "pattern30", "pattern41", "new", "pattern07")
    images = np.random.default_rng(0).integers(0, 255, (60, 28, 28), dtype=np.uint8)
    data = prepared.save(
        tmp_path / "again", name="again", classes=list(names), labels=np.arange(60) // 10,
        splits={"train": range(50, 60), "validation": range(0), "test": range(50)},
        shape=(28, 28), images=enumerate(images), made_from={},
    )  # fmt: skip
    file, told = home / "results/e/omniglot/multistep2/0.json", "isn't that of new classes"
    line = ["evaluate", str(file), "--episodes", "2", "--dataset"]
    assert cli.main([*line, str(data)]) == 0
    seen = "names of 2 of 5 test classes of again (pattern05, pattern29), so its accuracy there"
    assert f"{file.with_suffix('.safetensors')}: it was trained on classes with the {seen}" in (
        said := capsys.readouterr().err
    )
    assert f"{seen} {told}" in said
    assert cli.main([*line, str(home / "data/processed/omniglot")]) == 0  # its own
    assert told not in capsys.readouterr().err
    for path in (file, parameters.beside(file)):
        shutil.copy(path, tmp_path)
    line[1] = str(tmp_path / "0.json")
    assert cli.main([*line, str(data)]) == 0
    assert "whether the test classes of again are new to it isn't known" in capsys.readouterr().err


def other_dataset(folder: Path) -> Path:
    """A dataset of the same name that isn't the one that `home` has."""
    about = read_json(prepared_dataset(folder) / "dataset.json")
    about["classes"][0] = "another"
    (folder / "dataset.json").write_text(json.dumps(seal.seal(about, about["made_from"])))
    return folder


def of_another_scale(home: Path, place: Path) -> Path:
    """The result at `place` of a cell of `home` in another scale."""
    cell = json.loads(small_cell("multistep2").json) | {"scale": "another"}
    return train(place, cell, "--data", str(home / "data/processed/omniglot"))


def test_other_data_than_the_cell_s_has_to_be_meant(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results/e/omniglot/m").mkdir(parents=True)
    path = tmp_path / "results/e/omniglot/m/0.safetensors"
    path.write_bytes((home / "results/e/omniglot/multistep2/0.safetensors").read_bytes())
    folder = other_dataset(tmp_path / "data/processed/omniglot")
    assert cli.main(["evaluate", str(path)]) == 2
    assert f"if it is meant, say so with --dataset {folder}" in capsys.readouterr().err
    assert cli.main(["evaluate", str(path), "--dataset", str(folder)]) == 0


def test_a_record_of_another_test_is_not_written_over(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluated(*options: str, file: Path = home / "results/e/omniglot/multistep2/0.json") -> int:
        return cli.main(["evaluate", str(file), "--out", str(tmp_path / "again"), *options])

    other = other_dataset(tmp_path / "other")
    first = ["--protocol", "all", "--floors", "--episodes", "3", "--steps", "2"]
    for _ in range(2):  # the same once more is no other
        assert evaluated(*first) == 0
    (record,) = (tmp_path / "again").rglob("*.json")
    kept = record.read_bytes()
    for change, told in (
        (["--steps", "4"], "steps 2"), (["--episodes", "2"], "episodes 3"),
        (["--window", "1"], "window 2"), (["--rate", "0.1"], "rate 0.4"),
        (["--dataset", str(other)], "other images"),
    ):  # fmt: skip
        capsys.readouterr()
        assert evaluated(*first, *change) == 2
        said = capsys.readouterr().err
        assert f"0.json: in the way, the record of another test ({told}); name another" in said
        assert said.count("\n") == 1
    assert evaluated(*first[3:], "--protocol", "class") == 2
    assert "(protocol together, protocol support, protocol unbalanced" in capsys.readouterr().err
    assert evaluated(*first[:2], *first[3:]) == 2
    assert "another test (floors)" in capsys.readouterr().err
    with_scale = of_another_scale(home, tmp_path)
    capsys.readouterr()
    own = ["--dataset", str(home / "data/processed/omniglot")]
    assert evaluated(*first, *own, file=with_scale) == 2
    assert "another test (scale " in capsys.readouterr().err
    about, tensors, _ = parameters.read(home / "results/e/omniglot/multistep2/0.safetensors")
    moved = tmp_path / "0.safetensors"  # as if the cell had been trained once more
    tensors = {name: 2 * tensor for name, tensor in tensors.items()}
    parameters.write(moved, tensors, about["cell"], about["network"], about["made_from"])
    capsys.readouterr()
    assert evaluated(*first, *own, file=moved) == 2
    assert "another test (other parameters)" in capsys.readouterr().err
    assert record.read_bytes() == kept
    record.write_bytes(kept[:-9])  # nothing is lost with it
    assert evaluated() == 0


def test_a_candidate_s_record_of_other_episodes_is_not_written_over(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its settings have no number of them."""
    cell = json.loads(small_cell().json) | {"kind": "candidate"}
    for key in ("test_episodes", "selection"):
        del cell["settings"][key]
    data = str(home / "data/processed/omniglot")
    line = ["evaluate", str(train(tmp_path, cell, "--data", data)), "--dataset", data]
    line += ["--out", str(tmp_path / "again")]
    assert cli.main([*line, "--episodes", "3"]) == 0
    capsys.readouterr()
    assert cli.main(line) == 2
    assert "in the way, the record of another test (episodes 3); name" in capsys.readouterr().err


def test_images_that_are_not_there_are_named_with_what_gives_them(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a clone that has a scale's results alone, and outside of a project."""
    path = tmp_path / "scales/mine/results/e/omniglot/multistep2/0.json"
    shutil.copytree(home / "results/e/omniglot/multistep2", path.parent)
    assert cli.main(["evaluate", str(path)]) == 2
    said = capsys.readouterr().err
    assert f"{path.with_suffix('.safetensors')}: in no project, whose images it could be" in said
    (tmp_path / "params.yaml").touch()
    assert cli.main(["evaluate", str(path)]) == 2
    said = capsys.readouterr().err
    assert "data/processed/omniglot: not there, the images that " in said
    assert "dataset.json), or name some with --dataset\n" in said


def test_the_table_says_whose_images_and_of_several_scales_which(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else two rows would say the same."""
    mine = home / "results/e/omniglot/multistep2/0.json"
    other = of_another_scale(home, tmp_path)
    folder = other_dataset(tmp_path / "data/processed/omniglot")
    capsys.readouterr()
    line = ["evaluate", str(mine), str(other), "--episodes", "2", "--dataset", str(folder)]
    assert cli.main(line) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    scales = [row.partition(":")[0] for row in rows]
    assert scales == [f"| {results.read(path)['cell']['scale']}" for path in (mine, other)]
    assert all("seed 0, tested on other images of omniglot |" in row for row in rows)


def test_mistakes_are_told_without_torch(home: Path, tmp_path: Path) -> None:
    """It takes seconds, and on a busy machine half a minute."""
    kept = tmp_path / "0.safetensors"
    shutil.copy(home / "results/e/omniglot/multistep2/0.safetensors", kept)
    code = "import sys; from multistep import cli; cli.main(sys.argv[1:]); "
    code += "assert 'torch' not in sys.modules"
    for file, changes, told in (
        (tmp_path, [], "a folder; name a result"),
        (kept, [], "in no project, whose images"),
        (kept, ["--steps", "3"], "--steps: 3 steps are not divisible by --window=2"),
    ):
        made = subprocess.run(
            [sys.executable, "-c", code, "evaluate", str(file), *changes],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"error: {file}: {told}" in made.stderr
