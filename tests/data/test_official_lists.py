"""Official archives, where they are at hand: the sizes of Table 6, by way of the loaders.

Where only lists are, the images are one grey pixel each.
"""

import io
import json
import zipfile
from collections import Counter

import numpy as np
import pytest
from data_sets import ROOT, SETS, matlab, packed, prepare, real_data
from PIL import Image

from multistep.data import validation
from multistep.data.galleries import Listed, Lists
from multistep.data.loaders import cub200, indoor67, stanford40, stanford_dogs
from multistep.data.prepared import PARTS
from multistep.data.standins.photographs import encoded
from multistep.plan import params

TABLE_6 = {
    "bird": (200, 4994, 1000, 5794),
    "indoor": (67, 4360, 1000, 1340),
    "action": (40, 3600, 400, 5532),
    "dog": (120, 10800, 1200, 8580),
}
GREY = encoded(np.full((1, 1, 3), 90, np.uint8), "jpeg")


def prepared_as(loader, folder, archives, classes, *sizes, rule="own"):
    """Prepared from the archives in `folder`, and the validation images of each class."""
    data = prepare(
        loader, folder, folder / "out", classes=classes,
        images=dict(zip(PARTS, sizes, strict=True)),
        archives={archive: {} for archive in archives},
        prepare={"size": None, "validation": rule},
    )  # fmt: skip
    every = np.concatenate([data.splits[part] for part in PARTS])
    assert len(np.unique(every)) == len(every) == len(data)
    assert [len(data.splits[part]) for part in PARTS] == list(sizes)
    return data, np.bincount(data.labels[data.splits["validation"]], minlength=classes)


def published_list(loader, folder):
    name, indices = validation.PUBLISHED[loader]
    return folder / name, indices


def of_class(both, part):
    return np.array([both.classes.index(image.label) for image in part])


def test_bird(tmp_path):
    with zipfile.ZipFile(real_data("cub_200_2011/CUB_200_2011_metadata.zip")) as lists:
        names = ("images.txt", "train_test_split.txt", "image_class_labels.txt")
        images, split, labels = held = [lists.read(f"CUB_200_2011/{name}") for name in names]
    (tmp_path / "cub200-val").write_bytes(real_data("l2t_ww/cub200-val").read_bytes())
    both = cub200.parse(images, split, "here")
    assert (len(both.train), len(both.test), len(both.classes)) == (5994, 5794, 200)
    # The classes are those of image_class_labels.txt, which isn't read.
    number, paths = (
        dict(line.split() for line in data.decode().splitlines()) for data in (labels, images)
    )
    expected = {paths[image]: int(label) for image, label in number.items()}
    found = {i.member: both.classes.index(i.label) + 1 for i in [*both.train, *both.test]}
    assert found == expected

    members = {f"CUB_200_2011/images/{path}": GREY for path in paths.values()}
    members |= {f"CUB_200_2011/{n}": data for n, data in zip(names, held, strict=True)}
    packed(tmp_path / cub200.ARCHIVE, members)
    archives = [cub200.ARCHIVE, "cub200-val"]
    data, held_out = prepared_as("cub200", tmp_path, archives, *TABLE_6["bird"], rule="l2t_ww")
    assert (held_out == 5).all()

    # The published indices count the sorted training images.
    trained = sorted(image.member for image in both.train)
    published = validation.read_published(*published_list("cub200", tmp_path), len(trained))
    place = {path: i for i, path in enumerate(sorted(found))}
    assert data.splits["validation"].tolist() == [place[trained[i]] for i in published]


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
        counts = np.bincount(of_class(both, part))
        assert (counts.min(), counts.max()) == (least, most)
    images = {f"Images/{image.member}": GREY for image in [*both.train, *both.test]}
    packed(tmp_path / indoor67.ARCHIVE, images | {"Images/attic/not listed.jpg": b"never read"})
    archives = SETS["indoor67"]["archives"]
    _, held_out = prepared_as("indoor67", tmp_path, archives, *TABLE_6["indoor"])
    assert held_out.min() < held_out.max()  # at random, whatever the class


def test_action(tmp_path):
    source = real_data("stanford40/ImageSplits.zip")
    (tmp_path / stanford40.SPLITS).write_bytes(source.read_bytes())
    with zipfile.ZipFile(source) as lists:
        train, test = (lists.read(f"ImageSplits/{part}.txt") for part in ("train", "test"))
        own = [n.removeprefix("ImageSplits/") for n in lists.namelist()]
    both = stanford40.parse(train, test, None, "here")
    assert (len(both.train), len(both.test), len(both.classes)) == (4000, 5532, 40)
    actions = {name.removesuffix("_train.txt") for name in own if name.endswith("_train.txt")}
    assert set(both.classes) == actions
    assert (np.bincount(of_class(both, both.train)) == 100).all()
    images = {f"JPEGImages/{image.member}": GREY for image in [*both.train, *both.test]}
    images["__MACOSX/JPEGImages/._applauding_001.jpg"] = b"no image"
    packed(tmp_path / stanford40.IMAGES, images)
    archives = SETS["stanford40"]["archives"]
    _, held_out = prepared_as("stanford40", tmp_path, archives, *TABLE_6["action"])
    assert (held_out == 10).all()


