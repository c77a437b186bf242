"""Other people's bytes, damaged at random: a value or one line, in bounded time and memory.

CI tries the same few hundred files each time; `pytest tests/test_fuzz.py --fuzz 60` goes on with
new ones, for a minute of processor time a reader, and `python tests/test_fuzz.py READER
[-runs=100000]` lets atheris, where it is installed, look for files that reach new lines.
"""

from __future__ import annotations

import copy
import gzip
import inspect
import io
import json
import pickle
import random
import resource
import signal
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import torch
from data_sets import matlab
from PIL import Image
from transfer_data import prepared_images, source_folder

from multistep import seal
from multistep.data import prepared
from multistep.data.archives import contents_digest, members
from multistep.data.decoding import decode, matlab_strings, png_files, unpickled
from multistep.data.galleries import in_folders
from multistep.data.listing import lines
from multistep.files import UserError
from multistep.job import checkpoint, parameters, results
from multistep.networks.settings import Architecture
from multistep.plan import params
from multistep.transfer import source_record, sources

AT_ONCE, MORE = 1 << 30, 10  # bytes beyond what is held before, seconds of processor time, a file
TIMES = 150
NETWORK = Architecture(name="resnet32", width=4, blocks=1)
ODD = (
    None,
    True,
    -1,
    2**64,
    10**400,
    1e308,
    float("nan"),
    "",
    "x",
    "é\0\n",
    [],
    {},
    [[]],
    {"a": 0},
)


def packed(form: str) -> bytes:
    """A small archive with a folder, links, a list and an image."""
    file, image = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (9, 7)).save(image, "png")
    content = {"a/1.png": image.getvalue(), "a/list.txt": b"dog/1.png\ncat/2.png\n" * 9}
    if form == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("a")
            for name, data in content.items():
                archive.writestr(name, data)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a/1.png"
        tar.addfile(link)
    return gzip.compress(file.getvalue(), mtime=0) if form == "gz" else file.getvalue()


def image(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 12, 3), np.uint8)
    Image.fromarray(pixels).convert("P" if kind == "gif" else "RGB").save(file, kind)
    return file.getvalue()


def weights() -> bytes:
    network = sources.build(NETWORK, 4, None)
    file = io.BytesIO()
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, file)
    return file.getvalue()


def tensors(folder: Path) -> bytes:
    made, path = records.few_shot(), folder / "made.safetensors"
    about = {"size": 28, "channels": 1}
    parameters.write(path, {"head": np.ones(4)}, made["cell"], about, made["made_from"])
    return path.read_bytes()


def saved(folder: Path) -> bytes:
    checkpoint.save(folder / "made.pt", "key", {"x": torch.ones(3)})
    return (folder / "made.pt").read_bytes()


def _data(read: Callable[[bytes], object]) -> Callable[[Path], object]:
    return lambda path: read(path.read_bytes())


def _both(path: Path) -> object:
    return contents_digest(path), list(members(path))


