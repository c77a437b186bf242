"""CIFAR-100, CIFAR-FS and FC100 from CIFAR-100's archive: parts, super-classes, and faults."""

import pickle
from itertools import chain

import numpy as np
import pytest
from data_sets import SETS, classes_of, fault, prepare, tampered

from multistep.data import class_splits
from multistep.data.class_splits import PARTS
from multistep.data.decoding import unpickled
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
        drawn_ones = [
            photographs.image("cifar100", names.index(name), n, 32, 5) for n in range(each)
        ]
        assert mine == {image.tobytes() for image in drawn_ones}


def test_a_proportional_split_of_fc100_keeps_super_classes_whole(drawn, tmp_path):
    found = prepare("fc100", drawn["fc100"], tmp_path)
    names = photographs.names("cifar100", 20)
    groups = [
        {names.index(found.classes[c]) // 5 for c in classes_of(found, part)} for part in PARTS
    ]
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


@pytest.mark.parametrize(("loader", "split"), [("cifar_fs", "bertinetto"), ("fc100", "oreshkin")])
def test_the_published_classes_are_those_of_the_official_names(drawn, tmp_path, loader, split):
    raw = official(drawn, tmp_path / "raw")
    stated = {"classes": 100, "images_per_class": 3, "prepare": {"size": 32, "split": split}}
    found = prepare(loader, raw, tmp_path / "out", **stated)
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
    stated = {"classes": 100, "images_per_class": 3, "prepare": {"size": 32, "split": "oreshkin"}}
    message = fault("fc100", raw, tmp_path / "out", **stated)
    assert "has super-class 3 of the archive, which stands in train too" in message


ALL = pytest.mark.parametrize("loader", ["cifar100", "cifar_fs", "fc100"])


def replaced(part, **fields):
    def change(files):
        path = f"cifar-100-python/{part}"
        found = pickle.loads(files[path])
        found |= {key.encode(): value for key, value in fields.items()}
        files[path] = pickle.dumps({k: v for k, v in found.items() if v is not None}, protocol=3)

    return change


@ALL
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("cifar-100-python/train"), "has no cifar-100-python/train"),
        (lambda f: f.pop("cifar-100-python/test"), "has no cifar-100-python/test"),
        (lambda f: f.pop("cifar-100-python/meta"), "has no cifar-100-python/meta"),
        (replaced("train", data=None), "cifar-100-python/train has no data"),
        (replaced("test", fine_labels=None), "cifar-100-python/test has no fine_labels"),
        (replaced("train", fine_labels=[0]), "no bytes of 32×32 images for 1 labels"),
        (replaced("train", coarse_labels=[0]), "its labels don't fit each other"),
        (replaced("test", data=b"text"), "cifar-100-python/test: no bytes of 32×32 images"),
        (replaced("meta", fine_label_names=None), "cifar-100-python/meta has no fine_label_names"),
        (replaced("meta", fine_label_names=[b"only"]), "its labels don't fit each other"),
        (lambda f: f.update({"cifar-100-python/train": b"\x80\x03]"}), "train is not a readable"),
    ],
)
def test_faults_of_the_archive_are_named(drawn, tmp_path, loader, change, message):
    raw = tampered(loader, drawn[loader], tmp_path / "raw", change)
    assert message in fault(loader, raw, tmp_path / "out")


def test_cifars_pickles_call_nothing(drawn, tmp_path):
    class Call:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    raw = tampered(
        "cifar100", drawn["cifar100"], tmp_path / "raw", replaced("train", batch_label=Call())
    )
    assert "it asks for" in fault("cifar100", raw, tmp_path / "out")
    assert not (tmp_path / "made").exists()


def test_pickles_of_python_2_are_read():
    def string(data):
        return b"T" + len(data).to_bytes(4, "little") + data

    data = bytes(range(12))
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x02K\x06\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + string(data) + b"tb"
    )
    official = b"\x80\x02}(U\x04data" + array + b"U\x0bfine_labels](K\x07K\x63eu."
    found = unpickled(official, "train")
    assert found["fine_labels"] == [7, 99]
    np.testing.assert_array_equal(found["data"], np.arange(12, dtype=np.uint8).reshape(2, 6))
