"""ResNet-32 for 32×32 images (He et al. 2016, section 4.2): the source network of CIFAR and STL."""

from torch import Tensor, nn
from torch.nn import functional as F

from multistep.networks.backbone import Backbone, Linear, spatial_mean
from multistep.networks.batch_norm import BatchNorm2d
from multistep.networks.convolution import Conv2d
from multistep.networks.resnet import stage


class ResNet32(Backbone):
    """Stem 3×3 with bias, three stages of basic blocks; shortcuts are projected (1×1, stride 2).

    Blocks are counted from 0 over the whole network; a tap is the last block of a stage: 4, 9, 14.
    """

    def __init__(self, classes: int, width: int = 16, blocks: int | None = None) -> None:
        super().__init__()
        blocks = blocks or 5
        self.conv1 = Conv2d(3, width, 3, padding=1, bias=True)
        self.bn1 = BatchNorm2d(width)
        steps = ((1, 1, 1), (1, 2, 2), (2, 4, 2))  # multiples of the width, in and out; stride
        self.stages = nn.ModuleList(
            [stage(i * width, o * width, blocks, stride) for i, o, stride in steps]
        )
        self.fc = Linear(4 * width, classes)
        self.tap_channels = {blocks * (i + 1) - 1: width * 2**i for i in range(3)}

    def forward(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        """See `Backbone`."""
        x = F.relu(self.bn1(self.conv1(x)))
        taps: dict[int, Tensor] = {}
        for tap, layer in zip(self.tap_channels, self.stages, strict=True):
            x = taps[tap] = layer(x)
        return taps, self.fc(spatial_mean(x))
