"""The stand-ins for Bird, Indoor, Action and Dog: layouts, equal bytes, never in the way."""

import importlib
import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from multistep.data.archives import members
from multistep.data.decoding import matlab_strings
from multistep.data.standins import cub200, galleries, indoor67, stanford40, stanford_dogs
from multistep.files import UserError, sha256

SMALL = {"classes": 3, "train": 3, "test": 2, "sides": [10, 14], "seed": 5}
SETTINGS = galleries.Settings(**SMALL)
ARCHIVES = {
    "cub200": ["CUB_200_2011.tgz"],
    "indoor67": ["indoorCVPR_09.tar", "TrainImages.txt", "TestImages.txt"],
    "stanford40": ["Stanford40_JPEGImages.zip", "Stanford40_ImageSplits.zip"],
    "stanford_dogs": ["images.tar", "lists.tar"],
}


def draw_all(folder):
    for loader, archives in ARCHIVES.items():
        module = importlib.import_module(f"multistep.data.standins.{loader}")
        for archive in archives:
            module.draw(folder / archive, SETTINGS)


def test_layouts(tmp_path):
    draw_all(tmp_path)
    held = {name: dict(members(tmp_path / name)) for names in ARCHIVES.values() for name in names}

    bird = held["CUB_200_2011.tgz"]
    images = [line.split() for line in bird["CUB_200_2011/images.txt"].decode().splitlines()]
    assert [number for number, _ in images] == [str(n + 1) for n in range(15)]
    assert all(f"CUB_200_2011/images/{path}" in bird for _, path in images)
    split = bird["CUB_200_2011/train_test_split.txt"].decode().splitlines()
    assert sorted(line.split()[1] for line in split) == ["0"] * 6 + ["1"] * 9

    listed = held["TrainImages.txt"]["TrainImages.txt"] + b"\n"
    listed += held["TestImages.txt"]["TestImages.txt"]
    names = listed.decode().split("\n")
    assert len(names) == 15
    assert len(held["indoorCVPR_09.tar"]) == 3 * (3 + 2 + 2)
    assert all(f"Images/{name}" in held["indoorCVPR_09.tar"] for name in names)

    splits = held["Stanford40_ImageSplits.zip"]
    actions = splits["ImageSplits/actions.txt"].decode().splitlines()
    assert actions[:2] == ["action_name\tnumber_of_images", "drawn_action_01\t5"]
    for part, count in (("train", 3), ("test", 2)):
        names = splits[f"ImageSplits/{part}.txt"].decode().split("\r\n")[:-1]
        assert all(f"JPEGImages/{name}" in held["Stanford40_JPEGImages.zip"] for name in names)
        own = splits[f"ImageSplits/drawn_action_02_{part}.txt"].decode().split()
        assert len(own) == count
        assert set(own) <= set(names)

    for part, count in (("train", 9), ("test", 6)):
        names = matlab_strings(held["lists.tar"][f"{part}_list.mat"], "file_list", part)
        assert len(names) == count
        assert all(f"Images/{name}" in held["images.tar"] for name in names)


def test_equal_settings_give_equal_bytes_in_another_process(tmp_path):
    draw_all(tmp_path / "here")
    code = "from test_standin_galleries import *; from pathlib import Path; draw_all(Path('.'))"
    there = tmp_path / "there"
    there.mkdir()
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], cwd=there, env=environment, check=True)
    for names in ARCHIVES.values():
        for name in names:
            assert sha256(tmp_path / "here" / name) == sha256(there / name), name


def test_a_seed_changes_images_and_lists(tmp_path):
    other = galleries.Settings(**SMALL | {"seed": 6})
    stanford40.draw(tmp_path / "a" / "Stanford40_ImageSplits.zip", SETTINGS)
    stanford40.draw(tmp_path / "b" / "Stanford40_ImageSplits.zip", other)
    lists = [dict(members(tmp_path / x / "Stanford40_ImageSplits.zip")) for x in ("a", "b")]
    assert lists[0]["ImageSplits/train.txt"] != lists[1]["ImageSplits/train.txt"]


def test_drawn_archives_may_be_drawn_again_and_others_not(tmp_path):
    draw_all(tmp_path)
    draw_all(tmp_path)
    for loader, archives in ARCHIVES.items():
        module = importlib.import_module(f"multistep.data.standins.{loader}")
        for archive in archives:
            path = tmp_path / archive
            path.write_bytes(b"precious")
            with pytest.raises(UserError, match="in the way, and not a drawn"):
                module.draw(path, SETTINGS)
            assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("module", [cub200, indoor67, stanford40, stanford_dogs])
def test_an_archive_that_the_real_set_lacks(tmp_path, module):
    with pytest.raises(UserError, match=r"other.zip: no stand-in is known by this name; known: "):
        module.draw(tmp_path / "other.zip", SETTINGS)
    settings = galleries.Settings(**SMALL | {"classes": 201})
    name = ARCHIVES[module.__name__.rpartition(".")[2]][0]
    with pytest.raises(UserError, match=r"201 classes of .* can't be drawn"):
        module.draw(tmp_path / name, settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sides", [[10], [14, 10], [2, 10]])
def test_sides_that_make_no_sense(sides):
    with pytest.raises(ValidationError, match="sides"):
        galleries.Settings(**SMALL | {"sides": sides})
