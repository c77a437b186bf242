"""Prepared datasets, of whatever kind: images, a label for each, and fixed parts.

A folder holds `images.npy`, bytes `[N, H, W]` (grey) or `[N, H, W, 3]` where all images have one
size, else one row of bytes: every image's H·W·3 bytes, row by row, one image after another.
`dataset.json` beside it has the classes, labels, shapes and parts, and a seal over all of that.

Loaders end in `write`; training opens the folder with `read`, episodes ask for the `rows` of whole
classes. The order of the images is the loader's, never that of the archive, so that a repacked
archive prepares to the same bytes.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from multistep import seal
from multistep.data import stated
from multistep.data.identity import verified_contents
from multistep.data.settings import PARTS, Dataset, Part
from multistep.files import UserError, atomic_write, digest, read_json, sha256, write_json
from multistep.plan import provenance
from multistep.progress import progress, say
from multistep.settings import Model, parse, repeated

AGAIN = "delete the folder and run `snakemake data`"

Pair = Annotated[list[int], Field(min_length=2, max_length=2)]


class Description(Model):
    """dataset.json. Labels and parts are runs, so that it stays small beside millions of images.

    `labels`: (class, number of images with it in a row); `shapes`: (height, width) of each image,
    None if all are equal; `splits`: of each part, (first image, one beyond the last) of each run;
    `images`: SHA-256 of images.npy; `stand_in`: whether the archives were drawn.
    """

    version: Literal[2] = Field(alias="schema")
    name: str
    stand_in: bool
    classes: list[str]
    labels: list[Pair]
    shapes: list[Pair] | None
    splits: dict[Part, list[Pair]]
    images: str
    made_from: dict[Literal["dataset", "archives", "code", "left_out"], Any] | None
    seal: str

    @property
    def digest(self) -> str:
        """Of the content, whatever it was made from."""
        what = {"name", "classes", "labels", "shapes", "splits", "images"}
        return digest(self.model_dump(include=what))

    def stated(self, key: str, otherwise: Any) -> Any:
        """A setting of the dataset that this was made from."""
        settings = (self.made_from or {}).get("dataset")
        return settings.get(key, otherwise) if isinstance(settings, dict) else otherwise

    @property
    def size(self) -> int | None:
        """Pixels of a side that all images were made to have, if it says so."""
        made = self.stated("prepare", None)
        return made.get("size") if isinstance(made, dict) else None

    def counts(self) -> dict[str, Counter[int]]:
        """How many images each part has of each class."""
        ends = list(accumulate(count for _, count in self.labels))
        found: dict[str, Counter[int]] = {part: Counter() for part in PARTS}
        for part, runs in self.splits.items():
            for first, end in runs:
                begin, stop = bisect_right(ends, first), bisect_left(ends, end) + 1
                here = zip(ends[begin:stop], self.labels[begin:stop], strict=True)
                for last, (label, count) in here:
                    found[part][label] += min(end, last) - max(first, last - count)
        return found


@dataclass(frozen=True)
class Prepared:
    """`images` as in images.npy, a memory map; `labels` int64 `[N]`, indices of `classes`; `shapes`
    int64 `[N, 2]` (heights, widths), None if all are equal; `splits`: sorted indices int64 of the
    images of each part. `digest` is of all that, whatever it was made from.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    shapes: np.ndarray | None
    classes: list[str]
    splits: dict[str, np.ndarray]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Pixels of a side, of images of one size."""
        return int(self.images.shape[1])

    @property
    def channels(self) -> int:
        """1 of grey images, 3 of RGB."""
        return 1 if self.images.ndim == 3 else 3

    def pixels(self, i: int) -> np.ndarray:
        """Image `i` as uint8 `[h, w, 3]` (or `[h, w]`), a view into the memory map."""
        if self.shapes is None:
            return self.images[i]
        height, width = self.shapes[i]
        return self.images[self._starts[i] : self._starts[i + 1]].reshape(height, width, 3)

    @cached_property
    def _starts(self) -> np.ndarray:
        assert self.shapes is not None
        return starts(self.shapes)

    def rows(self, parts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of images, int64 `[classes]` each, of the classes of these parts, in
        their order.

        Raises UserError if the images aren't stored class by class, or if a class stands in two
        parts: such data has no classes that training never saw.
        """
        found = [np.unique(self.labels[self.splits[part]], return_counts=True) for part in parts]
        classes, counts = (np.concatenate(columns) for columns in zip(*found, strict=True))
        whole = np.bincount(self.labels, minlength=len(self.classes))[classes]
        if (np.diff(self.labels) < 0).any() or (whole != counts).any():
            raise UserError(
                f"{self.name}: a class stands in two parts, so there are none to draw episodes "
                "from; choose a dataset that splits classes"
            )
        return np.searchsorted(self.labels, classes), counts


