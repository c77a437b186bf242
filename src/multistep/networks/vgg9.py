"""VGG-9 with batch norm (Srinivas & Fleuret 2018): the target network for 32×32 images."""

from torch import Tensor, nn

from multistep.networks.backbone import Backbone, Linear, spatial_mean
from multistep.networks.batch_norm import BatchNorm2d
from multistep.networks.convolution import Conv2d
from multistep.networks.pooling import max_pool

STAGES = ((1, 1), (1, 2), (2, 4), (2, 8), (2, 8))  # convolutions, multiple of the width


class VGG9(Backbone):
    """Five stages of convolutions 3×3 with bias, batch norm and ReLU, each before a 2×2 max-pool.

    Tap i is what the pool of stage i reads, 0 to 4. The classifier reads the spatial mean.
    `blocks` convolutions in every stage, instead of 1, 1, 2, 2, 2, is for small scales.
    """

    head_std = 0.01

    def __init__(self, classes: int, width: int = 64, blocks: int | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.tap_channels = {}
        channels = 3
        for tap, (convolutions, multiple) in enumerate(STAGES):
            stage = nn.Sequential()
            for i in range(blocks or convolutions):
                outputs = multiple * width
                stage.add_module(f"conv{i}", Conv2d(channels, outputs, 3, padding=1, bias=True))
                stage.add_module(f"bn{i}", BatchNorm2d(outputs))
                stage.add_module(f"relu{i}", nn.ReLU())
                channels = outputs
            self.stages.append(stage)
            self.tap_channels[tap] = channels
        self.fc = Linear(channels, classes)

    def forward(self, x: Tensor) -> tuple[dict[int, Tensor], Tensor]:
        taps: dict[int, Tensor] = {}
        for tap, stage in enumerate(self.stages):
            taps[tap] = stage(x)
            x = max_pool(taps[tap])
        return taps, self.fc(spatial_mean(x))
