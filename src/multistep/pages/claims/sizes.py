"""Claims on the sizes of datasets: images that our runs trained on and were tested on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import Wants


class Spec(claims.OfPage):
    """Images of a part of a dataset, counted by a run on it, minus those that a page prints."""

    unit: ClassVar[str] = " images"
    at_least: float | None = 0.0
    at_most: float | None = 0.0

    def printed(self, page: Any) -> dict[str, dict[str, float]]:
        """Images of each part by dataset."""
        found: dict[str, dict[str, float]] = {}
        for q in page.quotations():
            if q.quantity.startswith("images."):
                found.setdefault(q.dataset, {})[q.quantity.removeprefix("images.")] = q.value
        return found

    def wants(self) -> Wants:
        return Wants(prepared=list(self.values))

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for dataset, sizes in self.values.items():
            here = scale.plan.params.used(dataset)
            runs = [
                (scale.file(path), record["metrics"])
                for path, record in scale.records.items()
                if record["cell"]["dataset"] == dataset
                and "train_images" in record.get("metrics", {})
            ]
            for part in ("train", "test"):
                if part not in sizes:
                    continue
                name = f"{part} images of {scale.plan.params.datasets[here].title}"
                if not runs or here != dataset:
                    yield claims.Part(name, missing="no result on this dataset")
                    continue
                file, counted = runs[0]
                images = counted[f"{part}_images"] - sizes[part]
                yield claims.Part(name, stats.Estimate(images, exact=True), (file,))
