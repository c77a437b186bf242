"""What a backbone is built from, typed, frozen.

Nothing here imports torch: it is read inside Snakemake.
"""

from typing import Literal

from pydantic import Field

from multistep.settings import Model

Geometry = Literal["strided", "valid", "pooled"]
Order = Literal["conv-bn-relu", "conv-relu-bn"]
ConvInit = Literal["xavier", "kaiming"]
# Few-shot: kernel, stride and padding of the four blocks; `pooled` halves each map afterwards.
GEOMETRIES = {
    "strided": [(3, 2, 1)] * 4,
    "valid": [(3, 2, 0)] * 3 + [(2, 1, 0)],
    "pooled": [(3, 1, 1)] * 4,
}


def sides(geometry: str, size: int) -> list[int]:
    """Sides of the maps after each of the four blocks; pooling drops an odd last line."""
    found = []
    for kernel, stride, padding in GEOMETRIES[geometry]:
        size = (size + 2 * padding - kernel) // stride + 1
        size = size // 2 if geometry == "pooled" else size
        found.append(size)
    return found


class Architecture(Model):
    """A backbone of `multistep.networks.build`. Narrow or shallow: for small scales only."""

    name: Literal["resnet32", "vgg9", "resnet34", "resnet18"]
    width: int = Field(ge=1, le=4096)  # channels of the first stage: 16, 64, 64, 64 in the paper
    blocks: int | None = Field(default=None, ge=1)  # of each stage, instead of the name's own

    @property
    def smallest(self) -> int:
        """Pixels of a side that images need at least: VGG-9 halves them five times."""
        return 32 if self.name == "vgg9" else 1

    def last_side(self, size: int) -> int:
        """Pixels of a side of the last maps that are normalised, of images of `size` pixels."""
        if self.name == "vgg9":
            return size // 16
        return -(-size // (4 if self.name == "resnet32" else 32))

    @property
    def taps(self) -> list[int]:
        """Where features can be taken, in the order of the layers: `Backbone.tap_channels`."""
        if self.name == "resnet32":  # numbers of the blocks that end a stage
            return [stage * (self.blocks or 5) - 1 for stage in (1, 2, 3)]
        return list(range(5)) if self.name == "vgg9" else [1, 2, 3, 4]

    def lacks(self, taps: list[int]) -> str | None:
        """Why features can't be taken at these; None if they can."""
        if lacking := [tap for tap in taps if tap not in self.taps]:
            return f"{self.name} has no tap {lacking[0]}; it has {', '.join(map(str, self.taps))}"
        return None
