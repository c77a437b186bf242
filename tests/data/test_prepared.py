"""Writing and reading prepared datasets, and the checks of all loaders."""

import copy
import json
import shutil
import zipfile

import numpy as np
import pytest

from multistep import seal
from multistep.data import prepared
from multistep.data.archives import contents_digest
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, sha256
from multistep.plan import provenance

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
    prepared.write(
        "pets", entry or dataset(), raw, raw / "out", classes=classes, labels=LABELS, parts=parts,
        shape=dict.fromkeys(LABELS, (6, 9))
        | {key: pixels.shape[:2] for key, pixels in pictures.items()},
        images=pictures.items(),
    )  # fmt: skip
    return prepared.read(raw / "out")


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


def test_a_failure_leaves_what_was_there_and_nothing_else(raw):
    pictures = {key: picture(key) for key in "abcd"}
    before = write(raw, pictures).digest
    with pytest.raises(UserError):
        write(raw, pictures, dataset(classes=3))
    assert prepared.read(raw / "out").digest == before
    assert sorted(p.name for p in (raw / "out").iterdir()) == ["dataset.json", "images.npy"]


def test_a_listed_image_that_is_absent_is_named(raw):
    with pytest.raises(UserError, match=r"no image b, which the lists name \(1 of 4 are missing\)"):
        write(raw, {key: picture(key) for key in "acd"})


def test_the_same_image_twice_is_named(raw):
    twice = [("a", picture("a")), ("a", picture("a"))]
    with pytest.raises(UserError, match="two images are called a"):
        prepared.write(
            "pets", dataset(), raw, raw / "out", classes=CLASSES, labels=LABELS, parts=PARTS,
            shape=(6, 9, 3), images=twice,
        )  # fmt: skip


def test_an_image_of_another_size_than_stated_is_named(raw):
    with pytest.raises(UserError, match=r"image 0 is uint8\[5, 9, 3\], not bytes \[6, 9, 3\]"):
        prepared.write(
            "pets", dataset(), raw, raw / "out", classes=CLASSES, labels=LABELS, parts=PARTS,
            shape=(6, 9, 3), images=[("a", picture("a", height=5))],
        )  # fmt: skip
    assert not list((raw / "out").iterdir())


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
        prepared.check("pets", dataset(**changes), CLASSES, LABELS, parts)
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
def test_a_description_that_does_not_fit_is_one_message(raw, changes, message):
    write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "dataset.json"
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(seal.seal(record, record["made_from"])))
    with pytest.raises(UserError, match=message) as error:
        prepared.read(raw / "out")
    assert "run `snakemake data`" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.fault("a field of dataset.json edited", "refused by its reader")
def test_any_edit_of_a_description_breaks_its_seal(raw, record_property):
    write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "dataset.json"
    record = json.loads(path.read_text())
    for key, value in record.items():
        other = {"seal": "0" * 64}.get(key, [value])
        path.write_text(json.dumps(record | {key: other}))
        with pytest.raises(UserError, match=r"dataset\.json: its content differs from its seal"):
            prepared.read(raw / "out")
    record_property("injected", len(record))


# What may differ without a reader's knowing, and why.
FREE = {
    "stand_in": "what is shown follows from the plan; nothing is computed from it",
    "made_from.archives": "the plan states digests of archives, which preparing has compared",
    "made_from.code": "Snakemake compares it with the code that is there",
}
# Any other edit is refused for itself, though sealed anew; `plan` stands for what the plan expects.
EDITS = {
    "schema": 3,
    "name": "other",
    "stand_in": True,
    "classes": ["dog"],
    "labels": [[0, 1], [1, 4]],
    "shapes": [[6, 9], [6, 9], [6, 9], [9, 7]],
    "splits": SPLITS | {"train": SPLITS["test"]},
    "images": "1" * 64,
    "made_from.dataset": "other",
    "made_from.archives": {},
    "made_from.code": "1" * 64,
    "seal": "1" * 64,
}


