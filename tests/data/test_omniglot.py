"""Preparing Omniglot: faults named one by one on its stand-in, and the real archives."""

import io
import time
import zipfile

import numpy as np
import yaml
from data_sets import ROOT, SETS, fault, prepare, real_data, tampered
from PIL import Image

from multistep.data import class_splits, prepared
from multistep.data.archives import members
from multistep.data.loaders import omniglot
from multistep.data.settings import Dataset

ARCHIVES = ["images_background.zip", "images_evaluation.zip"]


def switched(drawn, out, **settings):
    prepare_as = SETS["omniglot"]["prepare"] | settings
    return prepare("omniglot", drawn["omniglot"], out, prepare=prepare_as)


def test_every_drawing_is_in_its_place(drawn, tmp_path):
    data = switched(drawn, tmp_path)
    assert data.images.shape == (12 * 3, 28, 28)
    assert data.classes == sorted(data.classes)
    for archive in ARCHIVES:
        for path, png in members(drawn["omniglot"] / archive):
            _, alphabet, character, file = path.split("/")
            index = data.classes.index(f"{alphabet}/{character}")
            image = Image.open(io.BytesIO(png)).convert("L")
            expected = 255 - np.asarray(image.resize((28, 28), Image.Resampling.LANCZOS))
            np.testing.assert_array_equal(data.images[3 * index + int(file[5:7]) - 1], expected)


def test_the_switches_do_what_they_say(drawn, tmp_path):
    lanczos = np.array(switched(drawn, tmp_path / "a").images)
    paper = np.array(switched(drawn, tmp_path / "b", invert=False).images)
    nearest = np.array(switched(drawn, tmp_path / "c", resample="nearest").images)
    bicubic = np.array(switched(drawn, tmp_path / "d", resample="bicubic").images)
    small = switched(drawn, tmp_path / "e", size=20).images
    np.testing.assert_array_equal(lanczos, 255 - paper)
    assert set(np.unique(nearest)) == {0, 255}  # one-bit in, one-bit out
    assert not np.array_equal(lanczos, bicubic)
    assert small.shape[1:] == (20, 20)


def test_a_flipped_byte_is_found_and_its_drawing_named(drawn, tmp_path):
    raw = tampered("omniglot", drawn["omniglot"], tmp_path / "raw", lambda files: None)
    zipped = bytearray((raw / ARCHIVES[1]).read_bytes())
    zipped[zipped.index(b"IDAT") + 8] ^= 255
    (raw / ARCHIVES[1]).write_bytes(zipped)
    message = fault("omniglot", raw, tmp_path / "out")
    assert "images_evaluation/Drawn_Armenian/character01/0965_01.png is damaged" in message


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
            parts = (path.split("/")[1:3] for path in file.namelist() if "_" in path)
            origin[name] = {"/".join(part) for part in parts}
    in_order = [c for name in dataset.archives for c in data.classes if c in origin[name]]
    # In sorted order, background first, the last 423 are the published test classes.
    parts = class_splits.split("sorted", in_order, "omniglot")
    assert parts["test"] == class_splits.committed("omniglot", "vinyals")["test"]

    for part, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        published = raw / "splits" / "vinyals_snell" / f"{file}.txt"
        names = {line.rsplit("/", 1)[0] for line in published.read_text().split()}
        assert set(class_splits.committed("omniglot", "vinyals")[part]) == names
