"""Drawn photographs: an object before a cluttered scene, for stand-ins of photographic datasets.

A class is an outline with a pattern and a pair of colours. Kinds (datasets) share these factors but
never a combination, so that what a network learns on one kind serves on another. Classes come in
groups of eight in which every outline, every pattern and every pair of colours belongs to two
classes: no factor alone tells a class. Everything else is nuisance: place, size, turn, proportions,
light, shadow, background, clutter before and behind, noise of the sensor.
"""

import io
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy import arctan2, clip, cos, hypot, maximum, minimum, sin  # what follows are formulas
from PIL import Image
from pydantic import AfterValidator, Field

from multistep.data.standins.packing import Members
from multistep.files import UserError
from multistep.progress import progress
from multistep.settings import Model

# How many classes can be drawn: those of the real datasets (of ImageNet, miniImageNet's and
# tieredImageNet's). In this order they get their combinations.
KINDS = {
    "tinyimagenet": 200, "cifar100": 100, "stl10": 10, "cub200": 200, "indoor67": 67,
    "stanford40": 40, "stanford_dogs": 120, "imagenet": 708,
}  # fmt: skip

Place = tuple[int, int]  # (class, number of the image within it)
Size = int | Sequence[int]  # a side in pixels, or the least and the greatest height and width
Shape = Callable[..., np.ndarray]


def _box(u: np.ndarray, v: np.ndarray, width: float, height: float) -> np.ndarray:
    return maximum(abs(u) - width, abs(v) - height)


# Distances, negative inside, of coordinates in which an object fills about the unit disc, v down.
OUTLINES: dict[str, Shape] = {
    "disc": lambda u, v: hypot(u, v) - 0.8,
    "plank": lambda u, v: _box(u, v, 0.95, 0.33),
    "star": lambda u, v: hypot(u, v) - 0.6 - 0.32 * cos(5 * arctan2(u, -v)),
    "frame": lambda u, v: abs(maximum(abs(u), abs(v)) - 0.58) - 0.19,
    "moon": lambda u, v: maximum(hypot(u, v) - 0.88, 0.68 - hypot(u - 0.42, v)),
    "square": lambda u, v: _box(u, v, 0.7, 0.7),
    "cross": lambda u, v: minimum(_box(u, v, 0.26, 0.88), _box(u, v, 0.88, 0.26)),
    "clover": lambda u, v: hypot(u, v) - 0.62 - 0.3 * cos(3 * arctan2(u, -v)),
    "ring": lambda u, v: abs(hypot(u, v) - 0.62) - 0.22,
    "triangle": lambda u, v: maximum(0.87 * abs(u) - 0.5 * (v + 0.95), v - 0.6),
    "flower": lambda u, v: hypot(u, v) - 0.68 - 0.2 * cos(6 * arctan2(u, -v)),
    "diamond": lambda u, v: 0.55 * (abs(u) / 0.58 + abs(v) / 0.98 - 1),
}
# How much of the second colour there is; n is smooth noise, mean 0 and deviation about 1.
PATTERNS: dict[str, Shape] = {
    "plain": lambda u, v, n: 0.12 + 0.1 * n,
    "bands": lambda u, v, n: 0.5 + 1.25 * sin(9.5 * v + 0.25 * n),
    "checks": lambda u, v, n: 0.5 + 2.5 * sin(7.5 * u) * sin(7.5 * v),
    "spots": lambda u, v, n: 1.8 * n - 0.7,
    "half": lambda u, v, n: 0.5 + 6 * v + 0.5 * n,
    "stripes": lambda u, v, n: 0.5 + 1.25 * sin(10 * u + 0.25 * n),
    "rings": lambda u, v, n: 0.5 + 1.25 * sin(11 * hypot(u - 0.15, v + 0.1) + 0.5 * n),
    "marble": lambda u, v, n: 1 - 2.6 * abs(n),
    "glow": lambda u, v, n: 1.15 - 1.3 * hypot(u, v),
    "slant": lambda u, v, n: 0.5 + 1.25 * sin(7 * (u + v) + 0.3 * n),
    "waves": lambda u, v, n: 0.5 + 1.25 * sin(9 * v + 1.6 * sin(5 * u)),
    "sectors": lambda u, v, n: 0.5 + 1.25 * sin(6 * arctan2(v, u)),
}
PALETTES = {  # first and second colour
    "cherry": "c02a2e f2dccb", "straw": "d9b44a 6d4a1e", "sea": "2f8f93 f0e6c0",
    "plum": "6b3a78 e79fb6", "rust": "b4571f 3f2a22", "pine": "1f5b3f c9403a",
    "sky": "5fa8dc f4f4f4", "ash": "8d8f92 25272b", "lemon": "e8d93c 4a7a2c",
    "ink": "27407f e3b23c", "rose": "d8738f 54203a", "snow": "e9e9e4 5b6f8a",
}  # fmt: skip


