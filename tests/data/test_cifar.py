"""CIFAR-100, CIFAR-FS and FC100 from CIFAR-100's archive: parts, super-classes, and faults."""

import pickle
from itertools import chain

import numpy as np
import pytest
from data_sets import SETS, classes_of, fault, prepare, tampered

from multistep.data import class_splits
from multistep.data.class_splits import PARTS
from multistep.data.standins import photographs

BOTH = pytest.mark.parametrize("loader", ["cifar_fs", "fc100"])


@BOTH
def test_training_and_test_images_are_merged_by_class(drawn, tmp_path, loader):
    found = prepare(loader, drawn[loader], tmp_path)
    names = photographs.names("cifar100", len(found.classes))
    assert found.classes == sorted(names)
    each = SETS[loader]["images_per_class"]
    for c, name in enumerate(found.classes):
        mine = {image.tobytes() for image in found.images[each * c : each * (c + 1)]}
        place = names.index(name)
        drawn_ones = (photographs.image("cifar100", place, n, 32, 5) for n in range(each))
        assert mine == {image.tobytes() for image in drawn_ones}


def test_a_proportional_split_of_fc100_keeps_super_classes_whole(drawn, tmp_path):
    found = prepare("fc100", drawn["fc100"], tmp_path)
    names = photographs.names("cifar100", 20)
    superclass = [names.index(name) // 5 for name in found.classes]
    groups = [{superclass[c] for c in classes_of(found, part)} for part in PARTS]
    assert [len(group) for group in groups] == [2, 1, 1]
    assert len(set(chain(*groups))) == 4


def official(drawn, raw, change=lambda data: None):
    """The drawn archive under CIFAR-100's own names: 100 classes with an image or two each."""
    names = sorted(chain(*class_splits.committed("cifar_fs", "bertinetto").values()))
    fc100 = class_splits.committed("fc100", "oreshkin")
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


def stated(split):
    return {"classes": 100, "images_per_class": 3, "prepare": {"size": 32, "split": split}}


@pytest.mark.parametrize(("loader", "split"), [("cifar_fs", "bertinetto"), ("fc100", "oreshkin")])
def test_the_published_classes_are_those_of_the_official_names(drawn, tmp_path, loader, split):
    raw = official(drawn, tmp_path / "raw")
    found = prepare(loader, raw, tmp_path / "out", **stated(split))
    named = {part: [found.classes[c] for c in classes_of(found, part)] for part in PARTS}
    assert named == class_splits.committed(loader, split)


def test_a_super_class_in_two_parts_of_fc100_is_an_error(drawn, tmp_path):
    def swap(data):
        data[b"coarse_labels"] = [19 - c if c in (0, 19) else c for c in data[b"coarse_labels"]]
        i = data[b"coarse_labels"].index(0)
        data[b"coarse_labels"] = [
            3 if label == data[b"fine_labels"][i] else c
            for label, c in zip(data[b"fine_labels"], data[b"coarse_labels"], strict=True)
        ]

    raw = official(drawn, tmp_path / "raw", swap)
    message = fault("fc100", raw, tmp_path / "out", **stated("oreshkin"))
    assert "has super-class 3 of the archive, which stands in train too" in message
