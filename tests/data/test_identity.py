"""Whether a file is what is meant: a user's own archives, records, what came in its place."""

import json
import os

import pytest
from data_sets import packed
from downloads import QUICK, assert_alone, assert_arrived, get

from multistep.data.archives import contents_digest
from multistep.data.download import fetch
from multistep.data.identity import check_record, record_path, verified_contents
from multistep.data.settings import Archive, Dataset
from multistep.files import UserError, sha256

MEMBERS = {"a/1.png": b"one" * 50, "a/2.png": b"two" * 50}
BACKWARDS, FEWER = dict(reversed(MEMBERS.items())), {"a/2.png": b"two" * 50}


@pytest.fixture
def described(tmp_path):
    official = packed(tmp_path / "official" / "official.zip", MEMBERS)
    return Archive(
        urls=["http://127.0.0.1:9/file"],
        sha256=sha256(official),
        contents=contents_digest(official),
    )


@pytest.mark.parametrize("members", [MEMBERS, BACKWARDS])
def test_a_users_own_archive_is_taken_instead_of_the_network(tmp_path, described, members):
    own = packed(tmp_path / "own" / "shapes.zip", members)
    destination = tmp_path / "raw" / "shapes.zip"
    for _ in range(2):  # the second time the file is there already, and is right
        fetch(described, destination, dataset="shapes", folder=own.parent)
    assert destination.read_bytes() == own.read_bytes()
    assert_alone(destination)


def test_a_users_archive_with_other_contents_is_refused_with_both_digests(tmp_path, described):
    own = packed(tmp_path / "own" / "shapes.zip", FEWER)
    with pytest.raises(UserError) as raised:
        fetch(described, tmp_path / "shapes.zip", dataset="shapes", folder=own.parent)
    for digest in (sha256(own), described.sha256, contents_digest(own), described.contents):
        assert digest in str(raised.value)
    with pytest.raises(UserError, match=r"nowhere/shapes\.zip: no such file, though `sources:"):
        fetch(described, tmp_path / "shapes.zip", dataset="shapes", folder=tmp_path / "nowhere")
    assert not (tmp_path / "shapes.zip").exists()
    assert not (tmp_path / "shapes.zip.part").exists()


def test_an_archive_without_digest_that_its_owner_mends_is_taken_anew(tmp_path, described):
    own = packed(tmp_path / "own" / "shapes.zip", MEMBERS)
    destination = tmp_path / "raw" / "shapes.zip"
    free = Archive(unverified=True)

    def taken(archive=free):
        fetch(archive, destination, dataset="shapes", folder=own.parent)
        assert destination.read_bytes() == own.read_bytes()
        return record_path(archive, destination, own)

    first = taken()
    os.utime(own, (1, 1))  # another time alone changes nothing
    assert record_path(free, destination, own) == first
    for members in (BACKWARDS, FEWER):  # of the same size, and of another
        packed(own, members)
        again = record_path(free, destination, own)
        assert again != first  # so Snakemake downloads again
        first = taken()
        assert first == again
    own.unlink()
    assert record_path(free, destination, own) == first
    packed(own, BACKWARDS)
    pinned = described.model_copy(update={"urls": []})
    fetch(pinned, destination, dataset="shapes", folder=own.parent)
    kept = destination.read_bytes()
    packed(own, FEWER)  # where a digest is known, that decides
    fetch(pinned, destination, dataset="shapes", folder=own.parent)
    assert destination.read_bytes() == kept


def _dataset(archive):
    entry = {"loader": "cifar100", "title": "x", "classes": 2, "prepare": {}}
    return Dataset.model_validate(entry | {"archives": {"a.bin": archive}})


def test_another_file_in_its_place_since_is_told_before_it_is_read(server, tmp_path):
    """Of the same size too, which no record's name would tell."""
    path = get(server, tmp_path / "a.bin", "ok")
    pins = {"that datasets.x describes": {"sha256": server.sha256}}
    pins["differ from the"] = {"unverified": True}
    for pin in pins.values():
        assert verified_contents("x", _dataset(pin), tmp_path)
    path.write_bytes(server.body[::-1])
    for told, pin in pins.items():
        with pytest.raises(UserError, match=rf"a\.bin: .*{told}.*fetch it again"):
            verified_contents("x", _dataset(pin), tmp_path)


def test_a_record_serves_while_the_file_is_there_and_fits(server, tmp_path):
    """Its name is all that makes a download stale (workflow/rules/data.smk)."""
    path = tmp_path / "shapes"
    free = Archive(urls=[server.url("ok")], unverified=True)
    pinned = Archive(sha256=server.sha256, urls=["http://127.0.0.1:9/moved"])
    other = Archive(sha256="0" * 64)
    first = record_path(free, path)
    assert len({first, record_path(pinned, path), record_path(other, path)}) == 3
    fetch(free, path, dataset="shapes", record=first, patience=QUICK)
    assert record_path(free, path) == record_path(pinned, path) == first
    assert record_path(other, path) != first
    body = path.read_bytes()
    for break_it in (lambda: path.write_bytes(body[:-1]), path.unlink):
        break_it()
        again = record_path(free, path)
        assert again != first
    fetch(free, path, dataset="shapes", record=again, patience=QUICK)
    assert_arrived(server, path)
    assert record_path(free, path) == record_path(pinned, path) == again
    text = again.read_text()
    about = json.loads(text)
    for edited in (text[:50], *(json.dumps(about | {key: "0" * 64}) for key in about)):
        again.write_text(edited)
        assert record_path(free, path) != again
    again.write_text(again.read_text()[:50])
    assert record_path(free, path) == first


def test_an_edited_record_and_another_file_are_told(server, tmp_path):
    path = tmp_path / "a.bin"
    free = Archive(urls=[server.url("ok")], unverified=True)
    record = record_path(free, path)
    fetch(free, path, dataset="shapes", record=record, patience=QUICK)
    check_record(record)
    text = record.read_text()
    record.write_text(json.dumps(json.loads(text) | {"bytes": 1}))
    with pytest.raises(UserError, match=r"\.json: .*seal"):
        check_record(record)
    record.write_text(text)
    path.write_bytes(server.body[::-1])
    with pytest.raises(UserError, match=r"a\.bin: its bytes differ from the digest in "):
        check_record(record)
    path.unlink()  # the record of a file that can be fetched again
    check_record(record)
