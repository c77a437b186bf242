"""Trained few-shot parameters in use: adapted to given images, and tested once more.

Batch norm takes the statistics of the images at hand, so an accuracy depends on which queries are
classified together (`multistep.job.protocols`). The floors are what there is without
meta-training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from multistep import stats
from multistep.data.prepared import Prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.episodes import Batch, Sampler
from multistep.fewshot.evaluate import at_once
from multistep.fewshot.head import HeadAlone, adapt_head
from multistep.fewshot.meta import Tasks, Theta
from multistep.fewshot.run import EVALUATION_SEED
from multistep.fewshot.settings import Tested
from multistep.files import UserError, one_line
from multistep.job import parameters
from multistep.job.protocols import EPISODES
from multistep.job.record import ADDS, HEAD, NEAREST, TRAINED, UNTRAINED
from multistep.networks.conv4 import Conv4
from multistep.progress import progress
from multistep.settings import broken_windows

Row = dict[str, Any]
ADAPTING = ("test_steps", "window", "inner_lr", "momentum", "weight_decay", "options")
MOSTLY = 0.75  # of drawings on paper some nine tenths are paper; noise has a half


class Trained:
    """The meta-parameters of a cell. `module`: the network at θ, a plain `torch.nn.Module` of its
    own: what is done to it changes nothing of `adapt`, which works on the CPU.

    `about`, `tensors`: as `multistep.job.parameters.read` gives them; `changes`: of the settings.
    """

    def __init__(self, about: dict[str, Any], tensors: dict[str, np.ndarray], **changes: Any):
        self.cell = cell = about["cell"]
        if unknown := [key for key in changes if key not in ADAPTING]:
            raise UserError(
                f"no setting {unknown[0]!r} that adapting takes; it takes {', '.join(ADAPTING)}"
            )
        settings = cell["settings"] | changes
        self.algorithm = algorithms.create(cell["algorithm"], settings, cell["kind"])
        self.settings = s = self.algorithm.settings
        for broken in broken_windows(s, keys=["test_steps"]):
            raise UserError(broken)
        params = {name: torch.from_numpy(p) for name, p in tensors.items()}
        with parameters.fitting(), torch.device("cpu"):
            self.network = meta.build_network(s, **about["network"])
            like = meta.beside(self.algorithm, self.network, torch.device("cpu"))
            carried, learned = (
                {name: params.pop(f"{of}.{name}").view(p.shape) for name, p in there.items()}
                for of, there in zip(("carried", "learned"), like, strict=True)
            )
            self.theta = Theta(*self.network.pack(params), carried, learned)
            self.module = self._module(params)

    def _module(self, params: dict[str, Tensor]) -> Conv4:
        """A network of its own with these parameters."""
        module = Conv4(self.network.config).to(self.theta.adapted.dtype)
        module.load_state_dict(params)
        return module

    def adapt(self, images: Any, labels: Iterable[Any]) -> Classifier:
        """What classifies as the `labels` (anything that can be told apart) of these images say.

        `images`: bytes `[N, size, size]` (grey) or `[N, size, size, 3]`, or numbers in [0, 1]
        `[N, channels, size, size]`, prepared as those that were trained on; a list of PIL's images
        is bytes, too. There can be fewer classes than the cell has ways, and any number of images
        of each. Raises UserError, one line, for other images and labels, and where it diverges.
        """
        x = self._pixels(images)
        try:
            if isinstance(labels, Set | Mapping):  # in no order, or keys
                raise TypeError
            labels = [_plain(label) for label in _plain(labels)]
            classes = list(dict.fromkeys(labels))
            missing = [label for label in classes if label is None or label != label]
        except TypeError:  # lists, as of one-hot rows, or no list at all
            raise UserError("labels: give a list with one label for each image") from None
        if missing:
            raise UserError(f"labels: {missing[0]} is none; leave out what has no label")
        if len(labels) != len(x) or not 2 <= len(classes) <= self.settings.ways:
            raise UserError(
                f"{len(labels)} labels of {len(classes)} classes for {len(x)} images; give each "
                f"image a label, of 2 to {self.settings.ways} classes"
            )
        # The derivatives written out are for one precision. (As a decorator it would be one for all
        # threads, and leave each with what another had.)
        with torch.device("cpu"), torch.autocast("cpu", enabled=False):
            y = torch.tensor([classes.index(label) for label in labels])
            order = y.argsort(stable=True)
            support = x[order].unsqueeze(0)
            seeds = torch.zeros(1, dtype=torch.int64)
            batch = Batch(support, y[order].unsqueeze(0), support, y[order].unsqueeze(0), seeds)
            window = self.settings.window
            phi = meta.adapt(self.algorithm, self.network, self.theta, batch, window=window)
            if not phi.isfinite().all():
                raise UserError("adapting diverged: parameters that aren't finite; lower inner_lr")
            module = self._module(self.network.unpack(phi, self.theta.shared))
        return Classifier(module, classes, support[0], self._pixels)

    def _pixels(self, images: Any) -> Tensor:
        config = self.network.config
        side = f"{config.size}, {config.size}"
        wanted = (
            f"give bytes [N, {side}{', 3' * (config.channels == 3)}], "
            f"or numbers in [0, 1] [N, {config.channels}, {side}]"
        )
        mode = "RGB" if config.channels == 3 else "L"
        for image in images if isinstance(images, list | tuple) else [images]:
            # Of PIL, whose bytes may be places in a palette, hues or inks.
            own_mode = getattr(image, "mode", mode)
            if isinstance(own_mode, str) and own_mode != mode:
                raise UserError(f"images of mode {own_mode}; give image.convert({mode!r}) of each")
        try:
            if isinstance(images, Tensor):
                images = images.detach().cpu()
                images = images.float() if images.dtype == torch.bfloat16 else images
            given = np.asarray(images)
            # Torch takes no reversed ones or foreign bytes, and warns where it could not write.
            x = torch.from_numpy(np.array(given, given.dtype.newbyteorder("="), order="C"))
        except (TypeError, ValueError, RuntimeError) as error:  # names, several sizes, ...
            raise UserError(f"these are no images ({one_line(error)}); {wanted}") from None
        own = self.theta.adapted.dtype
        if x.dtype == torch.uint8:
            x = (x.unsqueeze(1) if x.dim() == 3 else x.movedim(-1, 1)).to(own) / 255
        shape = (config.channels, config.size, config.size)
        if x.shape[1:] != shape or not x.is_floating_point():
            raise UserError(f"images of {list(given.shape)} ({given.dtype}); {wanted}")
        if len(x) and not (x.min() >= -1e-3 and x.max() <= 1.001):  # resampling overshoots
            raise UserError(f"images of numbers from {x.min():g} to {x.max():g}; {wanted}")
        if len(x) and 0 < x.max() < 1.5 / 255:
            raise UserError(
                f"images that are all but black (masks, or divided by 255 twice); {wanted}"
            )
        if self.cell["data"].get("invert") and len(x) and x.mean() > MOSTLY:
            raise UserError(
                "images that are mostly white, but it was trained on white on black; give "
                "255 - images of bytes, 1 - images of numbers"
            )
        return x.to(own)

    @torch.no_grad()
    def accuracies(
        self, sampler: Sampler, episodes: int, protocols: Sequence[str], floors: bool
    ) -> Iterator[tuple[str, str, Tensor, Tensor]]:
        """(what, protocol, accuracies in percent, whether all logits are finite), `[tasks]` each,
        of some episodes at a time; the paper's protocol gives those of the cell's result.

        `floors`: also the untrained network adapted, its head alone, and the nearest pixels.
        """
        device, network, window = sampler.images.device, self.network, self.settings.window
        start = meta.start(self.algorithm, network, self.cell["seed"], device)
        adapt = self.algorithm.adapt
        ways: dict[str, tuple[Theta, Callable[[Tasks, int], Tensor]]]
        ways = {TRAINED: (self.theta, adapt)}
        if floors:
            ways |= {UNTRAINED: (start, adapt), HEAD: (start, self._adapt_head)}
        size = at_once(network, self.settings, device)
        with progress(self.cell["method"], episodes, "episodes") as advance:
            for batch in sampler.numbered(episodes, size):
                for what, (theta, how) in ways.items():
                    tasks = Tasks(network, theta, batch)
                    phi = how(tasks, window)
                    for protocol in protocols:
                        right, finite = self._classified(tasks, phi, protocol)
                        yield what, protocol, 100 * right, finite
                if floors:
                    found = 100 * nearest(batch)
                    for protocol in protocols:
                        yield NEAREST, protocol, found, found.isfinite()
                advance(batch.tasks)

    def _adapt_head(self, tasks: Tasks, window: int) -> Tensor:
        """φ with θ's body, and its head after the algorithm's own steps."""
        if type(self.algorithm).adapt is algorithms.Algorithm.adapt:  # on features computed once
            return adapt_head(self.algorithm, tasks, window)
        alone = HeadAlone(tasks.network, tasks.theta, tasks.batch)
        return self.algorithm.adapt(alone, window)

    def _classified(self, tasks: Tasks, phi: Tensor, protocol: str) -> tuple[Tensor, Tensor]:
        """The share of right answers of each task, and whether all its logits are finite."""
        if protocol == "together":
            accuracy, finite = tasks.classified(phi)
            return accuracy.double(), finite
        batch, network, found = tasks.batch, self.network, []
        order = batches(protocol, self.settings.ways, self.settings.queries)
        for t, own in enumerate(network.split(phi, tasks.count, 1)):
            params = network.unpack(own, tasks.theta.shared)
            x, y = batch.query_images[t][order.flatten()], batch.query_labels[t][order.flatten()]
            options: dict[str, int] = {"batches": len(order)}
            support = batch.support_images[t]
            if protocol == "support":
                x, options = torch.cat([support, x]), {"leading": len(support)}
            logits = functional_call(self.module, params, (x,), options)[-len(y) :]
            right = (logits.argmax(1) == y).double().mean()
            found.append((right, logits.isfinite().all()))
        right, finite = (torch.stack(column) for column in zip(*found, strict=True))
        return right, finite


class Classifier:
    """An adapted network: called with images, it gives each its label.

    `module`: the network at φ, a plain `torch.nn.Module` that can be moved to another device or
    dtype; `classes`: the labels of its first outputs.
    """

    def __init__(
        self, module: Conv4, classes: list[Any], support: Tensor, pixels: Callable[[Any], Tensor]
    ) -> None:
        self.module, self.classes, self.support, self._pixels = module, classes, support, pixels

    @torch.no_grad()
    def logits(self, images: Any, *, together: bool = False) -> Tensor:
        """`[N, classes]`: each image by itself, with the statistics of the support set; `together`:
        with those of these images, which have to be as many of each class, as in the paper.
        """
        own = next(self.module.parameters())  # which others may have moved
        support, x = (t.to(own) for t in (self.support, self._pixels(images)))
        if together:
            logits: Tensor = self.module(x)
        else:
            logits = self.module(torch.cat([support, x]), leading=len(support))[len(support) :]
        return logits[:, : len(self.classes)]

    def __call__(self, images: Any, *, together: bool = False) -> list[Any]:
        """The labels of images (see `Trained.adapt`)."""
        return [self.classes[i] for i in self.logits(images, together=together).argmax(1).tolist()]


def _plain(value: Any) -> Any:
    """Lists and numbers of Python for those of numpy, torch and pandas."""
    return value.tolist() if hasattr(value, "tolist") else value


def batches(protocol: str, ways: int, queries: int) -> Tensor:
    """Which queries are classified together, class by class as an episode has them: places
    `[batches, images]`.
    """
    grid = torch.arange(ways * queries).view(ways, queries)
    if protocol == "class":
        return grid
    if protocol == "alone":
        return grid.view(-1, 1)
    if protocol == "unbalanced":
        one = [[int(grid[c, w % queries]) for c in range(ways) if c != w] for w in range(ways)]
        return torch.cat([grid, torch.tensor(one)], 1)
    return grid.view(1, -1)


def nearest(batch: Batch) -> Tensor:
    """The share of queries whose nearest support image (Euclidean, of all pixels) has their class,
    `[tasks]`.
    """
    support, query = batch.support_images.flatten(2), batch.query_images.flatten(2)
    closest = torch.cdist(query.double(), support.double()).argmin(2)
    return (batch.support_labels.gather(1, closest) == batch.query_labels).double().mean(1)


def tester(
    about: dict[str, Any], tensors: dict[str, np.ndarray], images: Prepared, device: torch.device,
    *, episodes: int | None, protocols: Sequence[str], floors: bool, **changes: Any,
) -> Callable[[], tuple[dict[str, Any], dict[str, dict[str, Row]]]]:  # fmt: skip
    """What tests a cell's parameters on the test classes of `images` when it is called. It gives
    the settings of the test and its rows: what → protocol → mean and ci95 in percent, with the
    floors also what meta-training adds. Raises UserError before that for what can't be tested.
    """
    trained = Trained(about, tensors, **changes)
    s, network = trained.settings, about["network"]
    found = None
    if images.shapes is None:
        found = {"size": images.size, "channels": images.channels}
    if found != network:
        raise UserError(
            f"{images.name}: images of {found or 'many sizes'}, but the network takes {network}; "
            "choose data that was prepared like the cell's"
        )
    pixels = torch.from_numpy(images.images)
    sampler = Sampler.of(images, pixels, s, ["test"], "test", EVALUATION_SEED)
    count = episodes or (s.test_episodes if isinstance(s, Tested) else EPISODES)
    return lambda: _tested(trained, sampler, device, count, protocols, floors)


def _tested(
    trained: Trained, sampler: Sampler, device: torch.device, episodes: int,
    protocols: Sequence[str], floors: bool,
) -> tuple[dict[str, Any], dict[str, dict[str, Row]]]:  # fmt: skip
    """See `tester`."""
    trained.module.to(device)
    trained.theta = trained.theta.to(device)
    sampler = replace(sampler, images=sampler.images.to(device))
    values: dict[str, dict[str, list[float]]] = {}
    broken: dict[tuple[str, str], int] = {}
    for what, protocol, accuracies, finite in trained.accuracies(
        sampler, episodes, protocols, floors
    ):
        values.setdefault(what, {}).setdefault(protocol, []).extend(accuracies.tolist())
        broken[what, protocol] = broken.get((what, protocol), 0) + int((~finite).sum())
    rows = {
        what: {p: _row(v) | {"non_finite_episodes": broken[what, p]} for p, v in of.items()}
        for what, of in values.items()
    }
    if floors:  # the same episodes, so the interval is that of the differences
        pairs = {p: (values[TRAINED][p], values[UNTRAINED][p]) for p in protocols}
        rows[ADDS] = {
            p: _row([a - b for a, b in zip(*pair, strict=True)]) for p, pair in pairs.items()
        }
    s = trained.settings
    used = {"episodes": episodes, "steps": s.test_steps, "window": s.window, "rate": s.inner_lr}
    return used, rows


def _row(values: list[float]) -> Row:
    mean = stats.over_episodes(values)
    return {"mean": mean.mean, "ci95": mean.half_width, "episodes": values}
