"""The stand-in: its layout and bytes, that no two characters look alike, its likeness to ink."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from itertools import chain
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from multistep.cli import main
from multistep.data import prepared
from multistep.data.class_splits import committed
from multistep.data.standins.alphabets import ALPHABETS
from multistep.data.standins.omniglot import Settings, draw
from multistep.data.standins.strokes import strokes
from multistep.files import UserError, sha256

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
LIKENESS = 0.82  # a cosine; pairs below it are told apart by eye
SMALL = {"alphabets": 2, "characters": 3, "drawers": 4, "seed": 0}


def drawings(path):
    """Member -> bool [105, 105], true on ink."""
    with zipfile.ZipFile(path) as file:
        images = {name: Image.open(io.BytesIO(file.read(name))) for name in file.namelist()}
        assert {(image.mode, image.size) for image in images.values()} == {("1", (105, 105))}
        return {name: ~np.asarray(image) for name, image in images.items()}


def alphabets_in(path):
    with zipfile.ZipFile(path) as file:
        return {name.split("/")[1] for name in file.namelist()}


def test_the_layout_is_omniglots(tmp_path):
    draw(tmp_path / "images_evaluation.zip", Settings(**SMALL))
    names = sorted(drawings(tmp_path / "images_evaluation.zip"))
    assert len(names) == 2 * 3 * 4
    alphabet = names[0].split("/")[1]
    assert names[:4] == [
        f"images_evaluation/{alphabet}/character01/0965_{d:02}.png" for d in (1, 2, 3, 4)
    ]
    assert names[-1].endswith("character03/0970_04.png")


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path):
    here, there = tmp_path / "here" / "images_background.zip", tmp_path / "images_background.zip"
    draw(here, Settings(**SMALL))
    module = "multistep.data.standins.omniglot"
    code = f"from {module} import *; draw(Path({str(there)!r}), Settings(**{SMALL}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run(
        [sys.executable, "-c", "from pathlib import Path; " + code],
        check=True,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    assert sha256(here) == sha256(there)
    draw(here, Settings(**SMALL | {"seed": 1}))
    assert sha256(here) != sha256(there)


def test_a_drawing_does_not_depend_on_how_many_drawers_there_are(tmp_path):
    path = tmp_path / "images_background.zip"
    draw(path, Settings(**SMALL))
    few = drawings(path)
    draw(path, Settings(**SMALL | {"drawers": 6}))
    many = drawings(path)
    assert all(np.array_equal(image, many[name]) for name, image in few.items())


def test_no_two_drawings_are_equal(tmp_path):
    path = tmp_path / "images_background.zip"
    draw(path, Settings(**SMALL | {"drawers": 20}))
    images = drawings(path)
    assert len({image.tobytes() for image in images.values()}) == len(images)


def test_the_demos_archives_are_quick_and_share_no_alphabet(tmp_path):
    began = time.process_time()
    demo = {"characters": 12, "drawers": 20}
    draw(tmp_path / "images_background.zip", Settings(alphabets=8, seed=0, **demo))
    assert time.process_time() - began < 20
    draw(tmp_path / "images_evaluation.zip", Settings(alphabets=4, seed=1, **demo))
    background = alphabets_in(tmp_path / "images_background.zip")
    evaluation = alphabets_in(tmp_path / "images_evaluation.zip")
    assert (len(background), len(evaluation)) == (8, 4)
    assert not background & evaluation


def test_alphabets_are_not_called_as_omniglots_are():
    omniglot = {name.split("/")[0] for name in chain(*committed("omniglot", "finn").values())}
    drawn = {alphabet for archive in ALPHABETS.values() for alphabet in archive}
    assert len(omniglot) == 50
    assert not drawn & omniglot
    assert all(name.startswith("Drawn_") for name in drawn)


def look(character, proportions):
    """A blurred picture of the strokes, of unit norm, with its proportions or stretched square."""
    lines = strokes(FONT, character)
    points = np.concatenate(lines)
    low, extent = points.min(0), np.ptp(points, axis=0)
    scale = 52 / (extent.max() if proportions else np.maximum(extent, extent.max() / 3))
    image = Image.new("L", (64, 64))
    pen = ImageDraw.Draw(image)
    for line in lines:
        at = (line - low - extent / 2) * scale + 32
        pen.line([(float(x), float(y)) for x, y in [*at, at[-1] + 1]], fill=255, width=3)
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


def test_a_circle_is_one_closed_stroke_and_a_cross_two():
    (circle,) = strokes(FONT, "O")
    assert np.allclose(circle[0], circle[-1])
    cross = strokes(FONT, "+")
    assert len(cross) == 2
    # A hand draws one bar from left to right and the other from top to bottom.
    spans = sorted(tuple(np.ptp(line, axis=0).round(1)) for line in cross)
    assert spans[0][0] < 0.1 < spans[0][1]
    assert spans[1][1] < 0.1 < spans[1][0]


def test_strokes_are_centred_and_run_along_the_middle_of_the_print():
    (bar,) = strokes(FONT, "l")
    assert np.abs(bar[:, 0]).max() < 0.02
    assert bar[:, 1].min() == pytest.approx(-bar[:, 1].max())
    assert 0.6 < np.ptp(bar[:, 1]) < 0.8  # in em


def test_drawings_have_the_ink_size_and_place_of_omniglots(tmp_path):
    # Over 1,500 drawings of the real background set: ink 7.8% of the paper, 55 × 61 pixels in
    # size (one standard deviation 16), the middle of the ink at (50.6, 49.8).
    path = tmp_path / "images_background.zip"
    draw(path, Settings(alphabets=8, characters=12, drawers=5, seed=0))
    images = drawings(path).values()
    assert np.mean([image.mean() for image in images]) == pytest.approx(0.078, abs=0.012)
    ink = [np.nonzero(image) for image in images]
    sizes = np.array([(np.ptp(x) + 1, np.ptp(y) + 1) for y, x in ink])
    np.testing.assert_allclose(sizes.mean(0), [55, 61], atol=6)
    np.testing.assert_allclose(sizes.std(0), [16, 16], atol=4)
    middles = np.array([(x.mean(), y.mean()) for y, x in ink])
    np.testing.assert_allclose(middles.mean(0), [50.6, 49.8], atol=2)
    assert all(image[0].sum() == image[:, 0].sum() == 0 for image in images)  # none is cut off


def test_more_than_there_is_cannot_be_drawn(tmp_path):
    many = Settings(**SMALL | {"alphabets": 99, "characters": 12})
    with pytest.raises(UserError, match=r"99 alphabets of 12 characters can't be drawn, only 9"):
        draw(tmp_path / "images_background.zip", many)
    with pytest.raises(UserError, match="no stand-in is known by this name"):
        draw(tmp_path / "photos.zip", Settings(**SMALL))
    assert list(tmp_path.iterdir()) == []


def test_a_real_archive_is_never_drawn_over(tmp_path):
    path = tmp_path / "images_background.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images_background/A/character01/0001_01.png", b"real")
    before = path.read_bytes()
    with pytest.raises(UserError, match="not a drawn archive; move it away"):
        draw(path, Settings(**SMALL))
    assert path.read_bytes() == before


def test_the_command_line_draws_and_prepares_a_labelled_stand_in(tmp_path):
    drawn = {"alphabets": 3, "characters": 12, "drawers": 4, "seed": 0}
    archives = {f"{name}.zip": {"drawn": drawn} for name in ALPHABETS}
    for name, entry in archives.items():
        command = ["data", "download", "--dataset", "letters", "--archive", name]
        command += ["--loader", "omniglot"]
        out = str(tmp_path / "raw" / name)
        assert main([*command, "--spec", json.dumps(entry), "--out", out]) == 0
    spec = {
        "loader": "omniglot",
        "title": "Drawn characters (stand-in, not Omniglot)",
        "classes": 72,
        "images_per_class": 4,
        "archives": archives,
        "prepare": {"size": 28, "resample": "lanczos", "invert": True, "split": "proportional"},
    }
    command = ["data", "prepare", "--dataset", "letters", "--spec", json.dumps(spec)]
    out = tmp_path / "processed"
    assert main([*command, "--raw", str(tmp_path / "raw"), "--out", str(out)]) == 0
    data = prepared.read(out)
    assert data.images.shape == (288, 28, 28)
    assert 15 < data.images.mean() < 30  # Omniglot: 21.4
    about = json.loads((out / "dataset.json").read_text())
    assert about["stand_in"] is True
    assert all(name.startswith("Drawn_") for name in about["classes"])