def test_real_dogs_in_the_official_layout(tmp_path):
    with zipfile.ZipFile(real_data("stanford_dogs/stanford-dogs_224px_20cls_x10.zip")) as file:
        held = {n[n.index("Images/") :]: file.read(n) for n in file.namelist() if ".jpg" in n}
    names = sorted(name.removeprefix("Images/") for name in held)
    breeds = sorted({name.split("/")[0] for name in names})
    train = [name for breed in breeds for name in [n for n in names if breed in n][:8]]
    test = sorted(set(names) - set(train))
    packed(tmp_path / stanford_dogs.IMAGES, held)
    lists = {stanford_dogs.TRAIN: matlab(train[::-1]), stanford_dogs.TEST: matlab(test)}
    packed(tmp_path / stanford_dogs.LISTS, {f"./{name}": data for name, data in lists.items()})
    expected = (sorted(Listed(n.split("/")[0], n) for n in part) for part in (train, test))
    assert stanford_dogs.parse(*lists.values(), "here") == Lists(*expected)
    archives = [stanford_dogs.IMAGES, stanford_dogs.LISTS]
    sizes = (len(train) - 40, 40, len(test))
    data, held_out = prepared_as("stanford_dogs", tmp_path, archives, 20, *sizes)
    assert (held_out == 2).all()
    assert data.images.shape == (200, 224, 224, 3)
    image = Image.open(io.BytesIO(held[f"Images/{names[77]}"])).convert("RGB")
    assert np.array_equal(data.pixels(77), np.asarray(image))
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about["stand_in"] is False


@pytest.mark.parametrize("name", TABLE_6)
def test_params_states_table_6(name):
    dataset = params.load(ROOT / "params.yaml").datasets[name]
    found = (dataset.classes, *(dataset.images[part] for part in PARTS))
    assert found == TABLE_6[name]


def test_stls_labels_fit_its_published_list(tmp_path):
    labels, names, tests = (
        real_data(f"stl10/stl10_binary/{file}").read_bytes()
        for file in ("train_y.bin", "class_names.txt", "test_y.bin")
    )
    assert Counter(labels) == dict.fromkeys(range(1, 11), 500)
    (tmp_path / "stl10-val").write_bytes(real_data("l2t_ww/stl10-val").read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (20, 96 * 96 * 3), dtype=np.uint8)
    parts = {
        "stl10_binary/train_X.bin": np.zeros((5000, 96 * 96 * 3), np.uint8).tobytes(),
        "stl10_binary/train_y.bin": labels,
        "stl10_binary/test_X.bin": pixels.tobytes(),
        "stl10_binary/test_y.bin": tests[:20],
        "stl10_binary/class_names.txt": names,
    }
    packed(tmp_path / "stl10_binary.tar.gz", parts)
    found = prepare(
        "stl10", tmp_path, tmp_path / "out", classes=10,
        images={"train": 4500, "validation": 500, "test": 20},
        archives={"stl10_binary.tar.gz": {}, "stl10-val": {}},
        prepare={"size": 8, "validation": "l2t_ww"},
    )  # fmt: skip
    assert found.classes[:3] == ["airplane", "bird", "car"]
    assert found.labels[found.splits["test"]].tolist() == [label - 1 for label in tests[:20]]
    # Images are numbered test first, then in the order of the files.
    first = found.splits["validation"][:3] - 20
    assert first.tolist() == [14, 17, 28]
    assert found.labels[found.splits["validation"][0]] == labels[14] - 1


def test_a_part_of_tinyimagenet(tmp_path):
    archive = real_data("tinyimagenet/tiny-imagenet-200_x5.zip")
    found = prepare(
        "tinyimagenet", archive.parent, tmp_path / "out", classes=200,
        images={"train": 800, "validation": 200, "test": 400},
        archives={archive.name: {}}, prepare={"size": 32},
    )  # fmt: skip
    assert found.images.shape == (1400, 32, 32, 3)
    assert found.classes == sorted(found.classes)
    assert found.classes[0] == "n01443537"
    with zipfile.ZipFile(archive) as file:
        inside = next(n for n in file.namelist() if "/n01443537_" in n and n.endswith(".JPEG"))
        expected = Image.open(io.BytesIO(file.read(inside))).convert("RGB")
    expected = np.asarray(expected.resize((32, 32), Image.Resampling.BILINEAR))
    assert any((found.pixels(i) == expected).all() for i in np.flatnonzero(found.labels == 0))
