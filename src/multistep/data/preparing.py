"""Writing prepared image sets: what all loaders of photographs share.

Images are stored in the order of their keys (file names), so that a repacked archive prepares to
the same bytes. Writing streams: only one image at a time is held in memory.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from multistep.data.archives import verified_contents
from multistep.data.image_sets import PARTS, starts
from multistep.data.settings import Dataset
from multistep.files import UserError, atomic_write, sha256, sync_directory, write_json
from multistep.progress import progress

_HEADER = 128  # bytes of the .npy header, as numpy pads it for every shape that can occur here
_BLOCK = 1 << 20
# What Pillow raises on files that are damaged, of unknown kind, or absurdly large.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error)


def decode(data: bytes, where: str, size: int | None = None) -> np.ndarray:
    """An image file's bytes as RGB uint8 `[h, w, 3]`; with `size`, resized to a square of it.

    Grey, palette and CMYK images become RGB; transparency is ignored, as by torchvision. `where`
    names archive and member in the UserError that unreadable bytes raise.
    """
    try:
        with warnings.catch_warnings():
            # Large photographs and odd EXIF blocks are no reason to speak up.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                rgb = _rgb(image)
                if size is not None and rgb.size != (size, size):
                    rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
                return np.array(rgb, dtype=np.uint8)
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is no image; get the archive again") from error
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise UserError(
            f"{where} is not a readable image ({error}); get the archive again"
        ) from error


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[h, w, 3]` as `[size, size, 3]`: Pillow's bilinear filter, which is antialiased."""
    if pixels.shape[:2] == (size, size):
        return pixels
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(small, dtype=np.uint8)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # 16-bit grey, which Pillow would clip at 255
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


