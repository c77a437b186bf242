"""Batches: the same whatever the loaders and interruptions, every image once, the last one kept."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transfer_data import equal_size, ragged, settings, written

from multistep.data import prepared
from multistep.data.prepared import Prepared
from multistep.files import UserError
from multistep.transfer import augment, batches
from multistep.transfer.batches import Batches, count_correct

CPU = torch.device("cpu")
KINDS = ["pad_crop", "random_resized_crop", "resize_crop"]


def pictures(kind: str, count: int = 45, test: int = 0) -> Prepared:
    return (equal_size if kind == "pad_crop" else ragged)(count, test=test)


def some(kind: str, seed: int = 0, loaders: int | None = None, count: int = 45) -> Batches:
    images = pictures(kind, count)
    return Batches(images, "train", settings(augmentation=kind), CPU, seed, loaders)


def same(a: list[batches.Batch], b: list[batches.Batch]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(p, q) for left, right in pairs for p, q in zip(left, right, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_loaders_nor_interruptions_change_a_bit(kind: str) -> None:
    whole = list(some(kind, loaders=0).epoch(3))
    assert [len(y) for _, y in whole] == [16, 16, 13]
    assert whole[0][0].shape == (16, 3, 16, 16)
    assert whole[0][0].dtype == torch.float32
    assert whole[0][1].dtype == torch.int64
    for loaders in (1, 3, None):
        assert same(whole, list(some(kind, loaders=loaders).epoch(3)))
    assert same(whole[1:], list(some(kind).epoch(3, start=1)))
    assert list(some(kind).epoch(3, start=3)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_and_seeds_differ(kind: str) -> None:
    first = list(some(kind).epoch(0))
    assert not same(first, list(some(kind).epoch(1)))
    assert not same(first, list(some(kind, seed=1).epoch(0)))
    # Also the augmentation of an image differs, not only the order.
    only = [next(some(kind, count=1).epoch(e)) for e in range(6)]
    assert len({x.sum().item() for x, _ in only}) > 3


@pytest.mark.parametrize(("count", "last"), [(34, 2), (33, 1), (32, 16), (1, 1)])
def test_the_last_batch_comes_as_it_is(count: int, last: int) -> None:
    chosen = some("pad_crop", count=count)
    sizes = [len(y) for _, y in chosen.epoch(0)]
    assert len(sizes) == len(chosen)
    assert sizes[-1] == last
    assert sum(sizes) == chosen.count == count


def test_every_image_comes_once_an_epoch_with_its_label() -> None:
    images = equal_size(90, 8)
    labels = np.arange(90)
    pixels = np.broadcast_to(labels[:, None, None, None], (90, 8, 8, 3)).astype(np.uint8)
    numbered = dataclasses.replace(images, images=pixels, labels=labels)
    s = settings(size=8)
    for epoch in range(2):
        seen = list(Batches(numbered, "train", s, CPU, 0).epoch(epoch))
        x, y = (torch.cat(parts) for parts in zip(*seen, strict=True))
        assert sorted(y.tolist()) == list(range(90))
        assert torch.equal(_bytes(x).amax((1, 2, 3)), y)  # padding is 0


def test_padding_flips_and_offsets() -> None:
    # Images that are white, brighter to the right: what is black is padding.
    ramp = np.linspace(100, 255, 16).astype(np.uint8)
    pixels = np.broadcast_to(ramp[:, None], (2000, 16, 16, 3)).copy()
    images = dataclasses.replace(equal_size(2000), images=pixels)
    drawn = list(Batches(images, "train", settings(), CPU, 0).epoch(0))
    x = torch.cat([x for x, _ in drawn])
    black = augment.normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8))
    assert torch.equal(x.amin((0, 2, 3)), black[0, :, 0, 0])
    x = _bytes(x)[:, 0]
    flipped = x[:, 8, 11] < x[:, 8, 4]  # the middle is never padding
    assert abs(flipped.float().mean().item() - 0.5) < 0.05  # 4.5 standard deviations
    rows = (x.amax(2) > 0).float().argmax(1) - (x.flip(1).amax(2) > 0).float().argmax(1)
    counts = torch.bincount(rows + 4, minlength=9)
    assert counts.shape == (9,)
    assert (counts - 2000 / 9).abs().max() < 70  # 5 standard deviations


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_is_in_order_and_not_augmented(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(kind, 60, test=18)
    chosen = Batches(images, "train", settings(augmentation=kind), CPU, 0, 2)
    passes = [list(chosen.evaluation("test")) for _ in range(2)]  # the second from memory
    assert same(*passes)
    monkeypatch.setattr(batches, "KEEP_BYTES", 0)
    other = Batches(images, "train", settings(augmentation=kind), CPU, 5, 0)
    assert same(passes[0], list(other.evaluation("test")))
    assert not other._crops
    x, y = (torch.cat(parts) for parts in zip(*passes[0], strict=True))
    assert y.tolist() == images.labels[images.splits["test"]].tolist()
    for i, number in enumerate(images.splits["test"]):
        pixels = images.pixels(number)
        crop = pixels if kind == "pad_crop" else augment.central_crop(pixels, 16)
        if kind == "resize_crop":  # of the square with sides of 18
            crop = augment.crop_resized(pixels, np.array([1, 1]), 16)
        assert (_bytes(x[i : i + 1])[0].permute(1, 2, 0).numpy() == crop).all()


def test_images_of_one_size_can_be_cropped_and_resized_too() -> None:
    s = settings(augmentation="random_resized_crop", size=8)
    x, _ = next(Batches(equal_size(20), "train", s, CPU, 0).epoch(0))
    assert x.shape == (16, 3, 8, 8)


def test_the_memory_map_of_a_prepared_folder_serves(tmp_path: Path) -> None:
    for images, kind in ((equal_size(40), "pad_crop"), (ragged(40), "random_resized_crop")):
        mapped = prepared.read(written(tmp_path / kind, images))
        pair = [Batches(i, "train", settings(augmentation=kind), CPU, 0) for i in (images, mapped)]
        assert same(*(list(b.epoch(0)) for b in pair))


def test_an_abandoned_epoch_leaves_no_thread() -> None:
    before = threading.active_count()
    epoch = some("random_resized_crop", loaders=2).epoch(0)
    next(epoch)
    del epoch
    assert threading.active_count() == before


def test_correct_images_are_counted() -> None:
    def by_index(x: Tensor) -> Tensor:
        return torch.eye(4)[torch.arange(len(x)) % 4]  # right for the batches of 16

    for logits, right in ((by_index, 45), (lambda x: torch.eye(4)[[0] * len(x)], 12)):
        assert count_correct(logits, some("pad_crop").evaluation("train")) == (right, 45)
    # Else the first class would be taken, and its share recorded as an accuracy.
    with pytest.raises(UserError, match="for 45 of 45 images is not finite: training has diverged"):
        count_correct(lambda x: by_index(x) * torch.nan, some("pad_crop").evaluation("train"))


@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (equal_size(8, 8), "pad_crop", "images of 16x16, but its images are 8x8"),
        (ragged(8), "pad_crop", "set prepare.size of the dataset to 16"),
    ],
)
def test_images_that_don_t_fit_are_one_line(images: Prepared, kind: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Batches(images, "train", settings(augmentation=kind), CPU, 0)
    with pytest.raises(UserError, match="has no validation images; its parts are train"):
        Batches(images, "validation", settings(augmentation=kind), CPU, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_gets_the_same_pictures(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    images = pictures(kind)
    expected = list(some(kind).epoch(2))
    for share in (batches.RESIDENT, 0.0):
        monkeypatch.setattr(batches, "RESIDENT", share)
        chosen = Batches(images, "train", settings(augmentation=kind), gpu, 0)
        assert (chosen.resident is not None) == (kind == "pad_crop" and share > 0)
        for (x, y), (ours, labels) in zip(expected, chosen.epoch(2), strict=True):
            torch.testing.assert_close(ours.cpu(), x, atol=1e-6, rtol=0)
            assert torch.equal(labels.cpu(), y)


def _bytes(x: Tensor) -> Tensor:
    """Normalised images back as numbers from 0 to 255."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (augment.MEAN, augment.STD))
    return ((x * std + mean) * 255).round().long()
