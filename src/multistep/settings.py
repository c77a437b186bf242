"""What jobs are given: settings of datasets and of cells, typed, frozen, unknown keys refused.

The rest of `params.yaml` is in `multistep.schema`, so that a new kind of table, say, is no change
of the code that trains. Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Unknown keys and silent conversions are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Drawn(Model):
    """A stand-in archive, drawn on the spot in the official layout."""

    alphabets: int = Field(ge=1)
    characters: int = Field(ge=1)
    drawers: int = Field(ge=1)
    seed: int = Field(ge=0)


class Archive(Model):
    urls: list[str] = []
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = None
    contents: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    drawn: Drawn | None = None


class Prepare(Model):
    size: int = Field(ge=8)
    resample: Literal["lanczos", "nearest", "bicubic"]
    invert: bool
    split: Literal["finn", "vinyals", "sorted", "proportional"]


class Dataset(Model):
    loader: str
    title: str
    classes: int = Field(ge=1)
    images_per_class: int = Field(ge=1)
    archives: dict[str, Archive]
    prepare: Prepare


class Network(Model):
    """See `multistep.models.conv4.Conv4Config`; `adapt_bn`: γ and β move in the inner loop."""

    geometry: Literal["strided", "valid"]
    order: Literal["conv-bn-relu", "conv-relu-bn"]
    filters: int = Field(ge=1)
    bn_scale: bool
    adapt_bn: bool
    bn_eps: float = Field(gt=0)
    conv_init: Literal["xavier", "kaiming"]
    head_std: float | None = Field(gt=0)


class FewShot(Model):
    """All settings of a few-shot cell; params.yaml says where each value comes from."""

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
    meta_batch: int = Field(ge=1)
    meta_lr: float = Field(gt=0)
    iterations: int = Field(ge=1)
    test_episodes: int = Field(ge=2)
    validate_every: int = Field(ge=1)
    validation_episodes: int = Field(ge=2)
    log_every: int = Field(ge=1)


class Measure(Model):
    steps: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    rounds: int = Field(ge=1)
    tasks: int | None = Field(ge=1)
