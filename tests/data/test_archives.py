"""Zips, tars, tar.gz and plain files: the same members and digests, and what is said of damage."""

import gzip
import io
import tarfile
import tracemalloc
import zipfile

import pytest

from multistep.data.archives import contents_digest, extract, members, streams
from multistep.data.identity import mismatch
from multistep.data.settings import Archive
from multistep.files import UserError, sha256

FILES = {"set/a.txt": b"first", "set/sub/b.bin": bytes(range(256)) * 40, "set/empty": b""}
KINDS = pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])


def packed(path, files, prefix="", links=(("set/link", "/etc/passwd", True),)):
    """`links`: (name, what it names, whether it is symbolic)."""
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir(f"{prefix}set")
            for name, data in files.items():
                archive.writestr(prefix + name, data)
            for name, target, _ in links:
                member = zipfile.ZipInfo(prefix + name)
                member.external_attr = 0o120777 << 16
                archive.writestr(member, target)
        return path
    with tarfile.open(path, "w" if path.name.endswith(".tar") else "w:gz") as archive:
        folder = tarfile.TarInfo(f"{prefix}set")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target, symbolic in links:
            member = tarfile.TarInfo(prefix + name)
            member.type = tarfile.SYMTYPE if symbolic else tarfile.LNKTYPE
            member.linkname = target
            archive.addfile(member)
    return path


def failure(path):
    """The message about a damaged archive, which members and digests must agree on."""
    messages = set()
    for read in (contents_digest, lambda path: list(members(path))):
        with pytest.raises(UserError) as error:
            read(path)
        messages.add(str(error.value))
    assert len(messages) == 1
    assert "\n" not in min(messages)
    return min(messages)


@KINDS
@pytest.mark.parametrize("prefix", ["", "./"])  # as from tar .
def test_every_file_that_is_wanted_comes_with_its_name_and_bytes(tmp_path, kind, prefix):
    archive = packed(tmp_path / f"a.{kind}", FILES, prefix)
    assert dict(members(archive)) == FILES
    found = list(members(archive, lambda name: name.endswith(".txt")))
    assert found == [("set/a.txt", b"first")]


def test_equal_files_have_equal_digests_however_they_are_packed(tmp_path):
    backwards = dict(reversed(FILES.items()))
    digests = {
        contents_digest(packed(tmp_path / f"{i}.{kind}", files))
        for i, files in enumerate((FILES, backwards))
        for kind in ("zip", "tar", "tar.gz", "tgz")
    }
    assert len(digests) == 1
    other = contents_digest(packed(tmp_path / "other.zip", FILES | {"set/empty": b"."}))
    assert other not in digests


@pytest.mark.parametrize("name", ["TrainImages.txt", "train_list.mat", "net.pth", "cifar100-val"])
def test_a_plain_file_is_its_own_member(tmp_path, name):
    (tmp_path / name).write_bytes(b"lines")
    assert list(members(tmp_path / name)) == [(name, b"lines")]
    assert contents_digest(tmp_path / name) != contents_digest(packed(tmp_path / "a.zip", FILES))


@KINDS
def test_what_is_no_whole_archive_is_named(tmp_path, kind):
    archive = tmp_path / f"a.{kind}"
    assert f"a.{kind}: no such file; download it first" in failure(archive)
    whole = packed(archive, FILES).read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    message = failure(archive)
    assert str(archive) in message
    assert "run the download again" in message
    archive.write_bytes(b"<html>moved</html>" * 100)
    assert f"{archive}: truncated, or not a {kind.replace('tgz', 'tar.gz')}" in failure(archive)


@pytest.mark.parametrize("name", ["a.tar.xz", "a.tbz2", "a.7z", "a.rar", "a.tar.zst"])
def test_containers_that_are_not_unpacked_are_no_plain_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"whatever")
    assert f"{name}: not unpacked here; pack what is in it anew" in failure(tmp_path / name)
    assert "not unpacked here" in mismatch(tmp_path / name, Archive(unverified=True))


