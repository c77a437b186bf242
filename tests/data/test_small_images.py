"""CIFAR-100, STL-10 and TinyImageNet end to end on their stand-ins, and the faults they share."""

import importlib
import json
from collections import Counter

import numpy as np
import pytest
from small_images import ARCHIVES, SIZES, described, draw_all, fault, prepare, settings

from multistep.cli import main
from multistep.data import image_sets
from multistep.data.loaders import cifar100, stl10
from multistep.data.standins import photographs
from multistep.files import UserError

LOADERS = pytest.mark.parametrize("loader", ARCHIVES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_all(tmp_path_factory.mktemp("drawn"))


@LOADERS
def test_stand_ins_prepare_to_the_stated_parts(drawn, tmp_path, loader):
    found = prepare(loader, drawn / loader, tmp_path / "out")
    assert found.images.shape == (32, 32, 32, 3)
    assert {part: len(found.splits[part]) for part in SIZES} == SIZES
    every = np.concatenate(list(found.splits.values()))
    assert sorted(every) == list(range(32))
    for part, each in (("train", 4), ("validation", 2), ("test", 2)):
        counts = Counter(found.labels[found.splits[part]].tolist())
        assert counts == dict.fromkeys(range(4), each)
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["stand_in"] is True
    assert len({found.pixels(i).tobytes() for i in range(32)}) == 32


@LOADERS
def test_every_image_has_its_own_label(drawn, tmp_path, loader):
    found = prepare(loader, drawn / loader, tmp_path / "out", prepare=prepare_at(loader))
    side = {"cifar100": 32, "stl10": 96, "tinyimagenet": 64}[loader]
    assert found.images.shape[1:3] == (side, side)
    of_class = {
        part: [
            [photographs.image(loader, c, n, side, 5).astype(float) for n in numbers]
            for c in range(4)
        ]
        for part, numbers in (("train", range(6)), ("test", range(6, 8)))
    }
    for part, indices in found.splits.items():
        for i in indices:
            same = of_class["test" if part == "test" else "train"][found.labels[i]]
            nearest = min(np.abs(found.pixels(i) - image).mean() for image in same)
            assert nearest < (12 if loader == "tinyimagenet" else 1e-9)  # JPEG loses the grain


def prepare_at(loader):
    return {
        "cifar100": {"size": 32, "validation": "own"},
        "stl10": {"size": 96, "validation": "own"},
        "tinyimagenet": {"size": 64},
    }[loader]


@LOADERS
def test_preparing_and_drawing_twice_give_the_same_bytes(drawn, tmp_path, loader):
    module = importlib.import_module(f"multistep.data.standins.{loader}")
    again = tmp_path / ARCHIVES[loader]
    for _ in range(2):  # the second over the first
        module.draw(again, module.Settings(**settings(loader)))
    assert again.read_bytes() == (drawn / loader / ARCHIVES[loader]).read_bytes()
    digests = {
        prepare(loader, raw, tmp_path / f"out{i}").digest
        for i, raw in enumerate((drawn / loader, tmp_path))
    }
    assert len(digests) == 1


@LOADERS
def test_a_foreign_archive_is_not_drawn_over(tmp_path, loader):
    module = importlib.import_module(f"multistep.data.standins.{loader}")
    out = tmp_path / ARCHIVES[loader]
    out.write_bytes(b"precious")
    with pytest.raises(UserError, match="in the way, and not a drawn archive"):
        module.draw(out, module.Settings(**settings(loader)))
    assert out.read_bytes() == b"precious"


@LOADERS
def test_wrong_counts_are_named(drawn, tmp_path, loader):
    raw, out = drawn / loader, tmp_path / "out"
    fewer = {"train": 8, "validation": 16, "test": 8}
    assert "found 8 train" not in fault(loader, raw, out, images=SIZES | {"test": 9})
    message = fault(loader, raw, out, images=SIZES | {"test": 9})
    assert "found 16 train, 8 validation, 8 test images, expected 16 train" in message
    assert {p: len(i) for p, i in prepare(loader, raw, out, images=fewer).splits.items()} == fewer


@LOADERS
def test_a_wrong_class_count_is_named(drawn, tmp_path, loader):
    message = fault(loader, drawn / loader, tmp_path / "out", classes=2)
    assert "datasets.drawn: 4 classes in the archives, but params.yaml states 2" in message


@LOADERS
def test_a_truncated_archive_is_named(drawn, tmp_path, loader):
    archive = ARCHIVES[loader]
    whole = (drawn / loader / archive).read_bytes()
    (tmp_path / archive).write_bytes(whole[: len(whole) // 2])
    assert archive in fault(loader, tmp_path, tmp_path / "out")


@LOADERS
def test_two_archives_are_one_too_many(drawn, tmp_path, loader):
    archives = {ARCHIVES[loader]: {}, "more.zip": {}}
    with pytest.raises(UserError, match="reads one archive"):
        prepare(loader, drawn / loader, tmp_path / "out", archives=archives)


@pytest.mark.parametrize("module", [cifar100, stl10])
def test_settings_refuse_what_makes_no_sense(module):
    with pytest.raises(ValueError, match="validation"):
        module.Settings.model_validate({"size": 32, "validation": "none"})
    with pytest.raises(ValueError, match="size"):
        module.Settings.model_validate({"size": 4, "validation": "own"})


def test_the_command_line_draws_and_prepares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = described("stl10", archives={ARCHIVES["stl10"]: {"drawn": settings("stl10")}})
    spec = entry.archives[ARCHIVES["stl10"]].model_dump_json()
    common = ["--dataset", "drawn", "--spec"]
    download = ["data", "download", "--archive", ARCHIVES["stl10"], "--loader", "stl10"]
    assert main([*download, *common, spec]) == 0
    assert main(["data", "prepare", *common, entry.model_dump_json()]) == 0
    assert len(image_sets.load(tmp_path / "data" / "processed" / "drawn")) == 32
