"""The official lists, where they are at hand: the sizes of Table 6, by way of the loaders.

The images are one grey pixel each, but for the dogs' own in the last test.
"""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from data_sets import real_data
from PIL import Image

from multistep.data import prepared, validation
from multistep.data.lists import Listed, Lists
from multistep.data.loaders import cub200, indoor67, stanford40, stanford_dogs
from multistep.data.settings import Dataset

ROOT = Path(__file__).parents[2]


def pixel():
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (90, 90, 90)).save(file, "jpeg")
    return file.getvalue()


def tar(path, held):
    zipped = path.suffix == ".tgz"
    with gzip.open(path, "wb", 1) if zipped else open(path, "wb") as file:
        _tar(file, held)


def _tar(file, held):
    with tarfile.open(fileobj=file, mode="w") as packed:
        for name, data in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))


def paper(name, loader, classes, sizes, archives, rule):
    """What params.yaml says of a dataset, without where its archives come from."""
    return Dataset.model_validate(
        {
            "loader": loader,
            "title": name,
            "classes": classes,
            "images": dict(zip(prepared.PARTS, sizes, strict=True)),
            "archives": {archive: {} for archive in archives},
            "prepare": {"size": None, "validation": rule},
        }
    )


def parts_of(folder):
    """Sizes of the parts, which are disjoint, and the validation images of each class."""
    data = prepared.read(folder)
    every = np.concatenate([data.splits[part] for part in prepared.PARTS])
    assert len(np.unique(every)) == len(every) == len(data)
    held_out = np.bincount(data.labels[data.splits["validation"]], minlength=len(data.classes))
    return [len(data.splits[part]) for part in prepared.PARTS], held_out


def test_bird(tmp_path):
    with zipfile.ZipFile(real_data("cub_200_2011/CUB_200_2011_metadata.zip")) as lists:
        held = {
            name: lists.read(f"CUB_200_2011/{name}")
            for name in ("images.txt", "train_test_split.txt", "image_class_labels.txt")
        }
    (tmp_path / "cub200-val").write_bytes(real_data("l2t_ww/cub200-val").read_bytes())
    both = cub200.parse(held["images.txt"], held["train_test_split.txt"], "here")
    assert (len(both.train), len(both.test), len(both.classes)) == (5994, 5794, 200)
    # The classes are those of image_class_labels.txt, which isn't read.
    number = dict(line.split() for line in held["image_class_labels.txt"].decode().splitlines())
    paths = dict(line.split() for line in held["images.txt"].decode().splitlines())
    expected = {paths[image]: int(label) for image, label in number.items()}
    found = {i.member: both.classes.index(i.label) + 1 for i in [*both.train, *both.test]}
    assert found == expected

    grey = pixel()
    images = {f"CUB_200_2011/images/{path}": grey for path in paths.values()}
    tar(tmp_path / cub200.ARCHIVE, images | {f"CUB_200_2011/{n}": t for n, t in held.items()})
    archives = [cub200.ARCHIVE, "cub200-val"]
    dataset = paper("Bird", "cub200", 200, (4994, 1000, 5794), archives, "l2t_ww")
    cub200.prepare("bird", dataset, tmp_path, tmp_path / "out")
    sizes, held_out = parts_of(tmp_path / "out")
    assert sizes == [4994, 1000, 5794]
    assert (held_out == 5).all()
    own = np.array([both.classes.index(image.label) for image in both.train])
    assert (np.bincount(own[validation.drawn("bird", dataset, own, balanced=True)]) == 5).all()

    # The published indices count the sorted training images.
    members = {image.member for image in both.train}
    trained = sorted(path for path in found if path in members)
    published = validation.read_published(tmp_path / "cub200-val", len(trained))
    place = {path: i for i, path in enumerate(sorted(found))}
    chosen = prepared.read(tmp_path / "out").splits["validation"].tolist()
    assert chosen == [place[trained[i]] for i in published]


def test_indoor(tmp_path):
    texts = {}
    for name in (indoor67.TRAIN, indoor67.TEST):
        texts[name] = real_data(f"mit_indoor67/{name}").read_bytes()
        assert not texts[name].endswith(b"\n")
        (tmp_path / name).write_bytes(texts[name])
    both = indoor67.parse(*texts.values(), "here")
    assert (len(both.train), len(both.test), len(both.classes)) == (5360, 1340, 67)
    assert [sum(" " in i.member for i in part) for part in (both.train, both.test)] == [4, 2]
    for part, least, most in ((both.train, 77, 83), (both.test, 17, 23)):
        counts = np.bincount([both.classes.index(image.label) for image in part])
        assert (counts.min(), counts.max()) == (least, most)

    grey = pixel()
    images = {f"Images/{image.member}": grey for image in [*both.train, *both.test]}
    tar(tmp_path / indoor67.ARCHIVE, images | {"Images/attic/not listed.jpg": b"never read"})
    archives = [indoor67.ARCHIVE, indoor67.TRAIN, indoor67.TEST]
    dataset = paper("Indoor", "indoor67", 67, (4360, 1000, 1340), archives, "own")
    indoor67.prepare("indoor", dataset, tmp_path, tmp_path / "out")
    sizes, held_out = parts_of(tmp_path / "out")
    assert sizes == [4360, 1000, 1340]
    assert held_out.min() < held_out.max()  # at random, whatever the class


