"""Image files of every mode and kind, resizing, pickles that are never obeyed, and text."""

import io
import pickle
import tracemalloc
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from PIL import Image

from multistep.data.decoding import Inert, decode, png_files, resized, shape, unpickled
from multistep.files import UserError


def encoded(image, kind="png", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def colourful(mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "P with transparency", "1"])
def test_every_mode_becomes_rgb(mode):
    mode, _, transparency = mode.partition(" with ")
    data = encoded(colourful(mode), **({transparency: 0} if transparency else {}))
    found = decode(data, "a.zip: x.png")
    assert (found.shape, found.dtype) == ((12, 20, 3), np.uint8)
    assert shape(data, "a.zip: x.png") == (12, 20)
    np.testing.assert_array_equal(found, np.asarray(colourful(mode).convert("RGB")))


def test_sixteen_bits_of_grey_are_not_clipped():
    grey = np.array([[0, 255, 256, 40000, 65535]], dtype=np.uint16)
    found = decode(encoded(Image.fromarray(grey)), "a.zip: x.png")
    assert found[0, :, 0].tolist() == [0, 0, 1, 156, 255]
    found = decode(b"P5 5 1 65535\n" + grey.astype(">u2").tobytes(), "x", formats=("PPM",))
    assert found[0, :, 0].tolist() == [0, 0, 1, 156, 255]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_white_are_refused(mode):
    data = encoded(Image.new(mode, (5, 4)), "tiff")
    with pytest.raises(UserError, match=rf"^x has numbers .* the white of \({mode}\); convert it"):
        decode(data, "x", formats=("TIFF",))


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
    with pytest.raises(UserError, match=r"a.zip: x is (no|not a readable) image.*[; ]delete"):
        decode(encoded(colourful(), kind)[:cut], "a.zip: x")


@pytest.mark.parametrize("kind", ["tiff", "webp", "eps", "ppm", "pcx", "ico"])
def test_other_kinds_than_photographs_are_not_opened(kind):
    for read in (decode, shape):
        with pytest.raises(UserError, match=r"x.jpg is no image \(JPEG, PNG, GIF or BMP\); c"):
            read(encoded(colourful(), kind), "a.zip: x.jpg")


@pytest.mark.parametrize("side", [11_000, 20_000])  # Pillow's own bound lies between
def test_an_image_of_too_many_pixels_is_not_decoded(side):
    data = encoded(Image.new("1", (side, side)))
    with pytest.raises(UserError, match=r"^a.zip: x.png has more than 100,000,000 pixels .*out$"):
        decode(data, "a.zip: x.png")


def pickled_array(data, columns):
    """uint8 `[n, columns]` as Python 2 pickled it."""
    rows = (len(data) // columns).to_bytes(2, "little")
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01M"
        + rows + b"K" + bytes([columns]) + b"\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(data).to_bytes(4, "little") + data + b"tb"
    )  # fmt: skip


def test_pickles_of_python_2_are_read():
    data = bytes(range(12))
    official = b"\x80\x02}(U\x04data" + pickled_array(data, 6) + b"U\x0bfine_labels](K\x07K\x63eu."
    found = unpickled(official, "train")
    assert found["fine_labels"] == [7, 99]
    np.testing.assert_array_equal(found["data"], np.arange(12, dtype=np.uint8).reshape(2, 6))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read_and_none_is_obeyed(protocol):
    array = np.arange(12, dtype=np.uint8).reshape(2, 6)
    harmless = {"names": OrderedDict(a={1, 2.5}), "many": defaultdict(list, {b"": [np.uint8(3)]})}
    found = unpickled(pickle.dumps({"data": array, **harmless}, protocol), "train")
    np.testing.assert_array_equal(found.pop("data"), array)
    assert found == harmless
    with pytest.raises(UserError, match=r"train is not a readable pickle .* it asks for"):
        unpickled(pickle.dumps({"data": [array, pytest.fail]}, protocol), "train")


def test_png_files_of_python_2_are_found_and_nothing_is_built():
    png = encoded(Image.new("RGB", (3, 3)))
    other = png[:-1] + b"\x83"
    one, two = (pickled_array(data, 1) for data in (png, other))
    assert list(png_files(io.BytesIO(b"\x80\x02](" + one + two + b"e."), "list")) == [png, other]
    calling = b"\x80\x02](cbuiltins\nexit\n)R" + one + b"e."
    assert list(png_files(io.BytesIO(calling), "list")) == [png]
    for cut in (40, len(png)):
        with pytest.raises(UserError, match="list is not a readable pickle"):
            list(png_files(io.BytesIO((b"\x80\x02](" + one)[:cut]), "list"))


def test_a_list_of_files_takes_the_memory_of_one(tmp_path):
    size = 200_008
    files = [np.full(size, i, dtype=np.uint8) for i in range(100)]
    for array in files:
        array[:8] = np.frombuffer(b"\x89PNG\r\n\x1a\n", dtype=np.uint8)
    (tmp_path / "list.pkl").write_bytes(pickle.dumps(files, protocol=3))
    del files
    with open(tmp_path / "list.pkl", "rb") as stream:
        tracemalloc.start()
        assert sum(len(data) for data in png_files(stream, "list")) == 100 * size
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3_000_000


def test_an_inert_pickle_holds_plain_values():
    value = {"a": [1, 2.5, "x", None, True, (1,)]}
    assert Inert(io.BytesIO(pickle.dumps(value))).load() == value
