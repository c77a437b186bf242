"""From the name of an architecture to a network with seeded initial values."""

import torch

from multistep.networks.backbone import Backbone
from multistep.networks.resnet import DEPTHS, ResNet, ResNet32
from multistep.networks.settings import Architecture
from multistep.networks.vgg9 import VGG9


def build(architecture: Architecture, classes: int, generator: torch.Generator | None) -> Backbone:
    """A network with values drawn from `generator`; None where they will be loaded.

    Nothing is drawn from torch's global generator, and the values don't depend on a device.
    """
    network: Backbone
    width, blocks = architecture.width, architecture.blocks
    if architecture.name == "vgg9":
        network = VGG9(classes, width, blocks)
    elif architecture.name == "resnet32":
        network = ResNet32(classes, width, blocks)
    else:
        depths = (blocks,) * 4 if blocks else DEPTHS[architecture.name]
        network = ResNet(depths, classes, width)
    network.initialise(torch.Generator().manual_seed(0) if generator is None else generator)
    return network
