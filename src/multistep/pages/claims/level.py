"""Claims on an absolute accuracy, at the one scale whose settings they name."""

from collections.abc import Collection, Iterator
from typing import ClassVar

from multistep.pages import claims
from multistep.pages.claims import accuracy
from multistep.plan.mistakes import unknown


class Spec(claims.OfMethod):
    """Test accuracy of a method at `scale`, over episodes and seeds."""

    unit: ClassVar[str] = "%"
    scale: str

    def misplaced(self, scales: Collection[str]) -> list[str]:
        return unknown("scale", [self.scale], scales, "scale")

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for name, runs in self.runs(scale):
            if not runs or scale.name != self.scale:
                yield claims.Part(name, missing=f"no result at the scale {self.scale}")
                continue
            files = tuple(file for file, _ in runs)
            yield claims.Part(name, accuracy.level([run for _, run in runs]), files)
