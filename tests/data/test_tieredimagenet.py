"""tieredImageNet: both distributions, classes of any size, and faults named one by one."""

import pickle

import numpy as np
from data_sets import SETS, classes_of, fault, packed, prepare, tampered

from multistep.data import class_splits
from multistep.data.archives import members
from multistep.data.class_splits import PARTS
from multistep.data.standins import photographs

TAR = "tiered-imagenet.tar"
COUNTS = [4, 7, 5, 8, 6, 4]


def test_pickled_files_keep_their_classes_and_order(drawn, tmp_path):
    found = prepare("tieredimagenet", drawn["tieredimagenet"], tmp_path)
    assert [classes_of(found, part) for part in PARTS] == [[0, 1, 2], [3], [4, 5]]
    assert found.classes == [f"n97{i:06}" for i in range(6)]
    starts, counts = found.rows(PARTS)
    for c, (start, count) in enumerate(zip(starts, counts, strict=True)):
        for n in range(count):
            pixels = photographs.image("tieredimagenet", c, n, 24, 5)
            np.testing.assert_array_equal(found.images[start + n], pixels)


def test_folders_of_files_prepare_to_the_same_array(drawn, tmp_path):
    files = {}
    part_of = ["train"] * 3 + ["val"] + ["test"] * 2
    for c, count in enumerate(COUNTS):
        for n in range(count):
            png = photographs.encoded(photographs.image("tieredimagenet", c, n, 24, 5), "png")
            number = f"n97{c:06}"
            files[f"any/{part_of[c]}/{number}/{number}_{n:02}.PNG"] = png
    packed(tmp_path / TAR, dict(reversed(files.items())))
    found = prepare("tieredimagenet", tmp_path, tmp_path / "folders")
    pickled = prepare("tieredimagenet", drawn["tieredimagenet"], tmp_path / "pickled")
    assert found.digest == pickled.digest
    packed(tmp_path / TAR, {path: png for path, png in files.items() if "/train/" in path})
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
        image = pickle.loads(files["tiered-imagenet/val_images_png.pkl"])[0]
        for short, part in class_splits.FILES.items():
            synsets += published[part]
            words += names[part]
            order = names[part][::-1]
            labels = {"label_specific": np.arange(len(order)), "label_specific_str": order}
            for kind, content in (
                ("images_png", [image.copy() for _ in order]),
                ("labels", labels),
            ):
                data = pickle.dumps(content, protocol=3)
                files[f"tiered-imagenet/{short}_{kind}.pkl"] = data
        files["tiered-imagenet/synsets.txt"] = "\n".join(synsets).encode()
        files["tiered-imagenet/class_names.txt"] = "\n".join(words).encode()

    raw = tampered("tieredimagenet", drawn["tieredimagenet"], tmp_path / "raw", change)
    settings = SETS["tieredimagenet"]["prepare"] | {"split": "ren"}
    stated = {"classes": 608, "images_per_class": 1, "images": None, "prepare": settings}
    found = prepare("tieredimagenet", raw, tmp_path / "out", **stated)
    named = {part: [found.classes[c] for c in classes_of(found, part)] for part in PARTS}
    assert named == published


def test_both_members_of_an_archive_may_lie_in_any_folder(drawn, tmp_path):
    found = members(drawn["tieredimagenet"] / TAR)
    packed(tmp_path / TAR, {path.split("/")[-1]: data for path, data in found})
    found = prepare("tieredimagenet", tmp_path, tmp_path / "out")
    assert np.bincount(found.labels).tolist() == COUNTS
