"""All settings of source networks, and those of batches, which their training shares with cells.

Nothing here imports torch: it is read inside Snakemake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from multistep.data.settings import Archive, FileName, Side
from multistep.networks.settings import Architecture
from multistep.settings import Model, Once, Seed, Title

Augmentation = Literal["pad_crop", "random_resized_crop", "resize_crop"]


class Batching(Model):
    """What makes images of a prepared dataset into batches."""

    size: Side
    augmentation: Augmentation
    batch_size: int = Field(ge=1)

    def takes(self, size: int | None) -> bool:
        """Whether images of this size can be made into batches: pad_crop doesn't resize."""
        return self.augmentation != "pad_crop" or size == self.size

    def alone(self, images: int, network: Architecture) -> str | None:
        """Why batch norm can't train on so many images: a mini-batch of one of them, the last of an
        epoch, whose last maps are one pixel. The variance of one number is none, and the running
        ones would be NaN from then on.
        """
        if (images - 1) % self.batch_size or network.last_side(self.size) > 1:
            return None
        return (
            f"{self.batch_size} leaves one of {images} training images for the last mini-batch, of "
            f"which {network.name} makes maps of one pixel (size {self.size}): batch norm needs "
            "more than one number; choose another batch_size, or a larger size"
        )


class Pretrain(Batching):
    """How a source network is trained where no weights are given (SGD, momentum, steps)."""

    epochs: int = Field(ge=1)
    lr: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    # epochs after which the rate is divided by ten
    lr_steps: Annotated[list[Annotated[int, Field(ge=1)]], Once]
    seed: Seed


class SourceNetwork(Model):
    """A frozen source network: published weights, or one trained once per scale."""

    title: Title
    architecture: Architecture
    classes: int = Field(ge=2)
    dataset: str | None = None  # trains it, and its test part scores it
    layout: Literal["l2t_ww", "torchvision"] | None = None  # names of the weights' tensors
    archives: dict[FileName, Archive] = {}  # the published weights, at most one
    train: Pretrain | None = None

    def on(self, dataset: str | None) -> SourceNetwork:
        """The same with the dataset that a scale really uses."""
        return self.model_copy(update={"dataset": dataset})

    def decisive(self) -> dict[str, Any]:
        """What decides the weights, besides the archive: not its title, nor addresses."""
        return self.model_dump(exclude={"title", "archives"}, exclude_defaults=True)
