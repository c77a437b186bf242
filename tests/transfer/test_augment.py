"""Augmentation: against torchvision and against loops, and what the random draws look like."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional
from transfer_data import picture

from multistep.transfer import augment

SHAPES = [(60, 50), (50, 60), (375, 500), (333, 331), (256, 256), (90, 300), (31, 64)]


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_evaluation_crop_is_torchvision_s(shape: tuple[int, int], size: int) -> None:
    pixels = picture(*shape, 0)
    short = {32: 37, 224: 256}[size]
    steps = transforms.Compose([transforms.Resize(short), transforms.CenterCrop(size)])
    expected = np.asarray(steps(Image.fromarray(pixels)))
    np.testing.assert_array_equal(augment.central_crop(pixels, size), expected)


def test_normalisation_is_torchvision_s() -> None:
    pixels = picture(40, 30, 1)
    to_tensor = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(augment.MEAN, augment.STD)]
    )
    ours = augment.normalise(augment.channels_first(torch.from_numpy(pixels).unsqueeze(0)))
    assert ours.dtype == torch.float32
    # Both divide by 255, subtract and divide in float32: at most an ulp or two of 2.6 apart.
    torch.testing.assert_close(ours[0], to_tensor(Image.fromarray(pixels)), atol=1e-6, rtol=0)


def test_crops_are_torchvision_s() -> None:
    pixels = picture(333, 500, 2)
    image = Image.fromarray(pixels)
    box = np.array([17, 40, 222, 199])
    expected = functional.resized_crop(image, 17, 40, 222, 199, [224, 224])
    np.testing.assert_array_equal(augment.resized_crop(pixels, box, 224), np.asarray(expected))
    square = functional.resize(image, [256, 256])
    expected = functional.crop(square, 5, 32, 224, 224)
    ours = augment.crop_resized(pixels, np.array([5, 32]), 224)
    np.testing.assert_array_equal(ours, np.asarray(expected))


def test_padded_crops_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 256, (40, 12, 10, 3), dtype=np.uint8)
    offsets, flips = rng.integers(0, 9, (40, 2)), rng.random(40) < 0.5
    offsets[:3] = [[0, 0], [8, 8], [4, 4]]
    ours = augment.crop_padded(*(torch.from_numpy(a) for a in (x, offsets, flips)))
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for i, (top, left) in enumerate(offsets):
        crop = padded[i, top : top + 12, left : left + 10]
        crop = crop[:, ::-1] if flips[i] else crop
        np.testing.assert_array_equal(ours[i].numpy(), crop.transpose(2, 0, 1))
    assert (ours[0, :, :4] == 0).all()  # the padding is black
    assert ours.is_contiguous()


def test_boxes_are_distributed_as_torchvision_s() -> None:
    torch.manual_seed(0)
    n, height, width = 4000, 375, 500
    shapes = np.broadcast_to([height, width], (n, 2))
    ours = augment.random_boxes(shapes, np.random.default_rng(0))
    image = Image.new("RGB", (width, height))
    get = transforms.RandomResizedCrop.get_params
    theirs = np.array([get(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)])
    for which in (
        lambda b: b[:, 2] * b[:, 3] / (height * width),  # share of the area
        lambda b: np.log(b[:, 3] / b[:, 2]),  # aspect
        lambda b: (b[:, 0] + 0.5) / (height - b[:, 2] + 1),  # place
        lambda b: (b[:, 1] + 0.5) / (width - b[:, 3] + 1),
    ):
        a, b = np.sort(which(ours)), np.sort(which(theirs))
        # Kolmogorov and Smirnov: at 4,000 draws each, 0.05 is exceeded once in 10⁴ cases.
        every = np.concatenate([a, b])
        distance = np.abs(np.searchsorted(a, every, "right") - np.searchsorted(b, every, "right"))
        assert distance.max() / n < 0.05


def test_boxes_lie_inside_and_cover_the_ranges() -> None:
    rng = np.random.default_rng(1)
    shapes = rng.integers(100, 600, (5000, 2))
    top, left, height, width = augment.random_boxes(shapes, rng).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= shapes[:, 0]).all()
    assert (left + width <= shapes[:, 1]).all()
    share = height * width / shapes.prod(1)
    assert 0.075 < share.min() < 0.1
    assert 0.95 < share.max() <= 1
    drawn = abs(np.log(width / height)) <= np.log(4 / 3) + 0.05  # sides are whole numbers
    assert drawn.all()


def test_an_image_in_which_no_box_fits_gives_its_centre() -> None:
    shapes = np.array([[10, 400], [400, 10], [100, 100]])
    boxes = augment.random_boxes(shapes, np.random.default_rng(0))
    assert boxes[0].tolist() == [0, (400 - 13) // 2, 10, 13]
    assert boxes[1].tolist() == [(400 - 13) // 2, 0, 13, 10]
    assert augment.central_box(100, 100) == (0, 0, 100, 100)


def test_flips_mirror_only_the_chosen() -> None:
    x = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    ours = augment.flip(x, torch.tensor([True, False]))
    assert torch.equal(ours[0], x[0].flip(2))
    assert torch.equal(ours[1], x[1])
