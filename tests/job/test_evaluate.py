"""Trained parameters tested again: `evaluate`."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import prepared_dataset, small_cell, train
from transfer_data import equal_size, ragged, written

import multistep
from multistep import cli, seal
from multistep.data import prepared
from multistep.fewshot import algorithms, evaluate, meta, trained
from multistep.fewshot.algorithms.reptile import shuffled
from multistep.fewshot.episodes import Sampler
from multistep.files import read_json
from multistep.job import parameters, results
from multistep.job.evaluate import PROTOCOLS
from multistep.job.record import name_of
from multistep.networks.conv4 import initial_parameters

FAMILY = {m: small_cell(m) for m in ("maml", "multistep2", "fomaml", "anil", "imaml", "reptile")}
FAMILY["memory_reduced"] = small_cell("memory_reduced")


def found(home: Path, *line: str) -> list[dict[str, Any]]:
    """What `multistep evaluate` keeps."""
    out = home / "again"
    shutil.rmtree(out, ignore_errors=True)
    assert cli.main(["evaluate", *line, "--out", str(out)]) == 0
    records = [results.read(path) for path in sorted(out.rglob("*.json"))]
    for record in records:
        cell = record["cell"]
        assert results.read(out / f"{name_of(cell)}.json", results.Expected(cell))
    return records


def test_every_algorithm_is_among_these() -> None:
    assert {cell.algorithm for cell in FAMILY.values()} == set(algorithms.names())


@pytest.mark.parametrize("method", FAMILY)
def test_the_cell_s_own_test_is_found_again_to_the_last_bit(home: Path, method: str) -> None:
    cell = json.loads(FAMILY[method].json)
    result = train(home, cell) if method not in ("multistep2", "reptile") else None
    result = result or home / f"results/e/omniglot/{method}/0.json"
    (entry,) = found(home, str(result))
    metrics = results.read(result)["metrics"]
    row = entry["rows"]["trained"]["together"]
    assert row["episodes"] == metrics["episode_accuracies"]
    assert (row["mean"], row["ci95"]) == (metrics["test_accuracy"], metrics["test_ci95"])
    assert entry["parameters"] == results.read(result)["parameters"]["digest"]


def test_other_steps_rates_and_windows_give_what_they_should(home: Path) -> None:
    result = home / "results/e/omniglot/multistep2/0.json"
    exact = results.read(result)["metrics"]["exact_adaptation"]["test_accuracy"]
    (entry,) = found(home, str(result), "--window", "1")
    assert entry["rows"]["trained"]["together"]["mean"] == exact
    options = ["--steps", "2", "--rate", "0.05", "--episodes", "15"]
    (entry,) = found(home, str(parameters.beside(result)), *options)
    assert entry["settings"] == {"episodes": 15, "steps": 2, "window": 2, "rate": 0.05}
    cell = json.loads(small_cell("multistep2").json)
    cell["settings"].update(test_episodes=15, test_steps=2, inner_lr=0.05)
    about, tensors, _ = parameters.read(parameters.beside(result))
    learner = trained.Trained({**about, "cell": cell}, tensors)
    right, _ = evaluate.episode_accuracies(
        learner.algorithm, learner.network, learner.theta, sampler(home, learner), episodes=15
    )
    assert entry["rows"]["trained"]["together"]["episodes"] == right


def sampler(home: Path, learner: trained.Trained) -> Sampler:
    images = prepared.read(home / "data/processed/omniglot")
    pixels = torch.from_numpy(images.images)
    return Sampler.of(images, pixels, learner.settings, ["test"], "test", 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_queries_are_classified_with_those_that_the_protocol_says(
    home: Path, protocol: str
) -> None:
    """Against the plain module, called once for each batch."""
    learner = multistep.load(home / "results/e/omniglot/multistep2/0.json")
    s, batch = learner.settings, sampler(home, learner).batch(3, 1)
    tasks = meta.Tasks(learner.network, learner.theta, batch)
    phi = learner.algorithm.adapt(tasks, s.window)
    right, finite = learner._classified(tasks, phi, protocol)
    module = learner.module
    module.load_state_dict(learner.network.unpack(phi, learner.theta.shared))
    x, y, support = batch.query_images[0], batch.query_labels[0], batch.support_images[0]
    groups = {
        "together": [list(range(25))],
        "support": [[i] for i in range(25)],
        "alone": [[i] for i in range(25)],
        "class": [list(range(5 * c, 5 * c + 5)) for c in range(5)],
        "unbalanced": [
            [*range(5 * c, 5 * c + 5), *(5 * k + c for k in range(5) if k != c)] for c in range(5)
        ],
    }[protocol]
    answers = []
    for group in groups:
        images, options = x[group], {}
        if protocol == "support":
            images, options = torch.cat([support, images]), {"leading": len(support)}
        logits = module(images, **options)[-len(group) :]
        answers += (logits.argmax(1) == y[group]).tolist()
    assert right.item() == pytest.approx(np.mean(answers), abs=1e-6)
    assert finite.all()


def test_the_floors_are_those_of_the_untrained_network_and_of_pixels(home: Path) -> None:
    result = home / "results/e/omniglot/multistep2/0.json"
    (entry,) = found(home, str(result), "--floors", "--protocol", "all")
    rows = entry["rows"]
    assert all(list(row) == list(PROTOCOLS) for row in rows.values())
    learner = multistep.load(result)
    start = meta.initial_theta(learner.network, 0, torch.device("cpu"))
    for name, method in (("untrained", "multistep2"), ("untrained, head alone", "anil")):
        cell = json.loads(small_cell(method).json)
        algorithm = algorithms.create(cell["algorithm"], cell["settings"] | {"window": 2})
        right, _ = evaluate.episode_accuracies(
            algorithm, learner.network, start, sampler(home, learner), episodes=10
        )
        assert rows[name]["together"]["episodes"] == right
    batch = sampler(home, learner).batch(0, 1)
    support, query = batch.support_images[0].flatten(1), batch.query_images[0].flatten(1)
    closest = ((query[:, None] - support) ** 2).sum(2).argmin(1)
    share = (batch.support_labels[0][closest] == batch.query_labels[0]).double().mean().item()
    assert rows["nearest pixels"]["alone"]["episodes"][0] == pytest.approx(100 * share)
    pairs = zip(*(rows[n]["class"]["episodes"] for n in ("trained", "untrained")), strict=True)
    added = rows["meta-training adds"]["class"]
    assert added["mean"] == pytest.approx(np.mean([a - b for a, b in pairs]))
    assert added["ci95"] > 0


def test_the_head_alone_of_reptile_takes_reptile_s_steps(home: Path) -> None:
    """They were those of SGD at Reptile's rate, which hardly move it."""
    result = home / "results/e/omniglot/reptile/0.json"
    (entry,) = found(home, str(result), "--floors")
    learner = multistep.load(result)
    options = learner.algorithm.options
    module = learner._module(initial_parameters(learner.network.config, 0))
    share = []
    for episode in range(3):
        batch = sampler(home, learner).batch(episode, 1)
        head = copy.deepcopy(module)
        rates = {"lr": learner.settings.inner_lr, "betas": (0.0, options.adam_beta2)}
        optimiser = torch.optim.Adam(head.head.parameters(), **rates)
        images, labels, size = batch.support_images[0], batch.support_labels[0], options.test_batch
        shown = shuffled(batch.seeds, len(labels), learner.settings.test_steps * size)[0]
        for places in shown.split(size):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(head(images[places]), labels[places]).backward()
            optimiser.step()
        right = head(batch.query_images[0]).argmax(1) == batch.query_labels[0]
        share.append(100 * right.double().mean().item())
    got = entry["rows"]["untrained, head alone"]["together"]["episodes"][:3]
    assert got == pytest.approx(share, abs=100 / len(batch.query_labels[0]) + 1e-6)  # a tie


