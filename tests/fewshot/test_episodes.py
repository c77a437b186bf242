"""Episodes: uniform, disjoint, rotated per class, and a pure function of their number."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from multistep.fewshot.episodes import Sampler, join, rotate, stacked
from multistep.files import UserError


def sampler(**changes: object) -> Sampler:
    """30 classes × 20 images whose four pixels encode class, image, and which way is up."""
    images = torch.zeros(30, 20, 2, 2, dtype=torch.uint8)
    images[:, :, 0, 0] = torch.arange(30, dtype=torch.uint8).unsqueeze(1)
    images[:, :, 0, 1] = torch.arange(20, dtype=torch.uint8)
    images[:, :, 1, 0] = 255
    options = {"ways": 5, "shots": 1, "queries": 15, "rotate": False, "seed": 0, "stream": "train"}
    return Sampler(*stacked(images), **{**options, **changes})  # type: ignore[arg-type]


COUNTS = np.array([40, 7, 3000, 12, 9, 250])


def ragged(**changes: object) -> Sampler:
    """Six classes of 7 to 3000 RGB images, in no order and with gaps; pixels spell the row."""
    rows = torch.arange(4000)
    images = torch.zeros(4000, 4, 4, 3, dtype=torch.uint8)
    images[:, 0, 0] = torch.stack([rows // 256, rows % 256, rows * 0 + 255], 1).to(torch.uint8)
    starts = np.array([3900, 3800, 100, 3700, 0, 3200])
    options = {"ways": 5, "shots": 2, "queries": 5, "rotate": False, "seed": 0, "stream": "train"}
    return Sampler(images, starts, COUNTS, **{**options, **changes})  # type: ignore[arg-type]


def fingerprint(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for t in tensors:
        array = np.ascontiguousarray(t.numpy())
        found.update(str((array.dtype, array.shape)).encode() + array.tobytes())
    return found.hexdigest()[:16]


def test_an_episode_has_distinct_classes_and_images() -> None:
    s = sampler(shots=2, queries=3)
    batch = s.batch(7, 50)
    assert batch.support_images.shape == (50, 10, 1, 2, 2)
    assert batch.query_images.shape == (50, 15, 1, 2, 2)
    assert batch.support_labels[0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert batch.query_labels[0].tolist() == [c for c in range(5) for _ in range(3)]
    support = (batch.support_images * 255).round().long()[:, :, 0, 0]  # [tasks, images, 2]
    query = (batch.query_images * 255).round().long()[:, :, 0, 0]
    for task in range(50):
        classes = support[task, ::2, 0].tolist()
        assert len(set(classes)) == 5
        seen = [tuple(p) for p in support[task].tolist() + query[task].tolist()]
        assert len(set(seen)) == 25  # no image twice, none in both sets
        for label in range(5):
            rows = [support[task, 2 * label + i, 0].item() for i in range(2)]
            rows += [query[task, 3 * label + i, 0].item() for i in range(3)]
            assert set(rows) == {classes[label]}


def test_draws_are_uniform_and_labels_carry_no_information() -> None:
    draw = sampler().draw(0, 6000)
    counts = np.bincount(draw.classes.flatten().numpy(), minlength=30)
    assert abs(counts - 1000).max() < 5 * 1000**0.5
    first = np.bincount(draw.classes[:, 0].numpy(), minlength=30)
    assert abs(first - 200).max() < 5 * 200**0.5
    support = np.bincount(draw.images[:, :, 0].flatten().numpy() % 20, minlength=20)
    assert abs(support - 1500).max() < 5 * 1500**0.5


def test_a_draw_depends_on_seed_stream_and_iteration_alone() -> None:
    def key(s: Sampler, iteration: int) -> list[int]:
        return s.draw(iteration, 4).images.flatten().tolist()

    base = key(sampler(), 3)
    assert key(sampler(), 3) == base  # whatever was drawn before
    assert key(sampler(), 4) != base
    assert key(sampler(seed=1), 3) != base
    assert key(sampler(stream="test"), 3) != base
    assert key(sampler(stream="validation"), 3) != key(sampler(stream="test"), 3)


def test_joined_draws_are_the_same_episodes() -> None:
    s = sampler()
    joined = join([s.draw(i, 1) for i in range(3)])
    for i in range(3):
        assert torch.equal(joined.images[i : i + 1], s.draw(i, 1).images)


def test_one_rotation_per_class_and_episode() -> None:
    batch = sampler(rotate=True, shots=5, queries=5).batch(0, 200)
    sets = batch.support_images, batch.query_images
    both = torch.cat([images.view(200, 5, 5, 4) for images in sets], 2)
    corner = both.argmax(3)  # where the bright pixel went
    assert (corner == corner[:, :, :1]).all()
    share = np.bincount(corner[:, :, 0].flatten().numpy(), minlength=4) / 1000
    assert abs(share - 0.25).max() < 0.07


def test_rotate_is_quarter_turns() -> None:
    x = torch.arange(9).view(1, 1, 1, 3, 3).expand(1, 4, 1, 3, 3)
    turned = rotate(x, torch.tensor([[0, 1, 2, 3]]))
    for k in range(4):
        assert torch.equal(turned[0, k, 0], torch.rot90(x[0, 0, 0], k))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: sampler(ways=40), "40-way episodes need 40 classes, but the train split has 30"),
        (lambda: sampler(shots=6), r"6 shots \+ 15 queries exceed the 20 images"),
        (lambda: ragged(shots=4), r"4 shots \+ 5 queries exceed the 7 images"),  # of the smallest
    ],
)
def test_too_few_classes_or_images_are_named(draw: Callable[[], Sampler], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw()


@pytest.mark.parametrize(
    ("options", "drawn", "gathered"),
    [
        ((5, 1, 15, True, 3, "train"), "5cb5a51947486884", "4657495e988cccd1"),
        ((20, 5, 10, False, 0, "test"), "9b20a23f8cf3cc62", "774bc720b1559e80"),
        ((30, 5, 15, True, 1, "validation"), "054fd9a28201259b", "45e96903c952ca69"),
    ],
)
def test_episodes_are_those_of_the_committed_results(
    options: tuple[int, int, int, bool, int, str], drawn: str, gathered: str
) -> None:
    """The digests were taken from the first version, which drew from classes of equal size."""
    pixels = np.random.default_rng(7).integers(0, 256, (30, 20, 6, 6), dtype=np.uint8)
    s = Sampler(*stacked(torch.from_numpy(pixels)), *options)
    draw = s.draw(11, 6)
    within = draw.images - torch.from_numpy(s.starts)[draw.classes].unsqueeze(2)
    assert fingerprint(draw.classes, within, draw.turns) == drawn
    *episodes, _ = vars(s.gather(draw)).values()
    assert fingerprint(*episodes) == gathered


def test_classes_of_different_sizes_give_their_own_images_each_once() -> None:
    s = ragged()
    draw = s.draw(0, 600)
    first = torch.from_numpy(s.starts)[draw.classes].unsqueeze(2)
    count = torch.from_numpy(s.counts)[draw.classes].unsqueeze(2)
    within = draw.images - first
    assert (within >= 0).all()
    assert (within < count).all()
    ordered = draw.images.sort(2).values
    assert (ordered[:, :, 1:] > ordered[:, :, :-1]).all()
    for c in range(len(COUNTS)):  # a class's images are as likely as each other
        chosen = within[draw.classes == c].flatten().numpy()
        mean = len(chosen) / COUNTS[c]
        shares = np.bincount(chosen, minlength=COUNTS[c])
        assert abs(shares - mean).max() < 6 * mean**0.5 + 6
        assert len(shares) == COUNTS[c]


def test_rgb_images_come_channel_by_channel_with_their_rows() -> None:
    s = ragged()
    draw = s.draw(1, 2)
    batch = s.gather(draw)
    assert batch.support_images.shape == (2, 10, 3, 4, 4)
    assert batch.query_images.shape == (2, 25, 3, 4, 4)
    assert batch.query_images.is_contiguous()
    assert batch.support_images.dtype == torch.float32
    sets = batch.support_images.unflatten(1, (5, 2)), batch.query_images.unflatten(1, (5, 5))
    both = torch.cat(sets, 2)
    corner = (255 * both[..., 0, 0]).round().long()
    assert torch.equal(256 * corner[..., 0] + corner[..., 1], draw.images)
    assert (corner[..., 2] == 255).all()


def test_rgb_images_turn_as_grey_ones_do() -> None:
    pixels = torch.randint(0, 256, (6, 9, 5, 5), dtype=torch.uint8)
    colours = torch.stack([pixels, 255 - pixels, pixels // 2], 4)
    options = (3, 2, 2, True, 0, "train")
    grey = Sampler(*stacked(pixels), *options).batch(0, 8)
    rgb = Sampler(*stacked(colours), *options).batch(0, 8)
    assert torch.equal(rgb.query_images[:, :, :1], grey.query_images)
    assert (rgb.query_images[:, :, 1:2] + grey.query_images - 1).abs().max() < 1e-6


def test_a_memory_map_is_drawn_from_without_a_copy(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((600, 4, 4, 3), dtype=np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="c")
    rows = np.arange(0, 600, 60), np.full(10, 60)
    s = Sampler(torch.from_numpy(mapped), *rows, 5, 1, 5, False, 0, "train")
    assert s.images.data_ptr() == mapped.ctypes.data
    draw = s.draw(0, 1)
    mapped[int(draw.images[0, 2, 0])] = 51  # seen through the map
    assert (s.gather(draw).support_images[0, 2] == 51 / 255).all()


def test_drawing_from_classes_of_thousands_takes_milliseconds() -> None:
    rows = stacked(torch.zeros(351, 1300, 1, 1, dtype=torch.uint8))
    s = Sampler(*rows, 5, 1, 15, False, 0, "train")
    s.draw(0, 4)
    start = time.process_time()
    for i in range(20):
        s.draw(i, 4)
    assert (time.process_time() - start) / 20 < 0.05
