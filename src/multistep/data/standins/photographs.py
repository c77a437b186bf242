"""Drawn photographs: an object before a cluttered scene, for stand-ins of photographic datasets.

A class is an outline with a pattern and a pair of colours. Kinds (datasets) share these factors but
never a combination, so that what a network learns on one kind serves on another. Classes come in
groups of eight in which every outline, every pattern and every pair of colours belongs to two
classes: no factor alone tells a class. Everything else is nuisance: place, size, turn, proportions,
light, shadow, background, clutter before and behind, noise of the sensor.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

from multistep.data.standins.surfaces import OUTLINES, PALETTES, PATTERNS, Outline, Pattern

# How many classes the real datasets have; in this order they get their combinations.
KINDS = {
    "tinyimagenet": 200,
    "cifar100": 100,
    "stl10": 10,
    "cub200": 200,
    "indoor67": 67,
    "stanford40": 40,
    "stanford_dogs": 120,
    "imagenet": 1000,
}
# Fine-grained kinds: their classes differ by pattern and colours more than by outline.
_ALIKE = {
    "cub200": ("fish", "egg", "drop", "moon", "peanut", "heart"),
    "stanford_dogs": ("mushroom", "bowl", "pentagon", "clover", "arrow", "disc"),
}
_GROUP = 8
_TILE = 512  # texels along a tile of noise ...
_PER_SIDE = 256  # ... of which so many span an image's shorter side


@dataclass(frozen=True)
class Look:
    """What makes a class: names of an outline, a pattern and a palette."""

    outline: str
    pattern: str
    palette: str


def image(kind: str, index: int, number: int, size: int | tuple[int, int], seed: int) -> np.ndarray:
    """Photograph `number` of class `index` of a kind, uint8 `[h, w, 3]`.

    `size`: its side, or (height, width). Equal arguments give equal pixels. Raises ValueError for a
    class that a kind doesn't have, and KeyError for an unknown kind.
    """
    subject = look(kind, index)
    height, width = (size, size) if isinstance(size, int) else size
    g = np.random.default_rng([seed, zlib.crc32(kind.encode()), index, number])
    scene = _Scene(height, width, g)
    scene.background()
    for _ in range(g.integers(1, 4)):
        scene.clutter(0.35)
    scene.subject(subject)
    if g.random() < 0.35:
        scene.clutter(0.2)
    return scene.exposed()


def look(kind: str, index: int) -> Look:
    """The combination that class `index` of a kind has."""
    found = _looks()[kind]
    if not 0 <= index < len(found):
        raise ValueError(f"{kind}: no class {index}, only {len(found)} can be drawn")
    return found[index]


def names(kind: str, classes: int) -> list[str]:
    """Names for the first classes of a kind, such as checks_fish_rust: what one can see."""
    looks = [look(kind, i) for i in range(classes)]
    return [f"{one.pattern}_{one.outline}_{one.palette}" for one in looks]


@cache
def _looks() -> dict[str, list[Look]]:
    """All classes; no combination occurs twice."""
    taken: set[Look] = set()
    looks: dict[str, list[Look]] = {}
    for kind, count in KINDS.items():
        g = np.random.default_rng([2006, zlib.crc32(kind.encode())])
        found = looks[kind] = []
        while len(found) < count:
            group = [one for one in _group(kind, g) if one not in taken]
            if len(group) == _GROUP:
                taken.update(group)
                found.extend(group)
        del found[count:]
    return looks


def _group(kind: str, g: np.random.Generator) -> list[Look]:
    """Eight combinations of four values of each factor, each value in two of them."""
    outlines, patterns, palettes = (
        g.permutation(sorted(names))[:4]
        for names in (_ALIKE.get(kind, OUTLINES), PATTERNS, PALETTES)
    )
    return [
        Look(str(outlines[i]), str(patterns[(i + j) % 4]), str(palettes[(i + 2 * j) % 4]))
        for j in range(2)
        for i in range(4)
    ]


class _Scene:
    """A canvas, float32 RGB `[3, h, w]` from 0 to 1, that is painted from back to front."""

    def __init__(self, height: int, width: int, g: np.random.Generator) -> None:
        self.g = g
        self.side = min(height, width)
        self.x = (np.arange(width, dtype=np.float32) + 0.5) / self.side
        self.y = (np.arange(height, dtype=np.float32) + 0.5) / self.side
        self.canvas = np.empty((3, height, width), dtype=np.float32)
        angle = g.uniform(0, 2 * np.pi)
        self.light = 0.3 * np.cos(angle), -0.3 * abs(np.sin(angle))  # from above, mostly

    def background(self) -> None:
        """A wall, a landscape with a horizon, or a patterned surface; always uneven."""
        g = self.g
        far, near = (self._colour(0.55).astype(np.float32)[:, None, None] for _ in range(2))
        x, y = self.x[None, :], self.y[:, None]
        cloud = self._noise(0.35 + 0.9 * g.random(), slice(None), slice(None))
        style = g.random()
        if style < 0.4:  # a horizon that may tilt
            level = g.uniform(0.25, 0.75) * self.y[-1] + g.normal(0, 0.12) * (x - 0.5)
            share = np.clip(14 * (y - level) + 0.7 * cloud, 0, 1)
        elif style < 0.75:
            a, b = g.normal(0, 0.6, 2)
            share = np.clip(0.5 + a * (x - 0.5) + b * (y - 0.5) + 0.3 * cloud, 0, 1)
        else:
            pattern = list(PATTERNS.values())[g.integers(len(PATTERNS))]
            a, b = g.uniform(1.5, 4), g.uniform(0, 2 * np.pi)
            u = a * (np.cos(b) * (x - 0.5) + np.sin(b) * (y - 0.5))
            v = a * (np.cos(b) * (y - 0.5) - np.sin(b) * (x - 0.5))
            share = 0.6 * pattern(u.astype(np.float32), v.astype(np.float32), cloud)
        shade = 1 + 0.1 * cloud + 0.07 * self._noise(3.0, slice(None), slice(None))
        np.multiply(share.astype(np.float32), near - far, out=self.canvas)
        self.canvas += far
        self.canvas *= shade

    def clutter(self, largest: float) -> None:
        """Something that has nothing to do with the class, anywhere."""
        g = self.g
        place = g.uniform(-0.05, 1.05, 2) * (self.x[-1], self.y[-1])
        self._paint(
            list(OUTLINES.values())[g.integers(len(OUTLINES))],
            list(PATTERNS.values())[g.integers(len(PATTERNS))],
            np.stack([self._colour(0.8), self._colour(0.8)]),
            place, largest * g.uniform(0.3, 0.8), g.uniform(0, 2 * np.pi),
        )  # fmt: skip

    def subject(self, one: Look) -> None:
        """The object of the class: mostly in view, and its own colours only roughly."""
        g = self.g
        radius = g.uniform(0.24, 0.46)
        middle = np.array([self.x[-1], self.y[-1]]) / 2
        place = middle + g.uniform(-1, 1, 2) * np.maximum(middle - 0.75 * radius, 0.08)
        colours = PALETTES[one.palette] + g.normal(0, 0.05, (2, 3)) + g.normal(0, 0.05, (2, 1))
        self._shadow(place, radius)
        self._paint(
            OUTLINES[one.outline], PATTERNS[one.pattern], colours, place, radius, g.normal(0, 0.3)
        )

    def exposed(self) -> np.ndarray:
        """The picture that a camera takes of it: uint8."""
        g = self.g
        gain = np.exp(g.normal(0, 0.22)) * np.exp(g.normal(0, 0.07, 3))
        falloff = g.uniform(0, 0.5)
        x, y = self.x[None, :] - self.x[-1] / 2, self.y[:, None] - self.y[-1] / 2
        light = 1 - falloff * (x * x + y * y) + g.normal(0, 0.2) * x + g.normal(0, 0.2) * y
        picture = self.canvas
        picture *= light.astype(np.float32)
        picture *= gain.astype(np.float32)[:, None, None]
        haze = np.float32(g.uniform(0, 0.12))
        picture *= 1 - haze
        picture += 0.6 * haze
        noise = g.standard_normal(picture.shape, dtype=np.float32)
        noise *= np.float32(g.uniform(0.01, 0.035))
        picture += noise
        np.clip(picture, 0, 1, out=picture)
        picture *= 255
        picture += 0.5
        return np.ascontiguousarray(picture.astype(np.uint8).transpose(1, 2, 0))

    def _colour(self, saturation: float) -> np.ndarray:
        """Any colour, greyish for small saturations."""
        g = self.g
        return g.uniform(0.12, 0.88) + saturation * g.uniform(-0.35, 0.35, 3)

    def _window(self, place: np.ndarray, reach: float) -> tuple[slice, slice]:
        """Rows and columns within `reach` of a place."""
        spans = []
        for at, axis in ((place[1], self.y), (place[0], self.x)):
            low, high = ((at - reach) * self.side, (at + reach) * self.side)
            spans.append(slice(max(0, int(low)), max(0, min(len(axis), int(high) + 1))))
        return spans[0], spans[1]

    def _paint(
        self,
        outline: Outline,
        pattern: Pattern,
        colours: np.ndarray,
        place: np.ndarray,
        radius: float,
        angle: float,
    ) -> None:
        """An object onto the canvas, shaded as if it were round."""
        g = self.g
        stretch = np.exp(g.normal(0, 0.1))
        flip = -1 if g.random() < 0.5 else 1
        bend = g.normal(0, 0.08)
        rows, columns = self._window(place, 1.3 * radius)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        x = (self.x[columns] - np.float32(place[0])) / np.float32(radius)
        y = (self.y[rows] - np.float32(place[1])) / np.float32(radius)
        c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u = np.float32(flip * stretch) * (c * x[None, :] + s * y[:, None])
        v = np.float32(1 / stretch) * (c * y[:, None] - s * x[None, :])
        v += np.float32(bend) * (u * u - np.float32(0.3))
        n = self._noise(0.9 / radius, rows, columns)
        distance = outline(u, v) + np.float32(0.015) * n
        pixel = 1 / (self.side * radius)
        cover = np.clip(np.float32(0.5) - distance / np.float32(pixel), 0, 1)
        if not cover.any():
            return
        share = pattern(u, v, n)
        lx, ly = self.light
        shade = 0.98 + lx * x[None, :] + ly * y[:, None] - 0.4 * np.exp(np.minimum(7 * distance, 0))
        lit = cover * (shade + np.float32(0.08) * n)
        first, second = colours.astype(np.float32)[:, :, None, None]
        under = self.canvas[:, rows, columns]
        under *= 1 - cover
        under += lit * first
        under += (lit * share) * (second - first)

    def _shadow(self, place: np.ndarray, radius: float) -> None:
        """A soft dark ellipse, away from the light."""
        g = self.g
        at = place + radius * np.array([-0.8 * self.light[0], 0.3 + 0.4 * g.random()])
        rows, columns = self._window(at, 1.1 * radius)
        x = (self.x[columns] - at[0])[None, :] / radius
        y = (self.y[rows] - at[1])[:, None] / radius
        depth = g.uniform(0.1, 0.6) * np.clip(1.05 - x * x - 1.6 * y * y, 0, 1)
        self.canvas[:, rows, columns] *= (1 - depth).astype(np.float32)

    def _noise(self, frequency: float, rows: slice, columns: slice) -> np.ndarray:
        """Smooth noise, mean 0 and deviation 1, with features 1/(4·frequency) of a side wide."""
        g = self.g
        tile = _tiles()[g.integers(len(_tiles()))]
        step = _PER_SIDE * frequency / 2
        a, b = g.integers(0, _TILE, 2)
        j = (self.x[columns] * step + a).astype(np.intp) % _TILE
        i = (self.y[rows] * step + b).astype(np.intp) % _TILE
        return tile[i[:, None], j[None, :]]


@cache
def _tiles() -> np.ndarray:
    """Four tiles of noise that continue at their borders, float32 `[4, _TILE, _TILE]`."""
    g = np.random.default_rng(4298)
    frequency = np.fft.fftfreq(_TILE) * _TILE
    radius = np.hypot(frequency[:, None], frequency[None, : _TILE // 2 + 1])
    # Few long waves, most around eight to the tile, and a tail of shorter ones.
    spectrum = radius / (1 + (radius / 7) ** 3.2)
    tiles = []
    for _ in range(4):
        waves = np.fft.rfft2(g.standard_normal((_TILE, _TILE))) * spectrum
        tile = np.fft.irfft2(waves, s=(_TILE, _TILE))
        tiles.append((tile / tile.std()).astype(np.float32))
    return np.stack(tiles)
