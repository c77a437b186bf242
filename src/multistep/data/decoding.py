"""What members of archives hold: image files, pickles, lists of text; damaged ones are named.

`where` names archive and member in the UserError that unreadable bytes raise.
"""

import codecs
import io
import pickle
import pickletools
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from multistep.files import UserError

AGAIN = "delete this copy and get the archive again"

Resample = Literal["lanczos", "bilinear"]
# What Pillow raises on files that are damaged, of unknown kind, or absurdly large.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error)
# All that numpy's arrays ask for when they are read from a pickle, of protocols 5 and below 3 too.
_REBUILDING = {("numpy._core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
_REBUILDING |= {("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode")}
_PNG = b"\x89PNG\r\n\x1a\n"


# --- images -----------------------------------------------------------------------------------


@contextmanager
def opened(data: bytes, where: str) -> Iterator[Image.Image]:
    """An image file's bytes as Pillow's image, whose pixels aren't read yet."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of large photographs and of odd EXIF blocks, which decode well.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                yield image
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is no image; {AGAIN}") from error
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise UserError(f"{where} is not a readable image ({error}); {AGAIN}") from error


def decode(
    data: bytes, where: str, size: int | None = None, resample: Resample = "bilinear"
) -> np.ndarray:
    """An image file's bytes as RGB uint8 `[h, w, 3]`; with `size`, resized to a square of it.

    Grey, palette and CMYK images become RGB; transparency is ignored, as by torchvision.
    """
    with opened(data, where) as image:
        image.load()
        plain: Image.Image = image
        if image.mode.startswith("I;16"):  # 16-bit grey, which Pillow would clip at 255
            plain = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
        elif image.mode == "P" and "transparency" in image.info:
            plain = image.convert("RGBA")
        pixels = np.array(plain.convert("RGB"), dtype=np.uint8)
    return pixels if size is None else resized(pixels, size, resample)


def shape(data: bytes, where: str) -> tuple[int, int]:
    """Height and width of an image file, from its header alone."""
    with opened(data, where) as image:
        return image.height, image.width


def resized(pixels: np.ndarray, size: int, resample: Resample = "bilinear") -> np.ndarray:
    """uint8 `[h, w, 3]` squeezed to a square, by one of Pillow's filters, which are antialiased."""
    if pixels.shape[:2] == (size, size):
        return pixels
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling[resample.upper()])
    return np.array(small, dtype=np.uint8)


# --- pickles, without ever calling what a pickle asks for -------------------------------------


class Inert(pickle.Unpickler):
    """Reads numbers, strings, lists and dictionaries; whatever would call a function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


class _Arrays(Inert):
    """Lets a pickle rebuild numpy's arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")  # its name before numpy 2
        if (module, name) in _REBUILDING:
            return pickle.Unpickler.find_class(self, module, name)
        return super().find_class(module, name)


def unpickled(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a pickle of lists, strings and numpy arrays; anything else is refused."""
    try:
        found = _Arrays(io.BytesIO(data), encoding="bytes").load()
        return {text(key): value for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises whatever it happens upon
        raise UserError(
            f"{where} is not a readable pickle ({type(error).__name__}: {error}); {AGAIN}"
        ) from error


def text(value: bytes | str) -> str:
    """The strings of Python 2 come as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def png_files(stream: IO[bytes], where: str) -> Iterator[bytes]:
    """The PNG files in a pickled list of arrays of bytes, in their order, one at a time.

    A pickle is a row of operations, some of which carry bytes. These are looked through for files,
    and nothing is built: a list of many gigabytes takes the memory of one image.
    """
    operations = pickletools.genops(stream)
    while True:
        try:
            _, found, _ = next(operations)
        except StopIteration:
            return
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{where} is not a readable pickle ({error}); {AGAIN}") from error
        if isinstance(found, str) and found.startswith("\x89PNG"):
            found = found.encode("latin-1")  # how Python 2's strings come
        if isinstance(found, bytes | bytearray) and found.startswith(_PNG):
            yield bytes(found)


# --- lists ------------------------------------------------------------------------------------


def listing(data: bytes, where: str) -> str:
    """The text of a list, in UTF-8 or, with its mark, in UTF-16."""
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not a text file ({error}); {AGAIN}") from None


def lines(data: bytes, where: str) -> list[str]:
    """The lines of a list that aren't empty. Names may hold blanks; lines may end as on Windows."""
    return [line.strip() for line in listing(data, where).splitlines() if line.strip()]


def matlab_strings(data: bytes, name: str, where: str) -> list[str]:
    """The strings of a cell array `name` in a MATLAB 5 file."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        cells = loadmat(io.BytesIO(data), variable_names=[name])[name]
        return [str(cell.item()) for cell in cells.ravel()]
    except Exception as error:  # scipy raises all sorts on a file that is damaged or another
        raise UserError(
            f"{where}: no readable {name} ({type(error).__name__}: {error}); {AGAIN}"
        ) from error
