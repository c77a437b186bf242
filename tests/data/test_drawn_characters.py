"""Drawn characters: that no two look alike, and their likeness to Omniglot's ink."""

import io
import time
import zipfile
from itertools import chain

import numpy as np
import pytest
from PIL import Image, ImageFilter

from multistep.data.class_splits import committed
from multistep.data.standins.omniglot import ALPHABETS, Settings, draw, glyph

LIKENESS = 0.9  # a cosine; pairs below it are told apart by eye


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
    folder, began = tmp_path_factory.mktemp("demo"), time.process_time()
    size = {"characters": 12, "drawers": 20}
    found = (
        drawings(folder / "images_background.zip", alphabets=8, seed=0, **size),
        drawings(folder / "images_evaluation.zip", alphabets=4, seed=1, **size),
    )
    assert time.process_time() - began < 20
    return found


def test_the_layout_is_omniglots_and_archives_share_no_alphabet(demo):
    background, evaluation = (sorted({name.split("/")[1] for name in part}) for part in demo)
    assert (len(background), len(evaluation)) == (8, 4)
    assert not set(background) & set(evaluation)
    names = sorted(demo[1])
    assert names[:20] == [
        f"images_evaluation/{evaluation[0]}/character01/0965_{d:02}.png" for d in range(1, 21)
    ]
    assert names[-1] == f"images_evaluation/{evaluation[3]}/character12/1012_20.png"
    assert sorted(demo[0])[0].endswith("/character01/0001_01.png")


def test_a_drawing_does_not_depend_on_how_much_else_is_drawn(demo, tmp_path):
    path = tmp_path / "images_background.zip"
    few = drawings(path, alphabets=1, characters=3, drawers=4, seed=0)
    assert len(few) == 12
    assert all(np.array_equal(image, demo[0][name]) for name, image in few.items())


def test_no_two_drawings_are_equal(demo):
    images = [image.tobytes() for part in demo for image in part.values()]
    assert len(set(images)) == len(images) == 12 * 12 * 20


def test_alphabets_are_not_called_as_omniglots_are():
    omniglot = {name.split("/")[0] for name in chain(*committed("omniglot", "finn").values())}
    drawn = {alphabet for archive in ALPHABETS.values() for alphabet in archive}
    assert len(omniglot) == 50
    assert not drawn & omniglot
    assert all(name.startswith("Drawn_") for name in drawn)


def look(character, proportions):
    """A blurred picture of the character, of unit norm, in proportion or stretched square."""
    ink = Image.fromarray(glyph(character))
    sides = np.array(ink.size)
    longest = sides.max() if proportions else np.maximum(sides, sides.max() / 3)
    width, height = sides * 52 / longest
    small = ink.convert("L").resize((round(width), round(height)), Image.Resampling.BOX)
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
    characters = "".join(chain(*(archive.values() for archive in ALPHABETS.values())))
    assert len(set(characters)) == len(characters) > 200
    likeness = likenesses(characters)
    np.fill_diagonal(likeness, 0)
    i, j = np.unravel_index(likeness.argmax(), likeness.shape)
    assert likeness[i, j] < LIKENESS, f"{characters[i]} and {characters[j]}"


def test_characters_that_do_look_alike_are_noticed():
    assert likenesses("AΑ")[0, 1] > 0.99  # Latin and Greek
    assert likenesses("∧∨")[0, 1] > LIKENESS  # turned
    assert likenesses("Իի")[0, 1] > LIKENESS  # large and small
    assert likenesses("VW")[0, 1] < LIKENESS


def test_lines_are_thinned_to_their_middle_and_none_vanishes():
    bar = glyph("l")
    assert 100 < len(bar) < 180  # of 180 pixels an em
    assert bar.all()
    assert 6 < bar.shape[1] < 14
    for character in "".join(chain(*(archive.values() for archive in ALPHABETS.values()))):
        assert glyph(character).sum() > 250, character


def test_drawings_have_the_ink_size_and_place_of_omniglots(demo):
    # Over 1,500 drawings of the real background set: ink 7.8% of the paper, 55 × 61 pixels in
    # size (one standard deviation 16), the middle of the ink at (50.6, 49.8).
    images = demo[0].values()
    assert np.mean([image.mean() for image in images]) == pytest.approx(0.078, abs=0.012)
    ink = [np.nonzero(image) for image in images]
    sizes = np.array([(np.ptp(x) + 1, np.ptp(y) + 1) for y, x in ink])
    np.testing.assert_allclose(sizes.mean(0), [55, 61], atol=6)
    np.testing.assert_allclose(sizes.std(0), [16, 16], atol=4)
    middles = np.array([(x.mean(), y.mean()) for y, x in ink])
    np.testing.assert_allclose(middles.mean(0), [50.6, 49.8], atol=2)
    assert all(image[0].sum() == image[:, 0].sum() == 0 for image in images)  # none is cut off
