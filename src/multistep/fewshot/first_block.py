"""Convolution, batch norm, ReLU and pooling of the images as one affine map of their patches.

The images stay as they are while φ moves. With their patches p centred on the mean, what batch norm
needs to know of W * x is then a quadratic form: mean 0 and variance wᵀ C w, for a row w of W and
the patches' covariance C, which an episode has once and for all. So the block is

    y = max(s wᵀ p + β, 0),   s = γ r,   r = 1/√(wᵀ C w + ε)

(largest of four where it pools). No statistics of the maps are taken, forward or backward, and none
of them is kept but y: of the four blocks' maps the first one's are three quarters. With the masked
g = ∂L/∂y, G = Σ g p over rows, c = C w and q = w·G

    ∂L/∂w = s (G - r² q c),   ∂L/∂γ = r q,   ∂L/∂β = Σ g

and along a direction u of w, where ṙ = -r³ c·u and ṡ = γ̇ r + γ ṙ,

    ẏ       = (s u + ṡ w)ᵀ p + β̇   where y > 0,
    ∂L/∂w˙  = ṡ (G - r² q c) + s (Ġ - 2 r ṙ q c - r² (q̇ c + q C u)),   q̇ = u·G + w·Ġ,
    ∂L/∂γ˙  = ṙ q + r q̇.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from multistep import machine_code
from multistep.fewshot import first_loops
from multistep.fewshot.convolution import total
from multistep.fewshot.layers import Views
from multistep.fewshot.pooled_norm import pick, pool, put
from multistep.networks.conv4 import ConvShape


class Patches(NamedTuple):
    """The images of a batch of episodes as `FirstBlock` reads them.

    `groups`: of some images each, their centred patches and a 1, `[tasks, kernel²·channels + 1,
    rows]`, with rows = images × height × width of the maps; `covariance` of all, `[tasks,
    kernel²·channels, kernel²·channels]`.
    """

    groups: list[Tensor]
    covariance: Tensor


class Images(NamedTuple):
    """The same for the compiled loops: `values`, the padded images without the mean of their
    pixels, `[tasks, images, channels, size, size]`; `mean` of their patches, `[tasks,
    kernel²·channels]`; `covariance`.
    """

    values: Tensor
    mean: Tensor
    covariance: Tensor


# Rows whose maps a block that pools makes at once on a CPU: a quarter of them goes on, so the rest
# need not leave the caches. A megabyte at 32 filters.
ROWS = 8192


class FirstBlock:
    """Rules as in `multistep.fewshot.layers`, for the parameters of a convolution (`weight`,
    `bias`, which cancels) and of a batch norm (`scale` γ, `shift` β) at once.

    `scale`: whether γ exists. `adapted`: whether γ and β have tangents. `pooled`: whether the
    largest of each 2×2 window goes on; an odd last row and column count in the statistics alone.
    """

    def __init__(
        self, shape: ConvShape, filters: int, eps: float, *, scale: bool, adapted: bool,
        pooled: bool,
    ) -> None:  # fmt: skip
        self.shape, self.filters, self.eps = shape, filters, eps
        self.scale, self.adapted, self.pooled = scale, adapted, pooled

    def patches(self, images: Tensor) -> Patches | Images:
        """Images `[tasks, images, channels, size, size]` as the block reads them."""
        s, tasks = self.shape, images.shape[0]
        few = self.pooled and not images.is_cuda
        together = max(1, ROWS // (tasks * s.output**2)) if few else images.shape[1]
        compiled = machine_code.suit(images, sizes=[self.filters])
        padded = F.pad(images, [s.padding] * 4)
        if compiled:
            level = images.mean((1, 2, 3, 4), keepdim=True)
            padded -= level
        groups = map(self._seen, padded.split(together, 1))
        rows = images.shape[1] * s.output**2
        if compiled:
            # Each product has the squares, and with the 1 the sums; the level keeps them small.
            sums = total(map(_squares, groups)).div_(rows)
            mean, squares = sums[:, :-1, -1], sums[:, :-1, :-1]
            return Images(padded, mean, squares - mean.unsqueeze(2) * mean.unsqueeze(1))
        kept = list(groups)
        mean = total(g[:, :, :-1].sum((1, 3)) for g in kept) / rows
        centred = [g[:, :, :-1].sub_(mean[:, None, :, None]) for g in kept]
        covariance = total(map(_squares, centred)) / rows
        return Patches([g.transpose(1, 2).flatten(2) for g in kept], covariance)

    def _seen(self, padded: Tensor) -> Tensor:
        """The patches of padded images and a 1, `[tasks, images, kernel²·channels + 1, pixels]`."""
        s, (tasks, images, channels) = self.shape, padded.shape[:3]
        found = padded.new_ones(tasks, images, s.kernel**2 * channels + 1, s.output**2)
        seen = padded.unfold(3, s.kernel, s.stride).unfold(4, s.kernel, s.stride)
        seen = seen.permute(0, 1, 5, 6, 2, 3, 4)
        found[:, :, :-1].view(seen.shape).copy_(seen)
        return found

    def forward(self, p: Views, x: Patches | Images) -> tuple[Tensor, Any]:
        w = p["weight"]
        c = torch.bmm(w, x.covariance)
        r = torch.rsqrt((w * c).sum(2) + self.eps)
        weight = w * self._slope(p, r).unsqueeze(2)
        if isinstance(x, Images):
            y, codes = self._compiled("forward", x, weight, p["shift"])
            return y, (x, y, codes, c, r)
        maps: Iterable[Tensor] = self._maps(x, weight, p["shift"])
        places = None
        if self.pooled:
            maps, places = zip(*(pool(y, self.shape.output) for y in maps), strict=True)
        y = _joined(maps).clamp_min_(0)
        return y, (x, y, places, c, r)

    def backward(self, p: Views, grad: Views, saved: Any, gy: Tensor) -> tuple[None, Any]:
        x, y, places, c, r = saved
        by_map, by_shift = self._sums(x, y, places, gy)
        q = (p["weight"] * by_map).sum(2)
        straight = torch.addcmul(by_map, c, (r * r * q).unsqueeze(2), value=-1)
        torch.mul(straight, self._slope(p, r).unsqueeze(2), out=grad["weight"])
        grad["bias"].zero_()
        grad["shift"].copy_(by_shift)
        if self.scale:
            torch.mul(r, q, out=grad["scale"])
        return None, (x, y, places, c, r, by_map, straight, q)

    def tangent(self, p: Views, u: Views, kept: Any, dx: None) -> tuple[Tensor, Any]:
        x, y, places, c, r = kept[:5]
        dr = -(r**3) * (c * u["weight"]).sum(2)
        dslope = self._slope(p, dr)
        if self.adapted and self.scale:
            dslope = torch.addcmul(dslope, u["scale"], r)
        moved = u["weight"] * self._slope(p, r).unsqueeze(2)
        moved.addcmul_(p["weight"], dslope.unsqueeze(2))
        shift = u["shift"] if self.adapted else r.new_zeros(1, 1)
        if isinstance(x, Images):
            return self._compiled("tangent", x, moved, shift, places)[0], (dr, dslope)
        maps: Iterable[Tensor] = self._maps(x, moved, shift)
        if places is not None:
            maps = map(pick, maps, places)
        return torch.ops.aten.threshold_backward(_joined(maps), y, 0), (dr, dslope)

    def adjoint(
        self, p: Views, u: Views, product: Views, kept: Any, tangent: Any, dgy: Tensor
    ) -> None:
        x, y, places, c, r, by_map, straight, q = kept
        dr, dslope = tangent
        moved_by_map, moved_by_shift = self._sums(x, y, places, dgy)
        dq = torch.addcmul(u["weight"] * by_map, p["weight"], moved_by_map).sum(2)
        change = moved_by_map - c * (r * (2 * dr * q + r * dq)).unsqueeze(2)
        change -= torch.bmm(u["weight"], x.covariance) * (r * r * q).unsqueeze(2)
        change *= self._slope(p, r).unsqueeze(2)
        torch.addcmul(change, straight, dslope.unsqueeze(2), out=product["weight"])
        product["bias"].zero_()
        product["shift"].copy_(moved_by_shift)
        if self.scale:
            torch.addcmul(dr * q, r, dq, out=product["scale"])

    def _slope(self, p: Views, r: Tensor) -> Tensor:
        return p["scale"] * r if self.scale else r

    @staticmethod
    def _maps(x: Patches, weight: Tensor, shift: Tensor) -> Iterator[Tensor]:
        """weightᵀ p + shift, `[rows, tasks, channels]`, of each group."""
        tasks, channels = weight.shape[:2]
        affine = torch.cat([weight.mT, shift.expand(tasks, channels).unsqueeze(1)], 1)
        for values in x.groups:
            y = weight.new_empty(values.shape[2], tasks, channels)
            torch.bmm(values.mT, affine, out=y.transpose(0, 1))
            yield y

    def _compiled(
        self, rule: str, x: Images, weight: Tensor, shift: Tensor, codes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Of weightᵀ p + shift y and its codes, or with those codes ẏ."""
        tasks, channels = weight.shape[:2]
        shift = shift - torch.bmm(weight, x.mean.unsqueeze(2)).squeeze(2)
        affine = torch.cat([weight.mT, shift.unsqueeze(1)], 1)
        table = first_loops.table(self.shape, x.values.shape[1], self.pooled)
        y = weight.new_empty(len(table), tasks, channels)
        if codes is None:
            codes = y.new_empty(y.shape, dtype=torch.int8)
            self._run(rule, x, table, affine, y, codes)
        else:
            self._run(rule, x, table, affine, codes, y)
        return y, codes

    def _run(self, rule: str, x: Images, table: Tensor, *arguments: Tensor) -> None:
        tasks, size = x.values.shape[0], x.values[0].numel()
        terms = first_loops.terms(self.shape)
        first_loops.rule(rule, self.shape, self.filters, self.pooled)(
            tasks, self.filters, len(table), size, table.data_ptr(), len(terms), terms.data_ptr(),
            x.values.data_ptr(),
            *(a.data_ptr() for a in arguments),
        )  # fmt: skip

    def _sums(
        self, x: Patches | Images, y: Tensor, places: Any, g: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Σ g p and Σ g over the rows where y > 0."""
        if isinstance(x, Images):
            table = first_loops.table(self.shape, x.values.shape[1], self.pooled)
            sums = g.new_empty(g.shape[1], x.mean.shape[1] + 1, g.shape[2])
            self._run("sums", x, table, places, g.contiguous(), sums)
            by_map = sums[:, :-1].addcmul_(x.mean.unsqueeze(2), sums[:, -1:], value=-1)
            return by_map.mT.contiguous(), sums[:, -1]
        g = torch.ops.aten.threshold_backward(g, y, 0)
        tasks, channels = g.shape[1:]
        sums = g.new_zeros(tasks, x.groups[0].shape[1], channels)
        parts = [g] if places is None else g.split([p.shape[0] * p.shape[1] for p in places])
        for values, part, place in zip(x.groups, parts, places or (None,), strict=True):
            if place is not None:
                spread = g.new_zeros(values.shape[2], tasks, channels)
                put(spread, place, part)
                part = spread
            # The other order of the factors computes the same at a quarter of the speed on a CPU.
            sums += torch.bmm(values, part.transpose(0, 1))
        return sums[:, :-1].mT.contiguous(), sums[:, -1]


def _squares(patches: Tensor) -> Tensor:
    """Σ p pᵀ of each task, over an image's pixels and then over images: one long sum in float32 is
    7e-5 off for 300 of Omniglot's, which changes activations' signs at ReLU's kink.
    """
    return (patches @ patches.mT).sum(1)


def _joined(maps: Iterable[Tensor]) -> Tensor:
    first, *rest = maps
    return torch.cat([first, *rest]) if rest else first
