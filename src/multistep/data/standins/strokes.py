"""From the outline of a printed character to the strokes of a pen.

A glyph is rasterised, thinned to lines one pixel wide (Zhang and Suen, CACM 27:236, 1984), and the
lines are traced as a graph: ends and junctions are its nodes. At a junction the branch that goes
straightest on continues the stroke, as a hand would. Thinning bends lines at junctions and leaves
spurs; short spurs are dropped and strokes are smoothed over about the thickness of the print.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Pixel = tuple[int, int]
End = tuple[int, int]  # (edge, 0 for its start or 1 for its end)

EM = 96  # pixels per em of the raster
_THICKNESS = 0.1 * EM  # of DejaVu Sans' stems
_AROUND = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]


def strokes(font: Path, character: str) -> list[np.ndarray]:
    """Pen strokes of a character: float arrays `[points, 2]` of (x, y) in em, y downwards.

    The middle of their bounding box is the origin. A closed stroke ends where it began.
    """
    lines = [_smoothed(line) for line in _traced(_thinned(_raster(font, character)))]
    every = np.concatenate(lines)
    middle = (every.min(0) + every.max(0)) / 2
    return [(line - middle)[:, ::-1] / EM for line in lines]


def _raster(font: Path, character: str) -> np.ndarray:
    """Bool `[height, width]`, true on ink, with a margin."""
    face = ImageFont.truetype(str(font), EM, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = face.getbbox(character)
    image = Image.new("L", (int(right - left) + 6, int(bottom - top) + 6))
    ImageDraw.Draw(image).text((3 - left, 3 - top), character, fill=255, font=face)
    return np.asarray(image) > 127


def _thinned(ink: np.ndarray) -> np.ndarray:
    """Zhang and Suen's thinning: peel both sides in turn until only lines are left."""
    ink = np.pad(ink, 1)
    while True:
        before = ink.sum()
        for first in (True, False):
            p = [np.roll(ink, (-dy, -dx), (0, 1)) for dy, dx in _AROUND]
            neighbours = np.sum(p, axis=0)
            crossings = np.sum([~a & b for a, b in zip(p, [*p[1:], p[0]], strict=True)], axis=0)
            n, e, s, w = p[0], p[2], p[4], p[6]
            kept = (n & e & s) | (e & s & w) if first else (n & e & w) | (n & s & w)
            peel = ink & (neighbours >= 2) & (neighbours <= 6) & (crossings == 1) & ~kept
            ink = ink & ~peel
        if ink.sum() == before:
            return ink


def _neighbours(pixel: Pixel, pixels: set[Pixel]) -> list[Pixel]:
    """Adjacent pixels; a diagonal one only if no way around the corner joins the two."""
    y, x = pixel
    return [
        (y + dy, x + dx)
        for dy, dx in _AROUND
        if (y + dy, x + dx) in pixels
        and not (dy and dx and ((y + dy, x) in pixels or (y, x + dx) in pixels))
    ]


def _traced(skeleton: np.ndarray) -> list[np.ndarray]:
    """Strokes as float `[points, 2]` of (row, column)."""
    pixels = {(int(y), int(x)) for y, x in np.argwhere(skeleton)}
    around = {pixel: _neighbours(pixel, pixels) for pixel in sorted(pixels)}
    edges = _edges(around)
    junction = {pixel: pixel for pixel in around if len(around[pixel]) > 2}
    edges = _contracted(edges, junction)
    edges = _pruned(edges)
    return [np.asarray(line, dtype=float) for line in _joined(edges)]


def _edges(around: dict[Pixel, list[Pixel]]) -> list[list[Pixel]]:
    """Dots, paths between nodes, and what is left: closed loops, which end where they begin."""
    edges = [[pixel] for pixel, near in around.items() if not near]
    walked: set[tuple[Pixel, Pixel]] = set()

    def walk(start: Pixel, to: Pixel) -> None:
        if (start, to) in walked:
            return
        path = [start, to]
        while len(around[path[-1]]) == 2 and path[-1] != start:
            a, b = around[path[-1]]
            path.append(b if a == path[-2] else a)
        walked.update(pairwise(path))
        walked.update(pairwise(path[::-1]))
        edges.append(path)

    for nodes in (True, False):
        for start, near in around.items():
            if (len(near) != 2) == nodes:
                for to in near:
                    walk(start, to)
    return edges


