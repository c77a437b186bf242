"""Trained parameters tested again: `evaluate`."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import small_cell, train

import multistep
from multistep import cli
from multistep.data import prepared
from multistep.fewshot import algorithms, evaluate, meta, trained
from multistep.fewshot.algorithms.reptile import shuffled
from multistep.fewshot.episodes import Sampler
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
    """SGD's at Reptile's rate would hardly move it."""
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
    """Memory-reduced meta-learning's, with its own ridge."""
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