# By reader: how its file is called, files as they should be, and the reader.
READERS: dict[str, tuple[str, Callable[[Path], list[bytes]], Callable[[Path], object]]] = {
    "zip": ("a.zip", lambda _: [packed("zip")], _both),
    "tar": ("a.tar", lambda _: [packed("tar")], _both),
    "tar.gz": ("a.tar.gz", lambda _: [packed("gz")], _both),
    "image": (
        "a.png",
        lambda _: [image(kind) for kind in ("png", "jpeg", "gif", "bmp", "tiff")],
        _data(lambda data: decode(data, "a", 16)),
    ),
    "list": (
        "a.txt",
        lambda _: [b"dog/1.jpg\ncat/2.jpg\r\n" * 4, "\ufeffhund/é.jpg".encode("utf-16")],
        _data(lambda data: list(in_folders(lines(data, "a"), "a"))),
    ),
    "matlab": (
        "a.mat",
        lambda _: [matlab(["dog/1.jpg", "cat/2.jpg"])],
        _data(lambda data: matlab_strings(data, "file_list", "a")),
    ),
    "pickle": (
        "a.pkl",
        lambda _: [
            pickle.dumps({"data": np.arange(6, dtype="u1"), b"names": [b"a", "é"], "n": 3}, n)
            for n in (0, 2, 5)
        ],
        _data(lambda data: unpickled(data, "a")),
    ),
    "pickled images": (
        "a.pkl",
        lambda _: [pickle.dumps([image("png"), np.zeros(9, "u1"), "a"], n) for n in (2, 5)],
        _data(lambda data: list(png_files(io.BytesIO(data), "a"))),
    ),
    "published weights": (
        "a.pth",
        lambda _: [weights()],
        lambda path: sources.load_published(path, "torchvision", NETWORK, 4),
    ),
    "checkpoint": ("a.pt", lambda home: [saved(home)], lambda path: checkpoint.load(path, "key")),
    "safetensors": ("a.safetensors", lambda folder: [tensors(folder)], parameters.read),
    "params": (
        "a.yaml",
        lambda _: [(records_root() / "params.yaml").read_bytes(), b"a: &a [1, 2.0]\nb: {c: *a}\n"],
        lambda path: params.load(path),
    ),
}  # fmt: skip
# JSON that is sealed, so that only its own reader looks into it once it is sealed anew.
SEALED: dict[str, tuple[str, Callable[[Path], list[bytes]], Callable[[Path], object]]] = {
    name: ("a.json", lambda _, make=make: [json.dumps(make()).encode()], results.read)
    for name, make in {**records.RESULTS, **records.MEASUREMENTS}.items()
}
SEALED["dataset"] = (
    "dataset.json",
    lambda folder: [(prepared_images(folder) / "dataset.json").read_bytes()],
    lambda path: prepared.describe(path.parent),
)
SEALED["network"] = (
    "network.json",
    lambda folder: [(source_folder(folder) / "network.json").read_bytes()],
    lambda path: source_record.read(path.parent),
)


def records_root() -> Path:
    return Path(__file__).resolve().parents[1]


class Late(BaseException):
    """It hangs; no reader takes this for damage."""


@contextmanager
def bounds() -> Iterator[None]:
    """MemoryError and Late beyond them."""

    def late(*_: object) -> None:
        raise Late

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MORE)
    resource.setrlimit(resource.RLIMIT_AS, (held + AT_ONCE, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)


def tried(path: Path, read: Callable[[Path], object], content: bytes) -> None:
    """A value, or a UserError that is one line (of params.yaml: a line for each mistake)."""
    path.write_bytes(content)
    with bounds():
        try:
            read(path)
        except UserError as error:
            text = str(error)
            assert path.suffix == ".yaml" or "\n" not in text, text
            assert len(text) < 5000 or path.suffix == ".yaml", text


def damaged(rng: random.Random, whole: list[bytes]) -> bytes:
    """One of some files with one to four things done to it."""
    content = bytearray(rng.choice(whole))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 2, 4, 8, 64)))
        how = rng.randrange(7)
        if how == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif how == 1:
            content[at:end] = rng.randbytes(end - at)
        elif how == 2:
            del content[at:end]
        elif how == 3:
            content[at:at] = content[at:end] * rng.choice((1, 9))
        elif how == 4:  # sizes and counts, as numbers and as text
            number = rng.choice((0, 1, 127, 255, 2**15, 2**31 - 1, 2**32 - 1, 2**63 - 1))
            form = rng.choice(("<H", "<I", ">I", "<Q"))
            size = struct.calcsize(form)
            content[at : at + size] = struct.pack(form, number % 2 ** (8 * size))
        elif how == 5:
            content[at:end] = rng.choice((b"9" * 12, b"-1", b"[" * 1500, b"\0" * 8, b"1e999", b"{"))
        else:
            del content[at:]
    return bytes(content)


