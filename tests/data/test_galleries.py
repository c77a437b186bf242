"""Bird, Indoor, Action and Dog on their stand-ins: images, lists, and their faults one by one."""

import io
import json
import re

import numpy as np
import pytest
from data_sets import GALLERIES, archive, cut, drop, fault_after, prepare, tampered
from PIL import Image

from multistep.data import decoding, galleries
from multistep.data.archives import members
from multistep.data.loaders import cub200, stanford40, stanford_dogs
from multistep.files import UserError

FOLDERS = {
    "cub200": "CUB_200_2011/images",
    "indoor67": "Images",
    "stanford40": "JPEGImages",
    "stanford_dogs": "Images",
}
LOADERS = pytest.mark.parametrize("loader", GALLERIES)


# How the stand-ins number a class's images, training first.
NUMBERS = {"cub200": r"_0*(\d+)_\d+\.jpg", "stanford_dogs": r"_(\d+)\.jpg"}
NUMBERS["indoor67"] = r"_0*(\d+)(_\w+)?\.jpg"


@LOADERS
def test_images_labels_and_parts(drawn, tmp_path, loader):
    data = prepare(loader, drawn[loader], tmp_path)
    prefix = FOLDERS[loader] + "/"
    inside = dict(members(drawn[loader] / archive(loader)))
    if loader == "indoor67":  # its archive has more images than are listed
        lists = [(drawn[loader] / f"{part}Images.txt").read_text() for part in ("Train", "Test")]
        names = sorted("\n".join(lists).split("\n"))
        assert len(inside) == 4 * (6 + 2 + 2)
        assert all(" " in text and not text.endswith("\n") for text in lists)
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
    assert modes == {"RGB", "L", "CMYK"} | ({"P"} if loader == "indoor67" else set())
    assert len({data.pixels(i).shape for i in range(32)}) > 10
    pattern = NUMBERS.get(loader, r"_0*(\d+)\.jpg")
    number = np.array([int(re.search(pattern, name)[1]) for name in names])
    assert (number[data.splits["test"]] > 6).all()
    assert (number[data.splits["train"]] <= 6).all()
    assert (number[data.splits["validation"]] <= 6).all()


@LOADERS
def test_one_size(drawn, tmp_path, loader):
    data = prepare(loader, drawn[loader], tmp_path, prepare={"size": 9, "validation": "own"})
    assert data.images.shape == (32, 9, 9, 3)


@LOADERS
def test_an_image_that_is_absent_or_damaged_is_named(drawn, tmp_path, loader):
    inside = dict(members(drawn[loader] / archive(loader)))
    name = next(name for name in sorted(inside) if name.endswith(".jpg"))
    path = tmp_path / "raw" / archive(loader)
    assert fault_after(drop(name), loader, drawn, tmp_path) == (
        f"{path}: lacks 1 of 32 listed images, such as {name}; {decoding.AGAIN}"
    )
    found = fault_after(cut(name, len(inside[name]) // 3), loader, drawn, tmp_path)
    assert found.startswith(f"{path}: {name} is not a readable image")


def test_what_is_not_jpeg_in_indoor_is_read_and_what_is_broken_left_out(drawn, tmp_path, capsys):
    inside = dict(members(drawn["indoor67"] / archive("indoor67")))
    kinds = {}
    for name, data in inside.items():
        kinds.setdefault(Image.open(io.BytesIO(data)).format, []).append(name)
    (broken,) = kinds["BMP"]
    assert broken.endswith("_bmp.jpg")
    assert len(kinds["GIF"]) == len(kinds["PNG"]) == 1
    whole = prepare("indoor67", drawn["indoor67"], tmp_path / "whole")
    assert "left out" not in capsys.readouterr().err
    raw = tampered("indoor67", drawn["indoor67"], tmp_path / "raw", cut(broken, 30))
    for size in (None, 16):
        settings = {"size": size, "validation": "own"}
        found = prepare("indoor67", raw, tmp_path / str(size), prepare=settings)
        assert len(found) == len(whole) - 1
        told = capsys.readouterr().err
        assert f"{broken} is not a readable image" in told
        assert "it may be so in the official one: left out" in told
        about = json.loads((tmp_path / str(size) / "dataset.json").read_text())
        (lost,) = about["made_from"]["left_out"]
        assert broken == f"Images/{lost}"


def test_actions_may_lack_their_own_list(drawn, tmp_path):
    change = drop("ImageSplits/actions.txt")
    raw = tampered("stanford40", drawn["stanford40"], tmp_path / "raw", change, stanford40.SPLITS)
    assert len(prepare("stanford40", raw, tmp_path / "out").classes) == 4


A, B = galleries.Listed("a", "a/1.jpg"), galleries.Listed("b", "b/1.jpg")
OTHERS = [galleries.Listed("a", "a/2.jpg"), galleries.Listed("b", "b/2.jpg")]
BIRDS = b"1 a/1.jpg\n2 a/2.jpg\n"


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (
            lambda: galleries.checked([A, B, A], OTHERS, "here"),
            "here: 1 images .* twice, such as a/1.jpg",
        ),
        (lambda: galleries.checked([A, B], [*OTHERS, B], "here"), "listed twice, such as b/1.jpg"),
        (lambda: galleries.checked([A, B], OTHERS[:1], "here"), "class b has no test image"),
        (lambda: galleries.checked([A], OTHERS, "here"), "class b has no training image"),
        *(
            (lambda path=path: list(galleries.in_folders([path], "here")), "is not CLASS/NAME")
            for path in ("a.jpg", "a/", "/a.jpg", "")
        ),
        *(
            (lambda split=split: cub200.parse(BIRDS, split, "here"), message)
            for split, message in (
                (b"1 1\n", "image 2 is not in both images.txt and train_test_split.txt"),
                (b"1 1\n2 3\n", "image 2 is marked '3', not 0 or 1"),
                (b"1 1\n2\n", "line '2' is not a number and a value"),
            )
        ),
        (
            lambda: stanford40.parse(b"a.png", b"", None, "here"),
            "train.txt: 'a.png' is not ACTION_NUMBER.jpg",
        ),
        *(
            (lambda d=d: stanford_dogs.parse(d, d, "here"), "train_list.mat: no readable file_list")
            for d in (b"", b"no such format", bytes(300))
        ),
    ],
)
def test_faults_of_lists_are_named(read, message):
    with pytest.raises(UserError, match=message):
        read()
