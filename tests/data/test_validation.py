"""Which images validate: our draws, the committed lists, and the published ones."""

import pickle
import zipfile
from collections import Counter

import pytest
from data_sets import real_data

from multistep.data import validation
from multistep.data.class_splits import list_file
from multistep.data.decoding import Inert
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, digest, read_json, write_json

MAGIC = 0x1950A86A20F9469CFC6C


def entry(wanted, classes):
    """A dataset of which `wanted` training images validate, or that doesn't say how many."""
    validation = {} if wanted is None else {"validation": wanted}
    return Dataset(
        loader="stl10", title="T", classes=classes, archives={"a": Archive()}, prepare={},
        images={"train": 6, "test": 1, **validation},
    )  # fmt: skip


def container(value, out):
    """A list in the container of early torch versions."""
    with open(out, "wb") as file:
        for part in (MAGIC, 1001, {"little_endian": True}, value, []):
            pickle.dump(part, file, protocol=2)
    return out


def test_a_balanced_draw_takes_as_many_of_every_class():
    labels = [i * 7 % 5 for i in range(100)]
    chosen = validation.per_class(labels, 4)
    assert chosen == sorted(set(chosen))
    assert Counter(labels[i] for i in chosen) == dict.fromkeys(range(5), 4)


def test_draws_stay_what_they_are():
    # Results hang on these numbers: another version of Python must draw the same.
    assert validation.per_class([0, 1] * 10, 2) == [2, 3, 4, 9]
    assert validation.uniform(1000, 5) == [137, 582, 782, 821, 867]


def test_folders_are_walked_one_by_one():
    files = ["a-b/1", "a/2", "a/10", "B/1"]
    assert validation.in_order(files) == ["B/1", "a/10", "a/2", "a-b/1"]


@pytest.mark.parametrize(
    ("wanted", "classes", "message"),
    [
        (None, 2, "datasets.set.images: 0 validation images can't be taken from 8"),
        (8, 2, "8 validation images can't be taken from 8"),
        (3, 2, "3 validation images are no multiple of 2 classes"),
        (6, 2, "a class has fewer than the 3 training images"),
    ],
)
def test_draws_that_do_not_fit_are_refused(wanted, classes, message):
    with pytest.raises(UserError) as error:
        validation.drawn("set", entry(wanted, classes), [0, 0, 1, 1, 1, 1, 1, 1], balanced=True)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "images", "count"), [("indoor67", 5360, 1000), ("stanford40", 4000, 400)]
)
def test_the_committed_lists_are_whole(name, images, count):
    stored = read_json(list_file(name, "own"))
    chosen = stored["validation"]
    assert stored["images"] == images
    assert len(set(chosen)) == len(chosen) == count
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < images
    other = validation.read_committed(list_file(name, "own"), ["another.jpg"])
    assert other is None


def test_the_committed_lists_are_their_rules_on_the_official_lists():
    indoor = validation.in_order(real_data("mit_indoor67/TrainImages.txt").read_text().splitlines())
    with zipfile.ZipFile(real_data("stanford40/ImageSplits.zip")) as file:
        action = validation.in_order(file.read("ImageSplits/train.txt").decode().split())
    actions = [file.rsplit("_", 1)[0] for file in action]
    labels = [sorted(set(actions)).index(a) for a in actions]
    for name, files, chosen in (
        ("indoor67", indoor, validation.uniform(5360, 1000)),
        ("stanford40", action, validation.per_class(labels, 10)),
    ):
        path = list_file(name, "own")
        assert validation.read_committed(path, files) == chosen
        stored = read_json(path)
        assert described(files, chosen, stored["rule"]) == stored
    assert Counter(labels[i] for i in chosen) == dict.fromkeys(range(40), 10)


def described(files, chosen, rule):
    """The content of a committed list."""
    return {
        "rule": rule,
        "images": len(files),
        "files": digest(files),
        "digest": digest(chosen),
        "validation": chosen,
    }


def test_an_edited_list_is_refused(tmp_path):
    path, files = tmp_path / "set_own.json", ["a", "b", "c"]
    content = described(files, [1], "by hand")
    write_json(path, content)
    assert validation.read_committed(path, files) == [1]
    write_json(path, content | {"validation": [2]})
    with pytest.raises(UserError, match="doesn't fit its digest"):
        validation.read_committed(path, files)


SIZES = {"cifar100": (50000, 5000), "stl10": (5000, 500), "cub200": (5994, 1000)}
SIZES["stanford_dogs"] = (12000, 1200)


@pytest.mark.parametrize(("loader", "images", "count"), [(k, *v) for k, v in SIZES.items()])
def test_the_published_lists_are_read(loader, images, count):
    name, indices = validation.PUBLISHED[loader]
    path = real_data(f"l2t_ww/{name}")
    chosen = validation.read_published(path, indices, images)
    assert len(set(chosen)) == count
    assert chosen == sorted(chosen)
    with pytest.raises(UserError, match="the list of another set"):
        validation.read_published(path, indices, images // 2)
    train = read(real_data(f"l2t_ww/{name.removesuffix('val')}train"))
    assert sorted([*train, *chosen]) == list(range(images))
    if loader == "stanford_dogs":
        assert Counter(i // 100 for i in chosen) == dict.fromkeys(range(120), 10)


def read(path):
    with open(path, "rb") as file:
        for _ in range(3):
            Inert(file).load()
        return Inert(file).load()[1]


@pytest.mark.parametrize(
    "value",
    [
        *(([0], [1, 2]), ([0], ["a"]), [1], "text", ([0], 3), ([0], [None])),
        *(b"", b"<html>", b"\x80\x02K\x01.", bytes(100)),  # not even in that container
    ],
)
def test_another_list_is_refused(tmp_path, value):
    path = tmp_path / "stl10-val"
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        container(value, path)
    with pytest.raises(UserError, match=r"stl10-val: not (the published|a list of) indices"):
        validation.read_published(path, "0" * 64, 5000)


def test_nothing_that_a_pickle_asks_for_is_called(tmp_path):
    class Call:
        def __reduce__(self):
            return open, (str(tmp_path / "made"), "w")

    path = container(([0], Call()), tmp_path / "stl10-val")
    with pytest.raises(UserError, match=r"it asks for (io|builtins|__builtin__|_io).open"):
        validation.read_published(path, "0" * 64, 5000)
    assert not (tmp_path / "made").exists()


def test_an_absent_list_is_named(tmp_path):
    with pytest.raises(UserError, match="dog-val: no such file; download it first"):
        validation.read_published(tmp_path / "dog-val", "0" * 64, 12000)
