"""Drawn characters: their layout, and that no two look alike."""

import io
import zipfile
from itertools import chain

import numpy as np
import pytest
from PIL import Image, ImageFilter

from multistep.data.class_splits import committed
from multistep.data.standins.omniglot import ALPHABETS, Settings, draw, printed

LIKENESS = 0.9  # a cosine; pairs below it are told apart by eye
CHARACTERS = "".join(chain(*(archive.values() for archive in ALPHABETS.values())))


def drawings(path, **settings):
    """An archive drawn at `path`: member -> bool [105, 105], true on ink."""
    draw(path, Settings(**settings))
    with zipfile.ZipFile(path) as file:
        files = [name for name in file.namelist() if not name.endswith("/")]
        images = {name: Image.open(io.BytesIO(file.read(name))) for name in files}
        assert {(image.mode, image.size) for image in images.values()} == {("1", (105, 105))}
        return {name: ~np.asarray(image) for name, image in images.items()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's two archives."""
    folder, size = tmp_path_factory.mktemp("demo"), {"characters": 12, "drawers": 20}
    return (
        drawings(folder / "images_background.zip", alphabets=8, seed=0, **size),
        drawings(folder / "images_evaluation.zip", alphabets=4, seed=1, **size),
    )


def test_the_layout_is_omniglots_and_archives_share_no_alphabet(demo):
    background, evaluation = (sorted({name.split("/")[1] for name in part}) for part in demo)
    assert (len(background), len(evaluation)) == (8, 4)
    omniglot = {name.split("/")[0] for name in chain(*committed("omniglot", "finn").values())}
    drawn = [*chain(*ALPHABETS.values())]
    assert len({*drawn, *omniglot}) == len(drawn) + 50
    assert all(name.startswith("Drawn_") for name in drawn)
    names = sorted(demo[1])
    assert names[:20] == [
        f"images_evaluation/{evaluation[0]}/character01/0965_{d:02}.png" for d in range(1, 21)
    ]
    assert names[-1] == f"images_evaluation/{evaluation[3]}/character12/1012_20.png"
    assert sorted(demo[0])[0].endswith("/character01/0001_01.png")


def test_drawings_are_whole_all_different_and_depend_on_nothing_else_that_is_drawn(demo, tmp_path):
    few = drawings(tmp_path / "images_background.zip", alphabets=1, characters=3, drawers=4, seed=0)
    assert len(few) == 12
    assert all(np.array_equal(image, demo[0][name]) for name, image in few.items())
    images = [image for part in demo for image in part.values()]
    assert len({image.tobytes() for image in images}) == len(images) == 12 * 12 * 20
    for image in images:
        edges = (image[0], image[-1], image[:, 0], image[:, -1])
        assert not any(edge.any() for edge in edges)  # none is cut off
        assert image.sum() > 100  # and none vanishes


def look(character, proportions):
    """A blurred picture of the character, of unit norm, in proportion or stretched square."""
    ink = printed(character)
    sides = np.array(ink.size)
    longest = sides.max() if proportions else np.maximum(sides, sides.max() / 3)
    width, height = sides * 52 / longest
    small = ink.resize((round(width), round(height)), Image.Resampling.BOX)
    image = Image.new("L", (64, 64))
    image.paste(small, ((64 - small.width) // 2, (64 - small.height) // 2))
    picture = np.asarray(image.filter(ImageFilter.GaussianBlur(2.5)), dtype=float)
    return picture / np.linalg.norm(picture)


def likenesses(characters):
    """[n, n] cosines of the looks, the largest over four turns and both stretches."""
    cosines = []
    for proportions in (True, False):
        looks = np.array([look(character, proportions) for character in characters])
        flat = looks.reshape(len(looks), -1)
        for turn in range(4):
            cosines.append(flat @ np.rot90(looks, turn, axes=(1, 2)).reshape(flat.shape).T)
    return np.max(cosines, axis=0)


def test_no_two_characters_look_alike_however_they_are_turned():
    assert len(set(CHARACTERS)) == len(CHARACTERS) > 200
    likeness = likenesses(CHARACTERS)
    np.fill_diagonal(likeness, 0)
    i, j = np.unravel_index(likeness.argmax(), likeness.shape)
    assert likeness[i, j] < LIKENESS, f"{CHARACTERS[i]} and {CHARACTERS[j]}: {likeness[i, j]}"
    for pair, alike in (("AΑ", 0.99), ("∧∨", LIKENESS), ("Իի", LIKENESS)):  # such are noticed:
        assert likenesses(pair)[0, 1] > alike  # equal ones, turned ones, large and small
