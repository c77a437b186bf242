"""θ, the tasks that an algorithm is given, its meta-gradient over a meta-batch, and adaptation."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from multistep.fewshot.algorithms import Algorithm
from multistep.fewshot.batched import BatchedConv4, EpisodeLoss, GroupedLoss
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.files import UserError
from multistep.networks.conv4 import Conv4Config, initial_parameters


@dataclass(frozen=True)
class Theta:
    """Meta-parameters θ as flat vectors: the adapted ones `[P]` (φ₁) and the shared ones `[S]`.

    `learned`, `carried`: what an algorithm has beside them (see its functions of these names).
    """

    adapted: Tensor
    shared: Tensor
    carried: dict[str, Tensor] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Theta":
        """On another device."""
        own = ({n: p.to(device) for n, p in of.items()} for of in (self.carried, self.learned))
        return Theta(self.adapted.to(device), self.shared.to(device), *own)


@dataclass(frozen=True)
class MetaGradient:
    """d/dθ of the query losses' sum over tasks, each task's query loss and accuracy.

    `nbytes`: what was kept for a way back at the peak, inner windows and query together. `carried`:
    what the tasks leave behind for the next ones. `learned`: by the algorithm's own
    meta-parameters.
    """

    adapted: Tensor
    shared: Tensor
    loss: Tensor
    accuracy: Tensor
    nbytes: int
    carried: dict[str, Tensor] = field(default_factory=dict)
    learned: dict[str, Tensor] = field(default_factory=dict)


def moving(of: Theta | MetaGradient) -> dict[str, Tensor]:
    """The parts of θ that the meta-optimiser moves, or their meta-gradients, by name."""
    own = {f"learned.{name}": p for name, p in of.learned.items()}
    return {"adapted": of.adapted, "shared": of.shared} | own


@dataclass(frozen=True)
class Tasks:
    """Tasks of a meta-batch as inner and outer problems: what an algorithm is given."""

    network: BatchedConv4
    theta: Theta
    batch: Batch

    @property
    def count(self) -> int:
        return self.batch.tasks

    @cached_property
    def support(self) -> EpisodeLoss:
        """L_S, the inner objective."""
        batch = self.batch
        return self.loss(batch.support_images, batch.support_labels)

    @cached_property
    def query(self) -> EpisodeLoss:
        """L_Q, the outer (meta-) objective: of more images than the inner one, so that fewer tasks
        go through the network at once.
        """
        images, labels = self.batch.query_images, self.batch.query_labels
        together = tasks_together(self.network, images.shape[1], images.device) or self.count
        return GroupedLoss(self.network, self.theta.shared, images, labels, together)

    def loss(self, images: Tensor, labels: Tensor) -> EpisodeLoss:
        """The cross-entropy of other images, `[tasks, images, ...]`, at θ's shared parameters."""
        return EpisodeLoss(self.network, self.theta.shared, images, labels)

    def classified(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """Accuracy of each task on its queries at φ, `[tasks]`, and whether all its logits are
        finite. The queries are one batch. One whose logits aren't finite counts as any other.
        """
        logits = self.query.logits(phi)
        return self.query.accuracy(logits), logits.isfinite().all(2).all(1)

    def start(self) -> Tensor:
        """φ₁ = θ of every task, `[tasks·P]`; a new tensor."""
        return self.network.expand(self.theta.adapted, self.count)

    def total(
        self, by_theta: Tensor, by_shared: Tensor | None, logits: Tensor, nbytes: int,
        outer: EpisodeLoss | None = None, *, learned: dict[str, Tensor] | None = None,
    ) -> MetaGradient:  # fmt: skip
        """The sum over the tasks of what each has by θ `[tasks·P]` and by shared `[tasks·S]` (None
        is zero), with loss and accuracy of `logits` on the query set or another `outer` loss.
        `learned`: by the algorithm's own meta-parameters, summed over the tasks already.
        """
        outer = outer or self.query
        shared = torch.zeros_like(self.theta.shared)
        ways = self.network.config.ways
        _fits("tasks.total: by_theta", by_theta, self.count * self.theta.adapted.numel())
        _fits("tasks.total: logits", logits, self.count, outer.images, ways)
        if by_shared is not None:
            _fits("tasks.total: by_shared", by_shared, self.count * shared.numel())
            shared = self.network.sum_tasks(by_shared, adapted=False)
        adapted = self.network.sum_tasks(by_theta)
        loss, accuracy = outer.value(logits), outer.accuracy(logits)
        return MetaGradient(adapted, shared, loss, accuracy, nbytes, learned=learned or {})


def build_network(s: FewShot, size: int, channels: int = 1) -> BatchedConv4:
    """The task-batched network of a cell for square images of `size` pixels."""
    return BatchedConv4(config(s, size, channels), adapt_bn=s.network.adapt_bn)


def config(s: FewShot, size: int, channels: int = 1) -> Conv4Config:
    """The network's definition."""
    settings = s.network.model_dump(exclude={"adapt_bn"})
    return Conv4Config(ways=s.ways, size=size, channels=channels, **settings)


def initial_theta(network: BatchedConv4, seed: int, device: torch.device) -> Theta:
    """θ before training: the same values on every device."""
    flat = network.pack(initial_parameters(network.config, seed))
    adapted, shared = (part.to(device) for part in flat)
    return Theta(adapted, shared)


def start(algorithm: Algorithm, network: BatchedConv4, seed: int, device: torch.device) -> Theta:
    """`initial_theta` with what the algorithm has beside it."""
    carried, learned = beside(algorithm, network, device)
    theta = initial_theta(network, seed, device)
    for key, p in learned.items():
        if p.dtype != (right := theta.adapted.dtype):  # one optimiser moves both
            what = f"{type(algorithm).__name__}: learned[{key!r}]"
            raise UserError(f"{what} is of {p.dtype}, but has to be of {right}, as θ is")
    return replace(theta, carried=carried, learned=learned)


def beside(
    algorithm: Algorithm, network: BatchedConv4, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What an algorithm has beside θ's two vectors, as it begins: `carried` and `learned`."""
    size, name = network.adapted_size, type(algorithm).__name__
    carried, learned = algorithm.carried(size, device), algorithm.learned(size, device)
    for what, of in (("carried", carried), ("learned", learned)):
        if not isinstance(of, dict) or not all(isinstance(p, Tensor) for p in of.values()):
            raise UserError(f"{name}.{what} has to give tensors by name, {{}} for none")
    return carried, learned


def chunk_size(network: BatchedConv4, s: FewShot, device: torch.device) -> int | None:
    """Tasks that adapt together; None is all of them."""
    return tasks_together(network, s.ways * s.shots, device)


def tasks_together(network: BatchedConv4, images: int, device: torch.device) -> int | None:
    """How many tasks of so many images go through the network at once; None is all of them.

    On a CPU as many as keep their maps of the first block within 4 MB, so that most of the work
    stays in the caches, and one at least. A GPU wants them all.
    """
    return None if device.type == "cuda" else max(1, 4 * 2**20 // map_bytes(network, images))


def map_bytes(network: BatchedConv4, images: int) -> int:
    """Bytes of the largest map of so many images, in float32."""
    first = network.config.convolutions[0]
    return 4 * images * first.output**2 * network.config.filters


@torch.no_grad()
def meta_gradient(
    algorithm: Algorithm, network: BatchedConv4, theta: Theta, batch: Batch
) -> MetaGradient:
    """The average meta-gradient of a meta-batch (eq. 9), computed chunk by chunk, on a CPU as many
    chunks at once as torch has threads.

    What an algorithm carries goes from each task to the next, and on from the last.
    """
    size = chunk_size(network, algorithm.settings, theta.adapted.device) or batch.tasks
    threads = torch.get_num_threads() if theta.adapted.device.type == "cpu" else 1
    parts = []
    if theta.carried or threads == 1:
        for part in batch.split(1 if theta.carried else size):
            parts.append(_of(algorithm, Tasks(network, theta, part)))
            theta = replace(theta, carried=parts[-1].carried)
    else:
        chunks = batch.split(max(1, min(size, batch.tasks) // threads))  # as many tasks in all
        # Each with one of torch's own: a chunk's layers are too small to share.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            gradient = torch.no_grad()(_of)
            of = [Tasks(network, theta, part) for part in chunks]
            parts = list(pool.map(partial(gradient, algorithm), of))
    first, *rest = parts
    return MetaGradient(
        adapted=sum((p.adapted for p in rest), first.adapted) / batch.tasks,
        shared=sum((p.shared for p in rest), first.shared) / batch.tasks,
        loss=torch.cat([p.loss for p in parts]), accuracy=torch.cat([p.accuracy for p in parts]),
        nbytes=max(p.nbytes for p in parts), carried=theta.carried,
        learned={
            n: sum((p.learned[n] for p in rest), g) / batch.tasks for n, g in first.learned.items()
        },
    )  # fmt: skip


@torch.no_grad()
def adapt(
    algorithm: Algorithm, network: BatchedConv4, theta: Theta, batch: Batch, *, window: int
) -> Tensor:
    """φ `[tasks·P]` after `test_steps` steps on the support sets."""
    phi = algorithm.adapt(Tasks(network, theta, batch), window)
    _fits(f"{type(algorithm).__name__}.adapt", phi, batch.tasks * theta.adapted.numel())
    return phi


@torch.no_grad()
def query_accuracy(
    algorithm: Algorithm, network: BatchedConv4, theta: Theta, batch: Batch, *, window: int
) -> tuple[Tensor, Tensor]:
    """Of each episode after adaptation, see `Tasks.classified`."""
    phi = adapt(algorithm, network, theta, batch, window=window)
    return Tasks(network, theta, batch).classified(phi)


def _of(algorithm: Algorithm, tasks: Tasks) -> MetaGradient:
    """Of an algorithm. Raises UserError for what is none."""
    found, kept, own = algorithm.meta_gradient(tasks), tasks.theta.carried, tasks.theta.learned
    name = type(algorithm).__name__
    if not isinstance(found, MetaGradient):
        raise UserError(f"{name}.meta_gradient gives {type(found).__name__}; give tasks.total(...)")
    if found.carried.keys() != kept.keys():
        raise UserError(
            f"{name}.meta_gradient hands on {sorted(found.carried)}, but `carried` begins with "
            f"{sorted(kept)}; put them into what tasks.total gives, as reptile.py does"
        )
    for key, first in kept.items():
        _fits(f"{name}: carried[{key!r}]", found.carried[key], *first.shape)
    if found.learned.keys() != own.keys():
        raise UserError(
            f"{name}.meta_gradient has {sorted(found.learned)} of its own, but `learned` begins "
            f"with {sorted(own)}; give them to tasks.total(..., learned=...)"
        )
    for key, first in own.items():
        _fits(f"{name}: learned[{key!r}]", found.learned[key], *first.shape)
    return found


def _fits(what: str, given: Tensor | None, *shape: int) -> None:
    """Raises UserError, for who writes an algorithm: a wrong shape could pass for another."""
    if not isinstance(given, Tensor) or given.shape != shape:
        is_ = list(given.shape) if isinstance(given, Tensor) else type(given).__name__
        raise UserError(f"{what} is {is_}, but has to be a tensor of {list(shape)}")
