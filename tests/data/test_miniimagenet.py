"""miniImageNet: both distributions, faults named one by one, and a part of the real images."""

import csv
import io
import pickle
import re
import zipfile

import numpy as np
import pytest
from data_sets import SETS, classes_of, draw, fault, prepare, real_data, tampered
from PIL import Image

from multistep.cli import main
from multistep.data import class_splits, prepared
from multistep.data.archives import members
from multistep.data.class_splits import PARTS
from multistep.data.loaders import miniimagenet
from multistep.data.settings import Dataset
from multistep.data.standins import photographs

ZIP, TAR = "mini-imagenet.zip", "mini-imagenet.tar.gz"
PICKLES = {"archives": {TAR: {"drawn": {}}}}
AS_DRAWN = {"prepare": SETS["miniimagenet"]["prepare"] | {"size": 24}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    draw("miniimagenet", folder, TAR)
    return draw("miniimagenet", folder)


def test_files_keep_their_classes_and_order(drawn, tmp_path):
    found = prepare("miniimagenet", drawn, tmp_path, **AS_DRAWN)
    assert [classes_of(found, part) for part in PARTS] == [[0, 1, 2], [3], [4, 5]]
    assert found.classes == [f"n98{i:06}" for i in range(6)]
    for c in range(6):
        for n in range(5):
            pixels = photographs.image("imagenet", c, n, 24, 5).mean(axis=2)  # one is grey
            assert np.abs(found.images[5 * c + n].mean(axis=2) - pixels).mean() < 12  # by JPEG


def test_pickles_hold_the_same_images_without_loss(drawn, tmp_path):
    found = prepare("miniimagenet", drawn, tmp_path, **AS_DRAWN, **PICKLES)
    assert [classes_of(found, part) for part in PARTS] == [[0, 1, 2], [3], [4, 5]]
    assert found.classes == [f"n98{i:06}" for i in range(6)]
    for c in range(6):
        mine = {found.images[5 * c + n].tobytes() for n in range(5)}
        assert mine == {photographs.image("imagenet", c, n, 24, 5).tobytes() for n in range(5)}


def test_pickles_may_be_three_archives(drawn, tmp_path):
    for member, data in members(drawn / TAR):
        (tmp_path / member).write_bytes(data)
    archives = {path.name: {"unverified": True} for path in sorted(tmp_path.iterdir())}
    found = prepare("miniimagenet", tmp_path, tmp_path / "out", archives=archives)
    one = prepare("miniimagenet", drawn, tmp_path / "one", **PICKLES)
    assert found.digest == one.digest
    (tmp_path / "mini-imagenet-cache-val.pkl").rename(
        tmp_path / "mini-imagenet-cache-validation.pkl"
    )
    del archives["mini-imagenet-cache-val.pkl"]
    archives["mini-imagenet-cache-validation.pkl"] = {"unverified": True}
    assert prepare("miniimagenet", tmp_path, tmp_path / "out", archives=archives).digest == (
        one.digest
    )


@pytest.mark.parametrize(
    ("resample", "filter"),
    [("lanczos", Image.Resampling.LANCZOS), ("bilinear", Image.Resampling.BILINEAR)],
)
def test_images_are_resized_by_the_filter_that_is_set(drawn, tmp_path, resample, filter):
    settings = {"size": 10, "resample": resample, "split": "listed"}
    found = prepare("miniimagenet", drawn, tmp_path, prepare=settings)
    files = dict(members(drawn / ZIP))
    for n in range(5):
        image = Image.open(io.BytesIO(files[f"images/n98000004{n + 1:08}.jpg"])).convert("RGB")
        expected = np.asarray(image.resize((10, 10), filter))
        np.testing.assert_array_equal(found.images[20 + n], expected)


def rows(change):
    """A change of train.csv's lines."""

    def changed(files):
        files["train.csv"] = "\n".join(change(files["train.csv"].decode().split("\n"))).encode()

    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",", ", "),
        lambda text: text.replace("filename,label", "Filename,LABEL"),
        lambda text: text.replace("\nn", "\nimages/n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("filename,label", "filename,label,"),
    ],
)
def test_lists_as_spreadsheets_save_them_are_the_same_lists(drawn, tmp_path, change):
    def changed(files):
        for name in ("train.csv", "val.csv", "test.csv"):
            files[name] = change(files[name].decode()).encode()

    raw = tampered("miniimagenet", drawn, tmp_path / "raw", changed)
    found = prepare("miniimagenet", raw, tmp_path / "out")
    assert found.digest == prepare("miniimagenet", drawn, tmp_path / "as drawn").digest


