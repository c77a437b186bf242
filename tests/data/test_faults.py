"""Archives with one fault each: the message that a user gets, and that no pickle is obeyed."""

import pickle
import re

import numpy as np
import pytest
from data_sets import cut, drop, edited, fault_after, put, repickled

from multistep.data.standins.photographs import encoded


class Call:
    def __reduce__(self):
        return print, ("called",)


def relisted(change):
    """A change of the list of pickled files."""
    return edited(f"{TIERED}/test_images_png.pkl", lambda d: pickle.dumps(change(pickle.loads(d))))


def named(meta):
    """A class more, of which there is no image."""
    found = pickle.loads(meta)
    return pickle.dumps(found | {b"fine_label_names": [*found[b"fine_label_names"], b"one"]})


CIFAR, STL, TINY, TIERED = (
    "cifar-100-python",
    "stl10_binary",
    "tiny-imagenet-200",
    "tiered-imagenet",
)
SMALL = encoded(np.zeros((64, 64, 3), np.uint8), "png", "1")
INK = "images_background/Drawn_Arabic/character02/0002_03.png"
MORE = "images_evaluation/Drawn_Armenian/character0"
MINI = "images/n9800000000000001.jpg"
TINY_IMAGE = f"{TINY}/train/n90000001/images/n90000001_2.JPEG"
NOTES = f"{TINY}/val/val_annotations.txt"
# By the loaders that read an archive: changes of it with patterns of their messages; a third entry
# is the name of the archive, if it isn't the first.
FAULTS = {
    "cifar100 cifar_fs fc100": [
        *(
            (drop(f"{CIFAR}/{part}"), f"has no {CIFAR}/{part}")
            for part in ("train", "test", "meta")
        ),
        (repickled(f"{CIFAR}/train", data=None), f"{CIFAR}/train has no data"),
        (repickled(f"{CIFAR}/test", fine_labels=None), f"{CIFAR}/test has no fine_labels"),
        (repickled(f"{CIFAR}/train", fine_labels=[0]), "no bytes of 32×32 images for 1 labels"),
        (repickled(f"{CIFAR}/train", coarse_labels=[0]), "its labels don't fit each other"),
        (repickled(f"{CIFAR}/test", data=b"text"), f"{CIFAR}/test: no bytes of 32×32 images"),
        (repickled(f"{CIFAR}/meta", fine_label_names=None), "meta has no fine_label_names"),
        (repickled(f"{CIFAR}/meta", fine_label_names=[b"one"]), "its labels don't fit each other"),
        (put(f"{CIFAR}/train", b"\x80\x03]"), "train is not a readable"),
        (repickled(f"{CIFAR}/train", batch_label=Call()), "it asks for builtins.print"),
    ],
    "cifar_fs fc100": [(edited(f"{CIFAR}/meta", named), "no image of class one; get the archive")],
    "stl10": [
        (drop(f"{STL}/test_y.bin"), f"has no {STL}/test_y.bin"),
        (drop(f"{STL}/train_X.bin"), f"has no {STL}/train_X.bin"),
        (drop(f"{STL}/class_names.txt"), f"has no {STL}/class_names.txt"),
        (cut(f"{STL}/train_X.bin", -1), "train_X.bin ends within an image"),
        (put(f"{STL}/test_y.bin", bytes(8)), "test_y.bin: labels are from 1 to 4; delete"),
        (put(f"{STL}/test_y.bin", b"\5" * 8), "test_y.bin: labels are from 1 to 4; delete"),
        (edited(f"{STL}/test_X.bin", lambda d: d + d), "test_X.bin: 16 images, but 8 labels"),
        (cut(f"{STL}/train_X.bin", 3 * 96 * 96), "train_X.bin: 1 images, but 24 labels"),
    ],
    "tinyimagenet": [
        (cut(TINY_IMAGE, 100), f"tiny-imagenet-200.zip: {TINY_IMAGE} is not a readable image"),
        (drop(f"{TINY}/val/images/val_3.JPEG"), r"no image val/val_3.JPEG, .* \(1 of 32 are miss"),
        (drop(NOTES), "val/val_annotations.txt: absent or empty"),
        (put(NOTES, b"val_0.JPEG\tn123\t0\t0\t1\t1\n"), "names n123, which has no training image"),
        (put(NOTES, b"val_0.JPEG\n"), "line 1: not a file and its class"),
        (lambda f: [f.pop(k) for k in list(f) if "/train/" in k], "has no train/<wnid>/images"),
    ],
    "omniglot": [
        *((cut(INK, end), f"{INK} is not a readable image") for end in (20, 60, 100)),
        (put(INK, SMALL), f"{INK} is 64×64, not 105×105"),
        *(
            (change, message, "images_evaluation.zip")
            for change, message in (
                (
                    drop(f"{MORE}3/0967_02.png"),
                    "class Drawn_Armenian/character03 has 2 images, not 3",
                ),
                (
                    lambda f: [f.pop(name) for name in list(f) if "character04" in name],
                    "11 classes in the archives, but params.yaml states 12",
                ),
                (put(INK, SMALL), "stands in images_background.zip too"),
            )
        ),
    ],
    "miniimagenet": [
        (drop("val.csv"), "no val.csv in its archives"),
        (drop(MINI), r"no image n9800000000000001\.jpg, .* \(1 of 30 are"),
        (cut(MINI, -200), f"{MINI} is not a readable image"),
        (put(MINI, b"text"), f"{MINI} is no image"),
        (lambda f: f.update({f"again/{MINI}": f[MINI]}), "two images are called n98000000"),
        (lambda f: f.update({"more/val.csv": f["val.csv"]}), "more/val.csv: a second list"),
        *(
            (edited("train.csv", change), message)
            for change, message in (
                (lambda d: d[: d.rindex(b"\nn")], "class n98000002 has 4 images, not 5"),
                (lambda d: d + d.split(b"\n")[1], r"n9800000000000001\.jpg is listed twice"),
                (lambda d: d.replace(b"filename", b"file"), "no columns filename and label"),
                (
                    lambda d: d.replace(b",n98000002", b",n98000003"),
                    "class n98000003 stands in train and in validation",
                ),
            )
        ),
    ],
    "tieredimagenet": [
        (drop(f"{TIERED}/val_labels.pkl"), "no val_labels.pkl in its archives"),
        (drop(f"{TIERED}/synsets.txt"), "tiered-imagenet.tar: has no synsets.txt"),
        (
            put(f"{TIERED}/synsets.txt", b"n97000000\n"),
            "tiered-imagenet.tar: 1 lines of synsets.txt and 6 of class_names.txt",
        ),
        (
            drop(f"{TIERED}/test_images_png.pkl"),
            r"no image test/000000, which the lists name \(10 of 34 are missing\)",
        ),
        (
            put(f"{TIERED}/test_images_png.pkl", b"\xff no"),
            "images_png.pkl is not a readable pickle",
        ),
        (relisted(lambda found: found[:-1]), "tiered-imagenet.tar: .* 9 images, but 10 labels"),
        (relisted(lambda all: [*all[:3], all[3][:60], *all[4:]]), "image 3 is not a readable"),
        *(
            (
                repickled(f"{TIERED}/{part}_labels.pkl", **fields),
                f"tiered-imagenet.tar: .*{message}",
            )
            for part, fields, message in (
                ("test", {"label_specific": np.array([0, 2])}, "labels of classes without a name"),
                ("test", {"label_specific_str": [b"x", b"y"]}, "class 'x' has no number"),
                ("train", {"label_specific_str": None}, "no label_specific and label_specific_str"),
            )
        ),
    ],
    "cub200": [
        (
            drop("CUB_200_2011/train_test_split.txt"),
            "CUB_200_2011.tgz: has no CUB_200_2011/train_test_split.txt; delete this copy",
        )
    ],
    "stanford40": [
        (
            drop("ImageSplits/train.txt"),
            "Stanford40_ImageSplits.zip: has no ImageSplits/train.txt; delete this copy",
            "Stanford40_ImageSplits.zip",
        ),
        (
            edited("ImageSplits/actions.txt", lambda d: d.replace(b"drawn_action_02", b"singing")),
            "drawn_action_02 is not in both actions.txt and the lists",
            "Stanford40_ImageSplits.zip",
        ),
    ],
    "stanford_dogs": [
        (drop("test_list.mat"), "lists.tar: has no test_list.mat; delete this copy", "lists.tar")
    ],
}


@pytest.mark.parametrize(
    ("loader", "change", "message", "name"),
    [
        (loader, change, message, *(name or [None]))
        for loaders, rows in FAULTS.items()
        for loader in loaders.split()
        for change, message, *name in rows
    ],
)
def test_faults_are_named(drawn, tmp_path, loader, change, message, name, capsys):
    found = fault_after(change, loader, drawn, tmp_path, name)
    assert re.search(message, found), found
    assert "called\n" not in capsys.readouterr().out