def test_action(tmp_path):
    source = real_data("stanford40/ImageSplits.zip")
    (tmp_path / stanford40.SPLITS).write_bytes(source.read_bytes())
    with zipfile.ZipFile(source) as lists:
        train, test = (lists.read(f"ImageSplits/{part}.txt") for part in ("train", "test"))
        actions = {n.removeprefix("ImageSplits/") for n in lists.namelist()}
        actions = {n.removesuffix("_train.txt") for n in actions if n.endswith("_train.txt")}
    both = stanford40.parse(train, test, None, "here")
    assert (len(both.train), len(both.test), len(both.classes)) == (4000, 5532, 40)
    assert set(both.classes) == actions
    counts = np.bincount([both.classes.index(image.label) for image in both.train])
    assert (counts == 100).all()

    with zipfile.ZipFile(tmp_path / stanford40.IMAGES, "w") as packed:
        for image in [*both.train, *both.test]:
            packed.writestr(f"JPEGImages/{image.member}", pixel())
        packed.writestr("__MACOSX/JPEGImages/._applauding_001.jpg", b"no image")
    archives = [stanford40.IMAGES, stanford40.SPLITS]
    dataset = paper("Action", "stanford40", 40, (3600, 400, 5532), archives, "own")
    stanford40.prepare("action", dataset, tmp_path, tmp_path / "out")
    sizes, held_out = parts_of(tmp_path / "out")
    assert sizes == [3600, 400, 5532]
    assert (held_out == 10).all()


def matlab(names):
    from scipy.io import savemat

    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    file = io.BytesIO()
    savemat(file, {"file_list": cells}, do_compression=True)
    return file.getvalue()


def test_the_published_validation_images_of_dog():
    # 100 of each breed are trained on, so positions in the sorted list tell the breed.
    held_out = validation.read_published(real_data("l2t_ww/dog-val"), 12000)
    assert len(held_out) == 1200
    assert (np.bincount(np.array(held_out) // 100, minlength=120) == 10).all()


def test_real_dogs_in_the_official_layout(tmp_path):
    with zipfile.ZipFile(real_data("stanford_dogs/stanford-dogs_224px_20cls_x10.zip")) as packed:
        held = {n[n.index("Images/") :]: packed.read(n) for n in packed.namelist() if ".jpg" in n}
    names = sorted(name.removeprefix("Images/") for name in held)
    breeds = sorted({name.split("/")[0] for name in names})
    train = [name for breed in breeds for name in [n for n in names if breed in n][:8]]
    test = sorted(set(names) - set(train))
    tar(tmp_path / stanford_dogs.IMAGES, held)
    lists = {stanford_dogs.TRAIN: matlab(train[::-1]), stanford_dogs.TEST: matlab(test)}
    tar(tmp_path / stanford_dogs.LISTS, {f"./{name}": data for name, data in lists.items()})
    both = stanford_dogs.parse(*lists.values(), "here")
    assert both == Lists(
        *(sorted(Listed(n.split("/")[0], n) for n in part) for part in (train, test))
    )

    archives = [stanford_dogs.IMAGES, stanford_dogs.LISTS]
    sizes = (len(train) - 40, 40, len(test))
    dataset = paper("Dog, 20 breeds", "stanford_dogs", 20, sizes, archives, "own")
    stanford_dogs.prepare("dog", dataset, tmp_path, tmp_path / "out")
    found, held_out = parts_of(tmp_path / "out")
    assert found == list(sizes)
    assert (held_out == 2).all()
    data = prepared.read(tmp_path / "out")
    assert data.images.shape == (200, 224, 224, 3)
    image = Image.open(io.BytesIO(held[f"Images/{names[77]}"])).convert("RGB")
    assert np.array_equal(data.pixels(77), np.asarray(image))
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["stand_in"] is False


@pytest.mark.parametrize("name", ["bird", "indoor", "action", "dog"])
def test_params_states_table_6(name):
    datasets = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["datasets"]
    if name not in datasets:
        pytest.skip(f"params.yaml has no {name} yet")
    sizes = {
        "bird": (200, 4994, 1000, 5794),
        "indoor": (67, 4360, 1000, 1340),
        "action": (40, 3600, 400, 5532),
        "dog": (120, 10800, 1200, 8580),
    }
    dataset = Dataset.model_validate(datasets[name])
    assert dataset.images is not None
    found = (dataset.classes, *(dataset.images[part] for part in prepared.PARTS))
    assert found == sizes[name]
