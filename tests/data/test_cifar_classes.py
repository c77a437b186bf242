"""CIFAR-FS and FC100 from CIFAR-100's archive: parts, super-classes, and faults."""

import pickle
from itertools import chain

import numpy as np
import pytest
from few_shot_sets import SETS, draw, fault, prepare, tampered

from multistep.data import cifar_classes, class_arrays
from multistep.data.class_splits import PARTS
from multistep.data.standins import photographs
from multistep.files import UserError

BOTH = pytest.mark.parametrize("loader", ["cifar_fs", "fc100"])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return {loader: draw(loader, folder / loader) for loader in ("cifar_fs", "fc100")}


@BOTH
def test_training_and_test_images_are_merged_by_class(drawn, tmp_path, loader):
    found = prepare(loader, drawn[loader], tmp_path)
    names = photographs.names("cifar100", len(found.classes))
    assert found.classes == sorted(names)
    each = SETS[loader]["images_per_class"]
    for c, name in enumerate(found.classes):
        mine = {image.tobytes() for image in found.images[each * c : each * (c + 1)]}
        drawn_ones = [
            photographs.image("cifar100", names.index(name), n, 32, 5) for n in range(each)
        ]
        assert mine == {image.tobytes() for image in drawn_ones}


def test_a_proportional_split_of_fc100_keeps_super_classes_whole(drawn, tmp_path):
    found = prepare("fc100", drawn["fc100"], tmp_path)
    names = photographs.names("cifar100", 20)
    groups = [{names.index(found.classes[c]) // 5 for c in found.splits[part]} for part in PARTS]
    assert [len(group) for group in groups] == [2, 1, 1]
    assert len(set(chain(*groups))) == 4


def test_shares_of_the_parts():
    groups = [[f"{i}a", f"{i}b"] for i in range(10)]
    parts = cifar_classes.divided(groups, (12, 4, 4))
    assert [len(parts[part]) for part in PARTS] == [12, 4, 4]
    parts = cifar_classes.divided([[str(i)] for i in range(100)], (64, 16, 20))
    assert [len(parts[part]) for part in PARTS] == [64, 16, 20]
    with pytest.raises(UserError, match="2 groups of classes can't be split"):
        cifar_classes.divided(groups[:2], (12, 4, 4))


def official(drawn, raw, change=lambda data: None):
    """The drawn archive under CIFAR-100's own names: 100 classes with an image or two each."""
    names = sorted(chain(*class_arrays.committed("cifar_fs", "bertinetto").values()))
    fc100 = class_arrays.committed("fc100", "oreshkin")
    ordered = list(chain(*(fc100[part] for part in PARTS)))
    coarse = {label: i // 5 for i, label in enumerate(ordered)}

    def changed(files):
        g = np.random.default_rng(0)
        for part, count in (("train", 2), ("test", 1)):
            labels = list(range(100)) * count
            data = {
                b"data": g.integers(0, 256, (len(labels), 3072), dtype=np.uint8),
                b"fine_labels": labels,
                b"coarse_labels": [coarse[names[i]] for i in labels],
            }
            change(data)
            files[f"cifar-100-python/{part}"] = pickle.dumps(data, protocol=3)
        words = [name.encode() for name in names]
        files["cifar-100-python/meta"] = pickle.dumps({b"fine_label_names": words}, protocol=3)

    return tampered("cifar_fs", drawn["cifar_fs"], raw, changed)


@pytest.mark.parametrize(("loader", "split"), [("cifar_fs", "bertinetto"), ("fc100", "oreshkin")])
def test_the_published_classes_are_those_of_the_official_names(drawn, tmp_path, loader, split):
    raw = official(drawn, tmp_path / "raw")
    stated = {"classes": 100, "images_per_class": 3, "prepare": {"size": 32, "split": split}}
    found = prepare(loader, raw, tmp_path / "out", **stated)
    named = {part: [found.classes[c] for c in found.splits[part]] for part in PARTS}
    assert named == class_arrays.committed(loader, split)


def test_a_super_class_in_two_parts_of_fc100_is_an_error(drawn, tmp_path):
    def swap(data):
        data[b"coarse_labels"] = [19 - c if c in (0, 19) else c for c in data[b"coarse_labels"]]
        i = data[b"coarse_labels"].index(0)
        data[b"coarse_labels"] = [
            3 if label == data[b"fine_labels"][i] else c
            for label, c in zip(data[b"fine_labels"], data[b"coarse_labels"], strict=True)
        ]

    raw = official(drawn, tmp_path / "raw", swap)
    stated = {"classes": 100, "images_per_class": 3, "prepare": {"size": 32, "split": "oreshkin"}}
    message = fault("fc100", raw, tmp_path / "out", **stated)
    assert "has super-class 3 of the archive, which stands in train too" in message


@BOTH
@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("test", None, "has no cifar-100-python/test"),
        ("train", {b"coarse_labels": [0]}, "its labels don't fit each other"),
        ("test", {b"fine_labels": None}, "train"),
        ("meta", {b"fine_label_names": [b"only"]}, "its labels don't fit each other"),
    ],
)
def test_faults_of_the_archive_are_named(drawn, tmp_path, loader, part, change, message):
    def changed(files):
        path = f"cifar-100-python/{part}"
        data = pickle.loads(files.pop(path))
        if change is None:
            return
        data |= change
        if change == {b"fine_labels": None}:
            del data[b"fine_labels"]
        files[path] = pickle.dumps(data, protocol=3)

    raw = tampered(loader, drawn[loader], tmp_path / "raw", changed)
    found = fault(loader, raw, tmp_path / "out")
    expected = "has no fine_labels" if message == "train" else message
    assert expected in found
