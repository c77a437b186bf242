"""Every stand-in: drawn, downloaded, prepared and read; equal bytes; the official archives' layout.

A stand-in that is added is found and tested by itself.
"""

import os
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest
from data_sets import LOADERS, SETS, real_data, standin
from pydantic import ValidationError

from multistep.files import UserError, sha256

STAND_INS = pytest.mark.parametrize("loader", LOADERS)

# The members of the official archives as patterns, {} for a class; where the archives are at hand
# (MULTISTEP_DATA) they are compared too. Folders are members.
CIFAR = {"cifar-100-python.tar.gz": "cifar-100-python/(file.txt~|meta|test|train)?"}
LAYOUTS = {
    "omniglot": {
        f"{part}.zip": rf"{part}/([\w().-]+/(character\d\d/(\d{{4}}_\d\d\.png)?)?)?"
        for part in ("images_background", "images_evaluation")
    },
    "miniimagenet": {"mini-imagenet.zip": r"(train|val|test)\.csv|images/(n\d{16}\.jpg)?"},
    "cifar_fs": CIFAR,
    "fc100": CIFAR,
    "cifar100": CIFAR,
    "tieredimagenet": {
        "tiered-imagenet.tar": r"tiered-imagenet/((synsets|class_names)\.txt|"
        r"(train|val|test)_(images_png|labels)\.pkl)?"
    },
    "stl10": {
        "stl10_binary.tar.gz": r"stl10_binary/((train|test|unlabeled)_X\.bin|(train|test)_y\.bin|"
        r"class_names\.txt|fold_indices\.txt)?"
    },
    "tinyimagenet": {
        "tiny-imagenet-200.zip": r"tiny-imagenet-200/(w(nids|ords)\.txt|val/(val_annotations\.txt|"
        r"images/(val_\d+\.JPEG)?)?|test/(images/(test_\d+\.JPEG)?)?|"
        r"train/((?P<wnid>n\d{8})/((?P=wnid)_boxes\.txt|images/((?P=wnid)_\d+\.JPEG)?)?)?)?"
    },
    "cub200": {
        "CUB_200_2011.tgz": r"attributes\.txt|CUB_200_2011/((README|(bounding_boxes|classes|images|"
        r"image_class_labels|train_test_split)(\.txt)?)|images/(\d{3}\.\w+/(\w+_\d{4}_\d+\.jpg)?)?)?"
    },
    "indoor67": {
        "indoorCVPR_09.tar": r"Images/(\w+/([\w ]+\.jpg)?)?",
        "TrainImages.txt": r"TrainImages\.txt",
        "TestImages.txt": r"TestImages\.txt",
    },
    "stanford40": {
        "Stanford40_JPEGImages.zip": r"JPEGImages/(\w+_\d{3}\.jpg)?",
        "Stanford40_ImageSplits.zip": r"ImageSplits/((\w+_)?(train|test)\.txt|actions\.txt)?",
    },
    "stanford_dogs": {
        "images.tar": r"Images/((n\d{8})-[\w-]+/(\2_\d+\.jpg)?)?",
        "lists.tar": r"(file|train|test)_list\.mat",
    },
}
# Members that must be there, each once, besides the images.
REQUIRED = {
    "cifar-100-python.tar.gz": ("cifar-100-python/", " file.txt~ train test meta"),
    "stl10_binary.tar.gz": ("stl10_binary/", " unlabeled_X.bin fold_indices.txt class_names.txt"),
    "tiny-imagenet-200.zip": ("tiny-imagenet-200/", "wnids.txt words.txt val/images/ test/images/"),
    "CUB_200_2011.tgz": ("CUB_200_2011/", " classes.txt image_class_labels.txt README images/"),
    "lists.tar": ("", "file_list.mat train_list.mat test_list.mat"),
}


def drawn_settings(loader, **changes):
    settings = next(iter(SETS[loader]["archives"].values()))["drawn"]
    return standin(loader).Settings.model_validate(settings | changes)