class Writer:
    """Writes a prepared set: `add` every image in any order, then `finish` once.

    ::

        with Writer(name, dataset, raw, out) as writer:
            for member, data in members(archive):
                writer.add(member, decode(data, f"{archive}: {member}", size))
            writer.finish(classes, labels, parts)

    Nothing appears in `out` before `finish` succeeds. Pixels gather in `out/images.spool` in the
    order in which they come; if that isn't the order of the keys they are copied once, so a set of
    photographs takes twice its size on the disk for a while.
    """

    def __init__(self, name: str, dataset: Dataset, raw: Path, out: Path) -> None:
        """`raw` holds the archives, `out` is the folder that `load` opens."""
        self.name, self.dataset, self.raw, self.out = name, dataset, Path(raw), Path(out)
        self._spool = self.out / "images.spool"
        self._shapes: dict[str, tuple[int, int]] = {}  # in the order of the bytes in the spool

    def __enter__(self) -> Writer:
        with ExitStack() as stack:
            self.out.mkdir(parents=True, exist_ok=True)
            stack.callback(self._spool.unlink, missing_ok=True)
            self._file: IO[bytes] = stack.enter_context(open(self._spool, "w+b"))
            self._file.write(bytes(_HEADER))
            total = sum((self.dataset.images or {}).values()) or None
            self._advance = stack.enter_context(progress(self.name, total, "images"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, key: str, pixels: np.ndarray) -> None:
        """Append one image, uint8 `[h, w, 3]`; its place is found by `key` (a file's name)."""
        assert pixels.dtype == np.uint8, pixels.dtype
        assert pixels.ndim == 3, pixels.shape
        assert pixels.shape[2] == 3, pixels.shape
        if key in self._shapes:
            raise UserError(
                f"{self.raw}: two images are called {key}; is an archive there under two names?"
            )
        self._file.write(np.ascontiguousarray(pixels).data)
        self._shapes[key] = pixels.shape[:2]
        self._advance(1)

    def __contains__(self, key: str) -> bool:
        return key in self._shapes

    def finish(
        self,
        classes: Sequence[str],
        labels: Mapping[str, int],
        parts: Mapping[str, Sequence[str]],
    ) -> None:
        """Check everything that params.yaml states and write images.npy and dataset.json.

        `labels`: class index by key; `parts`: keys of train, validation and test. Images in no part
        are left out. Raises UserError if a part names an image that never came, or if the number of
        classes, a part's size or an archive's contents differ from what params.yaml states.
        """
        check(self.name, self.dataset, classes, parts)
        for part in PARTS:
            if missing := sorted(set(parts[part]) - set(self._shapes)):
                raise UserError(
                    f"{self.raw}: no image {missing[0]}, which the list of {part} images names "
                    f"({len(missing)} are missing); get the archive again"
                )
        contents = verified_contents(self.name, self.dataset, self.raw)
        keys = sorted(key for part in PARTS for key in parts[part])
        place = {key: i for i, key in enumerate(keys)}
        shapes = [self._shapes[key] for key in keys]

        # The description goes first and comes last: a pair with only one half new is never read.
        (self.out / "dataset.json").unlink(missing_ok=True)
        self._place(keys, shapes)
        write_json(
            self.out / "dataset.json",
            {
                "schema": 1,
                "kind": "images",
                "name": self.name,
                "title": self.dataset.title,
                "stand_in": any(a.drawn is not None for a in self.dataset.archives.values()),
                "classes": list(classes),
                "labels": [int(labels[key]) for key in keys],
                "shapes": None if len(set(shapes)) == 1 else shapes,
                "splits": {part: sorted(place[key] for key in parts[part]) for part in PARTS},
                "prepare": self.dataset.prepare,
                "contents": contents,
                "digest": sha256(self.out / "images.npy"),
            },
        )

    def _place(self, keys: list[str], shapes: list[tuple[int, int]]) -> None:
        """Make images.npy of the spool's bytes: rename it if they are in order, else copy them."""
        header = _header(shapes)
        path = self.out / "images.npy"
        if keys == list(self._shapes):
            self._file.seek(0)
            self._file.write(header)
            self._file.flush()
            os.fsync(self._file.fileno())
            os.replace(self._spool, path)
            sync_directory(self.out)
            return
        arrived = list(self._shapes)
        begins = dict(zip(arrived, starts(np.array(list(self._shapes.values()))), strict=False))
        with atomic_write(path) as file:
            file.write(header)
            for key, (height, width) in zip(keys, shapes, strict=True):
                self._file.seek(_HEADER + int(begins[key]))
                _copy(self._file, file, 3 * height * width)


def _header(shapes: list[tuple[int, int]]) -> bytes:
    """The .npy header of images of these shapes, exactly `_HEADER` bytes."""
    one = len(set(shapes)) == 1
    shape = (len(shapes), *shapes[0], 3) if one else (sum(3 * h * w for h, w in shapes),)
    about: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, about)
    assert len(file.getvalue()) == _HEADER, len(file.getvalue())
    return file.getvalue()


def _copy(source: IO[bytes], target: IO[bytes], size: int) -> None:
    while size:
        block = source.read(min(size, _BLOCK))
        target.write(block)
        size -= len(block)


def check(
    name: str, dataset: Dataset, classes: Sequence[str], parts: Mapping[str, Sequence[str]]
) -> None:
    """Raise UserError unless classes and parts have the sizes that params.yaml states.

    Also if an image stands in two parts, or twice in one: a test on training images says nothing.
    """
    where, expected = f"datasets.{name}", stated(name, dataset)
    if len(classes) != dataset.classes:
        raise UserError(
            f"{where}: {len(classes)} classes in the archives, but params.yaml states "
            f"{dataset.classes}; get the archives again or correct it"
        )
    seen: dict[str, str] = {}
    for part in PARTS:
        for key in parts[part]:
            if key in seen:
                raise UserError(
                    f"{where}: {key} stands in {seen[key]} and in {part}; mend the list"
                )
            seen[key] = part
    found = {part: len(parts[part]) for part in PARTS}
    if found != expected:
        raise UserError(
            f"{where}: found {_sizes(found)} images, expected {_sizes(expected)} as "
            "params.yaml states; get the archives again or correct it"
        )


def stated(name: str, dataset: Dataset) -> dict[str, int]:
    """The number of images of each part that params.yaml states; a UserError if one is absent."""
    if dataset.images is None or set(dataset.images) != set(PARTS):
        raise UserError(
            f"datasets.{name}.images: state the number of train, validation and test images"
        )
    return {str(part): count for part, count in dataset.images.items()}


def _sizes(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{counts[part]} {part}" for part in PARTS)
