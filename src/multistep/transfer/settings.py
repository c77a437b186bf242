"""All settings of a meta-transfer cell and of source networks, typed, frozen.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from multistep.data.settings import Archive
from multistep.networks.settings import Architecture
from multistep.settings import Model


class Pretrain(Model):
    """How a source network is trained where no checkpoint is given (SGD, momentum, steps)."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    lr_steps: list[int]  # epochs after which the rate is divided by ten
    augmentation: Literal["pad_crop", "random_resized_crop", "resize_crop"]
    size: int = Field(ge=8)
    seed: int = Field(ge=0)


class SourceNetwork(Model):
    """A frozen source network: a published checkpoint, or one trained once per scale."""

    title: str
    architecture: Architecture
    classes: int = Field(ge=2)
    dataset: str | None = None  # trains it, and its test part scores it
    layout: Literal["l2t_ww", "torchvision"] | None = None  # names of the checkpoint's tensors
    archives: dict[str, Archive] = {}  # the checkpoint, at most one
    train: Pretrain | None = None


class Training(Model):
    """How the target network alone is trained; params.yaml says where each value comes from."""

    target: Architecture
    # data
    size: int = Field(ge=8)
    augmentation: Literal["pad_crop", "random_resized_crop", "resize_crop"]
    batch_size: int = Field(ge=1)
    epochs: int = Field(ge=1)
    # task optimiser
    optimizer: Literal["sgd", "adam"]
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    adam_betas: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=2, max_length=2)
    adam_eps: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule_offset: Literal[0, 1]


class Transfer(Training):
    """All settings of a meta-transfer cell: that training, and what is transferred from where."""

    # source network and pairs
    source: str
    source_taps: list[int] = Field(min_length=1)
    target_taps: list[int] = Field(min_length=1)
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
