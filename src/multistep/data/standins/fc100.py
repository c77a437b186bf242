"""A stand-in for FC100: the archive is CIFAR-100's, and so is its stand-in."""

from multistep.data.standins.cifar100 import Settings, draw

__all__ = ["Settings", "draw"]
