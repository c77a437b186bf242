"""Claims on the sizes of datasets: images that our runs trained on and were tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import Dataset, Wants
from multistep.pages.spec import Spec as Page


class Spec(claims.Claim):
    """Images of a part of a dataset, counted by a run on it, minus those that a page prints."""

    unit: ClassVar[str] = " images"
    at_least: float | None = 0.0
    at_most: float | None = 0.0
    page: str
    values: dict[Dataset, dict[str, int]] = {}  # from the page

    def settled(self, pages: Mapping[str, Page]) -> Spec:
        page: Any = pages[self.page]
        return self.model_copy(update={"values": page.paper.values})

    def wants(self) -> Wants:
        return Wants(prepared=list(self.values))

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for dataset, sizes in self.values.items():
            here = scale.plan.params.dataset(dataset)
            runs = [
                (scale.file(path), record["metrics"])
                for path, record in scale.records.items()
                if record["cell"]["dataset"] == dataset
                and "train_images" in record.get("metrics", {})
            ]
            for part in ("train", "test"):
                name = f"{part} images of {scale.plan.params.datasets[here].title}"
                if not runs or here != dataset:
                    yield claims.Part(name, missing="no result on this dataset")
                    continue
                file, counted = runs[0]
                images = counted[f"{part}_images"] - sizes[part]
                yield claims.Part(name, stats.Estimate(images, exact=True), (file,))