def _contracted(edges: list[list[Pixel]], junction: dict[Pixel, Pixel]) -> list[list[Pixel]]:
    """Two junctions closer than the print is thick were one crossing: give them one place."""

    def place(pixel: Pixel) -> Pixel:
        while junction[pixel] != pixel:
            pixel = junction[pixel]
        return pixel

    kept = []
    for edge in edges:
        a, b = edge[0], edge[-1]
        if a != b and a in junction and b in junction and len(edge) < _THICKNESS:
            junction[place(a)] = place(b)
        else:
            kept.append(edge)
    ends = [(edge[0], edge[-1]) for edge in kept]
    return [
        [place(a) if a in junction else a, *edge[1:-1], place(b) if b in junction else b]
        if len(edge) > 1
        else edge
        for edge, (a, b) in zip(kept, ends, strict=True)
    ]


def _pruned(edges: list[list[Pixel]]) -> list[list[Pixel]]:
    """Without spurs: short branches from a junction that end in nothing."""
    count: dict[Pixel, int] = defaultdict(int)
    for edge in edges:
        count[edge[0]] += 1
        count[edge[-1]] += 1
    return [
        edge
        for edge in edges
        if len(edge) > 0.6 * _THICKNESS or (count[edge[0]] > 1) == (count[edge[-1]] > 1)
    ]


def _joined(edges: list[list[Pixel]]) -> Iterator[list[Pixel]]:
    """Edges put together to strokes: through every node along the straightest continuation."""
    partner = _partners(edges)
    used: set[int] = set()
    starts = [(i, side) for i in range(len(edges)) for side in (0, 1) if (i, side) not in partner]
    for edge, side in [*starts, *((i, 0) for i in range(len(edges)))]:
        if edge in used:
            continue
        line: list[Pixel] = []
        at: End | None = (edge, side)
        while at is not None and at[0] not in used:
            used.add(at[0])
            path = edges[at[0]] if at[1] == 0 else edges[at[0]][::-1]
            line += path if not line else path[1:]
            at = partner.get((at[0], 1 - at[1]))
        yield line


def _partners(edges: list[list[Pixel]]) -> dict[End, End]:
    """For each end of an edge, the end that continues it, if any goes on at more than 120°."""
    at: dict[Pixel, list[End]] = defaultdict(list)
    for i, edge in enumerate(edges):
        if len(edge) > 1:
            at[edge[0]].append((i, 0))
            at[edge[-1]].append((i, 1))

    def direction(end: End) -> np.ndarray:
        path = edges[end[0]] if end[1] == 0 else edges[end[0]][::-1]
        ahead = np.subtract(path[min(len(path) - 1, int(1.5 * _THICKNESS))], path[0])
        return ahead / max(1e-9, float(np.hypot(*ahead)))

    partner: dict[End, End] = {}
    for ends in at.values():
        turns = sorted(
            (float(direction(a) @ direction(b)), a, b)
            for i, a in enumerate(ends)
            for b in ends[i + 1 :]
        )
        for turn, a, b in turns:
            if a not in partner and b not in partner and (turn < -0.5 or len(ends) == 2):
                partner[a], partner[b] = b, a
    return partner


def _smoothed(line: np.ndarray) -> np.ndarray:
    """A moving average with fixed ends, or around a closed line."""
    reach = int(min(0.5 * _THICKNESS, (len(line) - 1) // 2))
    if reach < 1:
        return line
    closed = bool(np.all(line[0] == line[-1]))
    before, after = line[-reach - 1 : -1], line[1 : reach + 1]
    if not closed:  # mirrored about the ends, which then stay where they are
        before, after = 2 * line[0] - after[::-1], 2 * line[-1] - line[-reach - 1 : -1][::-1]
    window = np.hanning(2 * reach + 3)[1:-1]
    padded = np.concatenate([before, line, after])
    return np.stack(
        [np.convolve(padded[:, k], window / window.sum(), mode="valid") for k in (0, 1)], axis=1
    )
