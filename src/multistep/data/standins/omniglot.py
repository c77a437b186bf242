"""A stand-in for Omniglot: characters of many scripts, each drawn by several drawers.

Characters are those of DejaVu Sans, which matplotlib ships. Each drawer has a slant, a turn, sizes
and a place on the page, and draws every character of an alphabet once; no two drawings are equal.
"""

import math
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from multistep.data.standins.packing import Members, drawing
from multistep.data.standins.photographs import encoded, seeded
from multistep.files import UserError
from multistep.settings import Model

SIDE = 105  # pixels, as in the official archives

_PRINTED = 52.0  # pixels of a printed character's longer side, so that no drawing is cut off
# Chosen so that no two look alike, not even when one is turned by a multiple of 90°, since episodes
# turn classes. Archives take different scripts, as Omniglot's do; none is an alphabet of Omniglot.
ALPHABETS = {
    "images_background": {
        "Drawn_Latin": "AJKQRWt&?@§ß",
        "Drawn_Greek": "ΒΖΜΥΨβζμςϗϞϟϠϡ",
        "Drawn_Cyrillic": "ГДЖИЛУЦЪЫЉѣѤѨѫѬѮѰ",
        "Drawn_Hebrew": "אבגדלמעץצקשױ",
        "Drawn_Georgian": "აგდელორსფჭჯჴჵ",
        "Drawn_Tifinagh": "ⴰⴳⴺⴻⴼⴽⵃⵋⵌⵐⵞⵢⵤ",
        "Drawn_Syllabics": "ᐁᐫᐬᐭᐮᑩᒄᒆᒇᒊᓁᓭᓮᓯᔐᔕ",
        "Drawn_Arabic": "ءبثجخدذرزسشطغفقكموىي",
        "Drawn_Signs": "☆☇☽☿♂♃♄♅♈♋♌♍♎♏♑⚐⚑⚒⚓",
    },
    "images_evaluation": {
        "Drawn_Lao": "ກຂຄຈຊຍຕຖທປຜສຮຯະາຽແໃໄ",
        "Drawn_Armenian": "ԱԲԳԵԸԹԺԻԽԾՀՂՋՔէթխճշռ",
        "Drawn_Phonetic": "ɓɕɖɚɝɧɨɫɮɰɲɻʆʉʐʒʛʡʢ",
        "Drawn_Operators": "∂∈∓∔∗√∛∝∠∡∺∾∿≆≈≎",
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
    for alphabet in fit[: s.alphabets]:
        for i, character in enumerate(known[alphabet][: s.characters]):
            for d in range(s.drawers):
                name = f"{alphabet}/character{i + 1:02}/{number:04}_{d + 1:02}.png"
                hand, own = (seeded(s.seed, alphabet, d, key) for key in (0, ord(character)))
                yield f"{archive}/{name}", encoded(~_drawn(character, hand, own), "png", "1")
            number += 1


@cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib  # here, since reading params.yaml imports this module for its Settings

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), 90, layout_engine=ImageFont.Layout.BASIC)


def printed(character: str) -> Image.Image:
    """A printed character, white on black, cut to its ink."""
    box = _font().getbbox(character)
    image = Image.new("L", (math.ceil(box[2] - box[0]), math.ceil(box[3] - box[1])))
    ImageDraw.Draw(image).text((-box[0], -box[1]), character, fill=255, font=_font())
    return image.crop(image.getbbox())


def _drawn(character: str, hand: np.random.Generator, own: np.random.Generator) -> np.ndarray:
    """A character as a drawer's hand draws it, bool `[SIDE, SIDE]`; `own` is of this drawing."""
    image = printed(character)
    turn = hand.uniform(-0.08, 0.08) + own.uniform(-0.07, 0.07)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    slant = np.array([[1, hand.uniform(-0.25, 0.05)], [0, 1]])
    size = _PRINTED / max(image.size) * np.exp(hand.uniform(-0.2, 0.1, 2) + own.uniform(-0.1, 0.1))
    place = hand.uniform(-4, 4, 2) + own.uniform(-3, 3, 2) + SIDE / 2
    # Where each pixel of the paper lies on the printed character.
    back = np.linalg.inv(rotation @ slant @ np.diag(size))
    begin = np.array(image.size) / 2 - back @ place
    how = [x for row in zip(*back.T, begin, strict=True) for x in row]
    paper = image.transform((SIDE, SIDE), Image.Transform.AFFINE, how, Image.Resampling.BILINEAR)
    return np.asarray(paper) > 127


draw = drawing({f"{archive}.zip": partial(_members, archive) for archive in ALPHABETS})
