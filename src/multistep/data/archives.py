"""What is in an archive.

An archive is a zip, a tar, a tar.gz (tgz), or a single plain file, which is then its own only
member; the name's ending tells. Large ones are read as streams: what isn't wanted is skipped.

The *contents digest* covers the members alone, so that an archive that somebody unpacked and packed
again, which holds the same files under the same names, still counts as the same data.
"""

import gzip
import hashlib
import io
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from multistep.data.decoding import AGAIN
from multistep.data.settings import UNREAD
from multistep.files import UserError, one_line
from multistep.progress import say
from multistep.settings import repeated

FETCH_AGAIN = "delete it and run the download again"
_BLOCK = 1 << 20
LARGEST = 4 << 30  # bytes of a member that is read whole: no published one comes near
# The first bytes of containers, for those whose name says another.
_MAGIC = {b"PK": "zip", b"\x1f\x8b": "tar.gz", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"Rar!": "rar"}
_MAGIC |= {b"7z\xbc\xaf": "7z", b"\x28\xb5\x2f\xfd": "zstd"}
# What macOS and Windows leave in folders, and so in archives.
_LEAVINGS = re.compile(
    r"(.*/)?((__MACOSX|\.AppleDouble|\.Spotlight-V100|\.Trashes|\.fseventsd|\$RECYCLE\.BIN"
    r"|System Volume Information)/.*|\._[^/]*|\.DS_Store|Icon\\r|(eh)?thumbs\.db|desktop\.ini)",
    re.IGNORECASE,
)
# What damaged members raise, by way of zipfile, tarfile and gzip.
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, UnicodeDecodeError)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class UnreadableError(UserError):
    """An archive that can't be read; `reason` says why, without what to do next."""

    def __init__(self, path: Path, reason: str, again: str = FETCH_AGAIN) -> None:
        super().__init__(f"{path}: {reason}; {again}")
        self.reason = reason


def members(
    path: Path, wanted: Callable[[str], object] = lambda name: True, largest: int = LARGEST
) -> Iterator[tuple[str, bytes]]:
    """Yield (path in the archive, bytes) of every file in it that is `wanted`, in its order.

    A damaged archive, or a member of more than `largest` bytes, raises one UserError that names it,
    and the member, with the cause.
    """
    for name, stream in streams(path):
        if wanted(name):
            yield name, _read(path, name, stream, largest)


def _read(path: Path, name: str, stream: IO[bytes], largest: int) -> bytes:
    data = io.BytesIO()
    with naming(path, name):
        for block in blocks(stream):
            data.write(block)
            if data.tell() > largest:
                told = f"{name} has more than the {largest:,} bytes that are read of one"
                raise UnreadableError(path, told, "leave it and its line in lists out")
    return data.getvalue()


def gathered(
    archives: Iterable[Path], wanted: Callable[[str], object], largest: int = LARGEST
) -> Iterator[tuple[str, bytes, str]]:
    """As `members`, of several archives: path, bytes, and how messages call the file."""
    for path in archives:
        for name, data in members(path, wanted, largest):
            yield name, data, f"{path}: {name}"


def extract(archive: Path, *required: str, optional: str | None = None) -> dict[str, bytes]:
    """The bytes of some members of an archive, such as its lists. Raises UserError for two of one
    name that differ, of which each program takes another.
    """
    found: dict[str, bytes] = {}
    for member, data in members(archive, {*required, optional}.__contains__):
        if found.setdefault(member, data) != data:
            raise _two(archive, member)
    if missing := [member for member in required if member not in found]:
        raise UserError(f"{archive}: has no {missing[0]}; {AGAIN}")
    return found


def _two(path: Path, name: str) -> UnreadableError:
    told = f"two files in it are called {name}, and differ"
    return UnreadableError(path, told, "leave one of them out")


def names(path: Path) -> list[str]:
    """The paths of all files in an archive."""
    return [name for name, _ in streams(path)]


def streams(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (path in the archive, open file) of every file; each only valid until the next.

    Folders are left out, a leading "./" of names, and what macOS and Windows leave in archives. A
    link is the file of the archive that it names, by way of others or not, and comes last.
    """
    targets: dict[str, str] = {}  # what each link names
    for name, stream, target in _every(path):
        if stream is not None:
            yield name, stream
        else:
            targets[name] = target
    links: dict[str, list[str]] = {}  # links by the file at their end
    for name in targets:
        end, passed = name, set[str]()
        while end in targets and end not in passed:
            passed.add(end)
            end = targets[end]
        links.setdefault(end, []).append(name)
    for name, stream, _ in _every(path) if links else ():
        if stream is not None and name in links:
            data = _read(path, name, stream, LARGEST)
            _mention(path, f"links are read as the files that they name, such as {links[name][0]}")
            for link in links.pop(name):
                yield link, io.BytesIO(data)
    for lost in links.values():
        _mention(path, f"links to what it doesn't hold are left out, such as {lost[0]}")


@cache
def _mention(path: Path, message: str) -> None:
    """Once, however often the archive is read."""
    say(f"{path}: {message}")


def _every(path: Path) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    """Name and open file of each member that isn't a folder; of links None, and what they name."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; download it first")
    ending = path.name.lower()
    if ending.endswith(".zip"):
        found = _zipped(path)
    elif ending.endswith((".tar", ".tar.gz", ".tgz")):
        found = _tarred(path)
    elif ending.endswith(UNREAD):
        again = "pack what is in it anew, as zip or tar.gz"
        raise UnreadableError(path, "not unpacked here", again)
    else:
        with open(path, "rb") as file:
            yield path.name, file, ""
        return
    for name, stream, target in found:
        if not _LEAVINGS.fullmatch(name):
            yield name, stream, target


def _plain(name: bytes, link: str = "") -> str:
    """A path in an archive without "./" and "..", with `link`: what that names from there.

    Names are bytes: those that aren't UTF-8 are read as Latin-1, and what would break a line is
    escaped, so that each can be written down.
    """
    try:
        path = name.decode()
    except UnicodeDecodeError:
        path = name.decode("latin-1")
    folder = posixpath.dirname(path) if link else path
    plain = posixpath.normpath(posixpath.join(folder, link)).removeprefix("./")
    if not link:  # it was packed from beside its folder
        plain = re.sub(r"^(\.\./)+", "", plain)
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], plain)


