"""tieredImageNet: both distributions, classes of any size, and faults named one by one."""

import io
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from data_sets import SETS, classes_of, fault, prepare, tampered
from PIL import Image

from multistep.data import class_splits
from multistep.data.archives import members
from multistep.data.class_splits import PARTS
from multistep.data.decoding import png_files
from multistep.data.standins import photographs
from multistep.data.standins.packing import pack
from multistep.files import UserError
from multistep.settings import Model

TAR = "tiered-imagenet.tar"
COUNTS = [4, 7, 5, 8, 6, 4]


def test_pickled_files_keep_their_classes_and_order(drawn, tmp_path):
    found = prepare("tieredimagenet", drawn["tieredimagenet"], tmp_path)
    assert [classes_of(found, part) for part in PARTS] == [[0, 1, 2], [3], [4, 5]]
    assert found.classes == [f"n97{i:06}" for i in range(6)]
    starts, counts = found.rows(PARTS)
    for c, (start, count) in enumerate(zip(starts, counts, strict=True)):
        for n in range(count):
            pixels = photographs.image("imagenet", 100 + c, n, 24, 5)
            np.testing.assert_array_equal(found.images[start + n], pixels)


def test_folders_of_files_prepare_to_the_same_array(drawn, tmp_path):
    files = []
    part_of = ["train"] * 3 + ["val"] + ["test"] * 2
    for c, count in enumerate(COUNTS):
        for n in range(count):
            png = io.BytesIO()
            Image.fromarray(photographs.image("imagenet", 100 + c, n, 24, 5)).save(png, "png")
            number = f"n97{c:06}"
            files.append((f"any/{part_of[c]}/{number}/{number}_{n:02}.PNG", png.getvalue()))
    pack(tmp_path / TAR, Model(), reversed(files))
    found = prepare("tieredimagenet", tmp_path, tmp_path / "folders")
    pickled = prepare("tieredimagenet", drawn["tieredimagenet"], tmp_path / "pickled")
    assert found.digest == pickled.digest
    pack(tmp_path / TAR, Model(), files[:16])
    message = fault("tieredimagenet", tmp_path, tmp_path / "folders2")
    assert "no val/n<8 digits>/<file> in its archives" in message


def test_classes_get_the_numbers_of_the_published_part(drawn, tmp_path):
    """Two classes of ImageNet are called crane, and one of them is in tieredImageNet."""
    published = class_splits.committed("tieredimagenet", "ren")
    outside = "n03126707"  # the machine
    assert "n02012849" in published["train"]  # the bird
    names = {part: [f"{part} {i}" for i in range(len(published[part]))] for part in published}
    names["train"][published["train"].index("n02012849")] = "crane"

    def change(files):
        synsets, words = [outside], ["crane"]
        for part, short in zip(published, ("train", "val", "test"), strict=True):
            synsets += published[part]
            words += names[part]
            pixels = np.frombuffer(
                next(png_files(io.BytesIO(files["tiered-imagenet/val_images_png.pkl"]), "val")),
                dtype=np.uint8,
            )
            images = [pixels[:, None].copy() for _ in published[part]]
            files[f"tiered-imagenet/{short}_images_png.pkl"] = pickle.dumps(images, protocol=3)
            order = list(reversed(names[part]))
            files[f"tiered-imagenet/{short}_labels.pkl"] = pickle.dumps(
                {"label_specific": np.arange(len(order)), "label_specific_str": order}, protocol=3
            )
        files["tiered-imagenet/synsets.txt"] = "\n".join(synsets).encode()
        files["tiered-imagenet/class_names.txt"] = "\n".join(words).encode()

    raw = tampered("tieredimagenet", drawn["tieredimagenet"], tmp_path / "raw", change)
    settings = SETS["tieredimagenet"]["prepare"] | {"split": "ren"}
    stated = {"classes": 608, "images_per_class": 1, "images": None, "prepare": settings}
    found = prepare("tieredimagenet", raw, tmp_path / "out", **stated)
    named = {part: [found.classes[c] for c in classes_of(found, part)] for part in PARTS}
    assert named == published


