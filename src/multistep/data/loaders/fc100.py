"""FC100 (Oreshkin et al., 2018): CIFAR-100's classes by super-class, 12 / 4 / 4 of five each."""

from functools import partial
from typing import Literal

from multistep.data import cifar
from multistep.data.settings import Side
from multistep.settings import Model

LAYOUT = r"cifar-100-python/train"


class Settings(Model):
    """`size`: pixels of a side; `split`: the published list, or for other data the same shares."""

    size: Side
    split: Literal["oreshkin", "proportional"]


prepare = partial(cifar.prepare_classes, shares=(12, 4, 4), together=True)