def _no(path: Path, kind: str, error: Exception, after: str = "") -> UnreadableError:
    """An archive that isn't what its name says, with what its first bytes say."""
    with open(path, "rb") as file:
        start = file.read(262)
    found = next((name for mark, name in _MAGIC.items() if start.startswith(mark)), "")
    found = "tar" if start[257:] == b"ustar" else found
    told = f"; by its first bytes it is a {found}" if found not in ("", kind) else ""
    reason = f"truncated{after}, or not a {kind} ({one_line(error)}{told})"
    return UnreadableError(path, reason, "give it that ending" if told else FETCH_AGAIN)


def _zipped(path: Path) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise _no(path, "zip", error) from error
    with archive:
        for member in archive.infolist():
            name = member.filename.removeprefix("./")
            if member.create_system == 0 or "/" not in name:  # packers on Windows may write its own
                name = name.replace("\\", "/")
            # Where it doesn't say UTF-8, Python takes bytes for a code page of DOS.
            name = _plain(name.encode("utf-8" if member.flag_bits & 0x800 else "cp437"))
            if member.filename.endswith(("/", "\\")):  # a folder; the name may be empty
                continue
            with naming(path, name if member.filename else "a member without a name"):
                file = archive.open(member)
            with file:
                if stat.S_ISLNK(member.external_attr >> 16):
                    yield name, None, _plain(name.encode(), file.read(4096).decode("latin-1"))
                else:
                    yield name, file, ""


def _tarred(path: Path) -> Iterator[tuple[str, IO[bytes] | None, str]]:
    """In one pass and without seeking back, whatever the size."""
    kind = "tar" if path.name.lower().endswith(".tar") else "tar.gz"
    name = ""
    try:
        with (
            open(path, "rb") if kind == "tar" else gzip.open(path, "rb") as packed,
            tarfile.open(fileobj=packed, mode="r|", bufsize=_BLOCK, encoding="utf-8") as archive,
        ):
            for member in archive:
                # What isn't UTF-8 comes as surrogates.
                name, target = _plain(member.name.encode(errors="surrogateescape")), ""
                if member.issparse():  # a few bytes that stand for any number of zeros
                    told = f"{name} is stored sparsely"
                    raise UnreadableError(path, told, "pack it anew without holes")
                file = archive.extractfile(member) if member.isreg() else None
                if member.islnk():
                    target = _plain(member.linkname.encode(errors="surrogateescape"))
                elif member.issym():
                    target = _plain(name.encode(), member.linkname)
                # tarfile keeps what it has seen; a stream never goes back to it.
                archive.members = []  # type: ignore[attr-defined]
                if file is not None or target:
                    yield name, file, target
            # The checksum of a gzip stands at its very end, behind the tar's padding.
            while packed.read(_BLOCK):
                pass
    except _DAMAGED as error:
        raise _no(path, kind, error, f" after {name}" if name else "") from error


@contextmanager
def naming(path: Path, member: str) -> Iterator[None]:
    """Turn what reading damaged bytes raises into a UserError with archive and member."""
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:  # Deflate64 and the like; a password
        again = (
            "unpack it with another program and pack it anew, with Deflate and without a password"
        )
        raise UnreadableError(
            path, f"{member} can't be unpacked here ({one_line(error)})", again
        ) from error
    except _DAMAGED as error:
        raise UnreadableError(path, f"{member} is damaged ({one_line(error)})") from error


def blocks(stream: IO[bytes], size: int = _BLOCK) -> Iterator[bytes]:
    """What is left in a file, `size` bytes at a time."""
    while block := stream.read(size):
        yield block


def contents_digest(path: Path, *, once: bool = False) -> str:
    r"""SHA-256 over the sorted lines "<member>\0<sha256 of its bytes>\n" of what `streams` gives.

    So folders don't count, nor what file browsers left, and a link is the file that it names.
    Raises UserError if there is nothing in the archive; with `once` also if two files of one name
    differ in it, of which each program unpacks another.
    """
    lines = []
    for name, stream in streams(path):
        with naming(path, name):
            found = hashlib.file_digest(stream, "sha256")  # type: ignore[arg-type]
        lines.append(f"{name}\0{found.hexdigest()}\n")
    if not lines:
        raise UnreadableError(path, "there is no file in it")
    if once and (twice := repeated(line.partition("\0")[0] for line in {*lines})):
        raise _two(path, twice[0])
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
