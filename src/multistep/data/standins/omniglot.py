"""A stand-in for Omniglot: characters of many scripts, each drawn by twenty drawers.

Characters are those of DejaVu Sans, which matplotlib ships, thinned to about the width of
Omniglot's pen. Each drawer has a slant, a size, proportions, a place on the page and an unsteady
hand, and draws every character of an alphabet once; no two drawings are equal.
"""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import encoded, seeded
from multistep.files import UserError
from multistep.progress import progress
from multistep.settings import Model

SIDE = 105  # pixels, as in the official archives

_EM = 90.0  # pixels per em of an average drawer: characters as large as Omniglot's on average
_FINE = 2  # pixels of a printed character for one of an average drawer
_MARGIN = 5  # pixels of paper that stay white
# Chosen so that no two look alike, not even when one is turned by a multiple of 90°, since episodes
# turn classes. Archives take different scripts, as Omniglot's do; none is an alphabet of Omniglot.
ALPHABETS = {
    "images_background": {
        "Drawn_Latin": "AJKQRWt&?@§ß",
        "Drawn_Greek": "ΒΖΜΥΨβζμνςϗϞϟϠϡ",
        "Drawn_Cyrillic": "ГДЖИЛУЦЪЫЯЉѣѤѦѨѫѬѮѰ",
        "Drawn_Hebrew": "אבגדלמעץצקשױ",
        "Drawn_Georgian": "აგდეკლორსფჭჯჴჵ",
        "Drawn_Tifinagh": "ⴰⴳⴺⴻⴼⴽⵃⵋⵌⵐⵞⵢⵤ",
        "Drawn_Syllabics": "ᐁᐂᐫᐬᐭᐮᑩᒄᒆᒇᒊᓁᓭᓮᓯᔐᔕ",
        "Drawn_Arabic": "ءبثجخدذرزسشطغفقكموىي",
        "Drawn_Signs": "☆☇☽☿♂♃♄♅♈♋♌♍♎♏♑⚐⚑⚒⚓",
    },
    "images_evaluation": {
        "Drawn_Lao": "ກຂຄຈຊຍຕຖທປຜສຮຯະາຽແໃໄ",
        "Drawn_Armenian": "ԱԲԳԵԸԹԺԻԽԾՀՂՋՔէթխճշռ",
        "Drawn_Phonetic": "ɓɕɖɚɝɧɨɫɮɰɲɻɿʆʉʐʒʛʡʢ",
        "Drawn_Operators": "∂∈∓∔∗√∛∝∠∡∺∾∿≂≆≈≎",
    },
}


class Settings(Model):
    """How much is drawn for one archive."""

    alphabets: int = Field(ge=1)
    characters: int = Field(ge=1)
    drawers: int = Field(ge=1)
    seed: int = Field(ge=0)


def _members(archive: str, s: Settings) -> Members:
    known = ALPHABETS[archive]
    fit = [name for name in sorted(known) if len(known[name]) >= s.characters]
    if len(fit) < s.alphabets:
        raise UserError(
            f"{archive}.zip: {s.alphabets} alphabets of {s.characters} characters can't be drawn, "
            f"only {len(fit)} of at least that many are known; ask for fewer"
        )
    # Omniglot numbers the evaluation set's characters after the 964 of the background set.
    number = 1 if archive == "images_background" else 965
    total = s.alphabets * s.characters * s.drawers
    with progress(f"{archive}.zip", total, "drawings") as advance:
        for alphabet in fit[: s.alphabets]:
            for i, character in enumerate(known[alphabet][: s.characters]):
                ink = glyph(character)
                for d in range(s.drawers):
                    name = f"{alphabet}/character{i + 1:02}/{number:04}_{d + 1:02}.png"
                    hand, own = (seeded(s.seed, alphabet, d, key) for key in (0, ord(character)))
                    yield f"{archive}/{name}", encoded(~_drawn(ink, hand, own), "png", "1")
                number += 1
                advance(s.drawers)


def glyph(character: str) -> np.ndarray:
    """A printed character, thinned and cut to its ink: bool, `_FINE` · `_EM` pixels per em."""
    # Here, since reading params.yaml imports this module for its Settings.
    import matplotlib
    from scipy.ndimage import distance_transform_edt, maximum_filter  # type: ignore[import-untyped]

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    face = ImageFont.truetype(str(font), _FINE * _EM, layout_engine=ImageFont.Layout.BASIC)
    left, top, right, bottom = face.getbbox(character)
    image = Image.new("L", (int(right - left) + 20, int(bottom - top) + 20))
    ImageDraw.Draw(image).text((10 - left, 10 - top), character, fill=255, font=face)
    # Of every line its middle, whatever its width: what is far from paper for where it stands.
    depth = distance_transform_edt(np.asarray(image) > 127)
    thin = depth > 0.3 * maximum_filter(depth, 15)
    rows, columns = (np.flatnonzero(thin.any(axis)) for axis in (1, 0))
    return thin[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _drawn(ink: np.ndarray, hand: np.random.Generator, own: np.random.Generator) -> np.ndarray:
    """A character as a drawer's hand draws it, bool `[SIDE, SIDE]`; `own` is of this drawing."""
    turn = hand.normal(0, 0.05) + own.normal(0, 0.05)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    slant = np.array([[1, hand.normal(-0.08, 0.15)], [0, 1]])
    size = hand.normal(0, 0.14) + hand.normal(0, 0.1) * np.array([1, -1]) + own.normal(0, 0.07, 2)
    shape = rotation @ slant @ np.diag(np.exp(size)) / _FINE
    sway, middle = hand.uniform(0.8, 2.4), np.array(ink.shape[::-1]) / 2
    # What it reaches from its middle at most; smaller, and nearer the paper's, if that is too far.
    room, reach = SIDE / 2 - _MARGIN, np.abs(shape) @ middle + 3 * sway
    shrink = min(1.0, room / reach.max())
    free = room - reach * shrink
    place = np.clip(hand.normal(0, 5, 2) + own.normal(0, 2.5, 2) - 2, -free, free)
    # Where each pixel of the paper lies on the printed character, by way of a smooth warp.
    warp = own.normal(0, sway, (2, 5, 5)).clip(-2 * sway, 2 * sway).astype(np.float32)
    paper = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 2))
    for axis, values in enumerate(warp):
        whole = Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        paper[axis] += np.asarray(whole) - place[axis]
    x, y = np.tensordot(np.linalg.inv(shape * shrink), paper, 1) + middle[:, None, None]
    inside = (x >= 0) & (y >= 0) & (x < ink.shape[1]) & (y < ink.shape[0])
    return inside & ink[np.where(inside, y, 0).astype(int), np.where(inside, x, 0).astype(int)]


draw = drawing({f"{archive}.zip": partial(_members, archive) for archive in ALPHABETS})
