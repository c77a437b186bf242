"""Meta-transfer algorithms, one file each; its name is the `algorithm` of a method in params.yaml.

A file has one subclass of `Algorithm`, and a docstring with its update in formulas and its cost. It
is found from there by the plan, the jobs and the tests (see `multistep.algorithms` for what a file
may import).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from multistep import algorithms
from multistep.settings import parse
from multistep.transfer.settings import Training, Transfer

if TYPE_CHECKING:
    from multistep.inner.dynamics import State, Tensors
    from multistep.transfer.inner import Losses, MetaGradient

# In forward passes: a gradient; one that is to be differentiated, there and back; the same where
# only its mixed derivative is asked for.
GRADIENT, DIFFERENTIATED, MIXED = 3, 9, 5


class Algorithm(ABC):
    """An algorithm with the settings of a cell.

    `Settings`: what it reads. One whose `Settings` are `Transfer` has a source network; one whose
    `Settings` are `Training` knows nothing of transfer, and its cells have no such settings. Fields
    of its own stand in a class derived from one of these, and their values under its methods.
    """

    Settings: ClassVar[type[Training]] = Transfer

    def __init__(self, settings: Training) -> None:
        self.settings = settings

    @abstractmethod
    def cost(self) -> float:
        """Of one mini-batch, the ordinary update included, in forward passes of the target network
        through it; the source network's passes are left out.
        """

    def meta_gradient(
        self, losses: Losses, theta: Tensors, phi: Tensors, state: State, lr: float
    ) -> MetaGradient:
        """Of one mini-batch, after the ordinary update to `phi` and the optimiser's `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no meta-parameters")


names = partial(algorithms.names, __name__)
get = partial(algorithms.get, __name__, Algorithm)  # type: ignore[type-abstract]


def create(name: str, settings: dict[str, Any]) -> Algorithm:
    """The algorithm of a cell with the cell's settings."""
    return get(name)(parse(settings_of(name), settings, "settings."))


def settings_of(name: str, kind: str = "cell") -> type[Training]:
    """What the cells of an algorithm are given; there are no candidates."""
    return get(name).Settings
