"""Writing drawn archives: equal settings give equal bytes, and each says that it was drawn."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from multistep.files import UserError, atomic_write
from multistep.settings import Model

_MARK = "drawn by multistep: "


def pack(out: Path, settings: Model, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (path, bytes) of every member into the archive `out`: a zip, tar or tar.gz (tgz).

    It appears whole or not at all. Raises UserError if another than a drawn one is in the way.
    """
    if out.exists() and not _comment(out).startswith(_MARK):
        # Drawing again over a drawing is harmless; over anything else it isn't.
        raise UserError(f"{out}: in the way, and not a drawn archive; move it away and run again")
    origin = _MARK + json.dumps(settings.model_dump())
    with atomic_write(out) as file:
        if out.name.endswith(".zip"):
            with zipfile.ZipFile(file, "w") as into:
                into.comment = origin.encode()
                for name, data in members:
                    # A fixed time: the bytes depend on the settings alone.
                    into.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        elif out.name.endswith(".tar"):
            _tar(file, origin, members)
        else:
            # No name and no time in the header either.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped:
                _tar(zipped, origin, members)


def _tar(
    file: IO[bytes] | gzip.GzipFile, origin: str, members: Iterable[tuple[str, bytes]]
) -> None:
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": origin}
    ) as into:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            into.addfile(info, io.BytesIO(data))


def _comment(path: Path) -> str:
    """What an archive says of itself; empty if nothing, or if it is none."""
    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as present:
                return present.comment.decode(errors="replace")
        with tarfile.open(path) as tar:
            return str(tar.pax_headers.get("comment", ""))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError):
        return ""


def jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    """uint8 `[h, w, 3]` as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", quality=quality)
    return file.getvalue()
