"""Downloads from a server that truncates, stalls, refuses and lies; what is shared between them."""

import gzip
import hashlib
import io
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest
from downloads import QUICK, assert_arrived, get

from multistep.data.download import fetch
from multistep.data.settings import Archive
from multistep.files import UserError

# What a separate process runs: argv is url, sha256, destination.
CHILD = """
import sys
from pathlib import Path
from multistep.data.download import fetch
from multistep.data.resume import Patience
from multistep.data.settings import Archive
url, digest, destination = sys.argv[1:]
fetch(Archive(urls=[url], sha256=digest), Path(destination), dataset="shapes",
      patience=Patience(attempts=3, read_timeout=5, backoff=0.05))
"""


def ranges(server):
    return [asked for _, asked in server.requests]


def start(server, destination, kind):
    command = [sys.executable, "-c", CHILD, server.url(kind), server.sha256, str(destination)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("mirrors", "requests"),
    [
        ("ok", "ok"),
        ("redirect", "redirect ok"),
        ("truncated-no-ranges", "truncated-no-ranges truncated-no-ranges"),  # from the start
        ("changed", "changed changed"),  # between the attempts
        ("missing ok", "missing ok"),  # what is missing isn't asked for twice
        ("wrong ok", "wrong wrong ok"),
        ("wrong-once", "wrong-once wrong-once"),
    ],
)
def test_mirrors_are_tried_until_the_right_bytes_are_here(server, tmp_path, mirrors, requests):
    for _ in range(2):  # the second time the file is there already, and is right
        assert_arrived(server, get(server, tmp_path / "raw" / "shapes.zip", *mirrors.split()))
    assert [kind for kind, _ in server.requests] == requests.split()


def test_a_mirror_may_be_a_file(server, tmp_path):
    (own := tmp_path / "my files" / "shapes.zip").parent.mkdir()
    own.write_bytes(server.body)
    archive = Archive(urls=["file:///nowhere", own.as_uri()], sha256=server.sha256)
    assert_arrived(server, fetch(archive, tmp_path / "raw/shapes.zip", dataset="shapes"))
    assert own.exists()


@pytest.mark.parametrize("kind", ["truncated", "stalled"])
def test_a_broken_transfer_is_continued_where_it_ended(server, tmp_path, kind):
    began = time.monotonic()
    assert_arrived(server, get(server, tmp_path / "shapes.zip", kind))
    assert time.monotonic() - began < 15  # of the 20 that it would stall
    first, second = ranges(server)  # the second asks for all but the last short read before
    assert first is None
    half = len(server.body) // 2
    assert half - 20_000 < int(second.removeprefix("bytes=").rstrip("-")) <= half


def test_a_connection_that_keeps_breaking_but_moves_on_is_let_run(server, tmp_path, capsys):
    # Every answer is cut in half, so each brings less until the last brings nothing new: more
    # requests than `patience` grants in a row to a connection that brings nothing.
    with pytest.raises(UserError, match=r"connection broke \(3 attempts\)"):
        get(server, tmp_path / "shapes.zip", "truncated-always")
    assert len(server.requests) > 2 * QUICK.attempts
    assert "MB kept" in capsys.readouterr().err


def test_a_busy_server_is_asked_again_when_it_says(server, tmp_path):
    began = time.monotonic()
    assert_arrived(server, get(server, tmp_path / "shapes.zip", "busy-twice"))
    assert time.monotonic() - began > 0.4  # Retry-After: 0.2, twice; our own back-off is shorter


def test_when_every_mirror_fails_each_is_listed_with_its_reason(server, tmp_path):
    nobody = ["http://127.0.0.1:9/file", "file:///nowhere"]
    kinds = [server.url(kind) for kind in ("missing", "busy-always", "wrong")]
    archive = Archive(urls=[*nobody, *kinds], sha256=server.sha256)
    with pytest.raises(UserError) as raised:
        fetch(archive, tmp_path / "shapes.zip", dataset="shapes", patience=QUICK)
    message = str(raised.value)
    assert f"{nobody[0]}: no connection" in message
    assert f"{nobody[1]}: " in message
    assert f"{server.url('missing')}: HTTP 404 Not Found" in message
    assert f"{server.url('busy-always')}: HTTP 503 Service Unavailable (3 attempts)" in message
    assert f"{server.url('wrong')}: delivers other bytes" in message
    assert "sources: {shapes: FOLDER}" in message
    assert server.sha256 in message
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_the_way_is_kept_beside_the_right_one(server, tmp_path, capsys):
    destination = tmp_path / "shapes.zip"
    destination.write_bytes(b"mine")
    with pytest.raises(UserError, match="no mirror"):
        get(server, destination, "missing")
    assert destination.read_bytes() == b"mine"
    get(server, destination, "ok")
    assert destination.read_bytes() == server.body
    (aside,) = tmp_path.glob("shapes.zip.*")
    assert aside.read_bytes() == b"mine"
    assert f"it is kept as {aside.name}" in capsys.readouterr().err


