"""CIFAR-FS (Bertinetto et al., 2019): CIFAR-100's classes at random, 64 / 16 / 20."""

from functools import partial
from typing import Literal

from multistep.data import cifar
from multistep.data.settings import Side
from multistep.settings import Model

LAYOUT = r"cifar-100-python/train"


class Settings(Model):
    """`size`: pixels of a side; `split`: the published list, or for other data the same shares."""

    size: Side
    split: Literal["bertinetto", "proportional"]


prepare = partial(cifar.prepare_classes, shares=(64, 16, 20))
