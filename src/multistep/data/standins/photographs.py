"""Drawn photographs: an object before a cluttered scene, for stand-ins of photographic datasets.

A class is an outline with a pattern and a pair of colours. Kinds (datasets) share these factors but
never a combination, so that what a network learns on one kind serves on another. Everything else is
nuisance: place, size, turn, light, background, clutter, grain.
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

# In this order they get their pairs of colours.
KINDS = (
    "tinyimagenet", "cifar100", "stl10", "cub200", "indoor67", "stanford40", "stanford_dogs",
    "miniimagenet", "tieredimagenet",
)  # fmt: skip
CLASSES = 64  # of a kind

Place = tuple[int, int]  # (class, number of the image within it)
Size = int | Sequence[int]  # a side in pixels, or the least and the greatest height and width
Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _box(u: np.ndarray, v: np.ndarray, width: float, height: float) -> np.ndarray:
    return maximum(abs(u) - width, abs(v) - height)


# Distances, negative inside, of coordinates in which an object fills about the unit disc, v down.
OUTLINES: dict[str, Shape] = {
    "disc": lambda u, v: hypot(u, v) - 0.8,
    "plank": lambda u, v: _box(u, v, 0.95, 0.33),
    "star": lambda u, v: hypot(u, v) - 0.6 - 0.32 * cos(5 * arctan2(u, -v)),
    "moon": lambda u, v: maximum(hypot(u, v) - 0.88, 0.68 - hypot(u - 0.42, v)),
    "square": lambda u, v: _box(u, v, 0.7, 0.7),
    "cross": lambda u, v: minimum(_box(u, v, 0.26, 0.88), _box(u, v, 0.88, 0.26)),
    "ring": lambda u, v: abs(hypot(u, v) - 0.62) - 0.22,
    "triangle": lambda u, v: maximum(0.87 * abs(u) - 0.5 * (v + 0.95), v - 0.6),
}
# How much of the second colour there is.
PATTERNS: dict[str, Shape] = {
    "bands": lambda u, v: 0.5 + 1.25 * sin(9.5 * v),
    "stripes": lambda u, v: 0.5 + 1.25 * sin(10 * u),
    "checks": lambda u, v: 0.5 + 2.5 * sin(7.5 * u) * sin(7.5 * v),
    "half": lambda u, v: 0.5 + 6 * v,
    "rings": lambda u, v: 0.5 + 1.25 * sin(11 * hypot(u - 0.15, v + 0.1)),
    "glow": lambda u, v: 1.15 - 1.3 * hypot(u, v),
    "waves": lambda u, v: 0.5 + 1.25 * sin(9 * v + 1.6 * sin(5 * u)),
    "sectors": lambda u, v: 0.5 + 1.25 * sin(6 * arctan2(v, u)),
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
    """Outline, pattern and palette of class `index` of a kind. Raises UserError if it has none.

    Of eight classes in a row each belongs to two, and no two share two of them: no factor alone
    tells a class.
    """
    if not 0 <= index < CLASSES:
        raise UserError(f"drawn: only {CLASSES} classes of {kind} can be drawn; ask for fewer")
    k, group, half, i = KINDS.index(kind), index // 8, index % 8 // 4, index % 4
    outline = 4 * (group % 2) + i
    pattern = 4 * (group // 2 % 2) + (i + half + 2 * (group // 4)) % 4
    palette = 4 * ((group + k) % 3) + (i + 2 * half + k // 3) % 4
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
    # Lengths are in shorter sides, from the middle. The canvas is float32 RGB [h, w, 3], 0 to 1.
    corner = np.array([width, height], np.float32) / (2 * min(height, width))
    x = np.linspace(-corner[0], corner[0], width, dtype=np.float32)[:, None]
    y = np.linspace(-corner[1], corner[1], height, dtype=np.float32)[:, None, None]
    # A wall or a horizon; objects of no meaning; the object of the class, mostly in view and its
    # own colours only roughly.
    far, near, slope = g.uniform(0.1, 0.9, (3, 3)).astype(np.float32)
    rise = (slope[0] - 0.5) * x + (slope[1] - 0.5) * y
    canvas = far + clip(0.5 + (2 if slope[2] < 0.5 else 20) * rise, 0, 1) * (near - far)
    pair = np.array([list(bytes.fromhex(code)) for code in PALETTES[palette].split()]) / 255
    objects = [
        ([*OUTLINES][g.integers(8)], [*PATTERNS][g.integers(8)], g.uniform(0, 1, (2, 3)), 0.16)
        for _ in range(g.integers(1, 4))
    ]
    objects.append((outline, pattern, pair + g.normal(0, 0.06, (2, 3)), 0.35))
    for outline, pattern, colours, large in objects:
        radius, turn = large * g.uniform(0.7, 1.3), g.normal(0, 0.3)
        place = (maximum(corner - 0.75 * radius, 0.08) * g.uniform(-1, 1, 2)).tolist()
        dx, dy = (x - place[0]) / radius, (y - place[1]) / radius
        c, s = math.cos(turn), math.sin(turn)
        u, v = c * dx + s * dy, c * dy - s * dx
        distance = OUTLINES[outline](u, v)
        cover = clip(0.5 - distance * radius * min(height, width), 0, 1)
        light = 1.1 + 0.3 * g.normal() * dx - 0.2 * dy - 0.4 * np.exp(minimum(7 * distance, 0))
        first, second = colours.astype(np.float32)
        paint = first + clip(PATTERNS[pattern](u, v), 0, 1) * (second - first)
        canvas += cover * (light * paint - canvas)
    # The camera: exposure, a cast of colour, and grain.
    canvas *= 255 * np.exp(g.normal(0, 0.22) + g.normal(0, 0.07, 3)).astype(np.float32)
    canvas += g.uniform(2.5, 9) * g.standard_normal(canvas.shape, dtype=np.float32)
    return clip(canvas, 0, 255).astype(np.uint8)


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
