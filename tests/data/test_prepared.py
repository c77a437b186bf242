"""Writing and reading prepared datasets, and the checks of all loaders."""

import errno
import json
import zipfile
from unittest.mock import Mock

import numpy as np
import pytest
import records

from multistep import seal
from multistep.data import prepared, stated
from multistep.data.archives import contents_digest
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, read_json, sha256, write_json
from multistep.plan import provenance

PARTS = {"train": ["b", "a"], "validation": ["d"], "test": ["c"]}
LABELS = {"a": 0, "b": 1, "c": 1, "d": 0, "spare": 0}
CLASSES = ["cat", "dog"]


def dataset(**changes):
    entry = {"loader": "image_folder", "title": "Pets", "classes": 2, "prepare": {"size": None}}
    entry |= {"archives": {"pets.zip": Archive()}}
    entry |= {"images": {"train": 2, "validation": 1, "test": 1}}
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
    prepared.write(
        "pets", entry or dataset(), raw, raw / "out", classes=classes, labels=LABELS, parts=parts,
        shape=dict.fromkeys(LABELS, (6, 9)) | {key: p.shape[:2] for key, p in pictures.items()},
        images=pictures.items(),
    )  # fmt: skip
    return prepared.read(raw / "out")


def pictures(order="abcd", *, vary=False):
    return {key: picture(key, height=5 + ord(key[0]) % 3 if vary else 6) for key in order}


@pytest.fixture
def out(raw):
    """A folder of pictures of one size."""
    write(raw, pictures())
    return raw / "out"


def seal_with(folder, **changes):
    path = folder / "dataset.json"
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(seal.seal(record, record["made_from"])))


@pytest.mark.parametrize("vary", [False, True])
def test_images_come_back_and_the_order_of_arrival_changes_no_byte(raw, vary):
    """One array, or of several sizes one row of bytes; images of no part are left out."""
    digests = set()
    for order in ("abcd", "dbca", ("spare", "d", "c", "b", "a")):
        drawn = pictures(order, vary=vary)
        found = write(raw, drawn)
        assert len(found) == 4
        for i, key in enumerate("abcd"):
            np.testing.assert_array_equal(found.pixels(i), drawn[key])
            assert found.labels[i] == LABELS[key]
        for part, keys in PARTS.items():
            assert found.splits[part].tolist() == sorted("abcd".index(key) for key in keys)
        if vary:
            assert found.images.ndim == 1
            assert found.shapes.tolist() == [list(drawn[key].shape[:2]) for key in "abcd"]
            assert np.shares_memory(found.pixels(1), found.images)
        else:
            assert (found.images.shape, found.shapes) == ((4, 6, 9, 3), None)
        digests.add((found.digest, sha256(raw / "out" / "dataset.json")))
        assert sorted(p.name for p in (raw / "out").iterdir()) == ["dataset.json", "images.npy"]
    assert len(digests) == 1


def test_the_description_says_where_it_came_from(raw):
    write(raw, pictures())
    about = json.loads((raw / "out" / "dataset.json").read_text())
    assert (about["schema"], about["name"], about["stand_in"]) == (2, "pets", False)
    assert about["images"] == sha256(raw / "out" / "images.npy")
    assert about["made_from"] == {
        "dataset": {
            "loader": "image_folder",
            "classes": 2,
            "images": {"train": 2, "validation": 1, "test": 1},
            "archives": ["pets.zip"],
            "prepare": {"size": None},
        },
        "archives": {"pets.zip": contents_digest(raw / "pets.zip")},
        "code": provenance.code("multistep.data.loaders.image_folder"),
    }
    assert about["labels"] == [[0, 1], [1, 2], [0, 1]]
    assert about["splits"] == {"train": [[0, 2]], "validation": [[3, 4]], "test": [[2, 3]]}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("acd", r"no image b, which the lists name \(1 of 4 are missing\)"),
        ("aa", "two images are called a"),
        ("A", r"image 0 is uint8\[5, 9, 3\], not bytes \[6, 9, 3\]"),
    ],
)
def test_images_that_do_not_fit_are_named(raw, images, message):
    found = [(key.lower(), picture(key, height=5 if key == "A" else 6)) for key in images]
    with pytest.raises(UserError, match=message):
        prepared.write(
            "pets", dataset(), raw, raw / "out", classes=CLASSES, labels=LABELS, parts=PARTS,
            shape=(6, 9, 3), images=found,
        )  # fmt: skip
    assert not list((raw / "out").iterdir())


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
        (
            {},
            {"train": ["a", "spare"], "validation": ["c"], "test": ["d", "b"]},
            "class dog has no training image",
        ),
        ({}, {"train": ["a"], "validation": ["d"], "test": ["spare"]}, "class dog has no image"),
    ],
)
def test_what_params_states_is_checked(changes, parts, message):
    with pytest.raises(UserError) as error:
        stated.check("pets", dataset(**changes), CLASSES, LABELS, parts)
    assert message in str(error.value)


