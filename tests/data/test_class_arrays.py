"""The four few-shot sets of photographs on their stand-ins: what they share, and class lists."""

import csv
import json
from itertools import chain

import numpy as np
import pytest
import yaml
from few_shot_sets import ROOT, SETS, archive, described, draw, fault, prepare, real

from multistep.data import class_arrays, prepared
from multistep.data.class_splits import PARTS
from multistep.data.settings import Archive
from multistep.files import UserError, sha256

LOADERS = pytest.mark.parametrize("loader", SETS)
PUBLISHED = {
    "miniimagenet_ravi": [64, 16, 20],
    "cifar_fs_bertinetto": [64, 16, 20],
    "fc100_oreshkin": [60, 20, 20],
    "tieredimagenet_ren": [351, 97, 160],
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for loader in SETS:
        draw(loader, folder / loader)
    return folder


@LOADERS
def test_stand_ins_prepare_class_by_class(drawn, tmp_path, loader):
    found = prepare(loader, drawn / loader, tmp_path / "out")
    entry = described(loader)
    size = entry.prepare["size"]
    assert found.images.shape == (found.counts.sum(), size, size, 3)
    assert (found.size, found.channels) == (size, 3)
    assert found.classes == sorted(found.classes)
    assert len(found.classes) == entry.classes
    every = list(chain(*(found.splits[part] for part in PARTS)))
    assert sorted(every) == list(range(entry.classes))
    if loader == "tieredimagenet":
        assert found.counts.tolist() == [4, 7, 5, 8, 6, 4]
        sizes = {part: found.counts[found.splits[part]].sum() for part in PARTS}
        assert sizes == entry.images
    else:
        assert set(found.counts) == {entry.images_per_class}
    assert len({image.tobytes() for image in found.images}) == len(found.images)
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["stand_in"] is True
    assert about["kind"] == "classes"
    assert about["digest"] == sha256(tmp_path / "out" / "images.npy")
    starts, counts = found.rows(["validation", "test"])
    order = [*found.splits["validation"], *found.splits["test"]]
    assert starts.tolist() == [int(found.counts[:c].sum()) for c in order]
    assert counts.tolist() == found.counts[order].tolist()


@LOADERS
def test_drawing_and_preparing_twice_give_the_same_bytes(drawn, tmp_path, loader):
    draw(loader, tmp_path / "raw")
    draw(loader, tmp_path / "raw")  # over the first
    name = archive(loader)
    assert (tmp_path / "raw" / name).read_bytes() == (drawn / loader / name).read_bytes()
    prepare(loader, drawn / loader, tmp_path / "one")
    prepare(loader, tmp_path / "raw", tmp_path / "two")
    for file in ("images.npy", "dataset.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@LOADERS
def test_wrong_counts_are_named(drawn, tmp_path, loader):
    raw, out = drawn / loader, tmp_path / "out"
    entry = described(loader)
    message = fault(loader, raw, out, classes=entry.classes + 1)
    assert f"{entry.classes} classes in the archives, but params.yaml states" in message
    message = fault(loader, raw, out, images_per_class=entry.images_per_class + 1)
    assert f"has {entry.images_per_class} images, not {entry.images_per_class + 1}" in message
    if entry.images:
        message = fault(loader, raw, out, images={**entry.images, "test": 11})
        assert "10 test images in the archives, but params.yaml states 11" in message


@LOADERS
def test_a_truncated_archive_is_named(drawn, tmp_path, loader):
    name = archive(loader)
    whole = (drawn / loader / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert name in fault(loader, tmp_path, tmp_path / "out")


@LOADERS
def test_other_contents_than_stated_are_refused(drawn, tmp_path, loader):
    archives = {archive(loader): Archive(contents="0" * 64)}
    message = fault(loader, drawn / loader, tmp_path / "out", archives=archives)
    assert "contents digest" in message


@LOADERS
def test_other_data_do_not_pass_for_the_published_classes(drawn, tmp_path, loader):
    published = next(name.split("_")[-1] for name in PUBLISHED if name.startswith(loader))
    changed = {**SETS[loader]["prepare"], "split": published}
    message = fault(loader, drawn / loader, tmp_path / "out", prepare=changed)
    expected = {
        "miniimagenet": "among its train classes (67 differ), unlike the published list",
        "tieredimagenet": "has no number of the train classes in synsets.txt",
    }
    assert (
        expected.get(loader, "a list of CIFAR-100's classes, and the data lacks apple") in message
    )


def test_a_damaged_or_foreign_array_is_refused(drawn, tmp_path):
    prepare("cifar_fs", drawn / "cifar_fs", tmp_path)
    array = np.load(tmp_path / "images.npy", mmap_mode="r+")
    array[7, 3, 3, 1] ^= 1
    array.flush()
    with pytest.raises(UserError, match=r"images\.npy: its bytes differ from the digest"):
        prepared.load(tmp_path)
    about = json.loads((tmp_path / "dataset.json").read_text())
    about["counts"][0] += 1
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"doesn't fit the 10 classes of dataset\.json"):
        prepared.load(tmp_path)
    np.save(tmp_path / "images.npy", np.zeros((3, 32, 32), dtype=np.uint8))
    with pytest.raises(UserError, match="doesn't fit the 10 classes"):
        prepared.load(tmp_path)


def test_a_prepared_set_stays_when_preparing_anew_fails(drawn, tmp_path):
    prepare("cifar_fs", drawn / "cifar_fs", tmp_path)
    with pytest.raises(UserError, match="10 classes in the archives"):
        prepare("cifar_fs", drawn / "cifar_fs", tmp_path, classes=11)
    assert len(prepared.load(tmp_path).classes) == 10


@pytest.mark.parametrize(("name", "sizes"), PUBLISHED.items())
def test_committed_lists_are_disjoint_and_of_the_published_sizes(name, sizes):
    loader, _, rule = name.rpartition("_")
    parts = class_arrays.committed(loader, rule)
    assert [len(parts[part]) for part in PARTS] == sizes
    assert len(set(chain(*parts.values()))) == sum(sizes)
    assert all(parts[part] == sorted(parts[part]) for part in PARTS)


def test_cifar_lists_are_the_published_ones():
    files = dict(zip(PARTS, ("train", "val", "test"), strict=True))
    pairs = {p: json.loads(real("cifar_fs", f"{f}.json").read_text()) for p, f in files.items()}
    committed = class_arrays.committed("cifar_fs", "bertinetto")
    assert committed == {p: sorted(label for _, label in pairs[p]) for p in PARTS}
    superclass = {label: coarse for coarse, label in chain(*pairs.values())}
    parts = class_arrays.committed("fc100", "oreshkin")
    assert sorted(chain(*parts.values())) == sorted(superclass)
    for part, file in files.items():
        listed = json.loads(real("fc100", f"{file}.json").read_text())
        assert {superclass[label] for label in parts[part]} == set(listed)
        assert len(parts[part]) == 5 * len(listed)


def test_the_list_of_tieredimagenet_is_the_published_one():
    parts = class_arrays.committed("tieredimagenet", "ren")
    categories = []
    for part, file in zip(PARTS, ("train", "val", "test"), strict=True):
        with open(real("tieredimagenet", f"{file}.csv"), newline="") as rows:
            found = [row for row in csv.reader(rows) if row]
        assert parts[part] == sorted(number for number, _ in found)
        categories.append({category for _, category in found})
    assert [len(found) for found in categories] == [20, 6, 8]
    assert len(set.union(*categories)) == 34


def test_the_sets_of_params_yaml_fit_their_loaders_and_lists():
    config = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for loader in SETS:
        entry = config["datasets"][loader]
        split = entry["prepare"]["split"]
        assert sum(PUBLISHED[f"{loader}_{split}"]) == entry["classes"]