def test_a_killed_download_goes_on_where_it_was(server, tmp_path):
    destination = tmp_path / "shapes.zip"
    body = tmp_path / "shapes.zip.part" / "body"
    child = start(server, destination, "slow")
    deadline = time.monotonic() + 20
    while not (body.exists() and body.stat().st_size >= 100_000):
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not destination.exists()
    have = body.stat().st_size
    assert_arrived(server, get(server, destination, "slow"))
    assert ranges(server) == [None, f"bytes={have}-"]


@pytest.mark.parametrize("left", ["file", "body"])
def test_what_arrived_whole_is_not_received_again(server, tmp_path, monkeypatch, left):
    """Stopped after the last byte, while it is verified or before it has its name."""

    def stop(*_):
        raise KeyboardInterrupt

    destination = tmp_path / "shapes.zip"
    entry = {"sha256": server.sha256, "bytes": len(server.body)}
    with monkeypatch.context() as patch:
        patch.setattr("multistep.data.download.mismatch", stop)
        with pytest.raises(KeyboardInterrupt):
            get(server, destination, "ok", **entry)
    work = tmp_path / "shapes.zip.part"
    (work / "shapes.zip").rename(work / ("shapes.zip" if left == "file" else "body"))
    assert_arrived(server, get(server, destination, "ok", **entry))
    assert len(server.requests) == 1


def test_what_arrived_whole_and_wrong_is_received_again(server, tmp_path):
    destination = tmp_path / "shapes.zip"
    (tmp_path / "shapes.zip.part").mkdir()
    (tmp_path / "shapes.zip.part" / "shapes.zip").write_bytes(server.body[::-1])
    with pytest.raises(UserError, match="no mirror"):
        get(server, destination, "missing")
    assert list(tmp_path.iterdir()) == []
    assert_arrived(server, get(server, destination, "ok"))


@pytest.mark.parametrize("clones", ["aaa", "ab"])
def test_processes_at_once_download_once(server, tmp_path, monkeypatch, clones):
    """Three for one file, and those of two clones that share a cache."""
    if clones == "ab":
        monkeypatch.setenv("MULTISTEP_CACHE", str(tmp_path / "cache"))
    places = [tmp_path / clone / "data/raw/first/shapes.bin" for clone in clones]
    children = [start(server, place, "slow") for place in places]
    assert {child.wait(timeout=60) for child in children} == {0}
    for place in places:
        assert_arrived(server, place)
    assert len(server.requests) == 1


def test_a_folder_that_cannot_be_made_is_one_message(server, tmp_path):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="can't be written"):
        get(server, tmp_path / "raw" / "shapes.zip", "ok")


def test_a_full_disk_is_one_message_and_what_came_is_kept(server, tmp_path):
    destination = tmp_path / "shapes.zip"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UserError, match=r"can't be written .*File too large"):
            get(server, destination, "ok")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not destination.exists()
    assert_arrived(server, get(server, destination, "ok"))
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_sha1_is_enough_where_nothing_else_was_published(server, tmp_path):
    right = hashlib.sha1(server.body, usedforsecurity=False).hexdigest()
    assert_arrived(server, get(server, tmp_path / "one" / "a.zip", "ok", sha1=right))
    with pytest.raises(UserError, match="delivers other bytes"):
        get(server, tmp_path / "b.zip", "ok", sha1="0" * 40)


def test_an_archive_without_any_digest_is_taken_and_its_digest_is_said(server, tmp_path, capsys):
    assert_arrived(server, get(server, tmp_path / "shapes", "ok", unverified=True))
    assert f"has sha256 {server.sha256}. Pin it in params.yaml" in capsys.readouterr().err


def test_pieces_of_two_files_are_not_put_together_where_no_digest_would_tell(server, tmp_path):
    path = get(server, tmp_path / "list", "unmarked", unverified=True)
    assert path.read_bytes() == server.body[::-1]
    assert ranges(server) == [None, None]
    with pytest.raises(UserError, match=r"400,000 bytes, where 400,001 are stated"):
        get(server, tmp_path / "other", "ok", unverified=True, bytes=len(server.body) + 1)


def test_a_packed_file_stays_packed_whatever_its_server_calls_that(server, tmp_path):
    server.bodies["coded"] = body = gzip.compress(server.body)
    right = hashlib.sha256(body).hexdigest()
    assert get(server, tmp_path / "a.tar.gz", "coded", sha256=right).read_bytes() == body


