"""The target network alone: the ordinary update on the accuracy loss, no source, no meta-networks.

Cost: one gradient of the target network (section 5.1's reference without transfer).
"""

from multistep.transfer.algorithms import GRADIENT, Algorithm
from multistep.transfer.settings import Training


class Scratch(Algorithm):
    Settings = Training

    def cost(self) -> float:
        return GRADIENT
