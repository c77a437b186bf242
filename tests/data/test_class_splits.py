"""Splits of classes: committed lists fit their rules, and rules fit any number of classes."""

import json
from itertools import chain

import pytest

from multistep.data import class_splits
from multistep.files import UserError


@pytest.mark.parametrize(
    ("classes", "sizes"),
    [(3, [1, 1, 1]), (20, [14, 1, 5]), (60, [20, 20, 20]), (144, [87, 20, 37])],
)
def test_a_proportional_split_leaves_20_classes_to_validation_and_test(classes, sizes):
    names = [f"A/character{i:02}" for i in range(classes)]
    parts = class_splits.proportional(names)
    assert [len(parts[part]) for part in class_splits.PARTS] == sizes
    assert sorted(chain(*parts.values())) == sorted(names)
    assert parts == class_splits.proportional(names[::-1])


def test_too_few_classes_to_split():
    with pytest.raises(UserError, match="can't be split"):
        class_splits.proportional(["A/character01", "A/character02"])


def test_committed_splits_are_disjoint_and_complete():
    finn, vinyals = (class_splits.load_committed(name) for name in class_splits.COMMITTED)
    assert [len(finn[part]) for part in class_splits.PARTS] == [1100, 100, 423]
    assert [len(vinyals[part]) for part in class_splits.PARTS] == [1028, 172, 423]
    one, other = (sorted(chain(*parts.values())) for parts in (finn, vinyals))
    assert one == other
    assert len(set(one)) == 1623


def test_the_committed_finn_list_is_what_its_rule_gives():
    committed = class_splits.load_committed("finn")
    assert class_splits.finn([*chain(*committed.values())]) == committed


def test_vinyals_test_alphabets_are_unseen_in_training_but_for_gurmukhi():
    parts = class_splits.load_committed("vinyals")
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
