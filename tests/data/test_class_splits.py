"""Splits of classes: committed lists fit their rules, and rules fit any number of classes."""

import csv
import json
import zipfile
from itertools import chain

import pytest
from data_sets import ROOT, real_data

from multistep.data import class_splits
from multistep.files import UserError
from multistep.plan import params

PUBLISHED = {
    "omniglot_finn": [1100, 100, 423],
    "omniglot_vinyals": [1028, 172, 423],
    "miniimagenet_ravi": [64, 16, 20],
    "cifar_fs_bertinetto": [64, 16, 20],
    "fc100_oreshkin": [60, 20, 20],
    "tieredimagenet_ren": [351, 97, 160],
}


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [(3, [1, 1, 1]), (20, [14, 1, 5]), (60, [20, 20, 20]), (144, [87, 20, 37])],
)
def test_a_proportional_split_leaves_20_classes_to_validation_and_test(classes, sizes):
    names = [f"A/character{i:02}" for i in range(classes)]
    parts = class_splits.split("proportional", names, "set")
    assert [len(parts[part]) for part in class_splits.PARTS] == sizes
    assert sorted(chain(*parts.values())) == sorted(names)
    assert parts == class_splits.split("proportional", names[::-1], "set")


def test_the_lists_of_omniglot():
    """Vinyals's test alphabets are unseen in training, but for Gurmukhi."""
    finn, parts = (class_splits.committed("omniglot", rule) for rule in ("finn", "vinyals"))
    shuffled = class_splits.shuffled([*chain(*finn.values())])
    assert class_splits.divided(shuffled, class_splits.SIZES) == finn
    assert sorted(chain(*finn.values())) == sorted(chain(*parts.values()))
    alphabets = {part: {name.split("/")[0] for name in names} for part, names in parts.items()}
    assert alphabets["train"] & alphabets["test"] == {"Gurmukhi"}
    assert len(alphabets["validation"]) == 5
    assert not alphabets["validation"] & (alphabets["train"] | alphabets["test"])


def test_an_edited_list_no_longer_fits_its_digest(tmp_path):
    original = class_splits.SPLITS / "omniglot_finn.json"
    edited = json.loads(original.read_text())
    edited["train"][0], edited["test"][0] = edited["test"][0], edited["train"][0]
    (tmp_path / original.name).write_text(json.dumps(edited))
    with pytest.raises(UserError, match=r"omniglot_finn\.json: the list doesn't fit its digest"):
        class_splits.read_list(tmp_path / original.name)


def test_shares_of_the_parts():
    groups = [[f"{i}a", f"{i}b"] for i in range(10)]
    parts = class_splits.divided(groups, (12, 4, 4))
    assert [len(parts[part]) for part in class_splits.PARTS] == [12, 4, 4]
    parts = class_splits.divided([[str(i)] for i in range(100)], (64, 16, 20))
    assert [len(parts[part]) for part in class_splits.PARTS] == [64, 16, 20]
    with pytest.raises(UserError, match="2 groups of classes can't be split"):
        class_splits.divided(groups[:2], (12, 4, 4))


@pytest.mark.parametrize(("name", "sizes"), PUBLISHED.items())
def test_committed_lists_are_disjoint_and_of_the_published_sizes(name, sizes):
    loader, _, rule = name.rpartition("_")
    parts = class_splits.committed(loader, rule)
    assert [len(parts[part]) for part in class_splits.PARTS] == sizes
    assert len(set(chain(*parts.values()))) == sum(sizes)
    assert all(parts[part] == sorted(parts[part]) for part in class_splits.PARTS)
    entry = params.load(ROOT / "params.yaml").datasets[loader]
    assert entry.prepare["split"] != rule or sum(sizes) == entry.classes


def published(loader, file):
    """The classes of a part, from where they were published."""
    if loader == "cifar_fs":
        return [label for _, label in json.loads(real_data(f"cifar_fs/{file}.json").read_text())]
    if loader == "tieredimagenet":
        rows = csv.reader(real_data(f"tieredimagenet/{file}.csv").read_text().splitlines())
        return [number for number, _ in filter(None, rows)]
    with zipfile.ZipFile(real_data("miniimagenet/splits_ravi.zip")) as archive:
        rows = csv.DictReader(archive.read(f"{file}.csv").decode().splitlines())
        return {row["label"] for row in rows}


@pytest.mark.parametrize("name", ["cifar_fs_bertinetto", "tieredimagenet_ren", "miniimagenet_ravi"])
def test_committed_lists_are_the_published_ones(name):
    loader, _, rule = name.rpartition("_")
    for file, part in class_splits.FILES.items():
        listed = class_splits.committed(loader, rule)[part]
        assert listed == sorted(published(loader, file))


def test_the_list_of_fc100_is_of_the_published_super_classes():
    pairs = (json.loads(real_data(f"cifar_fs/{f}.json").read_text()) for f in class_splits.FILES)
    superclass = {label: coarse for coarse, label in chain(*pairs)}
    parts = class_splits.committed("fc100", "oreshkin")
    assert sorted(chain(*parts.values())) == sorted(superclass)
    for file, part in class_splits.FILES.items():
        listed = json.loads(real_data(f"fc100/{file}.json").read_text())
        assert {superclass[label] for label in parts[part]} == set(listed)
        assert len(parts[part]) == 5 * len(listed)