def test_a_flipped_byte_is_noticed(tmp_path):
    zipped, archive = packed(tmp_path / "a.tgz", FILES), tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("set/a.txt", b"first")
    place = archive.read_bytes().index(b"first")
    for path, at, message in (  # of the checksum, behind everything that tar reads; of a member
        (zipped, -6, "CRC check failed"),
        (archive, place, "a.zip: set/a.txt is damaged"),
    ):
        damaged = bytearray(path.read_bytes())
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert message in failure(path)


def test_a_member_in_two_versions_is_refused_wherever_the_second_stands(tmp_path):
    """As after `tar -r`: tar unpacks the last one, a reader that stops early has the first."""
    with tarfile.open(packed(tmp_path / "a.tar", FILES, links=()), "a") as archive:
        for name, data in (("set/empty", b""), ("set/a.txt", b"newer")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    assert extract(tmp_path / "a.tar", "set/empty") == {"set/empty": b""}
    with pytest.raises(UserError, match=r"two files in it are called set/a\.txt, and differ"):
        extract(tmp_path / "a.tar", "set/a.txt", "set/empty")


def test_what_is_skipped_is_not_held_in_memory(tmp_path):
    archive = tmp_path / "large.tar.gz"
    size = 64 << 20
    with gzip.open(archive, "wb", 1) as outer, tarfile.open(fileobj=outer, mode="w") as inner:
        for name, length in (("unlabeled_X.bin", size), ("labels", 10)):
            member = tarfile.TarInfo(name)
            member.size = length
            inner.addfile(member, io.BytesIO(bytes(length)))
    tracemalloc.start()
    found = [(name, len(data)) for name, data in members(archive, lambda name: name == "labels")]
    contents_digest(archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [("labels", 10)]
    assert peak < 16 << 20


def test_streams_can_be_left_before_their_end(tmp_path):
    for name, stream in streams(packed(tmp_path / "a.tgz", FILES)):
        assert (name, stream.read(2)) == ("set/a.txt", b"fi")
        break


def test_either_digest_identifies_an_archive(tmp_path):
    official = packed(tmp_path / "a.tgz", FILES)
    rebuilt = packed(tmp_path / "b.tgz", dict(reversed(FILES.items())))
    entry = Archive(sha256=sha256(official), contents=contents_digest(official))
    assert mismatch(official, entry) is None
    assert mismatch(rebuilt, entry) is None
    changed = packed(tmp_path / "c.tgz", FILES | {"set/a.txt": b"other"})
    assert "contents digest" in mismatch(changed, entry)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_are_the_files_that_they_name(tmp_path, kind, capsys):
    links = [("set/one", "a.txt", True), ("set/sub/two", "../a.txt", True)]
    links.append(("set/latest", "one", True))
    if kind == "tar":
        links.append(("set/three", "set/sub/b.bin", False))
    archive = packed(tmp_path / f"a.{kind}", FILES, links=links)
    expected = {"set/one": b"first", "set/sub/two": b"first", "set/latest": b"first"}
    if kind == "tar":
        expected["set/three"] = FILES["set/sub/b.bin"]
    for _ in range(2):
        assert dict(members(archive)) == FILES | expected
    told = capsys.readouterr().err.splitlines()
    assert f"{archive}: links are read as the files that they name, such as set/one" in told
    assert len(told) == len(set(told))  # once, however often it is read
    copies = packed(tmp_path / "plain.zip", FILES | expected)
    assert contents_digest(archive) == contents_digest(copies)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_links_out_of_an_archive_are_mentioned_and_left_out(tmp_path, kind, capsys):
    links = [("set/one", "/etc/passwd", True), ("set/two", "../../a.txt", True)]
    links += [("set/in", "circle", True), ("set/circle", "in", True)]
    archive = packed(tmp_path / f"a.{kind}", FILES, links=links)
    assert dict(members(archive)) == FILES
    told = capsys.readouterr().err
    for name in ("set/one", "set/two"):
        assert f"{archive}: links to what it doesn't hold are left out, such as {name}" in told


@pytest.mark.parametrize(("what", "method", "flag"), [("Deflate64", 9, 0), ("a password", 8, 1)])
def test_a_zip_that_python_cannot_unpack_is_named_with_the_way_out(tmp_path, what, method, flag):
    archive = packed(tmp_path / "a.zip", FILES)
    data = bytearray(archive.read_bytes())
    for mark, at_method, at_flag in ((b"PK\3\4", 8, 6), (b"PK\1\2", 10, 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + at_method] = method
            data[at + at_flag] |= flag
            at = data.find(mark, at + 4)
    archive.write_bytes(data)
    message = failure(archive)
    assert f"{archive}: set/a.txt can't be unpacked here" in message, what
    assert "pack it anew, with Deflate and without a password" in message


def test_a_name_that_is_not_utf_8_can_be_written_down(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as file:
        member = tarfile.TarInfo("set/caf\u00e9.txt")
        member.size = 5
        file.addfile(member, io.BytesIO(b"first"))
    assert dict(members(archive)) == {"set/caf\u00e9.txt": b"first"}
    same = packed(tmp_path / "b.zip", {"set/caf\u00e9.txt": b"first"})
    assert contents_digest(archive) == contents_digest(same)


LEFT = ["__MACOSX/set/._a.txt", "set/__MACOSX/x", "set/._a.txt", ".DS_Store", "set/Thumbs.db"]
LEFT += ["set/desktop.ini", "$RECYCLE.BIN/a", "set/Icon\r", "set/.AppleDouble/a.txt"]


@KINDS
def test_what_systems_leave_behind_is_no_member_and_counts_for_no_digest(tmp_path, kind):
    archive = packed(tmp_path / f"a.{kind}", dict.fromkeys(LEFT, b"x") | FILES)
    assert dict(members(archive)) == FILES
    assert contents_digest(archive) == contents_digest(packed(tmp_path / "b.zip", FILES))


class Unmarked(zipfile.ZipInfo):
    """A member as packers of Windows write them that don't say which bytes a name is in."""

    def _encodeFilenameFlags(self):  # noqa: N802 (zipfile calls it so)
        return self.filename.encode("cp437"), self.flag_bits


@pytest.mark.parametrize("system", [0, 3])
def test_names_of_zips_are_bytes_and_backslashes_of_windows_are_folders(tmp_path, system):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("set\\caf\u00e9".encode(), "set\\caf\u00e8".encode("latin-1"), b"set\\"):
            member = Unmarked(name.decode("cp437"))
            member.create_system = system
            file.writestr(member, b"" if name.endswith(b"\\") else b"first")
    found = dict(members(tmp_path / "a.zip"))
    assert found == {"set/caf\u00e9": b"first", "set/caf\u00e8": b"first"}


def test_a_zip_s_member_without_a_name_is_a_file(tmp_path):
    path = packed(tmp_path / "a.zip", {"ab": b"x"}, links=())
    path.write_bytes(path.read_bytes().replace(b"ab", b"\0b"))  # names end at a zero
    assert [(name, stream.read()) for name, stream in streams(path)] == [(".", b"x")]
    path.write_bytes(path.read_bytes().replace(b"\0b", b"\0c", 1))
    assert "a member without a name is damaged" in failure(path)


@KINDS
def test_a_name_that_breaks_lines_is_written_in_one(tmp_path, kind):
    path = packed(tmp_path / f"a.{kind}", {"a\nb\u2028": b"x"}, links=())
    assert contents_digest(path)
    assert [name for name, _ in streams(path)] == ["a\\nb\\u2028"]


def test_a_zip_whose_headers_differ_is_named(tmp_path):
    path = packed(tmp_path / "a.zip", {"é": b"x"}, links=())
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xf7\xf7", 1))
    assert "é is damaged ('utf-8' codec can't decode" in failure(path)


@pytest.mark.parametrize("largest", [5, 4])
def test_a_member_of_too_many_bytes_is_not_read_whole(tmp_path, largest):
    archive = packed(tmp_path / "a.zip", FILES)
    found = members(archive, lambda name: name == "set/a.txt", largest)
    if largest == 5:
        assert list(found) == [("set/a.txt", b"first")]
        return
    with pytest.raises(UserError, match=r"a.zip: set/a.txt has more than the 4 bytes"):
        list(found)


@pytest.mark.parametrize("name", ["A.ZIP", "a.TAR.GZ", "a.Tgz"])
def test_endings_count_in_any_case(tmp_path, name):
    archive = tmp_path / name
    archive.write_bytes(packed(tmp_path / name.lower(), FILES).read_bytes())
    assert dict(members(archive)) == FILES