class Settings(Model):
    """How much is drawn; `train` and `test` are images per class, validation included."""

    classes: int = Field(ge=1)
    train: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)

    def places(self) -> tuple[list[Place], list[Place]]:
        """Training and test images, each in a shuffled order; numbers run through both."""
        every = [(c, n) for c in range(self.classes) for n in range(self.train + self.test)]
        mixed = shuffled(every, self.seed)
        return [p for p in mixed if p[1] < self.train], [p for p in mixed if p[1] >= self.train]


def _ordered(ends: list[int]) -> list[int]:
    if not 0 < ends[0] <= ends[1]:
        raise ValueError("two numbers above 0, the least first")
    return ends


Range = Annotated[list[int], Field(min_length=2, max_length=2), AfterValidator(_ordered)]


class Gallery(Settings):
    """`sides`: the least and the greatest height and width of the images, in pixels."""

    sides: Range


def seeded(*key: int | str) -> np.random.Generator:
    """Random numbers that depend on the key alone, not on what was drawn before."""
    return np.random.default_rng([zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key])


def shuffled(places: Sequence[Place], seed: int) -> list[Place]:
    """The places in an order that depends on the arguments alone."""
    return [places[i] for i in seeded(seed).permutation(len(places))]


def look(kind: str, index: int) -> tuple[str, str, str]:
    """Outline, pattern and palette of class `index` of a kind. Raises UserError if it has none."""
    if not 0 <= index < KINDS[kind]:
        raise UserError(f"drawn: only {KINDS[kind]} classes of {kind} can be drawn; ask for fewer")
    kinds = list(KINDS)
    group = index // 8 + sum(-(-KINDS[k] // 8) for k in kinds[: kinds.index(kind)])
    # A group is one of 27 choices of four outlines, patterns and palettes, in one of 8 pairings.
    (pairing, choice), (half, i) = divmod(group, 27), divmod(index % 8, 4)
    outline = 4 * (choice % 3) + i
    pattern = 4 * ((choice + choice // 3) % 3) + (i + 2 * (pairing // 4) + half) % 4
    palette = 4 * ((choice + choice // 9) % 3) + (i + pairing + 2 * half) % 4
    return [*OUTLINES][outline], [*PATTERNS][pattern], [*PALETTES][palette]


def names(kind: str, classes: int) -> list[str]:
    """Names for the first classes of a kind, such as checks_disc_rust: what one can see."""
    looks = (look(kind, i) for i in range(classes))
    return [f"{pattern}_{outline}_{palette}" for outline, pattern, palette in looks]


def image(kind: str, index: int, number: int, size: Size, seed: int) -> np.ndarray:
    """Photograph `number` of class `index` of a kind, uint8 `[h, w, 3]`.

    Equal arguments give equal pixels. Raises UserError for a class that a kind doesn't have.
    """
    outline, pattern, palette = look(kind, index)
    g = seeded(seed, kind, index, number)
    height, width = (size, size) if isinstance(size, int) else g.integers(size[0], size[1] + 1, 2)
    # Lengths are in shorter sides, from the middle. Canvases are float32 RGB [3, h, w], 0 to 1.
    corner = np.array([width, height]) / (2 * min(height, width))
    x = np.linspace(-corner[0], corner[0], width, dtype=np.float32)
    y = np.linspace(-corner[1], corner[1], height, dtype=np.float32)[:, None]

    def colours(saturation: float) -> np.ndarray:
        return g.uniform(0.12, 0.88, (2, 1)) + saturation * g.uniform(-0.35, 0.35, (2, 3))

    def clutter(largest: float) -> None:
        """Something that has nothing to do with the class, anywhere."""
        outline, pattern = (
            [*OUTLINES.values()][g.integers(12)],
            [*PATTERNS.values()][g.integers(12)],
        )
        own = outline, pattern, colours(0.8)
        radius, angle = largest * g.uniform(0.3, 0.8), g.uniform(0, 2 * np.pi)
        _paint(canvas, x, y, g, own, 1.1 * corner, radius, angle)

    # A wall or a landscape; objects of no meaning; the object of the class, mostly in view and its
    # own colours only roughly; perhaps something before it.
    far, near = colours(0.55).astype(np.float32)[:, :, None, None]
    cloud, (a, b) = _noise(g, y.size, x.size, int(g.integers(3, 10))), g.normal(0, 0.6, 2).tolist()
    share = 0.5 + (1 if g.random() < 0.5 else 12) * (a * x + b * y) + 0.4 * cloud
    canvas = (far + clip(share, 0, 1) * (near - far)) * (1 + 0.1 * cloud)
    for _ in range(g.integers(1, 4)):
        clutter(0.35)
    pair = np.array([list(bytes.fromhex(code)) for code in PALETTES[palette].split()]) / 255
    pair += g.normal(0, 0.05, (2, 3)) + g.normal(0, 0.05, (2, 1))
    radius = g.uniform(0.24, 0.46)
    room, own = maximum(corner - 0.75 * radius, 0.08), (OUTLINES[outline], PATTERNS[pattern], pair)
    _paint(canvas, x, y, g, own, room, radius, g.normal(0, 0.3))
    if g.random() < 0.35:
        clutter(0.2)
    # The camera: uneven light, a cast of colour, and grain.
    gain = 255 * np.exp(g.normal(0, 0.22) + g.normal(0, 0.07, (3, 1, 1)))
    canvas *= gain.astype(np.float32) * (1 + g.normal(0, 0.2) * x + g.normal(0, 0.2) * y)
    canvas += g.uniform(2.5, 9) * g.standard_normal(canvas.shape, dtype=np.float32)
    return np.ascontiguousarray(clip(canvas, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _paint(
    canvas: np.ndarray, x: np.ndarray, y: np.ndarray, g: np.random.Generator,
    own: tuple[Shape, Shape, np.ndarray], room: np.ndarray, radius: float, angle: float,
) -> None:  # fmt: skip
    """An object at most `room` from the middle, shaded as if it were round, with its shadow.

    `own`: its outline, its pattern and both colours.
    """
    outline, pattern, colours = own
    place = (room * g.uniform(-1, 1, 2)).tolist()
    x, y = (x - place[0]) / radius, (y - place[1]) / radius
    rows, columns = (slice(*np.searchsorted(axis.ravel(), (-1.3, 1.3))) for axis in (y, x))
    x, y, under = x[columns], y[rows], canvas[:, rows, columns]
    if not under.size:
        return
    # Mirrored, stretched and bent a little.
    stretch, c, s = math.exp(g.normal(0, 0.1)), math.cos(angle), math.sin(angle)
    u = (stretch if g.random() < 0.5 else -stretch) * (c * x + s * y)
    v = (c * y - s * x) / stretch + g.normal(0, 0.08) * (u * u - 0.3)
    n = _noise(g, y.size, x.size, 9)
    distance = outline(u, v) + 0.015 * n
    cover = clip(0.5 - distance * (radius * min(canvas.shape[1:])), 0, 1)
    a, b, depth = g.uniform(-0.25, 0.25), g.uniform(-0.3, 0), g.uniform(0.1, 0.6)
    under *= 1 - depth * clip(1.05 - (x + 2 * a) ** 2 - 1.6 * (y - 0.5) ** 2, 0, 1)
    light = 0.98 + a * x + b * y - 0.4 * np.exp(minimum(7 * distance, 0)) + 0.08 * n
    first, second = colours.astype(np.float32)[:, :, None, None]
    under += cover * (light * (first + clip(pattern(u, v, n), 0, 1) * (second - first)) - under)


def _noise(g: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise, mean 0 and deviation about 1, with `cells` values along a side."""
    values = Image.fromarray(1.4 * g.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(values.resize((width, height), Image.Resampling.BICUBIC))


def images(kind: str, places: Sequence[Place], size: Size, seed: int) -> Iterator[np.ndarray]:
    """Every photograph of `places`, as from `image`."""
    look(kind, max((index for index, _ in places), default=0))  # refused before any is drawn
    with progress(f"drawn {kind}", len(places), "images") as advance:
        for index, number in places:
            yield image(kind, index, number, size, seed)
            advance(1)


def jpegs(kind: str, files: Mapping[str, Place], size: Size, seed: int) -> Members:
    """(path, JPEG file) of every photograph of `files`; `..._gif.jpg` is GIF, and so on. As in the
    real sets, not all are RGB.
    """
    drawn = images(kind, [*files.values()], size, seed)
    for (path, place), pixels in zip(files.items(), drawn, strict=True):
        told = re.search(r"_(gif|png|bmp)\.jpg$", path)
        mode = {(0, 0): "L", (0, 1): "CMYK"}.get(place, "RGB")
        yield path, encoded(pixels, told[1] if told else "jpeg", mode)


def gallery(
    kind: str, path: Callable[[Place], str], unlisted: int = 0
) -> Callable[[Gallery], Members]:
    """An archive with every image as a JPEG file, in no order, and `unlisted` more of a class."""

    def members(s: Gallery) -> Members:
        more = s.model_copy(update={"test": s.test + unlisted})
        files = {path(place): place for part in more.places() for place in part}
        return jpegs(kind, files, s.sides, s.seed)

    return members


def encoded(pixels: np.ndarray, form: str, mode: str = "RGB") -> bytes:
    """uint8 `[h, w, 3]` as a file of one of Pillow's formats."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, quality=92)
    return file.getvalue()
