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


def pickled(change):
    """An edit of what a member has pickled."""
    return lambda data: pickle.dumps(change(pickle.loads(data)))


def without(pattern):
    """Take away all members like this."""
    return lambda files: [files.pop(name) for name in list(files) if re.search(pattern, name)]


def again(path, other):
    """A member once more, under another name."""
    return lambda files: files.update({other: files[path]})


SMALL = encoded(np.zeros((64, 64, 3), np.uint8), "png", "1")
INK = "images_background/Drawn_Arabic/character02/0002_03.png"
MORE = "images_evaluation/Drawn_Armenian/character0"
TINY = "train/n90000001/images/n90000001_2.JPEG"
NOTES = "val/val_annotations.txt"
MINI = "images/n9800000000000001.jpg"
TIERED = "tiered-imagenet/"
IMAGES = "test_images_png.pkl"
FINE = b"fine_label_names"
# By the loaders that read an archive, the archive if it isn't the first, and a folder in it:
# member, what becomes of it, a pattern of the message, with {} for its path. None takes it away,
# bytes stand in its place, a number cuts it, a dictionary replaces pickled fields (None: takes them
# away).
FAULTS = {
    ("cifar100 cifar_fs fc100", "", "cifar-100-python/"): [
        ("train", None, "has no {}"),
        ("test", None, "has no {}"),
        ("meta", None, "has no {}"),
        ("train", {"data": None}, "{} has no data"),
        ("test", {"fine_labels": None}, "{} has no fine_labels"),
        ("train", {"fine_labels": [0]}, "no bytes of 32×32 images for 1 labels"),
        ("train", {"coarse_labels": [0]}, "its labels don't fit each other"),
        ("test", {"data": b"text"}, "{}: no bytes of 32×32 images"),
        ("meta", {"fine_label_names": None}, "meta has no fine_label_names"),
        ("meta", {"fine_label_names": [b"one"]}, "its labels don't fit each other"),
        ("train", b"\x80\x03]", "train is not a readable"),
        ("train", {"fine_labels": 3}, "{}: fine_labels: not a list of whole numbers; delete"),
        ("test", {"coarse_labels": [[0], [1, 2]]}, "{}: coarse_labels: not a list of whole"),
        ("test", {"fine_labels": ["cat"]}, "{}: fine_labels: not a list of whole numbers"),
        ("meta", {"fine_label_names": [b"\xff"]}, "{}: not a list of names; delete"),
        ("meta", {"fine_label_names": b"one"}, "{}: not a list of names; delete"),
        ("train", {"batch_label": Call()}, "it asks for builtins.print"),
    ],
    ("cifar_fs fc100", "", "cifar-100-python/"): [
        ("meta", pickled(lambda d: d | {FINE: [*d[FINE], b"one"]}), "no image of class one; get"),
    ],
    ("stl10", "", "stl10_binary/"): [
        ("test_y.bin", None, "has no {}"),
        ("train_X.bin", None, "has no {}"),
        ("class_names.txt", None, "has no {}"),
        ("train_X.bin", -1, "{} ends within an image"),
        ("train_X.bin", 3 * 96 * 96, "{}: 1 images, but 24 labels"),
        ("test_X.bin", lambda data: 2 * data, "{}: 16 images, but 8 labels"),
        ("class_names.txt", b"a\nb\na\nc\n", "two classes are called a; get the archives again"),
        ("test_y.bin", bytes(8), "{}: labels are from 1 to 4; delete"),
        ("test_y.bin", b"\5" * 8, "{}: labels are from 1 to 4; delete"),
        ("class_names.txt", lambda data: data + b"\nz\n", "5 classes in the archives, but params"),
        ("train_y.bin", b"\1\2\3" * 8, "class .* has no training image; get the archives"),
    ],
    ("tinyimagenet", "", "tiny-imagenet-200/"): [
        (TINY, 100, "tiny-imagenet-200.zip: {} is not a readable image"),
        ("val/images/val_3.JPEG", None, r"no image val/val_3.JPEG, .* \(1 of 32 are miss"),
        (NOTES, None, "val/val_annotations.txt: absent or empty"),
        (NOTES, b"val_0.JPEG\tn123\t0\t0\t1\t1\n", "names n123, which has no training image"),
        (NOTES, b"val_0.JPEG\n", "line 1: not a file and its class"),
        (NOTES, lambda data: 2 * data, "line 9: val_0.JPEG is listed twice; mend the list"),
        ("", without("/train/"), "has no train/<wnid>/images"),
    ],
    ("omniglot", "", ""): [
        (INK, 20, "{} is not a readable image"),
        (INK, 60, "{} is not a readable image"),
        (INK, 100, "{} is not a readable image"),
        (INK, SMALL, "{} is 64×64, not 105×105"),
    ],
    ("omniglot", "images_evaluation.zip", ""): [
        (f"{MORE}3/0967_02.png", None, "class Drawn_Armenian/character03 has 2 images, not 3"),
        ("", without("character04"), "11 classes in the archives, but params.yaml states 12"),
        (INK, SMALL, "stands in images_background.zip too"),
    ],
    ("miniimagenet", "", ""): [
        ("val.csv", None, "no val.csv in its archives"),
        (MINI, None, r"no image n9800000000000001\.jpg, .* \(1 of 30 are"),
        (MINI, -200, "{} is not a readable image"),
        (MINI, b"text", "{} is no image"),
        ("", again(MINI, f"again/{MINI}"), "two images are called n98000000"),
        ("", again("val.csv", "more/val.csv"), "more/val.csv: a second list"),
        ("train.csv", lambda d: d[: d.rindex(b"\nn")], "class n98000002 has 4 images, not 5"),
        ("train.csv", lambda d: d + d.split(b"\n")[1], r"n9800000000000001\.jpg is listed twice"),
        ("train.csv", lambda d: d.replace(b"filename", b"file"), "no columns filename and label"),
        ("train.csv", lambda d: d.replace(b"2\n", b"3\n"), "n98000003 stands in train and in val"),
    ],
    ("tieredimagenet", "", TIERED): [
        ("val_labels.pkl", None, "no val_labels.pkl in its archives"),
        ("synsets.txt", None, "tiered-imagenet.tar: has no synsets.txt"),
        ("", again(f"{TIERED}synsets.txt", "old/synsets.txt"), "old/synsets.txt: a second synsets"),
        ("", again(f"{TIERED}val_labels.pkl", "val_labels.pkl"), ": a second val_labels.pkl; "),
        ("synsets.txt", b"n97000000\n", "1 lines of synsets.txt and 6 of class_names.txt"),
        (IMAGES, None, r"no image test/000000, which the lists name \(10 of 34 are missing\)"),
        (IMAGES, b"\xff no", "images_png.pkl is not a readable pickle"),
        (IMAGES, pickled(lambda found: found[:-1]), "{}: 9 images, but 10 labels"),
        (IMAGES, pickled(lambda d: [*d[:3], d[3][:60], *d[4:]]), "image 3 is not a readable"),
        ("test_labels.pkl", {"label_specific": np.array([0, 2])}, "{}: labels of classes without"),
        ("test_labels.pkl", {"label_specific": ["x"]}, "{}: label_specific: not a list of whole"),
        ("test_labels.pkl", {"label_specific_str": [b"\xff"]}, "{}: not a list of names"),
        ("test_labels.pkl", {"label_specific_str": [b"x", b"y"]}, "{}: class 'x' has no number"),
        ("train_labels.pkl", {"label_specific_str": None}, "{}: no label_specific and label_spec"),
    ],
    ("cub200", "", "CUB_200_2011/"): [
        ("train_test_split.txt", None, "CUB_200_2011.tgz: has no {}; delete this copy"),
        ("images.txt", lambda data: 2 * data, "images.txt: the number 1 stands in two lines"),
    ],
    ("stanford40", "Stanford40_ImageSplits.zip", "ImageSplits/"): [
        ("train.txt", None, "Stanford40_ImageSplits.zip: has no {}; delete this copy"),
        ("actions.txt", lambda d: d.replace(b"n_02", b"n_2"), "is not in both actions.txt and the"),
    ],
    ("stanford_dogs", "lists.tar", ""): [
        ("test_list.mat", None, "lists.tar: has no test_list.mat; delete this copy"),
    ],
}  # fmt: skip


def change_of(path, how):
    if not path:
        return how
    kinds = {type(None): lambda path, _: drop(path), bytes: put, int: cut}
    kinds[dict] = lambda path, fields: repickled(path, **fields)
    return kinds.get(type(how), edited)(path, how)


@pytest.mark.parametrize(
    ("loader", "name", "path", "how", "message"),
    [
        (loader, name or None, member and folder + member, how, message)
        for (loaders, name, folder), rows in FAULTS.items()
        for loader in loaders.split()
        for member, how, message in rows
    ],
)
def test_faults_are_named(drawn, tmp_path, loader, name, path, how, message, capsys):
    found = fault_after(change_of(path, how), loader, drawn, tmp_path, name)
    assert re.search(message.replace("{}", path), found), found
    assert "called\n" not in capsys.readouterr().out