def starts(shapes: np.ndarray) -> np.ndarray:
    """Where each image's bytes begin, and where the last one's end: int64 `[N + 1]`."""
    return np.concatenate([[0], np.cumsum(3 * shapes[:, 0] * shapes[:, 1], dtype=np.int64)])


# --- writing ----------------------------------------------------------------------------------


def write(
    name: str, dataset: Dataset, raw: Path, out: Path, *,
    classes: Sequence[str], labels: Mapping[str, int], parts: Mapping[str, Sequence[str]],
    shape: tuple[int, ...] | Mapping[str, tuple[int, int]],
    images: Iterable[tuple[str, np.ndarray]], left_out: Collection[str] = (),
) -> None:  # fmt: skip
    """Write the prepared dataset `out` from the archives in `raw`; one image is held at a time.

    `labels`: the class index by key of each image, in the order in which they are stored; `parts`:
    keys of train, validation and test, those of no part are left out; `shape`: of all images, or
    (height, width) by key; `images`: (key, uint8 pixels) in any order; `left_out`: keys of images
    that can't be read, which count towards the stated sizes. Raises UserError, before anything is
    decoded, where sizes or archives differ from what params.yaml states; and where an image is
    missing or comes twice. What was in `out` stays until all images are there. What may be meant is
    told: classes that differ in case alone, the same pixels in two classes or parts.
    """
    stated.check(name, dataset, classes, labels, parts)
    contents = verified_contents(name, dataset, raw)
    part_of = {key: part for part in PARTS for key in parts[part]}
    lost = {key: part_of.pop(key) for key in left_out}
    place = {key: i for i, key in enumerate(key for key in labels if key in part_of)}
    each = np.array([part_of[key] for key in place])
    if alike := repeated(label.casefold() for label in classes):
        spelt = ", ".join(label for label in classes if label.casefold() == alike[0])
        say(f"datasets.{name}: classes that differ in case alone ({spelt}) count as several")

    def placed() -> Iterator[tuple[int, np.ndarray]]:
        filled = np.zeros(len(place), dtype=bool)
        marks = np.zeros(len(place), dtype=np.uint64)
        with progress(name, len(place), "images") as advance:
            for key, pixels in images:
                if (row := place.get(key)) is None:
                    continue
                if filled[row]:
                    raise UserError(
                        f"{raw}: two images are called {key}; is an archive there under two names?"
                    )
                yield row, pixels
                filled[row] = True
                own = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=8)
                marks[row] = int.from_bytes(own.digest(), "big")
                advance(1)
        if not filled.all():
            missing = [key for key, row in place.items() if not filled[row]]
            raise UserError(
                f"{raw}: no image {missing[0]}, which the lists name ({len(missing)} of "
                f"{len(place)} are missing); get the archive again"
            )
        order, kinds = marks.argsort(kind="stable"), np.array([labels[key] for key in place])
        a, b = order[:-1], order[1:]
        same = (marks[a] == marks[b]) & ((kinds[a] != kinds[b]) | (each[a] != each[b]))
        if same.any():
            shared, copies = np.unique(marks[np.isin(marks, marks[a][same])], return_counts=True)
            first = (same & (marks[a] == shared[copies.argmax()])).argmax()
            pair = ([*place][i[first]] for i in (a, b))
            told = " and ".join(f"{key} ({part_of[key]})" for key in pair)
            say(f"{raw}: {copies.sum()} images are in another class or part, too, such as {told}")
            if (most := copies.max()) > 2:
                say(f"{raw}: that picture is there {most} times, as if in the place of others")

    save(
        out,
        name=name,
        classes=classes,
        labels=[labels[key] for key in place],
        splits={part: np.flatnonzero(each == part) for part in PARTS},
        shape=[shape[key] for key in place] if isinstance(shape, Mapping) else shape,
        images=placed(),
        stand_in=any(archive.drawn is not None for archive in dataset.archives.values()),
        made_from={
            "dataset": dataset.decisive(),
            "archives": contents,
            "code": provenance.code(f"multistep.data.loaders.{dataset.loader}"),
            **({"left_out": lost} if lost else {}),
        },
    )


