"""The four-block network for many tasks at once, with hand-derived first and second derivatives.

All tasks of a meta-batch go through the network together: their parameters are one flat tensor φ,
so that an inner step is a few vector operations, and each layer works on a task axis
(`multistep.fewshot.layers`). `BatchedConv4` knows where each parameter lies; `EpisodeLoss` is the
cross-entropy of a batch of episodes as the `Objective` of `multistep.inner.unroll.unroll_vjp`. It
agrees with autograd on `multistep.networks.conv4.Conv4` to rounding: tests/fewshot/test_batched.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multistep.fewshot.first_block import FirstBlock
from multistep.fewshot.layers import BatchNorm, Convolution, Features, Head, ReLU, Views
from multistep.fewshot.norm_relu import NormReLU, batch_norm
from multistep.networks.conv4 import Conv4, Conv4Config

Layer = FirstBlock | Convolution | NormReLU | BatchNorm | ReLU | Features | Head
Named = tuple[str, Layer]


class Slot(NamedTuple):
    """Where a parameter lies in its vector (φ or shared) of one task, and its kernel shape."""

    adapted: bool
    start: int
    stop: int
    shape: tuple[int, ...]


class Tape(NamedTuple):
    """What one gradient evaluation keeps for the Hessian-vector product at the same φ; `nbytes`:
    of all of it but the episodes' images.
    """

    phi: Tensor
    probabilities: Tensor
    kept: list[Any]
    nbytes: int


class Evaluation(NamedTuple):
    """One gradient evaluation: logits `[tasks, images, ways]`, ∂L/∂φ `[tasks·P]`, ∂L/∂shared
    `[tasks·S]`, the bytes that were held between forward and backward, and the tape if asked.
    """

    logits: Tensor
    by_phi: Tensor
    by_shared: Tensor
    nbytes: int
    tape: Tape | None


class BatchedConv4:
    """Structure and parameter layout of a `Conv4` for a batch of tasks.

    `adapt_bn`: whether γ and β belong to φ (adapted per task) or are shared by all tasks (learned
    by the outer loop only). Everything else is always adapted.

    A flat vector for `tasks` tasks has length tasks × P and holds parameter after parameter, each
    as a contiguous block `[tasks, *shape]`: element-wise dynamics see one vector, convolutions see
    each weight without a copy.
    """

    def __init__(self, config: Conv4Config, *, adapt_bn: bool = False) -> None:
        self.config, self.adapt_bn = config, adapt_bn
        bn_next = config.order == "conv-bn-relu"
        self.layers: list[Named] = []
        for i, shape in enumerate(config.convolutions, start=1):
            options = {"scale": config.bn_scale, "adapted": adapt_bn, "pooled": config.pooled}
            side, eps = shape.output, config.bn_eps
            if i == 1 and bn_next:
                self.layers.append(("block1", FirstBlock(shape, config.filters, eps, **options)))
                continue
            self.layers.append((f"conv{i}", Convolution(shape, first=i == 1, bias_cancels=bn_next)))
            if bn_next:
                self.layers.append((f"norm{i}", NormReLU(side, eps, **options)))
            else:  # a ReLU before the pooling or after it is the same
                self.layers += [("", ReLU()), (f"norm{i}", batch_norm(side, eps, **options))]
        features = Features(config.last_side**2, mean=config.spatial_mean)
        self.layers += [("", features), ("head", Head())]
        self.bytes: dict[Any, int] = {}
        self.slots = self._layout()
        self.places = {name: name.split(".") for name in self.slots}
        self.layer_names = ["", *dict.fromkeys(layer for layer, _ in self.places.values())]
        self.lengths: dict[bool, tuple[list[str], list[int]]] = {}
        for adapted in (True, False):
            sizes = {n: s.stop - s.start for n, s in self.slots.items() if s.adapted == adapted}
            self.lengths[adapted] = list(sizes), list(sizes.values())
        self.adapted_size = max(s.stop for s in self.slots.values() if s.adapted)
        self.shared_size = max((s.stop for s in self.slots.values() if not s.adapted), default=0)

    def _layout(self) -> dict[str, Slot]:
        slots: dict[str, Slot] = {}
        offset = {True: 0, False: 0}
        for name, p in Conv4(self.config).named_parameters():
            adapted = self.adapt_bn or not name.startswith("norm")
            start = offset[adapted]
            offset[adapted] = start + p.numel()
            shape = (p.shape[0], p[0].numel()) if p.dim() > 1 else tuple(p.shape)
            slots[name] = Slot(adapted, start, offset[adapted], shape)
        return slots

    def pack(self, params: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """A module's parameters as flat vectors of one task (θ_adapted `[P]`, θ_shared `[S]`)."""
        flat: dict[bool, list[Tensor]] = {True: [], False: []}
        for name, slot in self.slots.items():
            p = self._maps(name, params[name])
            flat[slot.adapted].append((p.permute(0, 2, 3, 1) if p.dim() == 4 else p).reshape(-1))
        empty = params["head.bias"].new_empty(0)
        return torch.cat([empty, *flat[True]]), torch.cat([empty, *flat[False]])

    def unpack(self, adapted: Tensor, shared: Tensor) -> dict[str, Tensor]:
        """The inverse of `pack`."""
        params = {}
        for name, like in Conv4(self.config).named_parameters():
            slot = self.slots[name]
            p = (adapted if slot.adapted else shared)[slot.start : slot.stop]
            maps = self._maps(name, like)
            if maps.dim() == 4:
                out, channels, height, width = maps.shape
                p = p.view(out, height, width, channels).permute(0, 3, 1, 2)
            params[name] = p.reshape(like.shape).clone(memory_format=torch.contiguous_format)
        return params

    def _maps(self, name: str, p: Tensor) -> Tensor:
        """A head's weight `[ways, features]` in the shape of its maps, `[ways, channels, h, w]`."""
        side = self.config.head_side
        return p.unflatten(1, (-1, side, side)) if name == "head.weight" else p

    def expand(self, theta: Tensor, tasks: int) -> Tensor:
        """θ `[P]` as the first φ of `tasks` tasks, `[tasks·P]`."""
        if tasks == 1:
            return theta.clone()
        blocks = [theta[s.start : s.stop].repeat(tasks) for s in self._slots(adapted=True)]
        return torch.cat(blocks)

    def split(self, flat: Tensor, tasks: int, size: int) -> list[Tensor]:
        """φ `[tasks·P]` of all tasks as the φ's of `size` tasks at a time, the last of the rest."""
        parts = zip(*(b.split(size) for b in self._blocks(flat, tasks)), strict=True)
        return [torch.cat([b.reshape(-1) for b in blocks]) for blocks in parts]

    def join(self, parts: list[Tensor], *, adapted: bool = True) -> Tensor:
        """The inverse of `split`; of vectors of shared parameters too."""
        size = self.adapted_size if adapted else self.shared_size
        if not size:
            return parts[0]
        blocks = [self._blocks(p, p.numel() // size, adapted=adapted) for p in parts]
        return torch.cat([block.view(-1) for same in zip(*blocks, strict=True) for block in same])

    def sum_tasks(self, flat: Tensor, *, adapted: bool = True) -> Tensor:
        """Sum over the tasks of a flat vector, `[tasks·P]` to `[P]` (or `[tasks·S]` to `[S]`)."""
        size = self.adapted_size if adapted else self.shared_size
        tasks = flat.numel() // size if size else 1
        if tasks == 1:
            return flat.clone()
        blocks = [block.sum(0) for block in self._blocks(flat, tasks, adapted=adapted)]
        return torch.cat([flat.new_empty(0), *blocks])

    def task_dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of each task's part of `a` and `b` `[tasks·P]`, `[tasks]`."""
        tasks = a.numel() // self.adapted_size
        return torch.stack([block.sum(1) for block in self._blocks(a * b, tasks)]).sum(0)

    def task_scale(self, v: Tensor, factors: Tensor) -> Tensor:
        """`v` `[tasks·P]` with each task's part times its factor `[tasks]`."""
        column = factors.unsqueeze(1)
        return torch.cat([(b * column).view(-1) for b in self._blocks(v, len(factors))])

    def head(self, phi: Tensor, tasks: int) -> tuple[Tensor, Tensor]:
        """Views of the heads in φ: weight `[tasks, ways, features]` and bias `[tasks, ways]`."""
        weight, bias = self.slots["head.weight"], self.slots["head.bias"]
        return self._view(phi, weight, tasks), self._view(phi, bias, tasks)

    def views(self, phi: Tensor, shared: Tensor, tasks: int) -> dict[str, Views]:
        """Per layer, the parameters inside φ `[tasks·P]` and shared (`[S]` or `[tasks·S]`); of the
        first block also in the names of `FirstBlock`.
        """
        views: dict[str, Views] = {layer: {} for layer in self.layer_names}
        for adapted, flat, size in (
            (True, phi, self.adapted_size), (False, shared, self.shared_size),
        ):  # fmt: skip
            n = tasks if adapted or flat.numel() > size else 1
            names, lengths = self.lengths[adapted]
            for name, part in zip(names, flat.split([n * i for i in lengths]), strict=True):
                layer, kind = self.places[name]
                views[layer][kind] = part.view(n, *self.slots[name].shape)
        norm = {"weight": "scale", "bias": "shift"}
        views["block1"] = views["conv1"] | {norm[k]: v for k, v in views["norm1"].items()}
        return views

    @staticmethod
    def _view(flat: Tensor, slot: Slot, tasks: int) -> Tensor:
        """One parameter of all tasks, `[tasks, *shape]`."""
        return flat[tasks * slot.start : tasks * slot.stop].view(tasks, *slot.shape)

    def _blocks(self, flat: Tensor, tasks: int, *, adapted: bool = True) -> list[Tensor]:
        """Every parameter of all tasks, `[tasks, numel]` each."""
        return [self._view(flat, s, tasks).flatten(1) for s in self._slots(adapted=adapted)]

    def _slots(self, *, adapted: bool) -> list[Slot]:
        return [s for s in self.slots.values() if s.adapted == adapted]


class EpisodeLoss:
    """Mean cross-entropy of each task on its images; an `Objective` over φ and the shared vector.

    `images`: `[tasks, images, channels, size, size]`, `labels`: `[tasks, images]` (int64),
    `shared`: `[S]`. The tasks' losses are independent; the objective is their sum.
    """

    def __init__(
        self, network: BatchedConv4, shared: Tensor, images: Tensor, labels: Tensor
    ) -> None:
        self.network, self.shared, self.pixels = network, shared, images
        self.tasks, self.images = images.shape[:2]
        one_hot = images.new_zeros(*labels.shape, network.config.ways)
        self.targets = one_hot.scatter_(2, labels.unsqueeze(2), 1.0)

    @cached_property
    def inputs(self) -> Any:
        """The images as the first layer reads them."""
        first = self.network.layers[0][1]
        if isinstance(first, FirstBlock):
            return first.patches(self.pixels)
        return self.pixels.permute(1, 3, 4, 0, 2).flatten(0, 2).contiguous()

    def logits(self, phi: Tensor) -> Tensor:
        """`[tasks, images, ways]` at φ."""
        views = self.network.views(phi, self.shared, self.tasks)
        x: Any = self.inputs
        for name, layer in self.network.layers:
            x, _ = layer.forward(views[name], x)
        return x

    def value(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy per task, `[tasks]`."""
        return -(logits.log_softmax(2) * self.targets).sum((1, 2)) / self.images

    def accuracy(self, logits: Tensor) -> Tensor:
        """Fraction of images classified right, per task, `[tasks]`."""
        right = self.targets.gather(2, logits.argmax(2, keepdim=True))
        return right.mean((1, 2))

    def gradient(self, phi: Tensor, *, keep: bool) -> tuple[Tensor, Tape | None]:
        evaluation = self.evaluate(phi, keep=keep)
        return evaluation.by_phi, evaluation.tape

    def evaluate(self, phi: Tensor, *, keep: bool = False) -> Evaluation:
        """Logits and all first derivatives at φ."""
        views = self.network.views(phi, self.shared, self.tasks)
        gradient, shared, grads = self._buffers(phi)
        logits, saved = self._forward(views, self.network.layers)
        nbytes = self.bytes_of(saved, phi)
        probabilities = logits.softmax(2)
        g: Any = (probabilities - self.targets).div_(self.images)
        kept: list[Any] = []
        for name, layer in reversed(self.network.layers):
            g, k = layer.backward(views[name], grads[name], saved.pop(), g)
            if keep:
                kept.append(k)
        tape = None
        if keep:
            nbytes_kept = self.bytes_of(kept, probabilities, phi)
            tape = Tape(phi, probabilities, kept[::-1], nbytes_kept)
        return Evaluation(logits, gradient, shared, nbytes, tape)

    def hessian_product(self, tape: Tape, direction: Tensor) -> tuple[Tensor, Tensor]:
        """(∂²L/∂φ² w `[tasks·P]`, ∂²L/∂shared∂φ w `[tasks·S]`) at the tape's φ."""
        network = self.network
        views = network.views(tape.phi, self.shared, self.tasks)
        # The shared vector has no tangent, and layers that are not adapted never read one.
        tangents = network.views(direction, self.shared, self.tasks)
        product, mixed, products = self._buffers(direction)
        dx: Any = None
        moved = []
        for (name, layer), kept in zip(network.layers, tape.kept, strict=True):
            dx, t = layer.tangent(views[name], tangents[name], kept, dx)
            moved.append(t)
        p = tape.probabilities
        g: Any = (p * (dx - (p * dx).sum(2, keepdim=True))).div_(self.images)
        for (name, layer), kept in zip(reversed(network.layers), reversed(tape.kept), strict=True):
            t = moved.pop()
            g = layer.adjoint(views[name], tangents[name], products[name], kept, t, g)
        return product, mixed

    def body(self, phi: Tensor) -> tuple[Tensor, list[Any]]:
        """What the head reads, `[tasks, images, features]`, and what `body_backward` needs, whose
        `bytes_of` has neither images nor φ nor features.
        """
        views = self.network.views(phi, self.shared, self.tasks)
        return self._forward(views, self.network.layers[:-1])

    def body_backward(
        self, phi: Tensor, saved: list[Any], by_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(∂/∂φ `[tasks·P]`, zero for the head, and ∂/∂shared `[tasks·S]`) of what depends on the
        features with the gradient `by_features` `[tasks, images, features]`.
        """
        views = self.network.views(phi, self.shared, self.tasks)
        gradient, shared, grads = self._buffers(phi)
        for head in grads["head"].values():
            head.zero_()
        g: Any = by_features
        for (name, layer), s in zip(self.network.layers[-2::-1], saved[::-1], strict=True):
            g, _ = layer.backward(views[name], grads[name], s, g)
        return gradient, shared

    def _forward(
        self, views: dict[str, Views], layers: Sequence[Named]
    ) -> tuple[Tensor, list[Any]]:
        """The images through these layers, and what each saves."""
        x: Any = self.inputs
        saved = []
        for name, layer in layers:
            x, s = layer.forward(views[name], x)
            saved.append(s)
        return x, saved

    def _buffers(self, like: Tensor) -> tuple[Tensor, Tensor, dict[str, Views]]:
        """Uninitialised vectors for derivatives by φ and by shared, and the views into them."""
        flat = torch.empty_like(like)
        shared = like.new_empty(self.tasks * self.network.shared_size)
        return flat, shared, self.network.views(flat, shared, self.tasks)

    def bytes_of(self, *kept: Any) -> int:
        """Bytes of the distinct storages behind nested tensors, the images' not counted; equal of
        all passes of one size, so counted once.
        """
        known = self.network.bytes
        key = (self.tasks, self.images, self.pixels.dtype, self.pixels.device, len(kept))
        if key not in known:
            known[key] = self._count(*kept)
        return known[key]

    def _count(self, *kept: Any) -> int:
        own = {t.untyped_storage().data_ptr() for t in _tensors([self.inputs])}
        held = (t.untyped_storage() for t in _tensors(kept))
        sizes = {storage.data_ptr(): storage.nbytes() for storage in held}
        return sum(size for pointer, size in sizes.items() if pointer not in own)


class GroupedLoss(EpisodeLoss):
    """The same for images that are too many for all tasks at once: first derivatives are taken of
    `together` tasks at a time, and nothing but their results stays.
    """

    def __init__(
        self, network: BatchedConv4, shared: Tensor, images: Tensor, labels: Tensor, together: int
    ) -> None:
        super().__init__(network, shared, images, labels)
        self.labels, self.together = labels, together

    def logits(self, phi: Tensor) -> Tensor:
        return torch.cat([loss.logits(part) for loss, part in self._groups(phi)])

    def evaluate(self, phi: Tensor, *, keep: bool = False) -> Evaluation:
        if keep or self.together >= self.tasks:
            return super().evaluate(phi, keep=keep)
        found = [loss.evaluate(part) for loss, part in self._groups(phi)]
        join = self.network.join
        return Evaluation(
            logits=torch.cat([e.logits for e in found]), by_phi=join([e.by_phi for e in found]),
            by_shared=join([e.by_shared for e in found], adapted=False),
            nbytes=max(e.nbytes for e in found), tape=None,
        )  # fmt: skip

    def _groups(self, phi: Tensor) -> Iterator[tuple[EpisodeLoss, Tensor]]:
        parts = self.network.split(phi, self.tasks, self.together)
        groups = self.pixels.split(self.together), self.labels.split(self.together), parts
        for images, labels, part in zip(*groups, strict=True):
            yield EpisodeLoss(self.network, self.shared, images, labels), part


def _tensors(items: Iterable[Any]) -> Iterable[Tensor]:
    for item in items:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, list | tuple):
            yield from _tensors(item)
