"""What members of archives hold: image files, pickles, MATLAB files; damaged ones are named.

`where` names archive and member in the UserError that unreadable bytes raise.
"""

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

from multistep.files import UserError, one_line

AGAIN = "delete this copy and get the archive again"

Resample = Literal["lanczos", "bilinear"]
# What photographs come as, by content: official archives have some GIF, PNG and BMP under names
# that end in .jpg. Pillow's other readers aren't asked, some of which call other programs.
PHOTOGRAPHS = ("JPEG", "PNG", "GIF", "BMP")
LARGEST_FILE = 1 << 28  # bytes
LARGEST_IMAGE = 100_000_000  # pixels; the largest of ImageNet has 61 million
# What Pillow raises on files that are damaged.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error)
# All that pickles may ask for: what numpy's arrays and numbers are rebuilt from, of protocols 5 and
# below 3 too, and types of Python that only hold what they are given.
_ALLOWED = {
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy": {"ndarray", "dtype"},
    "_codecs": {"encode"},
    "collections": {"OrderedDict", "defaultdict", "Counter"},
    "builtins": {"set", "frozenset", "bytes", "bytearray", "list", "dict", "tuple", "int", "float"}
    | {"complex", "str", "bool"},
}
_PNG = b"\x89PNG\r\n\x1a\n"


# --- images -----------------------------------------------------------------------------------


@contextmanager
def opened(
    data: bytes, where: str, formats: tuple[str, ...] = PHOTOGRAPHS
) -> Iterator[Image.Image]:
    """An image file's bytes, of one of these formats of Pillow's, as its image, whose pixels aren't
    read yet; no more than LARGEST_IMAGE of them.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large photographs and of odd EXIF blocks, which decode well.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=formats) as image:
                if image.width * image.height > LARGEST_IMAGE:
                    raise Image.DecompressionBombError(f"{image.width}×{image.height}")
                yield image
    except UnidentifiedImageError as error:
        kinds = f"{', '.join(formats[:-1])} or {formats[-1]}" if formats[1:] else formats[0]
        raise UserError(f"{where} is no image ({kinds}); convert it, or {AGAIN}") from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{where} has more than {LARGEST_IMAGE:,} pixels ({error}), and is not decoded; shrink "
            "it, or leave it and its line in the lists out"
        ) from error
    except _UNREADABLE as error:
        raise UserError(f"{where} is not a readable image ({one_line(error)}); {AGAIN}") from error


def decode(
    data: bytes, where: str, size: int | None = None, resample: Resample = "bilinear",
    formats: tuple[str, ...] = PHOTOGRAPHS,
) -> np.ndarray:  # fmt: skip
    """An image file's bytes as RGB uint8 `[h, w, 3]`; with `size`, resized to a square of it.

    Grey, palette and CMYK images become RGB; transparency is ignored, as by torchvision. Of moving
    ones the first frame is taken. Raises UserError, which says `where` it lies, for what is none.
    """
    with opened(data, where, formats) as image:
        image.load()
        plain: Image.Image = image
        # 16-bit grey, which Pillow would clip at 255
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
            plain = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            told = "has numbers that nothing says the black and the white of"
            raise UserError(f"{where} {told} ({image.mode}); convert it to 8 bits")
        elif image.mode == "P" and "transparency" in image.info:
            plain = image.convert("RGBA")
        pixels = np.array(plain.convert("RGB"), dtype=np.uint8)
    return pixels if size is None else resized(pixels, size, resample)


def shape(data: bytes, where: str, formats: tuple[str, ...] = PHOTOGRAPHS) -> tuple[int, int]:
    """Height and width of an image file, from its header alone."""
    with opened(data, where, formats) as image:
        return image.height, image.width


def resized(pixels: np.ndarray, size: int, resample: Resample = "bilinear") -> np.ndarray:
    """uint8 `[h, w, 3]` squeezed to a square, by one of Pillow's filters, which are antialiased."""
    if pixels.shape[:2] == (size, size):
        return pixels
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling[resample.upper()])
    return np.array(small, dtype=np.uint8)


# --- pickles, without ever calling what a pickle asks for -------------------------------------


class Inert(pickle.Unpickler):
    """Rebuilds numpy's arrays and Python's containers; what else a pickle asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")  # its name before numpy 2
        module = "builtins" if module == "__builtin__" else module  # before Python 3
        if name in _ALLOWED.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def unpickled(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a pickle of lists, strings and numpy arrays; anything else is refused."""
    try:
        found = Inert(io.BytesIO(data), encoding="bytes").load()
        return {text(key): value for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises whatever it happens upon
        raise UserError(
            f"{where} is not a readable pickle ({type(error).__name__}: {one_line(error)}); {AGAIN}"
        ) from error


def whole(value: Any, where: str) -> list[int]:
    """The whole numbers in a list or an array of one dimension; UserError for anything else."""
    try:
        array = np.asarray(value)
        if array.ndim == 1 and array.dtype.kind in "iuf" and len(array) and not (array % 1).any():
            return [int(number) for number in array]
    except ValueError:  # of several lengths
        pass
    raise UserError(f"{where}: not a list of whole numbers; {AGAIN}")


def words(value: Any, where: str) -> list[str]:
    """The strings of a list; UserError for anything else."""
    try:
        if isinstance(value, list | tuple | np.ndarray):
            return [text(word) for word in value]
    except (UnicodeDecodeError, TypeError):  # the latter of an array of no dimension
        pass
    raise UserError(f"{where}: not a list of names; {AGAIN}")


def text(value: bytes | str) -> str:
    """The strings of Python 2 come as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def png_files(stream: IO[bytes], where: str) -> Iterator[bytes]:
    """The PNG files in a pickled list of arrays of bytes, in their order, one at a time.

    A pickle is a row of operations, some of which carry bytes. These are looked through for files,
    and nothing is built: a list of many gigabytes takes the memory of one image.
    """
    try:
        for _, found, _ in pickletools.genops(stream):
            if isinstance(found, str) and found.startswith("\x89PNG"):
                found = found.encode("latin-1")  # how Python 2's strings come
            if isinstance(found, bytes | bytearray) and found.startswith(_PNG):
                yield bytes(found)
    except ValueError as error:
        raise UserError(f"{where} is not a readable pickle ({one_line(error)}); {AGAIN}") from error


def matlab_strings(data: bytes, name: str, where: str) -> list[str]:
    """The strings of a cell array `name` in a MATLAB 5 file."""
    from scipy.io import loadmat  # type: ignore[import-untyped]

    try:
        cells = loadmat(io.BytesIO(data), variable_names=[name])[name]
        return [str(cell.item()) for cell in cells.ravel()]
    except Exception as error:  # scipy raises all sorts on a file that is damaged or another
        raise UserError(
            f"{where}: no readable {name} ({type(error).__name__}: {one_line(error)}); {AGAIN}"
        ) from error
