"""Bird, Indoor, Action and Dog end to end on their stand-ins, and their faults one by one."""

import importlib
import io
import json
import re
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multistep.cli import main
from multistep.data import image_sets, listed
from multistep.data.archives import members
from multistep.data.settings import Dataset
from multistep.data.standins import galleries
from multistep.data.standins.packing import pack
from multistep.files import UserError

SETTINGS = galleries.Settings(classes=4, train=6, test=2, sides=[12, 20], seed=3)
SIZES = {"train": 16, "validation": 8, "test": 8}
ARCHIVES = {  # the one with the images first, the one with the training list last
    "cub200": ["CUB_200_2011.tgz"],
    "indoor67": ["indoorCVPR_09.tar", "TestImages.txt", "TrainImages.txt"],
    "stanford40": ["Stanford40_JPEGImages.zip", "Stanford40_ImageSplits.zip"],
    "stanford_dogs": ["images.tar", "lists.tar"],
}
FOLDERS = {
    "cub200": "CUB_200_2011/images",
    "indoor67": "Images",
    "stanford40": "JPEGImages",
    "stanford_dogs": "Images",
}
LOADERS = pytest.mark.parametrize("loader", ARCHIVES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A folder for each loader with its drawn archives."""
    root = tmp_path_factory.mktemp("drawn")
    for loader, archives in ARCHIVES.items():
        module = importlib.import_module(f"multistep.data.standins.{loader}")
        for archive in archives:
            module.draw(root / loader / archive, SETTINGS)
    return root


def described(loader, size=None, validation="own", **changes):
    entry = {
        "loader": loader,
        "title": "Drawn",
        "classes": SETTINGS.classes,
        "images": SIZES,
        "archives": {name: {"drawn": SETTINGS.model_dump()} for name in ARCHIVES[loader]},
        "prepare": {"size": size, "validation": validation},
    }
    return Dataset.model_validate(entry | changes)


def prepare(loader, raw, out, **changes):
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    module.prepare("drawn", described(loader, **changes), raw, out)
    return image_sets.load(out)


def fault(loader, raw, out, **changes):
    """The one line that a user gets to see; nothing half-made may stay behind."""
    with pytest.raises(UserError) as error:
        prepare(loader, raw, out, **changes)
    assert not out.exists() or not list(out.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def tampered(drawn, loader, raw, change, which=0):
    """A copy of the archives in `raw`, with one whose {path: bytes} went through `change`."""
    shutil.copytree(drawn / loader, raw)
    path = raw / ARCHIVES[loader][which]
    held = dict(members(path))
    change(held)
    path.unlink()
    if path.suffix == ".txt":
        path.write_bytes(held[path.name])
    else:
        pack(path, SETTINGS, held.items())
    return path


def files(path):
    """Path in the archive -> bytes, by the standard library alone."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}


@LOADERS
def test_images_labels_and_parts(drawn, tmp_path, loader):
    data = prepare(loader, drawn / loader, tmp_path)
    assert {part: len(indices) for part, indices in data.splits.items()} == SIZES
    assert sorted(np.concatenate(list(data.splits.values()))) == list(range(32))
    assert len(data.classes) == 4
    assert data.classes == sorted(data.classes)
    for part, each in (("test", 2),) if loader == "indoor67" else (("validation", 2), ("test", 2)):
        assert np.bincount(data.labels[data.splits[part]]).tolist() == [each] * 4
    assert json.loads((tmp_path / "dataset.json").read_text())["stand_in"] is True

    prefix = FOLDERS[loader] + "/"
    inside = files(drawn / loader / ARCHIVES[loader][0])
    if loader == "indoor67":  # its archive has more images than are listed
        lists = [(drawn / loader / f"{part}Images.txt").read_text() for part in ("Train", "Test")]
        names = sorted("\n".join(lists).split("\n"))
        assert len(inside) == 4 * (6 + 2 + 2)
    else:
        names = sorted(name.removeprefix(prefix) for name in inside if name.startswith(prefix))
    assert len(names) == 32
    modes = set()
    for i, name in enumerate(names):
        image = Image.open(io.BytesIO(inside[prefix + name]))
        modes.add(image.mode)
        assert np.array_equal(data.pixels(i), np.asarray(image.convert("RGB")))
        label = re.sub(r"_\d+\.jpg$", "", name) if loader == "stanford40" else name.split("/")[0]
        assert data.classes[data.labels[i]] == label
    assert modes == {"RGB", "L", "CMYK"}
    assert len({data.pixels(i).shape for i in range(32)}) > 10


@LOADERS
def test_the_parts_are_those_of_the_lists(drawn, tmp_path, loader):
    data = prepare(loader, drawn / loader, tmp_path)
    # The stand-ins number a class's images, training first.
    numbers = {
        "cub200": r"_0*(\d+)_\d+\.jpg",
        "indoor67": r"_0*(\d+)\.jpg",
        "stanford40": r"_0*(\d+)\.jpg",
        "stanford_dogs": r"_(\d+)\.jpg",
    }
    prefix = FOLDERS[loader] + "/"
    inside = sorted(files(drawn / loader / ARCHIVES[loader][0]))
    names = [name for name in inside if name.startswith(prefix)]
    number = [int(re.search(numbers[loader], name)[1]) for name in names]
    number = np.array([n for n in number if n <= 8])  # of Indoor, those beyond aren't listed
    assert (number[data.splits["test"]] > 6).all()
    assert (number[data.splits["train"]] <= 6).all()
    assert (number[data.splits["validation"]] <= 6).all()


def test_names_with_blanks_train_and_test(drawn):
    for part in ("Train", "Test"):
        text = (drawn / "indoor67" / f"{part}Images.txt").read_text()
        assert " " in text
        assert not text.endswith("\n")


@LOADERS
def test_one_size(drawn, tmp_path, loader):
    data = prepare(loader, drawn / loader, tmp_path, size=9)
    assert data.images.shape == (32, 9, 9, 3)


@LOADERS
def test_a_listed_image_that_is_not_there(drawn, tmp_path, loader):
    inside = files(drawn / loader / ARCHIVES[loader][0])
    listed_one = next(name for name in sorted(inside) if name.endswith(".jpg"))
    path = tampered(drawn, loader, tmp_path / "raw", lambda held: held.pop(listed_one))
    message = fault(loader, tmp_path / "raw", tmp_path / "out")
    assert message == (
        f"{path}: lacks 1 of 32 listed images, such as {listed_one}; get the archive again"
    )


@LOADERS
def test_a_truncated_archive(drawn, tmp_path, loader):
    shutil.copytree(drawn / loader, tmp_path / "raw")
    path = tmp_path / "raw" / ARCHIVES[loader][0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = fault(loader, tmp_path / "raw", tmp_path / "out")
    assert str(path) in message
    # A tar that ends with a member lacks nothing but the images that should follow.
    assert "truncated" in message or "damaged" in message or "lacks" in message


@LOADERS
def test_a_damaged_image_is_named(drawn, tmp_path, loader):
    def damage(held):
        name = next(n for n in sorted(held) if n.endswith(".jpg"))
        held[name] = held[name][: len(held[name]) // 3]
        damaged.append(name)

    damaged = []
    path = tampered(drawn, loader, tmp_path / "raw", damage)
    message = fault(loader, tmp_path / "raw", tmp_path / "out")
    assert message.startswith(f"{path}: {damaged[0]} is not a readable image")


@LOADERS
def test_other_numbers_than_params_states(drawn, tmp_path, loader):
    message = fault(loader, drawn / loader, tmp_path / "out", classes=8)
    assert "4 classes" in message
    assert "states 8" in message
    sizes = SIZES | {"train": 17}
    message = fault(loader, drawn / loader, tmp_path / "out", images=sizes)
    assert "16 train, 8 validation, 8 test" in message
    assert "17 train" in message
    assert "datasets.drawn.images" in fault(loader, drawn / loader, tmp_path / "out", images=None)


@LOADERS
def test_an_archive_that_was_not_downloaded(drawn, tmp_path, loader):
    for archive in ARCHIVES[loader]:
        raw = tmp_path / f"without {archive}"
        shutil.copytree(drawn / loader, raw)
        (raw / archive).unlink()
        message = fault(loader, raw, tmp_path / "out")
        assert message.startswith(f"{raw / archive}: no such file")


@pytest.mark.parametrize(
    ("loader", "member"),
    [
        ("cub200", "CUB_200_2011/train_test_split.txt"),
        ("stanford40", "ImageSplits/train.txt"),
        ("stanford_dogs", "test_list.mat"),
    ],
)
def test_an_archive_without_its_lists(drawn, tmp_path, loader, member):
    path = tampered(drawn, loader, tmp_path / "raw", lambda held: held.pop(member), which=-1)
    message = fault(loader, tmp_path / "raw", tmp_path / "out")
    assert message == f"{path}: has no {member}; get the archive again"


def test_actions_may_lack_their_own_list(drawn, tmp_path):
    actions = "ImageSplits/actions.txt"
    tampered(drawn, "stanford40", tmp_path / "raw", lambda held: held.pop(actions), which=1)
    assert len(prepare("stanford40", tmp_path / "raw", tmp_path / "out").classes) == 4


def test_actions_must_fit_their_own_list(drawn, tmp_path):
    def rename(held):
        text = held["ImageSplits/actions.txt"]
        held["ImageSplits/actions.txt"] = text.replace(b"drawn_action_02", b"singing")

    tampered(drawn, "stanford40", tmp_path / "raw", rename, which=1)
    message = fault("stanford40", tmp_path / "raw", tmp_path / "out")
    assert "drawn_action_02 is not in both actions.txt and the lists" in message


@LOADERS
def test_published_validation_needs_its_list(drawn, tmp_path, loader):
    module = importlib.import_module(f"multistep.data.loaders.{loader}")
    if loader in ("indoor67", "stanford40"):
        with pytest.raises(ValueError, match="validation"):
            module.Settings.model_validate({"size": None, "validation": "l2t_ww"})
        return
    message = fault(loader, drawn / loader, tmp_path / "out", validation="l2t_ww")
    assert f"l2t_ww needs {module.PUBLISHED} among datasets.drawn.archives" in message


def test_lists_that_contradict_themselves():
    a, b = listed.Listed("a", "a/1.jpg"), listed.Listed("b", "b/1.jpg")
    other = [listed.Listed("a", "a/2.jpg"), listed.Listed("b", "b/2.jpg")]
    with pytest.raises(UserError, match=r"here: 1 images are listed twice, such as a/1\.jpg"):
        listed.lists([a, b, a], other, "here")
    with pytest.raises(UserError, match=r"listed twice, such as b/1\.jpg"):
        listed.lists([a, b], [*other, b], "here")
    with pytest.raises(UserError, match="class b has no test image"):
        listed.lists([a, b], other[:1], "here")
    with pytest.raises(UserError, match="class b has no training image"):
        listed.lists([a], other, "here")


def test_lists_of_another_form():
    assert listed.lines(b"\xef\xbb\xbfa b/c d.jpg\r\n\n e.jpg", "here") == ["a b/c d.jpg", "e.jpg"]
    with pytest.raises(UserError, match="here: not a text file"):
        listed.lines(b"\xff\xd8\xff\xe0", "here")
    for path in ("a.jpg", "a/", "/a.jpg", "a/b/c.jpg"):
        with pytest.raises(UserError, match="is not CLASS/NAME"):
            listed.in_folder(path, "here")

    from multistep.data.loaders import cub200, stanford40, stanford_dogs

    images = b"1 a/1.jpg\n2 a/2.jpg\n"
    for split, reason in (
        (b"1 1\n", "image 2 is not in both images.txt and train_test_split.txt"),
        (b"1 1\n2 3\n", "image 2 is marked '3', not 0 or 1"),
        (b"1 1\n2\n", "line '2' is not a number and a value"),
    ):
        with pytest.raises(UserError, match=reason):
            cub200.parse(images, split, "here")
    with pytest.raises(UserError, match=r"train.txt: 'a.png' is not ACTION_NUMBER.jpg"):
        stanford40.parse(b"a.png", b"", None, "here")
    for data in (b"", b"no such format", bytes(300)):
        with pytest.raises(UserError, match=r"train_list.mat: no readable list of files"):
            stanford_dogs.parse(data, data, "here")


def test_the_commands(drawn, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entry = described("stanford_dogs")
    for name, archive in entry.archives.items():
        command = ["data", "download", "--dataset", "dog", "--archive", name]
        command += ["--loader", "stanford_dogs", "--spec", archive.model_dump_json()]
        assert main(command) == 0
    command = ["data", "prepare", "--dataset", "dog", "--spec", entry.model_dump_json()]
    assert main(command) == 0
    assert len(image_sets.load(Path("data/processed/dog"))) == 32
