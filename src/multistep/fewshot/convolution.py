"""A convolution with its own weights for every task, and its two derivatives.

Activations are `[rows, tasks, channels]` with rows = images × height × width, weights
`[tasks, channels out, kernel² × channels in]`. Each of the three functions is bilinear and takes
several pairs of arguments, whose results it adds up: the derivative of a bilinear map along a
direction is such a sum. There are three ways to compute them:

* `gathered`: products of the rows that meet at one kernel offset, read and added up where they
  lie, by the compiled loop of `multistep.fewshot.kernels`. The CPU's, in float32.
* `grouped`: one convolution in channels-last layout with one group per task, oneDNN's kernels on a
  CPU; for what has no compiled loop.
* `product`: im2col and one batched matrix product, whose results are written and added up in place.
  On CUDA grouped convolutions of this shape fall back to slow kernels, while batched products run
  at full speed; on a CPU it replaces grouped gradients by weights where a task has few rows.

Device, type and size decide; the tests hold the three against each other.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from multistep import machine_code
from multistep.fewshot import kernels
from multistep.networks.conv4 import ConvShape

Pairs = Sequence[tuple[Tensor, Tensor]]

# Output rows of a task up to which a CPU takes products for gradients by weights, which oneDNN
# computes in a layout of its own: measured on maps of 64 filters.
FEW_ROWS = 256
# Output rows whose maps a gathered product goes through for one kernel offset after the other.
ROWS = 256


def convolve(pairs: Pairs, s: ConvShape) -> Tensor:
    """Σ over (x, weight): `[images·size², tasks, in]` to `[images·output², tasks, out]`."""
    x, weight = pairs[0]
    if machine_code.suit(x, sizes=(s.channels, weight.shape[1])):
        return convolve_gathered(pairs, s)
    return (convolve_product if x.is_cuda else convolve_grouped)(pairs, s)


def input_gradient(pairs: Pairs, s: ConvShape) -> Tensor:
    """Σ over (gy, weight) of ∂⟨gy, y⟩/∂x."""
    gy = pairs[0][0]
    if machine_code.suit(gy, sizes=(s.channels, gy.shape[2])):
        return input_gradient_gathered(pairs, s)
    return (input_gradient_product if gy.is_cuda else input_gradient_grouped)(pairs, s)


def weight_gradient(pairs: Pairs, s: ConvShape, out: Tensor) -> None:
    """Σ over (gy, x) of ∂⟨gy, y⟩/∂weight, written to `out`."""
    gy = pairs[0][0]
    if machine_code.suit(gy, sizes=(s.channels, gy.shape[2])):
        return weight_gradient_gathered(pairs, s, out)
    products = gy.is_cuda or gy.shape[0] <= FEW_ROWS
    return (weight_gradient_product if products else weight_gradient_grouped)(pairs, s, out)


def convolve_gathered(pairs: Pairs, s: ConvShape) -> Tensor:
    """`convolve` as gathered products: rows are pixels, terms channels of the input."""
    (x, weight), tasks = pairs[0], pairs[0][0].shape[1]
    images, filters = x.shape[0] // s.size**2, weight.shape[1]
    y = x.new_empty(images * s.output**2, tasks, filters)
    plan = _plan("output", s, tasks, images, filters)
    for number, (x, w) in enumerate(pairs):
        plan.run(x.contiguous(), kernels.transposed(w), y, add=number > 0)
    return y


def input_gradient_gathered(pairs: Pairs, s: ConvShape) -> Tensor:
    """`input_gradient` as gathered products: rows are pixels, terms channels of the output."""
    gy = pairs[0][0]
    images, tasks, filters = gy.shape[0] // s.output**2, *gy.shape[1:]
    gx = gy.new_empty(images * s.size**2, tasks, s.channels)
    plan = _plan("input", s, tasks, images, filters)
    if not plan.whole:
        gx.zero_()
    for number, (gy, w) in enumerate(pairs):
        plan.run(gy.contiguous(), w.contiguous(), gx, add=number > 0 or not plan.whole)
    return gx


def weight_gradient_gathered(pairs: Pairs, s: ConvShape, out: Tensor) -> None:
    """`weight_gradient` as gathered products: rows are channels of the output, terms pixels."""
    gy = pairs[0][0]
    plan = _plan("weight", s, gy.shape[1], gy.shape[0] // s.output**2, gy.shape[2])
    for number, (gy, x) in enumerate(pairs):
        plan.run(gy.contiguous(), x.contiguous(), out, add=number > 0)


@lru_cache(maxsize=256)
def _plan(
    result: Literal["output", "input", "weight"], s: ConvShape, tasks: int, images: int,
    filters: int,
) -> kernels.Plan:  # fmt: skip
    """The products of a convolution: for each task, group of images and kernel offset the pixels
    that meet there, those beyond the border left out. A group's maps fit into a cache.
    """
    size, wide = s.kernel**2 * s.channels, {"in": tasks * s.channels, "out": tasks * filters}
    group = min(images, max(1, ROWS // s.output**2))
    numbers, outs, ins, first = torch.arange(group).unsqueeze(1), [], [], [0]
    here, there = zip(*meeting(s), strict=True)
    for pixels, seen in zip(here, there, strict=True):
        outs.append((numbers * s.output**2 + pixels).flatten() * wide["out"])
        ins.append((numbers * s.size**2 + seen).flatten() * wide["in"])
        first.append(first[-1] + len(outs[-1]))
    out, inp = torch.cat(outs), torch.cat(ins)
    by_out, by_in = torch.arange(filters), torch.arange(s.channels)
    tables = {
        "output": (inp, out, by_in, by_in * filters),
        "input": (out, inp, by_out, by_out * size),
        "weight": (by_out, by_out * size, out, inp),
    }[result]
    columns = machine_code.columns(filters if result == "output" else s.channels)
    # Offsets whose pixels no earlier one has met come first, and write them: of the output it is
    # the middle one, of the input those that meet other pixels each.
    most = sorted(range(s.kernel**2), key=lambda k: first[k] - first[k + 1])
    fresh: set[int] = set()
    met: set[int] = set()
    for k in most:
        places = set((there if result == "input" else here)[k].tolist())
        if met.isdisjoint(places):
            fresh.add(k)
            met |= places
    whole = len(met) == (s.size if result == "input" else s.output) ** 2
    jobs, inputs, outputs = [], (0, s.channels), (0, filters)
    for task in range(tasks):
        for image in range(0, images, group):
            at_x = task * s.channels + image * s.size**2 * wide["in"]
            at_y = task * filters + image * s.output**2 * wide["out"]
            for k in sorted(most, key=lambda k: k not in fresh):
                rows = first[k], (first[k + 1] - first[k]) // group * min(group, images - image)
                at_w = task * filters * size + k * s.channels
                at_packed = (task * size + k * s.channels) * filters
                for n in range(0, filters if result == "output" else s.channels, columns):
                    job: dict[str, tuple[int, ...]] = {
                        "output": (at_x, at_packed + n, at_y + n, *rows, *inputs, k in fresh),
                        "input": (at_y, at_w + n, at_x + n, *rows, *outputs, k in fresh),
                        "weight": (at_y, at_x + n, at_w + n, *outputs, *rows, image == 0),
                    }
                    jobs.append(job[result])
    return kernels.Plan(torch.tensor(jobs), tables, columns, whole)


def meeting(s: ConvShape) -> list[tuple[Tensor, Tensor]]:
    """For each kernel offset the pixels of one output map, and those of the input that they see."""
    place = torch.arange(s.output)
    seen = [s.stride * place + i - s.padding for i in range(s.kernel)]
    inside = [(line >= 0) & (line < s.size) for line in seen]
    return [
        (
            (place[rows, None] * s.output + place[columns]).flatten(),
            (y[rows, None] * s.size + x[columns]).flatten(),
        )
        for y, rows in zip(seen, inside, strict=True)
        for x, columns in zip(seen, inside, strict=True)
    ]


def convolve_grouped(pairs: Pairs, s: ConvShape) -> Tensor:
    """`convolve` as one convolution with a group per task."""
    tasks = pairs[0][0].shape[1]
    ys = [
        F.conv2d(_images(x, s.size), _kernels(w, s), None, s.stride, s.padding, groups=tasks)
        for x, w in pairs
    ]
    return _rows(total(ys), tasks)


def input_gradient_grouped(pairs: Pairs, s: ConvShape) -> Tensor:
    """`input_gradient` of `convolve_grouped`."""
    tasks = pairs[0][0].shape[1]
    images = pairs[0][0].shape[0] // s.output**2
    like = pairs[0][0].new_empty(images, s.size, s.size, tasks * s.channels).permute(0, 3, 1, 2)
    gxs = [_backward(_images(gy, s.output), like, _kernels(w, s), s, 0) for gy, w in pairs]
    return _rows(total(gxs), tasks)


def weight_gradient_grouped(pairs: Pairs, s: ConvShape, out: Tensor) -> None:
    """`weight_gradient` of `convolve_grouped`."""
    like = _kernels(out, s)
    gws = [_backward(_images(gy, s.output), _images(x, s.size), like, s, 1) for gy, x in pairs]
    out.view(-1, s.kernel, s.kernel, s.channels).copy_(total(gws).permute(0, 2, 3, 1))


def convolve_product(pairs: Pairs, s: ConvShape) -> Tensor:
    """`convolve` as im2col and a batched product."""
    (x, weight), tasks = pairs[0], pairs[0][0].shape[1]
    y = x.new_empty(x.shape[0] // s.size**2 * s.output**2, tasks, weight.shape[1])
    _add_products([(im2col(x, s), w.transpose(1, 2)) for x, w in pairs], y.transpose(0, 1))
    return y


def input_gradient_product(pairs: Pairs, s: ConvShape) -> Tensor:
    """`input_gradient` of `convolve_product`."""
    gy, weight = pairs[0]
    patches = gy.new_empty(gy.shape[1], gy.shape[0], weight.shape[2])
    _add_products([(gy.transpose(0, 1), w) for gy, w in pairs], patches)
    return col2im(patches, s)


def weight_gradient_product(pairs: Pairs, s: ConvShape, out: Tensor) -> None:
    """`weight_gradient` of `convolve_product`."""
    _add_products([(gy.permute(1, 2, 0), im2col(x, s)) for gy, x in pairs], out)


def im2col(x: Tensor, s: ConvShape) -> Tensor:
    """`[images·size², tasks, channels]` to patches `[tasks, images·output², kernel²·channels]`."""
    tasks, channels = x.shape[1], x.shape[2]
    x = x.transpose(0, 1).unflatten(1, (-1, s.size, s.size))
    if s.padding:
        x = F.pad(x, (0, 0, s.padding, s.padding, s.padding, s.padding))
    patches = x.unfold(2, s.kernel, s.stride).unfold(3, s.kernel, s.stride)
    patches = patches.permute(0, 1, 2, 3, 5, 6, 4)
    return patches.reshape(tasks, -1, s.kernel * s.kernel * channels)


def col2im(g: Tensor, s: ConvShape) -> Tensor:
    """The transpose of `im2col`: sums overlapping patches into `[images·size², tasks, channels]`.

    Kernel offsets that share a pixel parity write to disjoint pixels, so each offset is one
    strided addition.
    """
    tasks = g.shape[0]
    g = g.view(tasks, -1, s.output, s.output, s.kernel, s.kernel, s.channels)
    side = s.size + 2 * s.padding
    x = g.new_zeros(tasks, g.shape[1], side, side, s.channels)
    reach = s.stride * (s.output - 1) + 1
    for i in range(s.kernel):
        for j in range(s.kernel):
            x[:, :, i : i + reach : s.stride, j : j + reach : s.stride].add_(g[:, :, :, :, i, j])
    inner = slice(s.padding, s.padding + s.size)
    return x[:, :, inner, inner].reshape(tasks, -1, s.channels).transpose(0, 1)


def _backward(gy: Tensor, x: Tensor, kernels: Tensor, s: ConvShape, wanted: int) -> Tensor:
    """The gradient of a grouped convolution by its input (wanted = 0) or its kernels (1)."""
    stride, padding, mask = [s.stride] * 2, [s.padding] * 2, [wanted == 0, wanted == 1, False]
    groups = x.shape[1] // s.channels
    gradients = torch.ops.aten.convolution_backward(
        gy, x, kernels, None, stride, padding, [1, 1], False, [0, 0], groups, mask
    )
    return gradients[wanted]


def total(terms: Iterable[Tensor]) -> Tensor:
    """Their sum, in the place of the first."""
    each = iter(terms)
    first = next(each)
    for term in each:
        first.add_(term)
    return first


def _add_products(pairs: Pairs, out: Tensor) -> None:
    """Σ a b of batches of matrices, into `out`."""
    torch.bmm(*pairs[0], out=out)
    for a, b in pairs[1:]:
        torch.baddbmm(out, a, b, out=out)


def _images(x: Tensor, side: int) -> Tensor:
    """`[images·side², tasks, channels]` as channels-last `[images, tasks·channels, side, side]`."""
    return x.contiguous().view(-1, side, side, x.shape[1] * x.shape[2]).permute(0, 3, 1, 2)


def _rows(y: Tensor, tasks: int) -> Tensor:
    """The inverse of `_images`; copies only if the kernel did not answer in channels-last."""
    return y.permute(0, 2, 3, 1).reshape(-1, tasks, y.shape[1] // tasks)


def _kernels(weight: Tensor, s: ConvShape) -> Tensor:
    """`[tasks, out, kernel²·in]` as `[tasks·out, in, kernel, kernel]`, channels last."""
    kernels = weight.reshape(-1, s.kernel, s.kernel, s.channels)
    return kernels.permute(0, 3, 1, 2)
