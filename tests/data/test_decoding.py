"""Image files of every mode and kind, resizing, and unreadable bytes."""

import io

import numpy as np
import pytest
from PIL import Image

from multistep.data.decoding import decode, resized, shape
from multistep.files import UserError


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colourful(mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_every_mode_becomes_rgb(mode):
    found = decode(encoded(colourful(mode)), "a.zip: x.png")
    assert (found.shape, found.dtype) == ((12, 20, 3), np.uint8)
    assert shape(encoded(colourful(mode)), "a.zip: x.png") == (12, 20)
    np.testing.assert_array_equal(found, np.asarray(colourful(mode).convert("RGB")))


@pytest.mark.parametrize("mode", ["CMYK", "L", "RGB"])
def test_jpegs_of_every_colour_space_become_rgb(mode):
    smooth = Image.linear_gradient("L").resize((20, 12)).convert("RGB").convert(mode)
    found = decode(encoded(smooth, "jpeg", quality=95), "a.zip: x.jpg")
    difference = found.astype(int) - np.asarray(smooth.convert("RGB")).astype(int)
    assert np.abs(difference).mean() < 4


def test_a_palette_with_transparency_keeps_its_colours():
    image = colourful("P")
    found = decode(encoded(image, transparency=0), "a.zip: x.png")
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def test_sixteen_bits_of_grey_are_not_clipped():
    grey = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    found = decode(encoded(Image.fromarray(grey)), "a.zip: x.png")
    assert found[0, :, 0].tolist() == [0, 0, 1, 156, 255]


def test_resizing_is_antialiased():
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    found = decode(encoded(Image.fromarray(stripes)), "a.zip: x.png", size=32)
    assert found.shape == (32, 32, 3)
    assert np.abs(found[:, 2:-2].astype(int) - 128).max() <= 2
    np.testing.assert_array_equal(found, resized(stripes, 32))
    np.testing.assert_array_equal(decode(encoded(colourful()), "", size=8).shape, (8, 8, 3))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp"])
@pytest.mark.parametrize("cut", [0, 10, 60])
def test_unreadable_bytes_name_archive_and_member(kind, cut):
    with pytest.raises(UserError, match=r"a.zip: x is (no|not a readable) image.*; delete"):
        decode(encoded(colourful(), kind)[:cut], "a.zip: x")
