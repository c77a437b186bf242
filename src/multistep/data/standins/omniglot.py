"""A stand-in for Omniglot: printed characters of many scripts, drawn again as by hand.

An archive has the official layout and format, so everything after the download is the same code.
Twenty drawers have each a slant, a size, proportions, a place on the page, a warp and an unsteady
hand; a drawer draws every character of an alphabet once, and no two drawings are equal. The pen is
Omniglot's: one width, on 105×105 one-bit paper, its path a polygon as sampled from a mouse.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pydantic import Field

from multistep.data.standins.alphabets import ALPHABETS
from multistep.data.standins.strokes import strokes
from multistep.files import UserError, atomic_write
from multistep.progress import progress
from multistep.settings import Model

SIDE = 105
_ORIGIN = b"drawn by multistep: "
_EM = 90.0  # pixels per em of an average drawer: characters as large as Omniglot's on average
_MARGIN = 5.0  # pixels of paper that stay white
# Omniglot numbers the evaluation set's characters after the 964 of the background set.
_FIRST_NUMBER = {"images_background": 1, "images_evaluation": 965}


@dataclass(frozen=True)
class Drawer:
    """The hand of one person. Lengths in pixels, angles in radians."""

    shape: np.ndarray  # [2, 2]: rotation, slant, proportions and size at once, from em
    place: np.ndarray  # [2]: where the middle of the character comes
    warp: float  # amplitude of the smooth warp
    tremor: float  # standard deviation of the path's points
    spacing: float  # between the path's points; large is angular
    looseness: float  # how far strokes stray from where they belong, and end early or late


class Settings(Model):
    """How much is drawn for one archive."""

    alphabets: int = Field(ge=1)
    characters: int = Field(ge=1)
    drawers: int = Field(ge=1)
    seed: int = Field(ge=0)


def draw(out: Path, settings: Settings) -> None:
    """Write the archive `out`: its name without `.zip` is the folder of Omniglot it stands in for.

    The same settings give the same bytes. Raises UserError if more alphabets or characters are
    asked for than there are, or if another archive than a drawn one is in the way.
    """
    alphabets, characters = settings.alphabets, settings.characters
    drawers, seed = settings.drawers, settings.seed
    archive = out.name.removesuffix(".zip")
    if archive not in ALPHABETS:
        raise UserError(
            f"{out}: no stand-in is known by this name; known: "
            + ", ".join(f"{name}.zip" for name in ALPHABETS)
        )
    origin = _origin(settings)
    _refuse_foreign(out)
    chosen = _chosen(ALPHABETS[archive], alphabets, characters, f"{archive}.zip", seed)
    font = _font(chosen)
    number = _FIRST_NUMBER[archive]
    with (
        progress(out.name, alphabets * characters * drawers, "drawings") as advance,
        atomic_write(out) as file,
        zipfile.ZipFile(file, "w") as into,
    ):
        into.comment = origin
        for alphabet, letters in chosen.items():
            hands = [_drawer(_generator(seed, alphabet, d)) for d in range(drawers)]
            for i, letter in enumerate(letters):
                lines = strokes(font, letter)
                for d, hand in enumerate(hands):
                    image = _drawing(lines, hand, _generator(seed, alphabet, d, ord(letter)))
                    name = f"{archive}/{alphabet}/character{i + 1:02}/{number:04}_{d + 1:02}.png"
                    # A fixed time: the bytes depend on the arguments alone.
                    into.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), _png(image))
                number += 1
                advance(drawers)


def _origin(settings: Settings) -> bytes:
    """The zip's comment, by which a drawn archive is known."""
    return _ORIGIN + json.dumps(settings.model_dump()).encode()


def _refuse_foreign(out: Path) -> None:
    """Drawing again over a drawing is harmless; over anything else it isn't."""
    if not out.exists():
        return
    try:
        with zipfile.ZipFile(out) as present:
            drawn = present.comment.startswith(_ORIGIN)
    except zipfile.BadZipFile:
        drawn = False
    if not drawn:
        raise UserError(f"{out}: in the way, and not a drawn archive; move it away and run again")


def _chosen(
    known: Mapping[str, str], alphabets: int, characters: int, archive: str, seed: int
) -> dict[str, str]:
    """Alphabets with enough characters, picked by the seed; sorted by name."""
    fit = sorted(name for name, letters in known.items() if len(letters) >= characters)
    if len(fit) < alphabets:
        raise UserError(
            f"{archive}: {alphabets} alphabets of {characters} characters can't be drawn, only "
            f"{len(fit)} of at least that many are known; ask for fewer"
        )
    generator = _generator(seed, archive)
    picked = sorted(generator.permutation(fit)[:alphabets].tolist())
    return {name: "".join(generator.permutation([*known[name]])[:characters]) for name in picked}


