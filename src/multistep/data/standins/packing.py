"""Writing drawn archives: equal settings give equal bytes, and each says that it was drawn."""

import gzip
import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from multistep.files import UserError, atomic_write
from multistep.settings import Model

Members = Iterable[tuple[str, bytes]]  # (path in the archive, content)
_MARK = "drawn by multistep: "


def drawing(archives: Mapping[str, Callable[[Any], Members]]) -> Callable[[Path, Model], None]:
    """The `draw(out, settings)` of a stand-in; `archives`: by name or pattern, what gives the
    members. Another name is a UserError.
    """

    def draw(out: Path, settings: Model) -> None:
        for pattern, members in archives.items():
            if fnmatchcase(out.name, pattern):
                return pack(out, settings, members(settings))
        known = ", ".join(archives)
        raise UserError(f"{out}: no stand-in is known by this name; known: {known}")

    return draw


def pack(out: Path, settings: Model, members: Members) -> None:
    """Write the members into `out`: a zip, tar or tar.gz (tgz), or else the one member's bytes.

    Folders get members of their own before what is in them, as from `zip -r` and `tar`. The archive
    appears whole or not at all. Raises UserError if another than a drawn one is in the way.
    """
    if out.exists() and not _is_drawn(out):
        # Drawing again over a drawing is harmless; over anything else it isn't.
        raise UserError(f"{out}: in the way, and not a drawn archive; move it away and run again")
    origin = _MARK + json.dumps(settings.model_dump())
    with atomic_write(out) as file:
        if out.name.endswith(".zip"):
            with zipfile.ZipFile(file, "w") as into:
                into.comment = origin.encode()
                for name, data in _with_folders(members):
                    # A fixed time: the bytes depend on the settings alone.
                    into.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        elif out.name.endswith(".tar"):
            _tar(file, origin, members)
        elif out.name.endswith("gz"):
            # No name and no time in the header either.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped:
                _tar(zipped, origin, members)
        else:
            ((_, data),) = members
            file.write(data)


def _tar(file: Any, origin: str, members: Members) -> None:
    about = {"comment": origin}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers=about) as into:
        for name, data in _with_folders(members):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            into.addfile(info, io.BytesIO(data))


def _with_folders(members: Members) -> Members:
    known = {""}
    for name, data in members:
        folders = [name[: i + 1] for i, letter in enumerate(name) if letter == "/"]
        yield from ((folder, b"") for folder in folders if folder not in known)
        known.update(folders)
        yield name, data


def _is_drawn(path: Path) -> bool:
    """By the note at an archive's start or end; a list can't have one, but names what is drawn."""
    try:
        with gzip.open(path) if path.name.endswith("gz") else open(path, "rb") as file:
            start = file.read(2048)
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 2048))
            drawn_list = path.suffix == ".txt" and start.startswith(b"drawn_")
            return drawn_list or _MARK.encode() in start + file.read()
    except (OSError, EOFError, zlib.error):
        return False
