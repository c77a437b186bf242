"""Drawn photographs: the same everywhere, all different, and hard enough to need learning."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from multistep.data.standins import photographs
from multistep.data.standins.photographs import KINDS, look
from multistep.data.standins.surfaces import OUTLINES, PALETTES, PATTERNS


def test_equal_arguments_give_equal_pixels():
    one = photographs.image("cifar100", 3, 7, 32, 1)
    photographs.image("stl10", 0, 0, 48, 0)  # nothing drawn in between matters
    np.testing.assert_array_equal(one, photographs.image("cifar100", 3, 7, 32, 1))
    assert (one.shape, one.dtype) == ((32, 32, 3), np.uint8)


@pytest.mark.parametrize("size", [8, 32, 97, (40, 61), (90, 30)])
def test_any_size_can_be_drawn(size):
    shape = (size, size) if isinstance(size, int) else size
    for number in range(8):
        image = photographs.image("indoor67", number, number, size, 0)
        assert image.shape == (*shape, 3)
        assert image.flags.c_contiguous
        assert image.std() > 5


def test_no_two_images_are_equal():
    images = {
        photographs.image(kind, c, n, 16, seed).tobytes()
        for kind in ("cifar100", "stl10")
        for c in range(4)
        for n in range(4)
        for seed in range(2)
    }
    assert len(images) == 64


def test_kinds_share_factors_but_no_combination():
    looks = {kind: [look(kind, i) for i in range(count)] for kind, count in KINDS.items()}
    every = [one for found in looks.values() for one in found]
    assert len(set(every)) == len(every) == sum(KINDS.values())
    source, target = looks["tinyimagenet"], looks["cifar100"]
    for factor, known in (("outline", OUTLINES), ("pattern", PATTERNS), ("palette", PALETTES)):
        used = {getattr(one, factor) for one in source}
        assert used == set(known)
        assert {getattr(one, factor) for one in target} <= used


@pytest.mark.parametrize("kind", KINDS)
def test_no_factor_alone_tells_a_class(kind):
    group = [look(kind, i) for i in range(8)]
    for factor in ("outline", "pattern", "palette"):
        assert set(Counter(getattr(one, factor) for one in group).values()) == {2}
    pairs = {(one.outline, one.pattern) for one in group}
    assert len(pairs) == 8


@pytest.mark.parametrize(("kind", "index"), [("stl10", 10), ("cifar100", -1)])
def test_a_class_that_a_kind_lacks_is_refused(kind, index):
    with pytest.raises(ValueError, match=f"{kind}: no class"):
        photographs.image(kind, index, 0, 32, 0)


def test_names_say_what_one_can_see():
    names = photographs.names("stl10", 10)
    assert len(set(names)) == 10
    assert names[0] == f"{look('stl10', 0).pattern}_{look('stl10', 0).outline}_" + (
        look("stl10", 0).palette
    )


def test_outlines_differ_from_one_another():
    v, u = np.mgrid[-1:1:40j, -1:1:40j].astype(np.float32)
    masks = {name: outline(u, v) < 0 for name, outline in OUTLINES.items()}
    for name, mask in masks.items():
        assert 0.08 < mask.mean() < 0.75, name
    for a, b in combinations(masks, 2):
        both, either = (masks[a] & masks[b]).sum(), (masks[a] | masks[b]).sum()
        assert both / either < 0.93, (a, b)


def test_patterns_stay_between_the_two_colours():
    v, u = np.mgrid[-1:1:40j, -1:1:40j].astype(np.float32)
    noise = np.random.default_rng(0).normal(size=u.shape).astype(np.float32)
    for name, pattern in PATTERNS.items():
        share = pattern(u, v, noise)
        assert (share.min() >= 0, share.max() <= 1) == (True, True), name
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
