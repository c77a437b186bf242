"""Drawn photographs: the same everywhere, all different, and hard enough to need learning."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from multistep.data.standins import photographs
from multistep.data.standins.photographs import CLASSES, KINDS, OUTLINES, PALETTES, PATTERNS, look
from multistep.files import UserError


def test_equal_arguments_give_equal_pixels_and_others_other_ones():
    one = photographs.image("cifar100", 3, 7, 32, 1)
    assert (one.shape, one.dtype) == ((32, 32, 3), np.uint8)
    images = {
        photographs.image(kind, c, n, 16, seed).tobytes()
        for kind in ("cifar100", "stl10")
        for c in range(4)
        for n in range(4)
        for seed in range(2)
    }
    assert len(images) == 64
    np.testing.assert_array_equal(one, photographs.image("cifar100", 3, 7, 32, 1))


@pytest.mark.parametrize("size", [8, 32, 97, [40, 61], [9, 90]])
def test_any_size_can_be_drawn(size):
    low, high = [size] * 2 if isinstance(size, int) else size
    images = [photographs.image("indoor67", number, number, size, 0) for number in range(8)]
    assert all(low <= side <= high for image in images for side in image.shape[:2])
    assert len({image.shape for image in images}) == (1 if low == high else 8)
    assert all(image.flags.c_contiguous and image.std() > 5 for image in images)


def test_kinds_share_factors_but_no_combination_and_no_factor_alone_tells_a_class():
    looks = {kind: [look(kind, i) for i in range(CLASSES)] for kind in KINDS}
    every = [one for found in looks.values() for one in found]
    assert len(set(every)) == len(every) == len(KINDS) * CLASSES
    source, target = looks["tinyimagenet"], looks["cifar100"]
    for factor, known in enumerate((OUTLINES, PATTERNS, PALETTES)):
        used = {one[factor] for one in source[:24]}  # as many as the demo's
        assert used == set(known)
        assert {one[factor] for one in target} <= used
    for found in looks.values():
        for group in (found[i : i + 8] for i in range(0, CLASSES, 8)):
            for factor in range(3):
                assert set(Counter(one[factor] for one in group).values()) == {2}
            for a, b in combinations(range(3), 2):
                assert len({(one[a], one[b]) for one in group}) == 8
    outline, pattern, palette = look("stl10", 0)  # names say what one can see
    assert photographs.names("stl10", 10)[0] == f"{pattern}_{outline}_{palette}"


@pytest.mark.parametrize(("kind", "index"), [("stl10", CLASSES), ("cifar100", -1)])
def test_a_class_that_a_kind_lacks_is_refused(kind, index):
    with pytest.raises(UserError, match=f"only 64 classes of {kind} can be drawn; ask for fewer"):
        photographs.image(kind, index, 0, 32, 0)


def test_outlines_differ_and_patterns_mix_the_two_colours():
    v, u = np.mgrid[-1:1:40j, -1:1:40j].astype(np.float32)
    masks = {name: outline(u, v) < 0 for name, outline in OUTLINES.items()}
    for name, mask in masks.items():
        assert 0.08 < mask.mean() < 0.75, name
    for a, b in combinations(masks, 2):
        both, either = (masks[a] & masks[b]).sum(), (masks[a] | masks[b]).sum()
        assert both / either < 0.93, (a, b)
    for name, pattern in PATTERNS.items():
        share = np.clip(pattern(u, v), 0, 1)
        assert share.std() > 0.02, name


def test_pixels_alone_do_not_tell_the_class():
    def images(numbers):
        drawn = [photographs.image("cifar100", c, n, 16, 0) for c in range(8) for n in numbers]
        return np.array(drawn, dtype=np.float32).reshape(len(drawn), -1)

    train, test = images(range(20)), images(range(20, 30))
    distance = (train**2).sum(1) - 2 * test @ train.T
    found = np.repeat(np.arange(8), 20)[distance.argmin(1)]
    accuracy = (found == np.repeat(np.arange(8), 10)).mean()
    assert accuracy < 0.45  # chance is 0.125
