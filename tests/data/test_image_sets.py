"""Writing and reading prepared image sets, decoding images, and the checks of all loaders."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from multistep.data import image_sets
from multistep.data.preparing import Writer, check, decode, resized
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, sha256

PARTS = {"train": ["b", "a"], "validation": ["d"], "test": ["c"]}
LABELS = {"a": 0, "b": 1, "c": 1, "d": 0, "spare": 0}
CLASSES = ["cat", "dog"]


def dataset(**changes):
    entry = {
        "loader": "image_folder",
        "title": "Pets",
        "classes": 2,
        "images": {"train": 2, "validation": 1, "test": 1},
        "archives": {"pets.zip": Archive()},
        "prepare": {"size": None},
    }
    return Dataset.model_validate(entry | changes)


def picture(key, height=6, width=9):
    g = np.random.default_rng(ord(key[0]))
    return g.integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture
def raw(tmp_path):
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        file.writestr("readme", "pets")
    return tmp_path


def write(raw, pictures, entry=None, parts=PARTS, classes=CLASSES):
    with Writer("pets", entry or dataset(), raw, raw / "out") as writer:
        for key, pixels in pictures.items():
            writer.add(key, pixels)
        writer.finish(classes, LABELS, parts)
    return image_sets.load(raw / "out")


def assert_each_in_its_place(found, pictures):
    order = [key for key in sorted(pictures) if key != "spare"]
    assert len(found) == len(order) == 4
    for i, key in enumerate(order):
        np.testing.assert_array_equal(found.pixels(i), pictures[key])
        assert found.labels[i] == LABELS[key]
    for part, keys in PARTS.items():
        assert found.splits[part].tolist() == sorted(order.index(key) for key in keys)


@pytest.mark.parametrize("order", ["abcd", "dbca"])
def test_images_of_one_size_are_one_array(raw, order):
    pictures = {key: picture(key) for key in order}
    found = write(raw, pictures)
    assert found.images.shape == (4, 6, 9, 3)
    assert found.shapes is None
    assert_each_in_its_place(found, pictures)


@pytest.mark.parametrize("order", ["abcd", "dbca"])
def test_images_of_several_sizes_are_one_row_of_bytes(raw, order):
    pictures = {key: picture(key, height=5 + ord(key) % 3) for key in order}
    found = write(raw, pictures)
    assert found.images.ndim == 1
    assert found.shapes.tolist() == [list(pictures[key].shape[:2]) for key in "abcd"]
    assert_each_in_its_place(found, pictures)
    assert np.shares_memory(found.pixels(1), found.images)


def test_images_in_no_part_are_left_out(raw):
    pictures = {key: picture(key) for key in ("spare", "d", "c", "b", "a")}
    assert_each_in_its_place(write(raw, pictures), pictures)


def test_the_order_of_arrival_changes_no_byte(raw):
    digests = set()
    for order in ("abcd", "dbca"):
        found = write(raw, {key: picture(key, height=5 + ord(key) % 3) for key in order})
        digests.add((found.digest, sha256(raw / "out" / "dataset.json")))
        assert sorted(p.name for p in (raw / "out").iterdir()) == ["dataset.json", "images.npy"]
    assert len(digests) == 1


def test_the_description_says_where_it_came_from(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    about = json.loads((raw / "out" / "dataset.json").read_text())
    assert (about["schema"], about["kind"], about["name"]) == (1, "images", "pets")
    assert (about["title"], about["stand_in"]) == ("Pets", False)
    assert about["digest"] == sha256(raw / "out" / "images.npy")
    assert about["prepare"] == {"size": None}


def test_a_failure_leaves_what_was_there_and_nothing_else(raw):
    pictures = {key: picture(key) for key in "abcd"}
    before = write(raw, pictures).digest
    with pytest.raises(UserError):
        write(raw, pictures, dataset(classes=3))
    assert image_sets.load(raw / "out").digest == before
    assert sorted(p.name for p in (raw / "out").iterdir()) == ["dataset.json", "images.npy"]


def test_a_listed_image_that_is_absent_is_named(raw):
    with pytest.raises(UserError, match=r"no image b, which the list of train images names"):
        write(raw, {key: picture(key) for key in "acd"})


def test_the_same_image_twice_is_named(raw):
    with Writer("pets", dataset(), raw, raw / "out") as writer:
        writer.add("a", picture("a"))
        with pytest.raises(UserError, match="two images are called a"):
            writer.add("a", picture("a"))


def test_other_contents_than_stated_are_refused(raw):
    entry = dataset(archives={"pets.zip": Archive(contents="0" * 64)})
    with pytest.raises(UserError, match=r"pets.zip: contents digest .* expects 0000"):
        write(raw, {key: picture(key) for key in "abcd"}, entry)


@pytest.mark.parametrize(
    ("changes", "parts", "message"),
    [
        ({"classes": 3}, PARTS, "2 classes in the archives, but params.yaml states 3"),
        ({"images": None}, PARTS, "datasets.pets.images: state the number of train, validation"),
        ({"images": {"train": 2}}, PARTS, "datasets.pets.images: state the number of train"),
        (
            {"images": {"train": 3, "validation": 1, "test": 1}},
            PARTS,
            "found 2 train, 1 validation, 1 test images, expected 3 train, 1 validation, 1 test",
        ),
        ({}, PARTS | {"validation": ["a"]}, "a stands in train and in validation"),
        ({}, PARTS | {"test": ["d"]}, "d stands in validation and in test"),
        ({}, PARTS | {"train": ["a", "a"]}, "a stands in train and in train"),
    ],
)
def test_what_params_states_is_checked(changes, parts, message):
    with pytest.raises(UserError) as error:
        check("pets", dataset(**changes), CLASSES, parts)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 1, 1]}, "doesn't fit dataset.json"),
        ({"labels": [0, 1, 1, 2]}, "labels outside of the 2 classes"),
        ({"labels": "many"}, "doesn't fit dataset.json"),
        ({"shapes": [[6, 9]] * 4}, "the shapes add up to 648 bytes"),
        ({"shapes": [[6, 9]] * 3}, "3 shapes and 4 labels"),
        ({"splits": {"train": [0, 1], "validation": [2], "test": [4]}}, "outside of the 4 images"),
        ({"splits": {"train": [0, 1], "validation": [1], "test": [3]}}, "two parts share"),
        ({"splits": {"train": [0, 1]}}, "lacks 'validation'"),
        ({"kind": "episodes"}, "of kind episodes, not images"),
        ({"digest": "0" * 64}, "its bytes differ from the digest"),
    ],
)
def test_a_description_that_does_not_fit_is_one_message(raw, changes, message):
    write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(UserError) as error:
        image_sets.load(raw / "out")
    assert message in str(error.value)
    assert "run `snakemake data`" in str(error.value)


def test_a_truncated_array_is_one_message(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"images.npy: can't be read"):
        image_sets.load(raw / "out")


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colourful(mode="RGB"):
    return Image.fromarray(picture("x", 12, 20)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_every_mode_becomes_rgb(mode):
    found = decode(encoded(colourful(mode)), "a.zip: x.png")
    assert (found.shape, found.dtype) == ((12, 20, 3), np.uint8)
    np.testing.assert_array_equal(found, np.asarray(colourful(mode).convert("RGB")))


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_jpegs_of_every_colour_space_become_rgb(mode):
    smooth = Image.linear_gradient("L").resize((20, 12)).convert("RGB").convert(mode)
    found = decode(encoded(smooth, "jpeg", quality=95), "a.zip: x.jpg")
    difference = found.astype(int) - np.asarray(smooth.convert("RGB")).astype(int)
    assert np.abs(difference).mean() < 4


def test_a_palette_with_transparency_keeps_its_colours():
    image = colourful("P")
    found = decode(encoded(image, transparency=0), "a.zip: x.png")
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_sixteen_bits_of_grey_are_not_clipped():
    grey = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    found = decode(encoded(Image.fromarray(grey)), "a.zip: x.png")
    assert found[0, :, 0].tolist() == [0, 0, 1, 156, 255]


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = decode(encoded(Image.fromarray(stripes)), "a.zip: x.png", size=32)
    assert found.shape == (32, 32, 3)
    assert np.abs(found[:, 2:-2].astype(int) - 128).max() <= 2
    np.testing.assert_array_equal(found, resized(stripes, 32))
    np.testing.assert_array_equal(decode(encoded(colourful()), "", size=8).shape, (8, 8, 3))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp"])
@pytest.mark.parametrize("cut", [0, 10, 60])
def test_unreadable_bytes_name_archive_and_member(kind, cut):
    with pytest.raises(UserError, match=r"a.zip: x is (no|not a readable) image.*; get"):
        decode(encoded(colourful(), kind)[:cut], "a.zip: x")
