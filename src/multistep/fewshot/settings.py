"""All settings of a few-shot cell, typed, frozen, unknown keys refused.

Nothing here imports torch: it is read inside Snakemake.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from pydantic import Field

from multistep.networks.settings import ConvInit, Geometry, Order
from multistep.settings import Model, broken_windows


class Network(Model):
    """See `multistep.networks.conv4.Conv4Config`; `adapt_bn`: γ and β move in the inner loop."""

    geometry: Geometry
    order: Order
    filters: int = Field(ge=1, le=4096)
    bn_scale: bool
    adapt_bn: bool
    bn_eps: float = Field(gt=0)
    conv_init: ConvInit
    head_std: float | None = Field(gt=0)


class FewShot(Model):
    """All settings of a few-shot cell but those of its test, which a candidate never takes.

    params.yaml says where each value comes from.
    """

    ways: int = Field(ge=2)
    shots: int = Field(ge=1)
    queries: int = Field(ge=1)
    rotate_train: bool
    rotate_test: bool
    hold_out_validation: bool
    network: Network
    inner_steps: int = Field(ge=1)
    test_steps: int = Field(ge=1)
    inner_lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    window: int = Field(ge=1)
    options: dict[str, Any]  # what the algorithm needs beyond these: its module's `Options`
    scheme: Literal["keep", "replay"]
    meta_batch: int = Field(ge=1)
    meta_optimizer: Literal["adam", "sgd"]
    meta_lr: float = Field(gt=0)
    meta_eps: float = Field(gt=0)
    meta_schedule: Literal["constant", "linear"]
    meta_clip: float | None = Field(gt=0)
    iterations: int = Field(ge=1)
    validate_every: int = Field(ge=1)
    validation_episodes: int = Field(ge=2, le=10**6)
    log_every: int = Field(ge=1)

    def clashes(self, path: Callable[[str], str] = str) -> Iterator[str]:
        yield from broken_windows(self, path)
        if self.hold_out_validation and self.validate_every % self.log_every:
            yield (
                f"{path('validate_every')}: {self.validate_every} is not a multiple of "
                f"{path('log_every')}={self.log_every}; the history has a line per log_every "
                "iterations"
            )


class Tested(FewShot):
    """All settings of a cell that is tested.

    `selection` best: the iterate with the highest validation accuracy is tested, not the last.
    """

    test_episodes: int = Field(ge=2, le=10**6)
    selection: Literal["last", "best"]

    def clashes(self, path: Callable[[str], str] = str) -> Iterator[str]:
        yield from super().clashes(path)
        if self.selection == "best" and not self.hold_out_validation:
            yield (
                f"{path('selection')}: best needs validation classes; set "
                f"{path('hold_out_validation')} to true, or choose last"
            )


WIDEST = Tested