def _font(chosen: Mapping[str, str]) -> Path:
    """DejaVu Sans as matplotlib ships it, if it has every character."""
    import matplotlib  # here, since reading params.yaml imports this module for its Settings
    from matplotlib.ft2font import FT2Font

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    known = FT2Font(str(font)).get_charmap()
    for alphabet, letters in chosen.items():
        if lacking := [letter for letter in letters if ord(letter) not in known]:
            raise UserError(
                f"{font}: no glyph U+{ord(lacking[0]):04X} of {alphabet}; install a matplotlib "
                "of the versions that pyproject.toml names"
            )
    return font


def _generator(*key: int | str) -> np.random.Generator:
    """Random numbers that depend on the key alone, not on what was drawn before."""
    return np.random.default_rng([k if isinstance(k, int) else zlib.crc32(k.encode()) for k in key])


def _drawer(g: np.random.Generator) -> Drawer:
    size = _EM * np.exp(g.normal(0, 0.14))
    proportion = np.exp(g.normal(0, 0.1))
    return Drawer(
        shape=_rotation(g.normal(0, 0.05))
        @ np.array([[1, g.normal(-0.08, 0.15)], [0, 1]])
        @ np.diag([size * proportion, size / proportion]),
        place=np.array([SIDE / 2 - 2, SIDE / 2 - 2]) + g.normal(0, 5, 2),
        warp=g.uniform(0.8, 2.4),
        tremor=g.uniform(0.1, 0.5),
        spacing=g.uniform(3, 9),
        looseness=g.uniform(0.3, 1.6),
    )


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _drawing(lines: list[np.ndarray], hand: Drawer, g: np.random.Generator) -> np.ndarray:
    """One drawing, bool `[SIDE, SIDE]`, true on ink; `lines` as from `strokes`, in em."""
    shape = _rotation(g.normal(0, 0.05)) @ hand.shape * np.exp(g.normal(0, 0.07, (2, 1)))
    place = hand.place + g.normal(0, 2.5, 2)
    # A few plane waves, 50 to 130 pixels long, are a smooth warp.
    waves = 2 * np.pi / g.uniform(50, 130, 4)[:, None] * _unit(g, 4)
    phases, sway = g.uniform(0, 2 * np.pi, 4), g.normal(0, hand.warp / 1.4, (4, 2))

    paths = []
    for line in lines:
        path = line @ shape.T
        path = path + np.sin(path @ waves.T + phases) @ sway
        path = _resampled(path, hand.spacing * g.uniform(0.7, 1.3))
        closed = len(path) > 2 and bool(np.allclose(path[0], path[-1]))
        path = path + g.normal(0, hand.tremor, path.shape) + g.normal(0, hand.looseness / 2, 2)
        # A hand misses the point where it began, and stops short of a corner or runs over it.
        path[0] += g.normal(0, hand.looseness, 2) * (1.5 if closed else 1)
        path[-1] += g.normal(0, hand.looseness, 2) * (1.5 if closed else 1)
        paths.append(path)
    return _inked(_fitted(paths, place))


def _unit(g: np.random.Generator, n: int) -> np.ndarray:
    angles = g.uniform(0, 2 * np.pi, n)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _resampled(path: np.ndarray, spacing: float) -> np.ndarray:
    """Points at even distances of about `spacing` along the path, its ends included."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    at = np.linspace(0, lengths[-1], max(2, round(float(lengths[-1]) / spacing) + 1))
    return np.stack([np.interp(at, lengths, path[:, k]) for k in (0, 1)], axis=1)


def _fitted(paths: list[np.ndarray], place: np.ndarray) -> list[np.ndarray]:
    """Moved to `place`, and as far as needed back onto the paper; shrunk if too large for it."""
    every = np.concatenate(paths)
    room = SIDE - 2 * _MARGIN
    shrink = min(1.0, room / max(1.0, float(np.ptp(every, axis=0).max())))
    low, high = every.min(0) * shrink + place, every.max(0) * shrink + place
    back = np.maximum(0, _MARGIN - low) - np.maximum(0, high - (SIDE - _MARGIN))
    return [path * shrink + place + back for path in paths]


def _inked(paths: list[np.ndarray]) -> np.ndarray:
    """Lines four to five pixels wide with round ends, as Omniglot's."""
    paper = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(paper)
    for path in paths:
        pen.line([(float(x), float(y)) for x, y in path], fill=255, width=3)
    return np.asarray(paper.filter(ImageFilter.MaxFilter(3))) > 0


def _png(ink: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(~ink).save(file, "png")
    return file.getvalue()
