"""One meta-transfer cell from seed to result: bits, resumption, the epoch that is reported."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import stable
from transfer_data import prepared_images, ragged, small_transfer, source_folder, written

from multistep import cli
from multistep.data import prepared
from multistep.job import results
from multistep.transfer import epoch, run
from multistep.transfer.record import rate


def arguments(folder: Path, cell: dict[str, Any]) -> list[str]:
    line = ["train", "--cell", json.dumps(cell), "--data", str(folder / "data")]
    line += ["--out", str(folder / "result.json"), "--checkpoint", str(folder / "scratch/cell.pt")]
    if cell["algorithm"] != "scratch":
        line += ["--network", str(folder / "network")]
    return [*line, "--device", "cpu", "--checkpoint-seconds", "0"]


def train(folder: Path, cell: dict[str, Any]) -> dict[str, Any]:
    prepared_images(folder / "data")
    source_folder(folder / "network")
    assert cli.main(arguments(folder, cell)) == 0
    return results.read(folder / "result.json")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_cell_is_the_same_to_the_last_bit_and_its_result_is_complete(
    tmp_path: Path, optimizer: str
) -> None:
    cell = small_transfer(optimizer=optimizer, inner_steps=2, window=1)
    first, second = train(tmp_path / "a", cell), train(tmp_path / "b", cell)
    assert stable(first) == stable(second)
    history = first["history"]
    assert [entry["epoch"] for entry in history] == [0, 1, 2]
    assert [entry["iterations"] for entry in history] == [4, 8, 12]
    assert all(len(entry["lambda_mean"]) == 6 for entry in history)
    assert all(entry["meta_gradient_norm"] > 0 for entry in history)
    assert [point[0] for point in history[1]["drift"]] == [6, 8]  # every two mini-batches
    assert first["made_from"]["network"]
    assert first["timing"]["evaluation_seconds"] > 0


def test_scratch_takes_no_source_and_reports_no_transfer(tmp_path: Path) -> None:
    record = train(tmp_path, small_transfer("scratch"))
    assert record["made_from"]["network"] is None
    for entry in record["history"]:
        assert entry["lambda_mean"] is entry["transfer_loss"] is entry["drift"] is None


def test_the_first_epoch_with_the_best_validation_accuracy_is_reported(tmp_path: Path) -> None:
    prepared_images(tmp_path / "data")
    cell = small_transfer("scratch")
    finished = run.Run(cell, tmp_path / "data", None, torch.device("cpu"))
    rows = [(40.0, 10.0), (60.0, 20.0), (60.0, 90.0), (50.0, 95.0)]
    finished.state["history"] = [
        {"epoch": i, "validation_accuracy": v, "test_accuracy": t} for i, (v, t) in enumerate(rows)
    ]
    metrics = finished.test()
    assert (metrics["best_epoch"], metrics["test_accuracy"]) == (1, 20.0)
    assert metrics["last_test_accuracy"] == 95.0


def test_the_rate_is_a_cosine_that_starts_at_its_maximum() -> None:
    known = {0: 0.1, 50: 0.085355, 100: 0.05, 150: 0.014645, 199: 6.168e-6}
    for number, expected in known.items():
        assert rate(0.1, 0, 200, number) == pytest.approx(expected, rel=1e-4)
    assert rate(0.1, 1, 200, 199) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 1e30}, "epoch 0 of 3, mini-batch .*finite"),
    ],
)
def test_what_went_wrong_names_the_cell_and_the_mini_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    prepared_images(tmp_path / "data")
    source_folder(tmp_path / "network")
    assert cli.main(arguments(tmp_path, small_transfer(**changes))) == 2
    assert re.search(message, capsys.readouterr().err.splitlines()[-1])
    assert not (tmp_path / "result.json").exists()


def test_data_that_split_classes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their validation and test images would be of classes that training never saw; told before
    they are read.
    """
    whole = prepared.read(prepared_images(tmp_path / "whole"))
    first = whole.labels == 0
    splits = {**whole.splits, "train": np.flatnonzero(~first), "validation": np.flatnonzero(first)}
    written(tmp_path / "data", dataclasses.replace(whole, splits=splits | {"test": []}))
    (tmp_path / "data" / "images.npy").unlink()
    assert cli.main(arguments(tmp_path, small_transfer("scratch"))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "has no training image; choose a dataset that splits images, not classes" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner_steps": 3, "window": 2}, "inner_steps: 3 steps are not divisible by window=2"),
        ({"size": 16}, "size: 16; vgg9 needs 32 at least"),
        ({"target_taps": [0, 5]}, "target_taps: vgg9 has no tap 5; it has 0, 1, 2, 3, 4"),
    ],
)
def test_settings_that_clash_are_told_before_training(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments(tmp_path, small_transfer(**changes))) == 2
    assert f"error: --cell: settings.{message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_taps": [1, 99]}, "source_taps: resnet32 has no tap 99; it has 0, 1, 2"),
        ({"size": 64}, "size: 64, but the images of patterns are of 32, and pad_crop"),
        ({"target": {"name": "resnet18", "width": 2}, "target_taps": [1], "batch_size": 9},
         "batch_size: 9 leaves one of 28 training images"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_data_or_network_are_told_before_either_is_read(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (prepared_images(tmp_path / "data") / "images.npy").unlink()
    (source_folder(tmp_path / "network") / "weights.pt").unlink()
    assert cli.main(arguments(tmp_path, small_transfer(**changes))) == 2
    assert f"error: --cell: settings.{message}" in capsys.readouterr().err


def test_images_of_several_sizes_that_are_not_resized_are_told_before_they_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (written(tmp_path / "data", ragged(48, test=10)) / "images.npy").unlink()
    cell = small_transfer("scratch") | {"data": {"size": None}}
    assert cli.main(arguments(tmp_path, cell)) == 2
    assert "size: 32, but the images of patterns are of several sizes" in capsys.readouterr().err


@pytest.mark.parametrize("batch_size", [9, 1])
def test_a_mini_batch_without_a_variance_is_refused(
    tmp_path: Path, batch_size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 28 images 9 leave one: of one pixel of one image the running variance would be NaN."""
    changes: dict[str, Any] = {"target": {"name": "resnet18", "width": 2, "blocks": 1}}
    prepared_images(tmp_path / "data")
    cell = small_transfer("scratch", batch_size=batch_size, epochs=1, **changes)
    assert cli.main(arguments(tmp_path, cell)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"batch_size: {batch_size} leaves one of 28 training images" in line
    assert not (tmp_path / "scratch/cell.pt").exists()
    # VGG-9's last maps are 2×2 at 32 pixels, so one image is enough.
    assert cli.main(arguments(tmp_path, small_transfer("scratch", batch_size=9, epochs=1))) == 0


def test_means_of_an_epoch() -> None:
    means = epoch.Means(log_every=2)
    for i in range(3):
        value = torch.tensor(float(i))
        reported = {"train_loss": value, "train_accuracy": value / 2, "drift": value}
        reported |= {"drift_backbone": 2 * value, "lambda_mean": torch.tensor([value, 1.0])}
        means.add(reported)
    entry = means.close(iterations=13)
    assert entry["train_loss"] == 1.0
    assert entry["train_accuracy"] == 50.0
    assert entry["transfer_loss"] is None
    assert entry["lambda_mean"] == [1.0, 1.0]
    assert entry["drift"] == [[12, 0.5, 1.0], [13, 2.0, 4.0]]
    assert np.isfinite(entry["train_loss"])