def repickled(member, **changes):
    def change(files):
        path = f"tiered-imagenet/{member}_labels.pkl"
        found = pickle.loads(files[path])
        found |= {key.encode(): value for key, value in changes.items()}
        files[path] = pickle.dumps(found, protocol=3)

    return change


def images(change):
    def changed(files):
        path = "tiered-imagenet/test_images_png.pkl"
        files[path] = pickle.dumps(change(pickle.loads(files[path])), protocol=3)

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("tiered-imagenet/val_labels.pkl"), "no val_labels.pkl in its archives"),
        (lambda f: f.pop("tiered-imagenet/synsets.txt"), "has no synsets.txt"),
        (
            lambda f: f.update({"tiered-imagenet/synsets.txt": b"n97000000\n"}),
            "1 lines of synsets.txt and 6 of class_names.txt",
        ),
        (
            lambda f: f.pop("tiered-imagenet/test_images_png.pkl"),
            r"no image test/000000, which the lists name \(10 of 34 are missing\)",
        ),
        (images(lambda found: found[:-1]), "9 images, but 10 labels"),
        (images(lambda found: [*found[:3], found[3][:60], *found[4:]]), "image 3 is not a read"),
        (repickled("test", label_specific=np.array([0, 2])), "labels of classes without a name"),
        (repickled("test", label_specific_str=[b"nobody", b"x"]), "class 'nobody' has no number"),
        (repickled("train", label_specific_str=None), "no label_specific and label_specific_str"),
        (
            lambda f: f.update({"tiered-imagenet/test_images_png.pkl": b"\xff no pickle"}),
            "test_images_png.pkl is not a readable pickle",
        ),
    ],
)
def test_faults_are_named(drawn, tmp_path, change, message):
    raw = tampered("tieredimagenet", drawn["tieredimagenet"], tmp_path / "raw", change)
    found = fault("tieredimagenet", raw, tmp_path / "out")
    assert re.search(message, found), found
    assert TAR in found or "the lists name" in found or "its archives" in found


def test_png_files_of_python_2_are_found_and_nothing_is_built():
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, "png")
    png = file.getvalue()

    def array(data):
        return (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            b"(K\x01M" + len(data).to_bytes(2, "little") + b"K\x01\x86cnumpy\ndtype\n"
            b"(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            b"T" + len(data).to_bytes(4, "little") + data + b"tb"
        )

    other = png[:-1] + b"\x83"
    found = png_files(io.BytesIO(b"\x80\x02](" + array(png) + array(other) + b"e."), "list")
    assert list(found) == [png, other]
    calling = b"\x80\x02](cbuiltins\nexit\n)R" + array(png) + b"e."
    assert list(png_files(io.BytesIO(calling), "list")) == [png]
    for cut in (40, len(png)):
        with pytest.raises(UserError, match="list is not a readable pickle"):
            list(png_files(io.BytesIO((b"\x80\x02](" + array(png))[:cut]), "list"))


def test_a_list_takes_the_memory_of_one_image(tmp_path):
    big = [np.full(200_008, i, dtype=np.uint8) for i in range(100)]
    for array in big:
        array[:8] = np.frombuffer(b"\x89PNG\r\n\x1a\n", dtype=np.uint8)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(big, protocol=3))
    del big
    with open(tmp_path / "list.pkl", "rb") as stream:
        tracemalloc.start()
        assert sum(len(data) for data in png_files(stream, "list")) == 100 * 200_008
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000


def test_both_members_of_an_archive_may_lie_in_any_folder(drawn, tmp_path):
    files = [(path.split("/")[-1], data) for path, data in members(drawn["tieredimagenet"] / TAR)]
    pack(tmp_path / TAR, Model(), files)
    found = prepare("tieredimagenet", tmp_path, tmp_path / "out")
    assert np.bincount(found.labels).tolist() == COUNTS
