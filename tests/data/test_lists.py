"""Bird, Indoor, Action and Dog on their stand-ins: images, lists, and their faults one by one."""

import io
import re
import tarfile
import zipfile

import numpy as np
import pytest
from data_sets import GALLERIES, SETS, archive, fault, prepare, tampered
from PIL import Image

from multistep.data import decoding, lists
from multistep.data.loaders import cub200, stanford40, stanford_dogs
from multistep.files import UserError

FOLDERS = {
    "cub200": "CUB_200_2011/images",
    "indoor67": "Images",
    "stanford40": "JPEGImages",
    "stanford_dogs": "Images",
}
LOADERS = pytest.mark.parametrize("loader", GALLERIES)


def files(path):
    """Path in the archive -> bytes, by the standard library alone."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}


@LOADERS
def test_images_labels_and_parts(drawn, tmp_path, loader):
    data = prepare(loader, drawn[loader], tmp_path)
    prefix = FOLDERS[loader] + "/"
    inside = files(drawn[loader] / archive(loader))
    if loader == "indoor67":  # its archive has more images than are listed
        lists = [(drawn[loader] / f"{part}Images.txt").read_text() for part in ("Train", "Test")]
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
    data = prepare(loader, drawn[loader], tmp_path)
    # The stand-ins number a class's images, training first.
    numbers = {
        "cub200": r"_0*(\d+)_\d+\.jpg",
        "indoor67": r"_0*(\d+)\.jpg",
        "stanford40": r"_0*(\d+)\.jpg",
        "stanford_dogs": r"_(\d+)\.jpg",
    }
    prefix = FOLDERS[loader] + "/"
    inside = sorted(files(drawn[loader] / archive(loader)))
    names = [name for name in inside if name.startswith(prefix)]
    number = [int(re.search(numbers[loader], name)[1]) for name in names]
    number = np.array([n for n in number if n <= 8])  # of Indoor, those beyond aren't listed
    assert (number[data.splits["test"]] > 6).all()
    assert (number[data.splits["train"]] <= 6).all()
    assert (number[data.splits["validation"]] <= 6).all()


def test_names_with_blanks_train_and_test(drawn):
    for part in ("Train", "Test"):
        text = (drawn["indoor67"] / f"{part}Images.txt").read_text()
        assert " " in text
        assert not text.endswith("\n")


@LOADERS
def test_one_size(drawn, tmp_path, loader):
    data = prepare(loader, drawn[loader], tmp_path, prepare={"size": 9, "validation": "own"})
    assert data.images.shape == (32, 9, 9, 3)


@LOADERS
def test_a_listed_image_that_is_not_there(drawn, tmp_path, loader):
    inside = files(drawn[loader] / archive(loader))
    listed_one = next(name for name in sorted(inside) if name.endswith(".jpg"))
    raw = tampered(loader, drawn[loader], tmp_path / "raw", lambda held: held.pop(listed_one))
    assert fault(loader, raw, tmp_path / "out") == (
        f"{raw / archive(loader)}: lacks 1 of 32 listed images, such as {listed_one}; "
        f"{decoding.AGAIN}"
    )


@LOADERS
def test_a_damaged_image_is_named(drawn, tmp_path, loader):
    def damage(held):
        name = next(n for n in sorted(held) if n.endswith(".jpg"))
        held[name] = held[name][: len(held[name]) // 3]
        damaged.append(name)

    damaged = []
    raw = tampered(loader, drawn[loader], tmp_path / "raw", damage)
    message = fault(loader, raw, tmp_path / "out")
    assert message.startswith(f"{raw / archive(loader)}: {damaged[0]} is not a readable image")


@pytest.mark.parametrize(
    ("loader", "member"),
    [
        ("cub200", "CUB_200_2011/train_test_split.txt"),
        ("stanford40", "ImageSplits/train.txt"),
        ("stanford_dogs", "test_list.mat"),
    ],
)
def test_an_archive_without_its_lists(drawn, tmp_path, loader, member):
    last = [*SETS[loader]["archives"]][-1]
    raw = tampered(
        loader, drawn[loader], tmp_path / "raw", lambda held: held.pop(member), name=last
    )
    message = fault(loader, raw, tmp_path / "out")
    assert message == f"{raw / last}: has no {member}; {decoding.AGAIN}"


def action_lists(drawn, raw, change):
    return tampered("stanford40", drawn["stanford40"], raw, change, name=stanford40.SPLITS)


def test_actions_may_lack_their_own_list(drawn, tmp_path):
    actions = "ImageSplits/actions.txt"
    raw = action_lists(drawn, tmp_path / "raw", lambda held: held.pop(actions))
    assert len(prepare("stanford40", raw, tmp_path / "out").classes) == 4


def test_actions_must_fit_their_own_list(drawn, tmp_path):
    def rename(held):
        text = held["ImageSplits/actions.txt"]
        held["ImageSplits/actions.txt"] = text.replace(b"drawn_action_02", b"singing")

    raw = action_lists(drawn, tmp_path / "raw", rename)
    message = fault("stanford40", raw, tmp_path / "out")
    assert "drawn_action_02 is not in both actions.txt and the lists" in message


def test_lists_that_contradict_themselves():
    a, b = lists.Listed("a", "a/1.jpg"), lists.Listed("b", "b/1.jpg")
    other = [lists.Listed("a", "a/2.jpg"), lists.Listed("b", "b/2.jpg")]
    with pytest.raises(UserError, match=r"here: 1 images are listed twice, such as a/1\.jpg"):
        lists.lists([a, b, a], other, "here")
    with pytest.raises(UserError, match=r"listed twice, such as b/1\.jpg"):
        lists.lists([a, b], [*other, b], "here")
    with pytest.raises(UserError, match="class b has no test image"):
        lists.lists([a, b], other[:1], "here")
    with pytest.raises(UserError, match="class b has no training image"):
        lists.lists([a], other, "here")


def test_lists_of_another_form():
    assert decoding.lines(b"\xef\xbb\xbfa b/c d.jpg\r\n\n e.jpg", "here") == [
        "a b/c d.jpg",
        "e.jpg",
    ]
    with pytest.raises(UserError, match="here: not a text file"):
        decoding.lines(b"\xff\xd8\xff\xe0", "here")
    for path in ("a.jpg", "a/", "/a.jpg", "a/b/c.jpg"):
        with pytest.raises(UserError, match="is not CLASS/NAME"):
            list(lists.in_folders([path], "here"))

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
        with pytest.raises(UserError, match=r"train_list.mat: no readable file_list"):
            stanford_dogs.parse(data, data, "here")
