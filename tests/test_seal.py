"""Seals: an edit anywhere in a record is seen, and a record without a seal is none."""

import copy
import json

import pytest
import records

from multistep import seal
from multistep.files import UserError, read_json, write_json

RECORD = {"schema": 2, "cell": {"lr": 0.1, "taps": (1, 2)}, "history": [{"loss": 1e-17}], "n": None}
MADE_FROM = {"dataset": "ab" * 32, "code": "cd" * 32}


SEALED = seal.seal(RECORD, MADE_FROM)


def test_a_sealed_record_survives_its_file_and_the_order_of_its_keys(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, SEALED)
    seal.check(path, read_json(path))
    seal.check(path, dict(reversed(read_json(path).items())))
    assert read_json(path) == SEALED
    assert SEALED["made_from"] == MADE_FROM
    assert SEALED["cell"] == {"lr": 0.1, "taps": [1, 2]}


def test_sealing_again_replaces_the_seal_and_is_the_same_for_the_same_content():
    assert seal.seal(SEALED, MADE_FROM) == SEALED
    other = seal.seal(SEALED, None)
    assert other["made_from"] is None
    assert other["seal"] != SEALED["seal"]
    seal.check("x", other)


@pytest.mark.parametrize("where", list(records.leaves(SEALED)), ids=str)
def test_a_change_of_any_field_is_refused_with_the_files_name(where):
    *folders, last = where
    target = forged = copy.deepcopy(SEALED)
    for key in folders:
        target = target[key]
    target[last] = "other"
    with pytest.raises(UserError, match=r"^results/0\.json: .*differs from its seal.*again"):
        seal.check("results/0.json", forged)


@pytest.mark.parametrize("change", ["added", "dropped", "nan", "int for float"])
def test_other_kinds_of_change_are_refused(change):
    forged = copy.deepcopy(SEALED)
    if change == "added":
        forged["cell"]["new"] = 1
    elif change == "dropped":
        del forged["made_from"]
    elif change == "nan":
        forged = json.loads(json.dumps(forged).replace("1e-17", "NaN"))
    else:
        forged["schema"] = 2.0
    with pytest.raises(UserError, match="differs from its seal"):
        seal.check("x", forged)


def test_what_a_later_version_wrote_is_not_to_be_deleted():
    later = seal.seal(RECORD | {"schema": seal.SCHEMA + 1}, None)
    with pytest.raises(UserError, match="of schema 3, and this version reads up to 2; use the new"):
        seal.check("x", later)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "'b' stands there more than once"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ('[-Infinity, "x"]', "-Infinity is no number"),
    ],
)
def test_json_that_readers_take_differently_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=rf"a\.json: not valid JSON \({message}.*delete it and"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("record", [RECORD, [], None, "seal"], ids=str)
def test_what_has_no_seal_is_refused(record):
    with pytest.raises(UserError, match=r"no seal.*fetch it again"):
        seal.check("x", record, "fetch it again")


def test_what_json_cannot_hold_is_not_sealed():
    with pytest.raises(ValueError, match="JSON"):
        seal.seal({"loss": float("nan")}, None)