def moments(request: pytest.FixtureRequest, name: str) -> Iterator[random.Random]:
    """The same for CI, then others for as long as --fuzz says."""
    for number in range(TIMES):
        yield random.Random(f"{name} {number}")
    until = time.process_time() + request.config.getoption("--fuzz")
    while time.process_time() < until:
        seed = f"{name} {random.getrandbits(40)}"
        print(seed)  # of the last, where it fails
        yield random.Random(seed)


def resealed(rng: random.Random, whole: list[bytes]) -> bytes:
    """A record with values of any kind in the place of one or two others, and sealed anew."""
    record = json.loads(rng.choice(whole))
    for where in rng.sample(list(records.leaves(record)), rng.randint(1, 2)):
        value, place = rng.choice(ODD), record
        with suppress(KeyError, IndexError, TypeError):
            for key in where[:-1]:
                place = place[key]
            place[where[-1]] = copy.deepcopy(value)
    content = {k: v for k, v in record.items() if k != "seal"}
    with suppress(ValueError):  # NaN: as it was sealed before
        record = seal.seal(content, content.get("made_from"))
    return json.dumps(record).encode()


@pytest.mark.fault("other people's bytes damaged at random (fuzzing)", "a value, or one line")
@pytest.mark.parametrize("name", [*READERS, *SEALED])
def test_damaged_files(
    tmp_path: Path, name: str, request: pytest.FixtureRequest, record_property: Any
) -> None:
    file, make, read = {**READERS, **SEALED}[name]
    damage = damaged if name in READERS else resealed
    whole, count = make(tmp_path), 0
    for content in whole:
        tried(tmp_path / file, read, content)
    for rng in moments(request, name):
        tried(tmp_path / file, read, damage(rng, whole))
        count += 1
    record_property("injected", count)


@pytest.mark.parametrize("form", ["json", "yaml", "aliases", "safetensors", "zip", "sparse tar"])
def test_bombs(tmp_path: Path, form: str) -> None:
    """A few bytes that ask for many, as far as harms no other reader of them."""
    path, read, content = tmp_path / "a.json", results.read, b"[" * 2_000
    if form in ("yaml", "aliases"):
        path, read, content = tmp_path / "a.yaml", params.load, b"{a: " * 60
    if form == "aliases":
        rows = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 7))]
        content = "\n".join(rows).encode()
    elif form == "safetensors":
        path, read = tmp_path / "a.safetensors", parameters.read
        head = json.dumps({"__metadata__": {"multistep": "[" * 2_000}}).encode()
        content = struct.pack("<Q", len(head)) + head
    elif form == "zip":
        path, file = tmp_path / "a.zip", io.BytesIO()
        read = lambda path: list(members(path, largest=1 << 20))  # noqa: E731
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", bytes(2 << 20))
        content = file.getvalue()
    elif form == "sparse tar":
        member = tarfile.TarInfo("a")
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[156:157] = tarfile.GNUTYPE_SPARSE
        header[386:410] = b"%011o\0%011o\0" % (0, 0)
        header[483:495] = b"%011o\0" % ((1 << 20) - 1)
        header[148:156] = b"%06o\0 " % sum(bytes(header[:148]) + b" " * 8 + bytes(header[156:]))
        path, read, content = tmp_path / "a.tar", _both, bytes(header) + bytes(1024)
    path.write_bytes(content)
    with bounds(), pytest.raises(UserError) as told:
        read(path)
    assert len(str(told.value)) < 5000


if __name__ == "__main__":
    import atheris

    NAME, FOLDER = sys.argv.pop(1), Path(tempfile.mkdtemp())
    FILE, MAKE, READ = READERS[NAME]
    (FOLDER / "corpus").mkdir()
    for number, whole_ in enumerate(MAKE(FOLDER)):
        (FOLDER / f"corpus/{number}").write_bytes(whole_)
    for module in [m for name, m in sys.modules.items() if name.startswith("multistep")]:
        for function in filter(inspect.isfunction, vars(module).values()):
            atheris.instrument_func(function)
    atheris.Setup(
        [*sys.argv, str(FOLDER / "corpus")], lambda data: tried(FOLDER / FILE, READ, data)
    )
    atheris.Fuzz()