SPLITS = {"train": [[0, 2]], "validation": [[3, 4]], "test": [[2, 3]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [[0, 1], [1, 2]]}, "labels of 3 images|outside of the 3 images"),
        ({"labels": [[0, 1], [1, 2], [2, 1]]}, "labels outside of the 2 classes"),
        ({"labels": [[0, 1], [1, -2], [0, 1]]}, "labels of 0 images"),
        ({"labels": [[0, 10**12]]}, "labels of 1000000000000 images"),
        ({"labels": "many"}, "labels: Input should be a valid list"),
        ({"labels": [[0, 1, 1]]}, "labels.0: List should have at most 2 items"),
        ({"shapes": [[6, 9]] * 4}, "the shapes add up to 648 bytes"),
        ({"shapes": [[6, 9]] * 3}, "3 shapes and 4 labels"),
        ({"splits": SPLITS | {"test": [[4, 5]]}}, "test has an index outside of the 4 images"),
        ({"splits": SPLITS | {"test": [[-1, 3]]}}, "test has an index outside of the 4 images"),
        ({"splits": SPLITS | {"test": [[3, 2]]}}, "test has an index outside of the 4 images"),
        ({"splits": SPLITS | {"train": [[1, 2], [0, 1]]}}, "train isn't sorted"),
        ({"splits": SPLITS | {"train": [[0, 2], [1, 2]]}}, "train isn't sorted, or has an image"),
        ({"splits": SPLITS | {"validation": [[1, 2]]}}, "two parts share"),
        ({"splits": SPLITS | {"validation": []}}, "1 images are in no part"),
        ({"splits": {"train": [[0, 4]]}}, "no part validation"),
        ({"classes": ["cat", "cat"]}, "two classes have one name"),
        ({"classes": ["cat"]}, "labels outside of the 1 classes"),
        ({"schema": 1}, "schema: Input should be 2"),
        ({"images": "0" * 64}, "its bytes differ from the digest"),
    ],
)
def test_a_description_that_does_not_fit_is_one_message(out, changes, message):
    seal_with(out, **changes)
    with pytest.raises(UserError, match=message) as error:
        prepared.read(out)
    assert "run `snakemake data`" in str(error.value)
    assert "\n" not in str(error.value)


# What nothing but the seal guards, and why.
FREE = {
    "classes.*": "a name; what is made of the data has a digest of it, names included",
    "labels.*.0": "which images show what is known to nobody else; the digest has it as well",
    "stand_in": "what is shown follows from the plan; nothing is computed from it",
    "made_from.archives*": "the plan states digests of archives, which preparing has compared",
    "made_from.code": "Snakemake compares it with the code that is there",
    "made_from.dataset.*": "jobs are told how it is prepared; the rest is the plan's to compare",
}


@pytest.mark.fault("a field of dataset.json edited", "refused by its reader")
def test_every_field_of_a_description_is_guarded_or_free(out, record_property):
    edits = records.Edits(FREE)
    edits.refused(out / "dataset.json", lambda: prepared.read(out, "pets", {"size": None}))
    record_property("injected", edits.done())


@pytest.mark.parametrize(
    ("name", "preparation", "message"),
    [
        ("birds", {"size": None}, r"dataset\.json: the dataset pets, not birds; .*/birds/"),
        ("pets", {"size": 9}, r"with size None, but datasets\.pets\.prepare"),
        ("pets", {"size": None, "a": 1}, r"with a None, but datasets\.pets\.prepare"),
    ],
)
def test_another_dataset_or_preparation_than_the_plans_is_refused(out, name, preparation, message):
    with pytest.raises(UserError, match=message):
        prepared.read(out, name, preparation)


@pytest.mark.parametrize("wrong", [{"classes": 3}, {"images": {"train": 4}}, {"images": 7}])
def test_a_set_of_another_size_than_it_was_made_to_have_is_refused(out, wrong):
    ((key, _),) = wrong.items()
    made_from = json.loads((out / "dataset.json").read_text())["made_from"]
    seal_with(out, made_from=made_from | {"dataset": made_from["dataset"] | wrong})
    with pytest.raises(UserError, match=f"made to have .* {key}"):
        prepared.read(out)


@pytest.mark.fault("a pixel of images.npy changed", "refused by its reader")
def test_a_damaged_pixel_is_noticed(out):
    array = np.load(out / "images.npy", mmap_mode="r+")
    array[3, 3, 3, 1] ^= 1
    array.flush()
    with pytest.raises(UserError, match=r"images\.npy: its bytes differ from the digest"):
        prepared.read(out)


def test_a_foreign_or_truncated_array_is_refused(out):
    """By its digest; by what it is, where that was told to be its digest."""
    path, record = out / "images.npy", read_json(out / "dataset.json")
    cut = path.read_bytes()[:-1]

    def put(array):
        path.write_bytes(cut) if array is None else np.save(path, array)

    arrays = (np.zeros((4, 6), np.uint8), np.zeros((4, 6, 9, 3)), np.zeros((4, 6, 9, 2), "u1"))
    for array in (None, *arrays):
        put(array)
        with pytest.raises(UserError, match=r"images\.npy: its bytes differ from the digest"):
            prepared.read(out)
        sealed = seal.seal({**record, "images": sha256(path)}, record["made_from"])
        write_json(out / "dataset.json", sealed)
        told = "images.npy: can't be read" if array is None else r"doesn't fit dataset\.json"
        with pytest.raises(UserError, match=told):
            prepared.read(out)
        write_json(out / "dataset.json", record)


def test_what_the_disk_does_not_take_leaves_what_was_there(raw, monkeypatch):
    """Until its last byte is known to be safe."""
    before = write(raw, pictures()).digest
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            write(raw, pictures(), classes=["one", "two"])
    assert prepared.read(raw / "out").digest == before


def test_the_digest_is_of_everything_that_trains(raw):
    one = write(raw, pictures()).digest
    assert write(raw, pictures(), dataset(prepare={"size": 9})).digest == one
    assert write(raw, pictures(), classes=["cat", "eel"]).digest != one
    exchanged = PARTS | {"validation": ["c"], "test": ["d"]}
    assert write(raw, pictures(), parts=exchanged).digest != one


def test_episodes_need_classes_of_one_part(out):
    with pytest.raises(UserError, match="pets: a class stands in two parts"):
        prepared.read(out).rows(["train"])
