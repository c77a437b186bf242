"""Folders of images as a dataset: made-up ones, their faults, and a part of Stanford Dogs."""

import re
import zipfile
from collections import Counter

import pytest
from data_sets import packed, real_data

from multistep.data import prepared
from multistep.data.loaders import image_folder
from multistep.data.settings import Dataset
from multistep.data.standins import photographs
from multistep.files import UserError

SETTINGS = {"size": 16, "validation": 1, "test": 2, "seed": 0}
SIZES = {"train": 4, "validation": 2, "test": 4}


def zipped(path, names):
    files = dict.fromkeys(names, b"text")
    for i, name in enumerate(name for name in names if name.endswith("jpg")):
        pixels = photographs.image("stl10", i % 10, i, 24, 0)[:20]
        files[name] = photographs.encoded(pixels, "jpeg")
    return packed(path, files).parent


def folder(raw, out, **changes):
    entry = {"classes": 2, "images": SIZES, "archives": {"a.zip": {}}, "prepare": SETTINGS}
    entry |= {"loader": "image_folder", "title": "Pets"} | changes
    image_folder.prepare("pets", Dataset.model_validate(entry), raw, out)
    return prepared.read(out)


NAMES = [f"pets/{c}/{i}.jpg" for i in range(5) for c in ("dog", "cat")]


@pytest.mark.parametrize("root", ["pets/", "a/b/", ""])
def test_any_folder_of_classes_is_a_dataset(tmp_path, root):
    leavings = [f"{root}readme.txt", f"__MACOSX/{root}cat/._1.jpg", f"{root}cat/.hidden.jpg"]
    names = [root + name.removeprefix("pets/") for name in NAMES]
    found = folder(zipped(tmp_path / "a.zip", names + leavings), tmp_path / "out")
    assert found.classes == ["cat", "dog"]
    assert found.images.shape == (10, 16, 16, 3)
    assert {part: len(i) for part, i in found.splits.items()} == SIZES
    for part, each in (("train", 2), ("validation", 1), ("test", 2)):
        assert Counter(found.labels[found.splits[part]].tolist()) == {0: each, 1: each}


def test_what_may_be_meant_is_told(tmp_path, capsys):
    """Classes that differ in case, one image in two classes, files that are no images."""
    names = [name.replace("dog/", "Cat/") for name in NAMES]
    raw = zipped(tmp_path / "a.zip", [f"../{name}" for name in [*names, "pets/cat/9.heic"]])
    with zipfile.ZipFile(raw / "a.zip", "a") as file:  # there are nine of each, one of them in both
        for label in ("cat", "Cat"):
            file.writestr(f"pets/{label}/9.jpg", file.read("../pets/cat/1.jpg"))
    sizes = {part: size + 2 * (part == "train") for part, size in SIZES.items()}
    found = folder(raw, tmp_path / "out", images=sizes)
    assert found.classes == ["Cat", "cat"]
    told = capsys.readouterr().err
    assert "a.zip: pets/cat/9.heic: left out, hidden or no image by its name" in told
    assert "datasets.pets: classes that differ in case alone (Cat, cat) count as several" in told
    assert re.search(r"3 images are in another class or part, too, such as [Cc]at/\d\.jpg \(", told)
    assert "that picture is there 3 times" in told


def test_the_draw_depends_on_the_seed_and_not_on_other_classes(tmp_path):
    raw = zipped(tmp_path / "a.zip", NAMES)
    one = folder(raw, tmp_path / "one")
    two = folder(raw, tmp_path / "two", prepare=SETTINGS | {"seed": 1})
    assert any((one.splits[p] != two.splits[p]).any() for p in one.splits)
    more = zipped(tmp_path / "more" / "a.zip", [*NAMES, *(f"pets/eel/{i}.jpg" for i in range(5))])
    sizes = {"train": 6, "validation": 3, "test": 6}
    three = folder(more, tmp_path / "three", classes=3, images=sizes)
    for part in one.splits:  # cat and dog come before eel
        assert three.splits[part].tolist()[: len(one.splits[part])] == one.splits[part].tolist()


def test_original_sizes_are_kept_without_a_size(tmp_path):
    raw = zipped(tmp_path / "a.zip", NAMES)
    found = folder(raw, tmp_path / "out", prepare=SETTINGS | {"size": None})
    assert found.images.shape == (10, 20, 24, 3)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (NAMES[:7], {}, "cat has 3 images, too few for 1 validation and 2 test"),
        ([*NAMES, "more/cat/9.jpg"], {}, "folders of classes lie in pets and in more"),
        ([*NAMES, "1.jpg"], {}, "1.jpg is in no folder of a class"),
        (NAMES, {"classes": 3}, "states 3"),
        (
            [name.replace("dog", "é").replace("cat", "e\u0301") for name in NAMES],
            {},
            "two classes are called é",
        ),
        ([name.replace(".jpg", ".png") for name in NAMES], {}, "a.zip: pets/dog/0.png is no image"),
    ],
)
def test_faults_of_folders_are_named(tmp_path, names, changes, message):
    with pytest.raises(UserError, match=message):
        folder(zipped(tmp_path / "a.zip", names), tmp_path / "out", **changes)


def test_a_part_of_stanford_dogs_is_a_folder(tmp_path):
    archive = real_data("stanford_dogs/stanford-dogs_224px_120cls_x15.zip")
    found = folder(
        archive.parent, tmp_path / "out", classes=120, archives={archive.name: {}},
        images={"train": 1200, "validation": 240, "test": 360},
        prepare={"size": 32, "validation": 2, "test": 3, "seed": 0},
    )  # fmt: skip
    assert found.images.shape == (1800, 32, 32, 3)
    assert found.classes[0] == "n02085620-Chihuahua"
    assert Counter(found.labels.tolist()) == dict.fromkeys(range(120), 15)
