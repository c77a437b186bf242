"""What drawn photographs are made of: outlines, patterns and colours that all kinds share.

Outlines and patterns are functions of coordinates u, v (float32 arrays, v downwards) in which an
object fills about the unit disc. An outline gives a distance that is negative inside (only near the
edge is it a true one); a pattern gives how much of the second colour there is, from 0 to 1. `n` is
smooth noise around 0 of standard deviation 1 at the same places.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Field = np.ndarray
Outline = Callable[[Field, Field], Field]
Pattern = Callable[[Field, Field, Field], Field]


def _lobes(count: int, mean: float, depth: float) -> Outline:
    """A star or a flower: the radius swings `count` times around."""

    def outline(u: Field, v: Field) -> Field:
        return np.hypot(u, v) - (mean + depth * np.cos(count * np.arctan2(u, -v)))

    return outline


def _polygon(count: int, radius: float) -> Outline:
    """Regular, with a corner or a side at the top."""
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    normals = np.stack([np.sin(angles), -np.cos(angles)], axis=1).astype(np.float32)
    inner = np.float32(radius * np.cos(np.pi / count))

    def outline(u: Field, v: Field) -> Field:
        distance = normals[0, 0] * u + normals[0, 1] * v
        for a, b in normals[1:]:
            np.maximum(distance, a * u + b * v, out=distance)
        return distance - inner

    return outline


def _box(u: Field, v: Field, width: float, height: float) -> Field:
    """Half of `width` and of `height`."""
    return np.maximum(np.abs(u) - width, np.abs(v) - height)


def _arrow(u: Field, v: Field) -> Field:
    head = np.maximum(0.8 * np.abs(u) - 0.6 * (v + 0.9), v + 0.05)
    return np.minimum(head, _box(u, v - 0.4, 0.24, 0.5))


def _mushroom(u: Field, v: Field) -> Field:
    cap = np.maximum(np.hypot(u, v - 0.05) - 0.85, v - 0.05)
    return np.minimum(cap, _box(u, v - 0.45, 0.22, 0.42))


def _heart(u: Field, v: Field) -> Field:
    a = np.abs(u)
    return np.where(
        a - v > 0.25,
        np.hypot(a - 0.38, v + 0.28) - 0.48,
        0.72 * a + 0.69 * v - 0.58,
    )


def _drop(u: Field, v: Field) -> Field:
    ball = np.hypot(u, v - 0.3) - 0.55
    return np.minimum(ball, np.maximum(0.9 * np.abs(u) - 0.42 * (v + 0.92), v - 0.1))


def _comb(u: Field, v: Field) -> Field:
    teeth = np.maximum(np.abs((u + 0.9) % 0.6 - 0.3) - 0.16, _box(u, v, 0.9, 0.8))
    return np.minimum(teeth, _box(u, v - 0.6, 0.85, 0.22))


def _fish(u: Field, v: Field) -> Field:
    tail = np.maximum(np.abs(v) - 0.9 * (u - 0.3), u - 0.9)
    return np.minimum(np.hypot(0.62 * (u + 0.15), v) - 0.45, tail)


OUTLINES: dict[str, Outline] = {
    "disc": lambda u, v: np.hypot(u, v) - 0.8,
    "egg": lambda u, v: 0.75 * (np.hypot(u, (1.75 + 0.35 * u) * v) - 0.95),
    "square": lambda u, v: _box(u, v, 0.7, 0.7),
    "plank": lambda u, v: _box(u, v, 0.95, 0.33),
    "triangle": _polygon(3, 1.05),
    "pentagon": _polygon(5, 0.98),
    "diamond": lambda u, v: 0.55 * (np.abs(u) / 0.58 + np.abs(v) / 0.98 - 1),
    "star": _lobes(5, 0.6, 0.32),
    "flower": _lobes(6, 0.68, 0.2),
    "clover": _lobes(3, 0.62, 0.3),
    "cross": lambda u, v: np.minimum(_box(u, v, 0.26, 0.88), _box(u, v, 0.88, 0.26)),
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.62) - 0.22,
    "frame": lambda u, v: np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.58) - 0.19,
    "moon": lambda u, v: np.maximum(np.hypot(u, v) - 0.88, 0.68 - np.hypot(u - 0.42, v)),
    "bowl": lambda u, v: np.maximum(np.hypot(u, v + 0.35) - 0.92, -v - 0.35),
    "hourglass": lambda u, v: np.maximum(
        np.abs(v) - 0.85, 0.8 * (np.abs(u) - 0.12 - 0.7 * np.abs(v))
    ),
    "peanut": lambda u, v: np.minimum(np.hypot(u - 0.42, v), np.hypot(u + 0.42, v)) - 0.47,
    "arrow": _arrow,
    "mushroom": _mushroom,
    "heart": _heart,
    "drop": _drop,
    "comb": _comb,
    "fish": _fish,
    "wedge": lambda u, v: np.maximum(0.7 * (u + v) - 0.25, np.maximum(-u, -v) - 0.72),
}


def _waves(phase: Field, sharpness: float = 2.5) -> Field:
    """Bands with soft edges, half of each colour."""
    return np.clip(0.5 + 0.5 * sharpness * np.sin(phase), 0, 1)


def _bricks(u: Field, v: Field, n: Field) -> Field:
    row = np.floor(3.2 * v)
    across = np.abs((1.8 * u + 0.5 * (row % 2)) % 1 - 0.5)
    along = np.abs((3.2 * v) % 1 - 0.5)
    return np.clip(9 * (np.maximum(across * 1.05, along) - 0.37), 0, 1)


def _dots(u: Field, v: Field, n: Field) -> Field:
    row = np.floor(2.6 * v)
    distance = np.hypot((2.6 * u + 0.5 * (row % 2)) % 1 - 0.5, (2.6 * v) % 1 - 0.5)
    return np.clip(6 * (0.36 - distance), 0, 1)


PATTERNS: dict[str, Pattern] = {
    "plain": lambda u, v, n: np.clip(0.12 + 0.1 * n, 0, 1),
    "bands": lambda u, v, n: _waves(9.5 * v + 0.25 * n),
    "stripes": lambda u, v, n: _waves(10 * u + 0.25 * n),
    "slant": lambda u, v, n: _waves(7 * (u + v) + 0.3 * n),
    "waves": lambda u, v, n: _waves(9 * v + 1.6 * np.sin(5 * u)),
    "checks": lambda u, v, n: np.clip(0.5 + 2.5 * np.sin(7.5 * u) * np.sin(7.5 * v), 0, 1),
    "dots": _dots,
    "spots": lambda u, v, n: np.clip(1.8 * n - 0.7, 0, 1),
    "rings": lambda u, v, n: _waves(11 * np.hypot(u - 0.15, v + 0.1) + 0.5 * n),
    "marble": lambda u, v, n: np.clip(1 - 2.6 * np.abs(n), 0, 1),
    "bricks": _bricks,
    "sectors": lambda u, v, n: _waves(6 * np.arctan2(v, u)),
    "half": lambda u, v, n: np.clip(0.5 + 6 * v + 0.5 * n, 0, 1),
    "glow": lambda u, v, n: np.clip(1.15 - 1.3 * np.hypot(u, v), 0, 1),
}

# First and second colour, RGB from 0 to 1.
_COLOURS: dict[str, tuple[str, str]] = {
    "cherry": ("c02a2e", "f2dccb"),
    "rust": ("b4571f", "3f2a22"),
    "straw": ("d9b44a", "6d4a1e"),
    "lemon": ("e8d93c", "4a7a2c"),
    "moss": ("5f7d33", "d2cf96"),
    "pine": ("1f5b3f", "c9403a"),
    "sea": ("2f8f93", "f0e6c0"),
    "sky": ("5fa8dc", "f4f4f4"),
    "ink": ("27407f", "e3b23c"),
    "plum": ("6b3a78", "e79fb6"),
    "rose": ("d8738f", "54203a"),
    "ash": ("8d8f92", "25272b"),
    "snow": ("e9e9e4", "5b6f8a"),
    "coal": ("2b2a2c", "d7743a"),
}
PALETTES: dict[str, np.ndarray] = {
    name: np.array(
        [[int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)] for code in pair], dtype=np.float32
    )
    for name, pair in _COLOURS.items()
}
