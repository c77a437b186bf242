"""Preparing Omniglot: small archives made here, faults named one by one, and the real archives."""

import io
import time
import zipfile

import numpy as np
import pytest
import yaml
from data_sets import ROOT, real_data
from PIL import Image

from multistep.data import class_splits, prepared
from multistep.data.loaders import omniglot
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError

ALPHABETS = {"images_background": ["Circle", "Arrow"], "images_evaluation": ["Bar"]}
CHARACTERS, DRAWERS = 4, 3


def drawing(seed):
    """Random strokes on 105×105 one-bit paper, black on white, as a PNG."""
    ink = np.zeros((105, 105), dtype=bool)
    for y, x in np.random.default_rng(seed).integers(10, 80, (5, 2)):
        ink[y : y + 3, x : x + 20] = True
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "png")
    return file.getvalue()


def members():
    """Path in the zip -> PNG, by archive."""
    archives, number = {}, 0
    for archive, alphabets in ALPHABETS.items():
        files = archives[f"{archive}.zip"] = {}
        for alphabet in alphabets:
            for character in range(1, CHARACTERS + 1):
                number += 1
                for drawer in range(1, DRAWERS + 1):
                    name = f"{archive}/{alphabet}/character{character:02}"
                    files[f"{name}/{number:04}_{drawer:02}.png"] = drawing([number, drawer])
    return archives


def write(folder, archives):
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in archives.items():
        with zipfile.ZipFile(folder / name, "w") as file:
            file.mkdir(name.removesuffix(".zip"))
            file.writestr("readme.txt", "not a drawing")
            for path, data in files.items():
                file.writestr(path, data)
    return folder


def described(**settings):
    size = {"size": 28, "resample": "lanczos", "invert": True, "split": "proportional"}
    return Dataset(
        loader="omniglot",
        title="Shapes",
        classes=3 * CHARACTERS,
        images_per_class=DRAWERS,
        archives={f"{name}.zip": Archive() for name in ALPHABETS},
        prepare=size | settings,
    )


def prepare(raw, out, **settings):
    omniglot.prepare("shapes", described(**settings), raw, out)
    return prepared.read(out)