def names(path):
    """Of all members, folders included, by the standard library alone."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as file:
            return file.namelist()
    if path.suffix == ".txt":
        return [path.name]
    with tarfile.open(path) as file:
        return [member.name + "/" * member.isdir() for member in file]


@pytest.mark.parametrize("loader", LAYOUTS)
def test_members_are_those_of_the_official_archives(drawn, loader):
    assert list(LAYOUTS[loader]) == list(SETS[loader]["archives"])
    for archive, layout in LAYOUTS[loader].items():
        found = names(drawn[loader] / archive)
        assert len(set(found)) == len(found)
        assert not [name for name in found if not re.fullmatch(layout, name)]
        folder, required = REQUIRED.get(archive, ("", ""))
        assert {folder + name for name in required.split(" ")} - {""} <= set(found)
        folders = {name[: m.end()] for name in found for m in re.finditer("/", name)}
        assert folders <= set(found)


@pytest.mark.parametrize(
    ("loader", "archive", "file"),
    [
        ("omniglot", "images_background.zip", "omniglot/images_background.zip"),
        ("omniglot", "images_evaluation.zip", "omniglot/images_evaluation.zip"),
        ("miniimagenet", "mini-imagenet.zip", "miniimagenet/mini-imagenet_100cls_x10.zip"),
        ("tinyimagenet", "tiny-imagenet-200.zip", "tinyimagenet/tiny-imagenet-200_x5.zip"),
        ("stanford_dogs", "images.tar", "stanford_dogs/stanford-dogs_224px_20cls_x10.zip"),
        ("stanford40", "Stanford40_ImageSplits.zip", "stanford40/ImageSplits.zip"),
    ],
)
def test_layouts_fit_real_archives(loader, archive, file):
    found = names(real_data(file))
    assert not [name for name in found if not re.fullmatch(LAYOUTS[loader][archive], name)]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """All stand-ins, drawn in another process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    code = "from data_sets import *\nfor loader in LOADERS: draw(loader, Path(loader))"
    path = os.pathsep.join([str(folder), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    return folder


@STAND_INS
def test_another_process_draws_the_same_another_seed_not(drawn, elsewhere, tmp_path, loader):
    other = drawn_settings(loader, seed=6)
    for name in SETS[loader]["archives"]:
        digest = sha256(drawn[loader] / name)
        assert digest == sha256(elsewhere / loader / name)
        standin(loader).draw(tmp_path / name, other)
        assert digest != sha256(tmp_path / name)
        standin(loader).draw(tmp_path / name, drawn_settings(loader))  # over it
        assert digest == sha256(tmp_path / name)


@STAND_INS
def test_only_drawn_archives_are_drawn_over(tmp_path, loader):
    for name in SETS[loader]["archives"]:
        (tmp_path / name).write_bytes(b"precious")
        with pytest.raises(UserError, match="in the way, and not a drawn archive; move it away"):
            standin(loader).draw(tmp_path / name, drawn_settings(loader))
        assert (tmp_path / name).read_bytes() == b"precious"


@STAND_INS
def test_what_cannot_be_drawn(tmp_path, loader):
    settings = drawn_settings(loader)
    if loader != "miniimagenet":  # whose pickles may have any name
        with pytest.raises(UserError, match="no stand-in is known by this name; known: "):
            standin(loader).draw(tmp_path / "other.7z", settings)
    fields = type(settings).model_fields
    many = next(field for field in ("alphabets", "classes", "test") if field in fields)
    archive = next(iter(SETS[loader]["archives"]))
    with pytest.raises(UserError, match="be drawn"):
        standin(loader).draw(tmp_path / archive, drawn_settings(loader, **{many: 1000}))
    assert not list(tmp_path.iterdir())
    for field, wrong in (("seed", -1), ("sides", [10]), ("sides", [14, 10]), ("sides", [0, 10])):
        if field in fields:
            with pytest.raises(ValidationError, match=field):
                drawn_settings(loader, **{field: wrong})