def test_a_head_that_alone_adapts_is_the_same_floor_twice(home: Path, tmp_path: Path) -> None:
    """That of memory-reduced meta-learning took its own steps without the ridge."""
    cell = json.loads(small_cell("memory_reduced").json)
    cell["settings"]["options"]["ridge"] = 2.0
    result = train(tmp_path, cell, "--data", str(home / "data/processed/omniglot"))
    data = ["--dataset", str(home / "data/processed/omniglot")]
    (entry,) = found(home, str(result), "--floors", *data)
    rows = entry["rows"]
    assert rows["untrained, head alone"] == rows["untrained"]


def test_other_data_and_several_cells_stand_in_one_table(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("omniglot/multistep2", "omniglot/reptile", "patterns/bilevel")
    files = [str(home / f"results/e/{name}/0.json") for name in names]
    assert len(found(home, *files)) == 3
    lines = capsys.readouterr().out.splitlines()
    accuracy = results.read(Path(files[2]))["metrics"]["test_accuracy"]
    assert lines[0] == "|  | together | test |"
    assert lines[4].startswith(f"| test: small, bilevel, seed 0 |  | {accuracy:.2f} [")
    other = home / "data/processed/other"
    rng = np.random.default_rng(1)
    prepared.save(
        other, name="other", classes=[f"c{i}" for i in range(6)], labels=np.arange(60) // 10,
        splits={"train": range(0), "validation": range(0), "test": range(60)}, shape=(28, 28),
        images=enumerate(rng.integers(0, 255, (60, 28, 28), dtype=np.uint8)), made_from={},
    )  # fmt: skip
    # What can be seen before is told before any is tested.
    assert cli.main(["evaluate", *files, "--rate", "0.1"]) == 2
    told = capsys.readouterr()
    assert f"{files[2]}: a cell of meta-transfer is tested on images" in told.err
    assert told.err.count("\n") == 1
    assert not told.out
    assert cli.main(["evaluate", *files[:1], "absent.json"]) == 2
    assert "of 100 episodes" not in (said := capsys.readouterr()).err + said.out
    assert cli.main(["evaluate", files[0], "--rate", "1e38", "--episodes", "2"]) == 0
    assert "outputs aren't finite in 2 episodes (together)" in capsys.readouterr().err
    (entry,) = found(home, files[0], "--dataset", str(other))
    assert entry["dataset"] == "other"
    assert entry["rows"]["trained"]["together"]["mean"] < 40  # noise has no classes
    assert "seed 0, tested on other | " in capsys.readouterr().out


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
        (
            "omniglot/multistep2/0.json --out CLASH",
            "0.json: in the way, and a result; move",
        ),
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


def test_a_fault_of_the_second_does_not_lose_the_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for a test that contradicts its result."""
    files = [home / f"results/e/omniglot/{method}/0.json" for method in ("multistep2", "reptile")]
    check = results.check_tested

    def contradicting(path: Path, record: Any, result: Path, made: Any) -> None:
        off = 50 * (path == files[1])
        made = {**made, "metrics": {"test_accuracy": 50 + off, "test_ci95": 50 - off}}
        check(path, record, result, made)

    monkeypatch.setattr(results, "check_tested", contradicting)
    assert cli.main(["evaluate", *map(str, files)]) == 2
    said = capsys.readouterr()
    assert "multistep2, seed 0 | " in said.out
    assert "% on the episodes that gave " in said.err


def test_outputs_that_are_not_finite_are_told_with_their_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    about, tensors, _ = parameters.read(home / "results/e/patterns/bilevel/0.safetensors")
    broken = tmp_path / "0.safetensors"
    tensors = {n: p * np.nan if p.dtype.kind == "f" else p for n, p in tensors.items()}
    parameters.write(broken, tensors, about["cell"], about["network"], about["made_from"])
    line = ["evaluate", str(broken), "--dataset", str(home / "data/processed/patterns")]
    assert cli.main(line) == 2
    assert f"error: {broken}: the output for " in capsys.readouterr().err


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
    """Its settings have no number of them, and 600 were taken for any."""
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
    """As in a clone that has a scale's results alone; it didn't say that others can be named, and
    outside of a project how Snakemake would make them there.
    """
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
    """Two rows said the same, and other images of the same name weren't told."""
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