def failure(raw, tmp_path, dataset=None):
    with pytest.raises(UserError) as raised:
        omniglot.prepare("shapes", dataset or described(), raw, tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()
    return str(raised.value)


def test_every_drawing_is_in_its_place(tmp_path):
    archives = members()
    raw, out = write(tmp_path / "raw", archives), tmp_path / "out"
    data = prepare(raw, out)
    assert data.images.shape == (12 * DRAWERS, 28, 28)
    assert (np.bincount(data.labels) == DRAWERS).all()
    assert data.images.dtype == np.uint8
    assert data.classes == sorted(data.classes)
    assert data.classes[0] == "Arrow/character01"
    every = {path: png for files in archives.values() for path, png in files.items()}
    for path, png in every.items():
        _, alphabet, character, file = path.split("/")
        index = data.classes.index(f"{alphabet}/{character}")
        image = Image.open(io.BytesIO(png)).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
        found = data.images[DRAWERS * index + int(file[5:7]) - 1]
        np.testing.assert_array_equal(found, 255 - np.asarray(image))


def test_the_switches_do_what_they_say(tmp_path):
    raw = write(tmp_path / "raw", members())
    lanczos = np.array(prepare(raw, tmp_path / "a").images)
    paper = np.array(prepare(raw, tmp_path / "b", invert=False).images)
    nearest = np.array(prepare(raw, tmp_path / "c", resample="nearest").images)
    bicubic = np.array(prepare(raw, tmp_path / "d", resample="bicubic").images)
    small = prepare(raw, tmp_path / "e", size=20).images
    np.testing.assert_array_equal(lanczos, 255 - paper)
    assert set(np.unique(nearest)) == {0, 255}  # one-bit in, one-bit out
    assert not np.array_equal(lanczos, bicubic)
    assert small.shape[1:] == (20, 20)


def test_a_flipped_byte_is_found_and_its_drawing_named(tmp_path):
    raw = write(tmp_path / "raw", members())
    zipped = bytearray((raw / "images_evaluation.zip").read_bytes())
    zipped[zipped.index(b"IDAT") + 8] ^= 255
    (raw / "images_evaluation.zip").write_bytes(zipped)
    assert "images_evaluation/Bar/character01/0009_01.png is damaged" in failure(raw, tmp_path)


@pytest.mark.parametrize("cut", [20, 60, 100])
def test_a_corrupt_png_is_named(tmp_path, cut):
    archives = members()
    path = "images_background/Arrow/character02/0006_03.png"
    archives["images_background.zip"][path] = archives["images_background.zip"][path][:cut]
    raw = write(tmp_path / "raw", archives)
    assert f"{path} is not a readable image" in failure(raw, tmp_path)


def test_a_drawing_of_another_size_is_named(tmp_path):
    archives = members()
    file = io.BytesIO()
    Image.new("1", (64, 64)).save(file, "png")
    path = "images_background/Arrow/character02/0006_03.png"
    archives["images_background.zip"][path] = file.getvalue()
    assert f"{path} is 64×64, not 105×105" in failure(write(tmp_path / "raw", archives), tmp_path)


def test_a_missing_drawing_is_named(tmp_path):
    archives = members()
    del archives["images_evaluation.zip"]["images_evaluation/Bar/character03/0011_02.png"]
    message = failure(write(tmp_path / "raw", archives), tmp_path)
    assert "class Bar/character03 has 2 images, not 3" in message


def test_a_missing_character_changes_the_count(tmp_path):
    archives = members()
    kept = {p: d for p, d in archives["images_evaluation.zip"].items() if "character04" not in p}
    message = failure(write(tmp_path / "raw", archives | {"images_evaluation.zip": kept}), tmp_path)
    assert "11 classes in the archives, but params.yaml states 12" in message


def test_the_same_archive_twice_is_noticed(tmp_path):
    archives = members()
    archives["images_evaluation.zip"] = archives["images_background.zip"]
    message = failure(write(tmp_path / "raw", archives), tmp_path)
    assert "Circle/character01 stands in images_background.zip too" in message


@pytest.mark.parametrize("split", ["finn", "vinyals", "sorted"])
def test_omniglots_splits_are_refused_for_other_data(tmp_path, split):
    raw = write(tmp_path / "raw", members())
    message = failure(raw, tmp_path, described(split=split))
    assert f"datasets.shapes.prepare.split: {split} is a list of 1623" in message
    assert "proportional" in message


def test_all_of_omniglot(tmp_path):
    raw = real_data("omniglot")
    config = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    dataset = Dataset.model_validate(config["datasets"]["omniglot"])
    began = time.process_time()
    omniglot.prepare("omniglot", dataset, raw, tmp_path)
    assert time.process_time() - began < 60
    data = prepared.read(tmp_path)
    assert data.images.shape == (32_460, 28, 28)
    assert np.bincount(data.labels).tolist() == [20] * 1623
    assert round(float(data.images.mean()), 1) == 21.4
    assert [len(data.splits[p]) for p in class_splits.PARTS] == [22000, 2000, 8460]
    assert len({name.split("/")[0] for name in data.classes}) == 50

    origin = {}
    for name in dataset.archives:
        with zipfile.ZipFile(raw / name) as file:
            origin[name] = {
                "/".join(path.split("/")[1:3]) for path in file.namelist() if "_" in path
            }
    in_order = [c for name in dataset.archives for c in data.classes if c in origin[name]]
    # In sorted order, background first, the last 423 are the published test classes.
    parts = class_splits.split("sorted", in_order, "omniglot")
    assert parts["test"] == class_splits.committed("omniglot", "vinyals")["test"]

    for part, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        published = raw / "splits" / "vinyals_snell" / f"{file}.txt"
        names = {line.rsplit("/", 1)[0] for line in published.read_text().split()}
        assert set(class_splits.committed("omniglot", "vinyals")[part]) == names
