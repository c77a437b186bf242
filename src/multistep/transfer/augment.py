"""Pixels from prepared images to what a network sees, for training and for evaluation.

Small images (CIFAR-100, STL-10 and TinyImageNet at 32 × 32): four pixels of zero padding, a random
crop, a horizontal flip. Large ones: a random-resized crop and a flip, as the code of L2T-ww (Jang
et al. 2019) has it, evaluated on the central crop after the short side was resized; or, as the
paper's text has it, a resize to a square and a random crop, evaluated on the square's central one.
Normalisation with the statistics of ImageNet comes last, so padding is black and not the mean.

Random numbers come from a NumPy generator that the caller positions, see
`multistep.transfer.batches`; images are uint8 until `normalise`.
"""

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PAD = 4  # pixels on each side
AREA = (0.08, 1.0)  # of the image, uniform
ASPECT = (3 / 4, 4 / 3)  # width / height, uniform in its logarithm
TRIES = 10  # before the central crop is taken


def normalise(x: Tensor) -> Tensor:
    """uint8 `[B, 3, H, W]` to float32 of about zero mean and unit variance per channel."""
    mean, std = _statistics(x.device)
    return x.to(torch.float32).div_(255).sub_(mean).div_(std)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Made once for a device: a copy to a GPU for every batch would wait for its queue."""
    mean, std = (torch.tensor(v, dtype=torch.float32, device=device) for v in (MEAN, STD))
    return mean.view(3, 1, 1), std.view(3, 1, 1)


def larger(size: int) -> int:
    """The side that images are resized to before a crop of `size`: 256 for 224, in proportion."""
    return round(size * 256 / 224)


def crop_padded(x: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Random crops of zero-padded images: uint8 `[B, H, W, 3]` to `[B, 3, H, W]`.

    `offsets`: int64 `[B, 2]`, top and left edge in the padded image, 0 to 2 `PAD`; `flips`: bool
    `[B]`, whether the crop is mirrored. One gather, on the device of `x`.
    """
    n, height, width, _ = x.shape
    rows = offsets[:, :1] + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    columns = torch.where(flips.unsqueeze(1), width - 1 - columns, columns) + offsets[:, 1:]
    padded = F.pad(x, (0, 0, PAD, PAD, PAD, PAD))
    each = torch.arange(n, device=x.device).view(n, 1, 1)
    return channels_first(padded[each, rows.unsqueeze(2), columns.unsqueeze(1)])


def channels_first(x: Tensor) -> Tensor:
    """`[B, H, W, 3]` to `[B, 3, H, W]`, contiguous."""
    return x.permute(0, 3, 1, 2).contiguous()


def flip(x: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images `[B, 3, H, W]` for which `flips` `[B]` is true."""
    return torch.where(flips.view(-1, 1, 1, 1), x.flip(3), x)


def random_boxes(shapes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Boxes of random-resized crops: int64 `[B, 4]`, top, left, height, width.

    `shapes`: `[B, 2]`, height and width of the images. Each box has a random share of the area and
    a random aspect; the first of ten that fits inside is taken, else the largest central box with
    an allowed aspect. A box uses a fixed count of random numbers, so others don't depend on it.
    """
    height, width = (shapes[:, i : i + 1].astype(np.int64) for i in (0, 1))
    n = len(shapes)
    area = height * width * rng.uniform(*AREA, (n, TRIES))
    low, high = (math.log(a) for a in ASPECT)
    aspect = np.exp(rng.uniform(low, high, (n, TRIES)))
    places = rng.random((n, 2))
    h = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    w = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    first = fits.argmax(1, keepdims=True)
    h, w = (np.take_along_axis(side, first, 1)[:, 0] for side in (h, w))
    free = np.stack([height[:, 0] - h + 1, width[:, 0] - w + 1], 1)
    corners = (places * free).astype(np.int64)
    boxes = np.column_stack([corners, h, w])
    for i in np.flatnonzero(~fits.any(1)):
        boxes[i] = central_box(int(height[i, 0]), int(width[i, 0]))
    return boxes


def central_box(height: int, width: int) -> tuple[int, int, int, int]:
    """The largest central box whose aspect is allowed."""
    h, w = height, width
    if width / height < ASPECT[0]:
        h = round(width / ASPECT[0])
    elif width / height > ASPECT[1]:
        w = round(height * ASPECT[1])
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(pixels: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """The box of an image `[H, W, 3]`, resized to `[size, size, 3]`; only the box is read."""
    top, left, height, width = (int(v) for v in box)
    return _resized(pixels[top : top + height, left : left + width], size, size)


def crop_resized(pixels: np.ndarray, offset: np.ndarray, size: int) -> np.ndarray:
    """Resize to a square of `larger(size)`, then crop `[size, size, 3]` at `offset` (top, left)."""
    top, left = (int(v) for v in offset)
    square = _resized(pixels, larger(size), larger(size))
    return square[top : top + size, left : left + size]


def central_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Evaluation of what is trained by `crop_resized`: its crop at the centre."""
    margin = (larger(size) - size) // 2
    return crop_resized(pixels, np.array([margin, margin]), size)


def central_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """Evaluation: the short side to `larger(size)`, then the central `[size, size, 3]`."""
    height, width = pixels.shape[:2]
    short = larger(size)
    if height <= width:
        height, width = short, int(short * width / height)
    else:
        height, width = int(short * height / width), short
    resized = _resized(pixels, height, width)
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resized[top : top + size, left : left + size]


def _resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear and antialiased, as Pillow does it; its C code runs without the interpreter lock."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
