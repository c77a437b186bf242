"""Claims on an absolute accuracy, at the one scale whose settings they name."""

from typing import ClassVar

from multistep.pages import claims
from multistep.pages.claims import accuracy
from multistep.pages.spec import Dataset, Experiment, Method, Wants


class Spec(claims.Claim):
    """Test accuracy of a method at `scale`, over episodes and seeds."""

    unit: ClassVar[str] = "%"
    scale: str
    method: Method
    cells: dict[Dataset, list[Experiment]]

    def wants(self) -> Wants:
        return Wants([(e, d, self.method) for d, of in self.cells.items() for e in of])

    def parts(self, scale: claims.Scale) -> list[claims.Part]:
        found = []
        for experiment, dataset, method in self.wants().cells:
            name = f"{scale.method_title(method)}, {scale.cell_title(experiment, dataset)}"
            runs = list(scale.runs(experiment, dataset, method).values())
            if not runs or scale.name != self.scale:
                found.append(claims.Part(name, missing=f"no result at the scale {self.scale}"))
                continue
            files = tuple(file for file, _ in runs)
            found.append(claims.Part(name, accuracy.level([run for _, run in runs]), files))
        return found
