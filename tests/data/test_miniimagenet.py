"""miniImageNet: both distributions, faults named one by one, and a part of the real images."""

import io
import re
import zipfile

import numpy as np
import pytest
from data_sets import (
    SETS,
    classes_of,
    draw,
    drop,
    fault_after,
    prepare,
    real_data,
    repickled,
)  # fmt: skip
from PIL import Image

from multistep.cli import main
from multistep.data.archives import members
from multistep.data.class_splits import PARTS
from multistep.data.standins import photographs

ZIP, TAR = "mini-imagenet.zip", "mini-imagenet.tar.gz"
PICKLES = {"archives": {TAR: {"drawn": {}}}}
AS_DRAWN = {"prepare": SETS["miniimagenet"]["prepare"] | {"size": 24}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    draw("miniimagenet", folder, TAR)
    return draw("miniimagenet", folder)


@pytest.mark.parametrize("archives", [{}, PICKLES])
def test_images_keep_their_classes(drawn, tmp_path, archives):
    found = prepare("miniimagenet", drawn, tmp_path, **AS_DRAWN, **archives)
    assert [classes_of(found, part) for part in PARTS] == [[0, 1, 2], [3], [4, 5]]
    assert found.classes == [f"n98{i:06}" for i in range(6)]
    for c in range(6):
        mine = found.images[5 * c : 5 * c + 5].astype(float)
        expected = np.array([photographs.image("miniimagenet", c, n, 24, 5) for n in range(5)])
        if archives:  # in any order, and without loss
            assert {i.tobytes() for i in mine} == {i.tobytes() for i in expected.astype(float)}
        else:  # JPEG, and one of them grey
            assert np.abs(mine.mean(axis=3) - expected.mean(axis=3)).mean((1, 2)).max() < 12


def test_pickles_may_be_three_archives(drawn, tmp_path):
    for member, data in members(drawn / TAR):
        (tmp_path / member).write_bytes(data)
    archives = {path.name: {"unverified": True} for path in sorted(tmp_path.iterdir())}
    found = prepare("miniimagenet", tmp_path, tmp_path / "out", archives=archives)
    one = prepare("miniimagenet", drawn, tmp_path / "one", **PICKLES)
    assert found.digest == one.digest
    other = "mini-imagenet-cache-validation.pkl"
    (tmp_path / "mini-imagenet-cache-val.pkl").rename(tmp_path / other)
    archives[other] = archives.pop("mini-imagenet-cache-val.pkl")
    renamed = prepare("miniimagenet", tmp_path, tmp_path / "out", archives=archives)
    assert renamed.digest == one.digest


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("mini-imagenet-cache-val.pkl"), "no mini-imagenet-cache-val.pkl in"),
        *(
            (repickled("mini-imagenet-cache-test.pkl", **fields), message)
            for fields, message in (
                ({"image_data": None}, "no image_data .* and class_dict"),
                ({"class_dict": {b"n98000004": [0, 10]}}, "class_dict doesn't fit image_data"),
                ({"class_dict": {b"a": [0, 1], b"b": [1]}}, "class_dict doesn't fit image_data"),
                ({"class_dict": {b"n98000001": [0]}}, "n98000001 stands in train and in test"),
                ({"class_dict": {b"a": b"x"}}, "test.pkl: class_dict: not a list of whole"),
            )
        ),
    ],
)
def test_faults_of_pickles_are_named(drawn, tmp_path, change, message):
    found = fault_after(change, "miniimagenet", {"miniimagenet": drawn}, tmp_path, TAR, **PICKLES)
    assert re.search(message, found), found


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


def test_a_part_of_the_real_images(tmp_path):
    archive = real_data("miniimagenet/mini-imagenet_100cls_x10.zip")
    found = prepare(
        "miniimagenet", archive.parent, tmp_path, classes=100, images_per_class=10,
        archives={archive.name: {"unverified": True}},
        prepare={"size": 84, "resample": "lanczos", "split": "ravi"},
    )  # fmt: skip
    assert found.images.shape == (1000, 84, 84, 3)
    assert [len(classes_of(found, part)) for part in PARTS] == [64, 16, 20]
    assert found.classes[found.labels[found.splits["train"][0]]] == "n01532829"  # house finch
    assert 100 < found.images.mean() < 130
    with zipfile.ZipFile(archive) as file:
        image = Image.open(io.BytesIO(file.read("images/n0153282900000005.jpg"))).convert("RGB")
    np.testing.assert_array_equal(found.images[0], np.asarray(image))  # 84×84 already