def save(
    out: Path, *,
    name: str, classes: Sequence[str], labels: Iterable[int], splits: Mapping[str, Iterable[int]],
    shape: tuple[int, ...] | Sequence[tuple[int, int]] | np.ndarray,
    images: Iterable[tuple[int, np.ndarray]],
    stand_in: bool = True, made_from: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write images.npy and dataset.json: `images` are (row, pixels) in any order, each row once.

    `shape`: of every image, or the (height, width) of each. Raises UserError for other pixels.
    """
    numbers = [int(label) for label in labels]
    shapes = None if isinstance(shape, tuple) else np.array(shape, dtype=np.int64).reshape(-1, 2)
    if shapes is not None and len(np.unique(shapes, axis=0)) == 1:
        shape, shapes = (*map(int, shapes[0]), 3), None
    if shapes is None:
        whole: tuple[int, ...] = (len(numbers), *shape)
        begins = int(np.prod(shape)) * np.arange(len(numbers) + 1)
    else:
        begins = starts(shapes)
        whole = (int(begins[-1]),)
    # The description goes first and comes last: a pair with only one half new is never read.
    with atomic_write(out / "images.npy", outdated=out / "dataset.json") as file:
        about = {"descr": "|u1", "fortran_order": False, "shape": whole}
        np.lib.format.write_array_header_1_0(file, about)
        header = file.tell()
        for row, pixels in images:
            expected = (*shapes[row], 3) if shapes is not None else whole[1:]
            if pixels.shape != expected or pixels.dtype != np.uint8:
                raise UserError(
                    f"{name}: image {row} is {pixels.dtype}{list(pixels.shape)}, not bytes "
                    f"{list(expected)}; get the archive again"
                )
            file.seek(header + int(begins[row]))
            file.write(np.ascontiguousarray(pixels).data)
    record = {
        "schema": 2,
        "name": name,
        "stand_in": stand_in,
        "classes": list(classes),
        "labels": [[label, len(list(run))] for label, run in groupby(numbers)],
        "shapes": None if shapes is None else shapes.tolist(),
        "splits": {part: _runs(splits[part]) for part in PARTS},
        "images": sha256(out / "images.npy"),
    }
    write_json(out / "dataset.json", seal.seal(record, made_from))
    return out


def _runs(indices: Iterable[int]) -> list[list[int]]:
    """Sorted indices as [first, one beyond the last] of each run."""
    found = np.sort(np.fromiter(indices, dtype=np.int64))
    runs = np.split(found, np.flatnonzero(np.diff(found) != 1) + 1)
    return [[int(run[0]), int(run[-1]) + 1] for run in runs if len(run)]


# --- reading ----------------------------------------------------------------------------------


def read(
    folder: Path, name: str | None = None, preparation: Mapping[str, Any] | None = None
) -> Prepared:
    """Open a prepared dataset, checked in all it says: nothing damaged trains silently.

    `name`, `preparation`: as for `describe`.

    The whole of images.npy is read for its digest, of whatever size: a size and a time of change
    don't tell that a bit is still the same, and what was read lies in the page cache when training
    asks for it. Raises UserError, one line, for what isn't as it was written.
    """
    about = describe(folder, name, preparation)
    try:
        intact = sha256(folder / "images.npy") == about.images
        # Copy on write: torch takes no array that it can't write to.
        images = np.load(folder / "images.npy", mmap_mode="c") if intact else None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'images.npy'}: can't be read ({error}); {AGAIN}") from None
    if images is None:
        raise UserError(
            f"{folder / 'images.npy'}: its bytes differ from the digest in dataset.json; {AGAIN}"
        )
    try:
        found = _unfolded(about, images)
        lost = Counter(((about.made_from or {}).get("left_out") or {}).values())
        sizes = {part: len(indices) + lost[part] for part, indices in found.splits.items()}
        for key, is_so in (("classes", len(found.classes)), ("images", sizes)):
            if (stated := about.stated(key, is_so)) != is_so:
                raise ValueError(f"made to have {stated} {key}")
    except ValueError as error:
        raise UserError(
            f"{folder}: images.npy {images.dtype}{list(images.shape)} doesn't fit dataset.json "
            f"({error}); {AGAIN}"
        ) from None
    return found


def describe(
    folder: Path, name: str | None = None, preparation: Mapping[str, Any] | None = None
) -> Description:
    """What dataset.json says, as it was sealed, without a look at the images.

    `name`, `preparation`: of the dataset, and its `prepare` settings, that the plan expects here.
    Raises UserError, one line, for what isn't as it was written or expected.
    """
    path = folder / "dataset.json"
    if folder.is_file():
        raise UserError(f"{folder}: a file; name the folder of prepared images that it lies in")
    record = read_json(path)
    seal.check(path, record, AGAIN)
    try:
        about = parse(Description, record, "")
    except UserError as error:
        raise UserError(f"{path}: {error}; {AGAIN}") from None
    if name not in (None, about.name):
        raise UserError(
            f"{path}: the dataset {about.name}, not {name}; give the folder of {name} (--data), or "
            f"run `snakemake data/processed/{name}/dataset.json`"
        )
    found = about.stated("prepare", None)
    if preparation is not None and found != preparation:
        found = found if isinstance(found, dict) else {}
        every = sorted({*found, *preparation})
        key = next((k for k in every if found.get(k) != preparation.get(k)), "")
        raise UserError(
            f"{path}: prepared with {key} {found.get(key)!r}, but datasets.{about.name}."
            f"prepare.{key} is {preparation.get(key)!r} in the plan; {AGAIN}"
        )
    return about


def _unfolded(about: Description, images: np.ndarray) -> Prepared:
    """The description's runs as arrays. Raises ValueError where they contradict each other or the
    images, and before anything is made that is longer than these can be.
    """
    n = sum(count for _, count in about.labels)
    if any(count < 1 for _, count in about.labels) or n > images.size:
        raise ValueError(f"labels of {n} images")
    shapes = None if about.shapes is None else np.array(about.shapes, np.int64).reshape(-1, 2)
    splits: dict[str, np.ndarray] = {}
    for part in PARTS:
        if part not in about.splits:
            raise ValueError(f"no part {part}")
        runs = about.splits[part]
        if any(not 0 <= first < end <= n for first, end in runs):
            raise ValueError(f"part {part} has an index outside of the {n} images")
        if any(run[1] > after[0] for run, after in pairwise(runs)):
            raise ValueError(f"part {part} isn't sorted, or has an image twice")
        ranges = [np.arange(first, end, dtype=np.int64) for first, end in runs]
        splits[part] = np.concatenate([np.zeros(0, np.int64), *ranges])
    labels = np.repeat(*np.array(about.labels, np.int64).reshape(-1, 2).T)
    found = Prepared(about.name, images, labels, shapes, about.classes, splits, about.digest)
    if images.dtype != np.uint8:
        raise ValueError("not bytes")
    if found.shapes is None:
        channels = images.shape[3:] in ((), (3,)) and images.ndim in (3, 4)
        if not channels or len(images) != n:
            raise ValueError(f"labels of {n} images of one size")
    elif len(found.shapes) != n or (found.shapes < 1).any():
        raise ValueError(f"{len(found.shapes)} shapes and {n} labels")
    elif images.shape != (found._starts[-1],):
        raise ValueError(f"the shapes add up to {found._starts[-1]} bytes")
    if n and not 0 <= found.labels.min() <= found.labels.max() < len(found.classes):
        raise ValueError(f"labels outside of the {len(found.classes)} classes")
    every = np.concatenate(list(found.splits.values()))
    if len(np.unique(every)) != len(every):
        raise ValueError("two parts share an image")
    if len(every) != n:
        raise ValueError(f"{n - len(every)} images are in no part")
    if len(set(found.classes)) != len(found.classes):
        raise ValueError("two classes have one name")
    return found