def nothing(form):
    """A whole container without a file in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") if form == "zip" else tarfile.open(fileobj=file, mode="w"):
        pass
    return gzip.compress(file.getvalue()) if form == "tar.gz" else file.getvalue()


def twice():
    """A tar to which a newer file of the same name was added."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for data in (b"old", b"new", b"new"):
            member = tarfile.TarInfo("list.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


PAGES = {
    "shapes.zip": b"<!DOCTYPE html><html>",
    "shapes.tar.gz": b"\xef\xbb\xbf\n<HTML lang=en>",
    "shapes.tar": b"<html><body>moved",
    "List.txt": b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC',
    "list.csv": b"<!-- x -->\n<head>",
}


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        *((name, page, "a page of HTML") for name, page in PAGES.items()),
        ("List.txt", b"", "an empty file"),
        *((f"a.{form}", nothing(form), "no file in it") for form in ("zip", "tar", "tar.gz")),
        ("a.zip", b"", "truncated, or not a zip"),
        ("a.tgz", b"", "truncated, or not a tar.gz"),
        ("a.zip", nothing("tar.gz"), "by its first bytes it is a tar.gz"),
        ("a.tar", nothing("zip"), "by its first bytes it is a zip"),
        ("a.tar", twice(), "two files in it are called list.txt, and differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_archive_is_a_failed_mirror_and_is_not_taken_from_a_folder(
    server, tmp_path, name, body, reason
):
    server.bodies["other"] = body
    entry = Archive(urls=[server.url("other")], unverified=True)
    with pytest.raises(UserError, match=rf"delivers other bytes \(.*{reason}") as raised:
        fetch(entry, tmp_path / "raw" / name, dataset="shapes", patience=QUICK)
    assert not (tmp_path / "raw").exists()
    (tmp_path / name).write_bytes(body)
    with pytest.raises(UserError) as own:
        fetch(entry, tmp_path / "raw" / name, dataset="shapes", folder=tmp_path)
    for error in (raised, own):  # of several advices none leads out
        assert "Pin it" not in str(error.value)
        assert "download again" not in str(error.value)
    assert re.search(rf"{reason}[^;]*\); replace the file, or drop `sources", str(own.value))


@pytest.mark.parametrize(("kind", "stated"), [("ok", 100), ("endless", 10**6), ("slow", 399_999)])
def test_a_body_stops_at_the_stated_size(server, tmp_path, kind, stated):
    told = rf"sends [\d,]+ bytes or more, where {stated:,} are stated"
    with pytest.raises(UserError, match=told):
        get(server, tmp_path / "a.zip", kind, sha256=server.sha256, bytes=stated)
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("there", [True, False])
def test_a_proxy_that_fails_is_named(server, tmp_path, monkeypatch, scheme, there):
    port = server.server_port if there else 9
    for key in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(key, f"http://me:secret@127.0.0.1:{port}")
    entry = Archive(urls=[f"{scheme}://nowhere.invalid/missing/a.zip"], sha256=server.sha256)
    with pytest.raises(UserError) as raised:
        fetch(entry, tmp_path / "a.zip", dataset="shapes", patience=QUICK)
    told = str(raised.value)
    assert f"the proxy http://127.0.0.1:{port}" in told
    assert "secret" not in told
    if not there:
        assert "failed (no connection to it); mend the environment variables https_proxy" in told
    elif scheme == "https":
        assert "failed (501 Unsupported method" in told


def test_an_archive_of_several_datasets_is_fetched_once(server, tmp_path, monkeypatch):
    raw = tmp_path / "data" / "raw"
    for dataset in ("first", "second"):
        assert_arrived(server, get(server, raw / dataset / "shapes.bin", "whole"))
    assert len(server.requests) == 1
    (raw / "first" / "shapes.bin").write_bytes(b"damaged in place")  # the link's other end
    assert_arrived(server, get(server, raw / "third" / "shapes.bin", "whole"))
    assert len(server.requests) == 2
    # Clones and users share a folder; one that holds other bytes under a digest is no cache.
    monkeypatch.setenv("MULTISTEP_CACHE", str(tmp_path / "cache"))
    for clone in ("a", "b"):
        get(server, tmp_path / clone / "data/raw/first/shapes.bin", "whole")
    assert len(server.requests) == 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [server.sha256]
    (tmp_path / "cache" / server.sha256).write_bytes(b"other")
    assert_arrived(server, get(server, tmp_path / "c/data/raw/first/shapes.bin", "whole"))
    assert len(server.requests) == 4
    assert (tmp_path / "cache" / server.sha256).read_bytes() == server.body  # and mended


@pytest.mark.fault(
    "a cache of archives that is full, without inodes or read-only, empty or with the archive",
    "done without; `the cache can't take it`",
)
@pytest.mark.parametrize("how", ["full", "no inodes", "read-only"])
def test_a_cache_that_takes_nothing_is_done_without(
    server, tmp_path, disk, monkeypatch, capsys, how, record_property
):
    monkeypatch.setenv("MULTISTEP_CACHE", str(disk.path))
    disk.spoil(how)
    assert_arrived(server, get(server, tmp_path / "a/data/raw/first/shapes.bin", "whole"))
    assert "the cache can't take it (" in capsys.readouterr().err
    disk.mend()
    get(server, tmp_path / "b/data/raw/first/shapes.bin", "whole")
    disk.spoil(how)
    assert_arrived(server, get(server, tmp_path / "c/data/raw/first/shapes.bin", "missing"))
    assert len(server.requests) == 2
    record_property("injected", 2)
