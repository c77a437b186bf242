"""Residual networks: ResNet-18 and -34 for large images, ResNet-32 for small ones."""

from torch import Tensor, nn
from torch.nn import functional as F

from multistep.networks.backbone import Backbone, Linear, spatial_mean
from multistep.networks.batch_norm import BatchNorm2d
from multistep.networks.convolution import Conv2d

DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two convolutions 3×3 with batch norm, and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.bn1 = BatchNorm2d(outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding=1)
        self.bn2 = BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                Conv2d(inputs, outputs, 1, stride=stride), BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, h, w]` to `[batch, outputs, h/stride, w/stride]`."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(y + shortcut)


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` basic blocks; the first one has the stride."""
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


class ResNet(Backbone):
    """For 224×224 images: torchvision's names, values and outputs.

    Stem 7×7, four stages. Tap i in 1..4 is the output of stage i.
    """

    def __init__(self, blocks: tuple[int, ...], classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, width, 7, stride=2, padding=3)
        self.bn1 = BatchNorm2d(width)
        self.tap_channels = {tap: width * 2 ** (tap - 1) for tap in range(1, 5)}
        self.layer1 = stage(width, width, blocks[0], 1)
        self.layer2 = stage(width, 2 * width, blocks[1], 2)
        self.layer3 = stage(2 * width, 4 * width, blocks[2], 2)
        self.layer4 = stage(4 * width, 8 * width, blocks[3], 2)
        self.fc = Linear(8 * width, classes)

    def forward(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        taps: dict[int, Tensor] = {}
        for tap, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), 1):
            x = taps[tap] = layer(x)
        return taps, self.fc(spatial_mean(x))


class ResNet32(Backbone):
    """For 32×32 images (He et al. 2016, section 4.2): the source network of CIFAR and STL.

    Stem 3×3 with bias, three stages of basic blocks; shortcuts are projected (1×1, stride 2).

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
        x = F.relu(self.bn1(self.conv1(x)))
        taps: dict[int, Tensor] = {}
        for tap, layer in zip(self.tap_channels, self.stages, strict=True):
            x = taps[tap] = layer(x)
        return taps, self.fc(spatial_mean(x))
