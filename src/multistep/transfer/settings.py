"""All settings of a meta-transfer cell, typed, frozen, unknown keys refused.

Nothing here imports torch: it is read inside Snakemake.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from multistep.networks.settings import Architecture
from multistep.settings import Once, broken_windows
from multistep.transfer.source_settings import Batching


class Training(Batching):
    """The target network and its ordinary training: all that a method without transfer reads."""

    target: Architecture
    epochs: int = Field(ge=1)
    optimizer: Literal["sgd", "adam"]
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    adam_betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=2, max_length=2)
    adam_eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule_offset: Literal[0, 1]

    def clashes(self, path: Callable[[str], str] = str) -> Iterator[str]:
        if self.size < (least := self.target.smallest):
            yield f"{path('size')}: {self.size}; {self.target.name} needs {least} at least"


class Transfer(Training):
    """All settings of a meta-transfer cell: that training, and what is transferred from where."""

    # source network and pairs
    source: str
    source_taps: Annotated[list[int], Once] = Field(min_length=1)
    target_taps: Annotated[list[int], Once] = Field(min_length=1)
    where_bias: float
    # inner loop
    beta: float = Field(ge=0)
    beta_in_inner_steps: bool
    inner_steps: int = Field(ge=0)
    window: int = Field(ge=1)
    transfer_lr_factor: float = Field(gt=0)
    absent_gradients: Literal["zero", "skip"]
    bn_updates: Literal[1, 2]
    # outer loop
    meta_lr: float = Field(gt=0)
    meta_weight_decay: float = Field(ge=0)
    # how it is computed: same numbers to rounding
    scheme: Literal["keep", "replay"]
    source_features: Literal["batch", "step"]
    log_every: int = Field(ge=1)

    def clashes(self, path: Callable[[str], str] = str) -> Iterator[str]:
        yield from super().clashes(path)
        yield from broken_windows(self, path)
        if lacking := self.target.lacks(self.target_taps):
            yield f"{path('target_taps')}: {lacking}"


WIDEST = Transfer
