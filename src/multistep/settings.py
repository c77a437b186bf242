"""What jobs are given: settings of datasets and of cells, typed, frozen, unknown keys refused.

The rest of `params.yaml` is in `multistep.schema`, so that a new kind of table, say, is no change
of the code that trains. Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multistep.files import UserError


class Model(BaseModel):
    """Unknown keys and silent conversions are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


ModelT = TypeVar("ModelT", bound=BaseModel)


def parse(model: type[ModelT], value: Any, where: str) -> ModelT:
    """`value` as `model`, or a UserError with the path to each wrong key, `where` before it."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise UserError("; ".join(where + problem for problem in problems)) from None


class Archive(Model):
    urls: list[str] = []
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    bytes: int | None = None
    contents: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    sha1: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")  # where only that is known
    unverified: bool = False  # no digest was published: what first arrives is printed and recorded
    drawn: dict[str, Any] | None = None  # the stand-in's settings, if it is one

    @property
    def verifiable(self) -> bool:
        """Whether what arrives can be told from something else."""
        return bool(self.sha256 or self.sha1 or self.unverified)


class Dataset(Model):
    """A loader's name and what it is given. `prepare` is checked by the loader's own `Settings`.

    A dataset of episodes states `images_per_class` (of the smallest class, where they differ), one
    with fixed parts their sizes (`images`).
    """

    loader: str
    title: str
    classes: int = Field(ge=1)
    images_per_class: int | None = Field(default=None, ge=1)
    images: dict[Literal["train", "validation", "test"], int] | None = None
    archives: dict[str, Archive]
    prepare: dict[str, Any]


class Network(Model):
    """See `multistep.models.conv4.Conv4Config`; `adapt_bn`: γ and β move in the inner loop."""

    geometry: Literal["strided", "valid", "pooled"]
    order: Literal["conv-bn-relu", "conv-relu-bn"]
    filters: int = Field(ge=1)
    bn_scale: bool
    adapt_bn: bool
    bn_eps: float = Field(gt=0)
    conv_init: Literal["xavier", "kaiming"]
    head_std: float | None = Field(gt=0)


class FewShot(Model):
    """All settings of a few-shot cell; params.yaml says where each value comes from.

    `selection` best: the iterate with the highest validation accuracy is tested, not the last.
    `test_episodes` 0: a candidate of a choice, scored on validation classes and never tested.
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
    test_episodes: int = Field(ge=0)
    selection: Literal["last", "best"]
    validate_every: int = Field(ge=1)
    validation_episodes: int = Field(ge=2)
    log_every: int = Field(ge=1)


class Architecture(Model):
    """A backbone of `multistep.models.build`. Narrow or shallow ones are for small scales only."""

    name: Literal["resnet32", "vgg9", "resnet34", "resnet18"]
    width: int = Field(ge=1)  # channels of the first stage: 16, 64, 64, 64 in the paper
    blocks: int | None = Field(default=None, ge=1)  # of each stage, instead of the name's own


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


class Transfer(Model):
    """All settings of a meta-transfer cell; params.yaml says where each value comes from."""

    # networks and pairs
    source: str
    target: Architecture
    source_taps: list[int] = Field(min_length=1)
    target_taps: list[int] = Field(min_length=1)
    where_bias: float
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


# What a method without a source network doesn't read. Its cells have these values whatever the plan
# says, so that a change of the transfer settings reruns no cell that knows nothing of transfer.
UNREAD: dict[str, Any] = {
    "source": "",
    "source_taps": [0],
    "target_taps": [0],
    "where_bias": 0.0,
    "beta": 0.0,
    "beta_in_inner_steps": True,
    "inner_steps": 0,
    "window": 1,
    "transfer_lr_factor": 1.0,
    "absent_gradients": "zero",
    "bn_updates": 1,
    "meta_lr": 1.0,
    "meta_weight_decay": 0.0,
    "scheme": "keep",
    "source_features": "batch",
    "log_every": 1,
}
WITHOUT_SOURCE = {"scratch"}  # algorithms

# The settings of each family's cells; its code is the package of that name, see `package`.
FAMILIES: dict[str, type[FewShot] | type[Transfer]] = {"few_shot": FewShot, "transfer": Transfer}


def package(family: str) -> str:
    """The package of a family's code: its modules `run` and `measure`, its folder `methods`."""
    return f"multistep.{family.replace('_', '')}"


class Measure(Model):
    """Few-shot: inner steps, rounds, tasks. Transfer: timed mini-batches after a warm-up.

    `alone`: on a CPU no other job of the workflow runs beside a measurement.
    """

    steps: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    rounds: int = Field(ge=1)
    tasks: int | None = Field(ge=1)
    batches: int = Field(ge=1)
    alone: bool
