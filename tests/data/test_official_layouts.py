"""STL-10 and TinyImageNet: what their own formats can get wrong, and real parts."""

import io
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest
from data_sets import fault, prepare, real_data, tampered
from PIL import Image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("stl10_binary/test_y.bin"), "has no stl10_binary/test_y.bin"),
        (lambda f: f.pop("stl10_binary/train_X.bin"), "has no stl10_binary/train_X.bin"),
        (lambda f: f.pop("stl10_binary/class_names.txt"), "has no stl10_binary/class_names.txt"),
        (
            lambda f: f.update({"stl10_binary/train_X.bin": f["stl10_binary/train_X.bin"][:-1]}),
            "train_X.bin ends within an image",
        ),
        (
            lambda f: f.update({"stl10_binary/test_y.bin": bytes(8)}),
            "test_y.bin doesn't have a label from 1 to 4 for each of 8 images",
        ),
        (
            lambda f: f.update({"stl10_binary/train_y.bin": b"\1\2"}),
            "train_y.bin doesn't have a label from 1 to 4 for each of 24 images",
        ),
    ],
)
def test_stls_damaged_members_are_named(drawn, tmp_path, change, message):
    raw = tampered("stl10", drawn["stl10"], tmp_path / "raw", change)
    assert message in fault("stl10", raw, tmp_path / "out")


def test_stls_official_labels_fit_its_published_list(tmp_path):
    labels = real_data("stl10/stl10_binary/train_y.bin").read_bytes()
    assert Counter(labels) == dict.fromkeys(range(1, 11), 500)
    published = real_data("l2t_ww/stl10-val").read_bytes()
    (tmp_path / "stl10-val").write_bytes(published)
    with tarfile.open(tmp_path / "stl10_binary.tar.gz", "w:gz", compresslevel=1) as file:
        names = real_data("stl10/stl10_binary/class_names.txt").read_bytes()
        tests = real_data("stl10/stl10_binary/test_y.bin").read_bytes()[:20]
        pixels = np.random.default_rng(0).integers(0, 256, (20, 96 * 96 * 3), dtype=np.uint8)
        parts = {
            "train_X.bin": np.zeros((5000, 96 * 96 * 3), np.uint8).tobytes(),
            "train_y.bin": labels,
            "test_X.bin": pixels.tobytes(),
            "test_y.bin": tests,
            "class_names.txt": names,
        }
        for name, data in parts.items():
            member = tarfile.TarInfo(f"stl10_binary/{name}")
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    found = prepare(
        "stl10",
        tmp_path,
        tmp_path / "out",
        classes=10,
        images={"train": 4500, "validation": 500, "test": 20},
        archives={"stl10_binary.tar.gz": {}, "stl10-val": {}},
        prepare={"size": 8, "validation": "l2t_ww"},
    )
    assert found.classes[:3] == ["airplane", "bird", "car"]
    assert found.labels[found.splits["test"]].tolist() == [label - 1 for label in tests]
    # Images are numbered test first, then in the order of the files.
    first = found.splits["validation"][:3] - 20
    assert first.tolist() == [14, 17, 28]
    assert found.labels[found.splits["validation"][0]] == labels[14] - 1


def test_tinyimagenets_faults_are_named(drawn, tmp_path):
    root = "tiny-imagenet-200"
    image = f"{root}/train/n90000001/images/n90000001_2.JPEG"

    def message(name, change):
        raw = tampered("tinyimagenet", drawn["tinyimagenet"], tmp_path / name, change)
        return fault("tinyimagenet", raw, tmp_path / name / "out")

    found = message("corrupt", lambda f: f.update({image: f[image][:100]}))
    assert f"tiny-imagenet-200.zip: {image} is not a readable image" in found
    found = message("absent", lambda f: f.pop(f"{root}/val/images/val_3.JPEG"))
    assert "no image val/val_3.JPEG, which the lists name (1 of 32 are missing)" in found
    found = message("unlabelled", lambda f: f.pop(f"{root}/val/val_annotations.txt"))
    assert "val/val_annotations.txt: absent or empty" in found
    strange = {f"{root}/val/val_annotations.txt": b"val_0.JPEG\tn123\t0\t0\t1\t1\n"}
    found = message("strange", lambda f: f.update(strange))
    assert "names n123, which has no training image" in found
    broken = {f"{root}/val/val_annotations.txt": b"val_0.JPEG n90000000\n"}
    found = message("broken", lambda f: f.update(broken))
    assert "line 1: not a file and its class" in found
    found = message("empty", lambda f: [f.pop(k) for k in list(f) if "/train/" in k])
    assert "has no train/<wnid>/images" in found


def test_tinyimagenets_grey_images_become_rgb(drawn, tmp_path):
    path = "tiny-imagenet-200/train/n90000001/images/n90000001_2.JPEG"
    grey, cmyk = io.BytesIO(), io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(grey, "jpeg")
    Image.new("CMYK", (64, 64), (0, 0, 0, 0)).save(cmyk, "jpeg")
    files = {path: grey.getvalue(), path.replace("_2.", "_3."): cmyk.getvalue()}
    raw = tampered(
        "tinyimagenet", drawn["tinyimagenet"], tmp_path / "raw", lambda f: f.update(files)
    )
    found = prepare("tinyimagenet", raw, tmp_path / "out")
    flat = np.abs(np.diff(found.images.astype(int), axis=3)).max(axis=(1, 2, 3))
    assert (flat == 0).sum() == 3  # one of them the stand-in's own


def test_a_part_of_tinyimagenet(tmp_path):
    archive = real_data("tinyimagenet/tiny-imagenet-200_x5.zip")
    found = prepare(
        "tinyimagenet",
        archive.parent,
        tmp_path / "out",
        classes=200,
        images={"train": 800, "validation": 200, "test": 400},
        archives={archive.name: {}},
        prepare={"size": 32},
    )
    assert found.images.shape == (1400, 32, 32, 3)
    assert found.classes == sorted(found.classes)
    assert found.classes[0] == "n01443537"
    with zipfile.ZipFile(archive) as file:
        inside = next(n for n in file.namelist() if "/n01443537_" in n and n.endswith(".JPEG"))
        expected = Image.open(io.BytesIO(file.read(inside))).convert("RGB")
    expected = np.asarray(expected.resize((32, 32), Image.Resampling.BILINEAR))
    assert any((found.pixels(i) == expected).all() for i in np.flatnonzero(found.labels == 0))