FIRST = "images/n9800000000000001.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("val.csv"), "no val.csv in its archives"),
        (
            lambda f: f.pop(FIRST),
            r"no image n9800000000000001\.jpg, .* \(1 of 30 are",
        ),
        (lambda f: f.update({FIRST: f[FIRST][:-200]}), f"{FIRST} is not a readable image"),
        (lambda f: f.update({FIRST: b"text"}), f"{FIRST} is no image"),
        (lambda f: f.update({"again/" + FIRST: f[FIRST]}), "two images are called n98000000"),
        (rows(lambda lines: lines[:-2]), "class n98000002 has 4 images, not 5"),
        (rows(lambda lines: [*lines, lines[1]]), r"n9800000000000001\.jpg is listed twice"),
        (rows(lambda lines: ["file,label", *lines[1:]]), "no columns filename and label"),
        (
            rows(lambda lines: [line.replace(",n98000002", ",n98000003") for line in lines]),
            "class n98000003 stands in train and in validation",
        ),
        (lambda f: f.update({"more/val.csv": f["val.csv"]}), "more/val.csv: a second list"),
    ],
)
def test_faults_of_files_and_lists_are_named(drawn, tmp_path, change, message):
    raw = tampered("miniimagenet", drawn, tmp_path / "raw", change)
    found = fault("miniimagenet", raw, tmp_path / "out")
    assert re.search(message, found), found


class Call:
    def __reduce__(self):
        return print, ("run",)


def repickled(**changes):
    def change(files):
        name = "mini-imagenet-cache-test.pkl"
        found = pickle.loads(files[name])
        found |= {key.encode(): value for key, value in changes.items()}
        files[name] = pickle.dumps(found, protocol=3)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("mini-imagenet-cache-val.pkl"), "no mini-imagenet-cache-val.pkl in"),
        (repickled(image_data=None), "no image_data .* and class_dict"),
        (repickled(class_dict={b"n98000004": [0, 10]}), "class_dict doesn't fit image_data"),
        (repickled(class_dict={b"a": [0, 1], b"b": [1]}), "class_dict doesn't fit image_data"),
        (repickled(class_dict={b"n98000001": [0]}), "n98000001 stands in train and in test"),
        (repickled(class_dict=Call()), "it asks for builtins.print"),
    ],
)
def test_faults_of_pickles_are_named_and_nothing_in_them_runs(
    drawn, tmp_path, change, message, capsys
):
    raw = tampered("miniimagenet", drawn, tmp_path / "raw", change, TAR)
    found = fault("miniimagenet", raw, tmp_path / "out", **PICKLES)
    assert re.search(message, found), found
    assert "run\n" not in capsys.readouterr().out


def test_without_a_source_the_user_is_told_what_to_bring(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["data", "download", "--dataset", "miniimagenet", "--archive", ZIP]
    assert main([*command, "--spec", '{"unverified": true}']) == 2
    message = capsys.readouterr().err
    assert "mini-imagenet.zip: you have to bring this file, it isn't downloaded" in message
    assert "data/README.md" in message
    assert "under the name mini-imagenet.zip" in message
    assert "`sources: {miniimagenet: FOLDER}`" in message
    assert message.count("\n") == 1


def test_the_committed_list_is_that_of_the_published_csv_files():
    archive = real_data("miniimagenet/splits_ravi.zip")
    parts = class_splits.committed("miniimagenet", "ravi")
    with zipfile.ZipFile(archive) as file:
        for part, name in zip(PARTS, ("train", "val", "test"), strict=True):
            listed = csv.DictReader(io.TextIOWrapper(file.open(f"{name}.csv")))
            assert parts[part] == sorted({row["label"] for row in listed})


def test_a_part_of_the_real_images(tmp_path):
    archive = real_data("miniimagenet/mini-imagenet_100cls_x10.zip")
    entry = Dataset.model_validate(
        {
            "loader": "miniimagenet",
            "title": "miniImageNet, 10 images per class",
            "classes": 100,
            "images_per_class": 10,
            "archives": {archive.name: {"unverified": True}},
            "prepare": {"size": 84, "resample": "lanczos", "split": "ravi"},
        }
    )
    miniimagenet.prepare("part", entry, archive.parent, tmp_path)
    found = prepared.read(tmp_path)
    assert found.images.shape == (1000, 84, 84, 3)
    assert [len(classes_of(found, part)) for part in PARTS] == [64, 16, 20]
    assert found.classes[found.labels[found.splits["train"][0]]] == "n01532829"  # house finch
    assert 100 < found.images.mean() < 130
    with zipfile.ZipFile(archive) as file:
        image = Image.open(io.BytesIO(file.read("images/n0153282900000005.jpg"))).convert("RGB")
    np.testing.assert_array_equal(found.images[0], np.asarray(image))  # 84×84 already