@pytest.mark.fault("a field of dataset.json edited and sealed anew", "refused by itself")
def test_every_field_of_a_description_is_guarded_or_free(raw, record_property):
    found = write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "dataset.json"
    record = json.loads(path.read_text())
    fields = {key for key in record if key != "made_from"}
    assert set(EDITS) == fields | {f"made_from.{key}" for key in record["made_from"]}
    for field, value in EDITS.items():
        edited = copy.deepcopy(record)
        holder = edited["made_from"] if "." in field else edited
        holder[field.rpartition(".")[2]] = value
        if field != "seal":
            edited = seal.seal(edited, edited["made_from"])
        path.write_text(json.dumps(edited))
        if field in FREE:
            assert prepared.read(raw / "out", "pets", {"size": None}).digest == found.digest
            continue
        with pytest.raises(UserError, match=r"out(/dataset\.json|/images\.npy)?:") as error:
            prepared.read(raw / "out", "pets", {"size": None})
        assert "\n" not in str(error.value)
    record_property("injected", len(EDITS) - len(FREE))


def test_another_dataset_or_preparation_than_the_plans_is_refused(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    with pytest.raises(UserError, match=r"dataset\.json: the dataset pets, not birds; .*/birds/"):
        prepared.read(raw / "out", "birds", {"size": None})
    for key, wrong in (("classes", 3), ("images", {"train": 4}), ("images", 7)):
        path = raw / "out" / "dataset.json"
        record = json.loads(path.read_text())
        made_from = record["made_from"] | {"dataset": record["made_from"]["dataset"] | {key: wrong}}
        (raw / "edited").mkdir(exist_ok=True)
        shutil.copy(raw / "out" / "images.npy", raw / "edited")
        (raw / "edited" / "dataset.json").write_text(json.dumps(seal.seal(record, made_from)))
        with pytest.raises(UserError, match=f"made to have .* {key}"):
            prepared.read(raw / "edited")
    for expected, differs in (({"size": 9}, "size None"), ({"size": None, "a": 1}, "a None")):
        with pytest.raises(UserError, match=rf"with {differs}, but datasets\.pets\.prepare"):
            prepared.read(raw / "out", "pets", expected)


@pytest.mark.fault("a pixel of images.npy changed", "refused by its reader")
def test_a_damaged_pixel_is_noticed(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    array = np.load(raw / "out" / "images.npy", mmap_mode="r+")
    array[3, 3, 3, 1] ^= 1
    array.flush()
    with pytest.raises(UserError, match=r"images\.npy: its bytes differ from the digest"):
        prepared.read(raw / "out")


def test_a_foreign_array_is_refused(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    for array in (np.zeros((4, 6), np.uint8), np.zeros((4, 6, 9, 3)), np.zeros((4, 6, 9, 2), "u1")):
        np.save(raw / "out" / "images.npy", array)
        with pytest.raises(UserError, match=r"doesn't fit dataset\.json"):
            prepared.read(raw / "out")


def test_the_digest_is_of_everything_that_trains(raw):
    pictures = {key: picture(key) for key in "abcd"}
    one = write(raw, pictures).digest
    assert write(raw, pictures, dataset(prepare={"size": 9})).digest == one
    assert write(raw, pictures, classes=["cat", "eel"]).digest != one
    exchanged = PARTS | {"validation": ["c"], "test": ["d"]}
    assert write(raw, pictures, parts=exchanged).digest != one


def test_episodes_need_classes_of_one_part(raw):
    with pytest.raises(UserError, match="pets: a class stands in two parts"):
        write(raw, {key: picture(key) for key in "abcd"}).rows(["train"])


def test_a_truncated_array_is_one_message(raw):
    write(raw, {key: picture(key) for key in "abcd"})
    path = raw / "out" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"images.npy: can't be read"):
        prepared.read(raw / "out")
