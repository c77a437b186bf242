"""Few-shot algorithms, one file each; its name is the `algorithm` of a method in params.yaml.

A file has one subclass of `Algorithm`, and a docstring with its update in formulas, where it comes
from, and what differs from published code. Its name, options, cost and numbers are found from there
by the plan, the jobs and the tests (see `multistep.algorithms` for what a file may import).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from multistep import algorithms
from multistep.fewshot.settings import FewShot, Tested
from multistep.files import UserError
from multistep.settings import Model, parse

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from multistep.fewshot.meta import MetaGradient, Tasks
    from multistep.inner.dynamics import SGD
    from multistep.inner.unroll import Objective, Pullback

# In forward passes: a gradient, and a Hessian-vector product at a point whose gradient was kept.
# Both together are three gradients; section 2.1 says that they are typically five.
GRADIENT, PRODUCT = 3, 6
# Settings of appendix F's SGD in windows, and what they are where they do nothing.
UNREAD = {"momentum": 0, "weight_decay": 0, "window": 1}


class NoOptions(Model):
    """What an algorithm has beyond the common settings, unless it says so: nothing."""


class Algorithm(ABC):
    """An algorithm with the settings of a cell. `Options`: what `settings.options` must hold;
    `own_steps`: whether its inner steps are others than appendix F's, and read nothing of `UNREAD`.

    Raises UserError for options that it can't run with; a subclass may refuse more.
    """

    Options: ClassVar[type[Model]] = NoOptions
    own_steps: ClassVar[bool] = False
    options: Model

    def __init__(self, settings: FewShot) -> None:
        self.settings = settings
        for key, idle in UNREAD.items() if self.own_steps else ():
            if getattr(settings, key) != idle:
                name = type(self).__module__.rpartition(".")[2]
                raise UserError(
                    f"{key}: must be {idle} for {name}, whose inner steps don't read it"
                )
        self.options = parse(self.Options, settings.options, "options.")
        self.support_images = settings.ways * settings.shots
        self.query_images = settings.ways * settings.queries
        self.windows = settings.inner_steps // settings.window  # K of eq. 12
        self.replays = settings.scheme == "replay"

    @abstractmethod
    def cost(self) -> float:
        """Of one task's meta-gradient, in forward passes of one image through the network."""

    @abstractmethod
    def meta_gradient(self, tasks: Tasks) -> MetaGradient:
        """Summed over the tasks."""

    def carried(self, size: int, device: torch.device) -> dict[str, Tensor]:
        """What each task of training hands on to the next beside θ, before the first; `size`: P.

        It is part of the training state and of what evaluation starts from. Most have nothing; one
        that has gets its tasks one at a time, and its meta-gradient has `carried` too.
        """
        return {}

    def learned(self, size: int, device: torch.device) -> dict[str, Tensor]:
        """Meta-parameters of its own beside θ, such as rates, as they begin; `size`: P.

        The meta-optimiser moves them as it moves θ; `tasks.theta.learned` has them, and
        `tasks.total` takes their meta-gradients.
        """
        return {}

    def adapt(self, tasks: Tasks, window: int) -> Tensor:
        """φ `[tasks·P]` after `test_steps` steps on the support sets: what evaluation uses."""
        steps = self.settings.test_steps
        return self.inner_loop(tasks.support, tasks.start(), steps, window, keep=False)[0]

    @property
    def dynamics(self) -> SGD:
        """The inner optimiser of appendix F."""
        from multistep.inner.dynamics import SGD

        settings = self.settings
        return SGD(settings.inner_lr, settings.momentum, settings.weight_decay)

    def inner_loop(
        self, loss: Objective, start: Tensor, steps: int | None = None, window: int | None = None,
        *, keep: bool = True,
    ) -> tuple[Tensor, Pullback]:  # fmt: skip
        """`steps` steps of appendix F's SGD from `start`, in windows, and the way back; as many of
        both as in training unless given.
        """
        from multistep.inner.unroll import unroll_vjp

        steps, window = steps or self.settings.inner_steps, window or self.settings.window
        return unroll_vjp(
            loss, start, self.dynamics, steps=steps, window=window, keep=keep,
            recompute=self.replays,
        )  # fmt: skip


names = partial(algorithms.names, __name__)
get = partial(algorithms.get, __name__, Algorithm)  # type: ignore[type-abstract]


def create(name: str, settings: dict[str, Any], kind: str = "cell") -> Algorithm:
    """The algorithm of a cell of a `kind` with the cell's settings."""
    return get(name)(parse(settings_of(name, kind), settings, "settings."))


def settings_of(name: str, kind: str = "cell") -> type[FewShot]:
    """What the cells of an algorithm are given: candidates nothing of a test."""
    get(name)  # so that an unknown one is told
    return FewShot if kind == "candidate" else Tested
