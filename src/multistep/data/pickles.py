"""What datasets store in pickles, read without ever calling what a pickle asks for."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Iterator
from typing import IO, Any

from multistep.data.own_split import Inert
from multistep.files import UserError

_AGAIN = "get the archive again"
# All that numpy's arrays ask for when they are read from a pickle.
_REBUILDING = {
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_PNG = b"\x89PNG\r\n\x1a\n"


def unpickled(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary in a pickle of lists, strings and numpy arrays; anything else is refused."""
    try:
        found = _Arrays(io.BytesIO(data), encoding="bytes").load()
        return {text(key): value for key, value in found.items()}
    except Exception as error:  # a damaged pickle raises whatever it happens upon
        raise UserError(
            f"{where} is not a readable pickle ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error


class _Arrays(Inert):
    """Lets a pickle rebuild numpy's arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core", "numpy._core")  # its name before numpy 2
        if (module, name) in _REBUILDING:
            return pickle.Unpickler.find_class(self, module, name)
        return super().find_class(module, name)


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
            raise UserError(f"{where} is not a readable pickle ({error}); {_AGAIN}") from error
        if isinstance(found, str) and found.startswith("\x89PNG"):
            found = found.encode("latin-1")  # how Python 2's strings come
        if isinstance(found, bytes | bytearray) and found.startswith(_PNG):
            yield bytes(found)
