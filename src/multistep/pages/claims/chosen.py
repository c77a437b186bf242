"""Claims on what validation chooses: the paper's value against every other that was tried."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

from multistep import stats
from multistep.pages import claims
from multistep.pages.spec import Dataset, Experiment, Method, Wants
from multistep.plan.schema import Params


class Spec(claims.Claim):
    """Validation accuracy of the candidate that the paper chose minus that of each other one.

    `chosen`: its value by experiment and method. Both intervals are over validation episodes; a
    candidate that diverged is worth nothing.
    """

    unit: ClassVar[str] = " points"
    at_least: float | None = 0.0
    dataset: Dataset
    chosen: dict[Experiment, dict[Method, float]]

    def wants(self) -> Wants:
        return Wants([(e, self.dataset, m) for e, of in self.chosen.items() for m in of])

    def untried(self, params: Params) -> set[str]:
        return {
            f"{value:g} of {method} in {experiment}"
            for experiment, of in self.chosen.items()
            for method, value in of.items()
            if value not in _tried(params, experiment, method)[1]
        }

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for experiment, dataset, method in self.wants().cells:
            value = self.chosen[experiment][method]
            setting, values = _tried(scale.plan.params, experiment, method)
            tried: dict[float, list[Any]] = {}
            for other in values:
                runs = scale.runs(f"{experiment}-{setting}-{other:g}", dataset, method)
                tried[other] = list(runs.values())
            others = [other for other in values if other != value]
            title = scale.title(experiment, dataset, method)
            names = {other: f"{setting} {value:g} − {other:g}, {title}" for other in others}
            if value not in tried or not others or not all(tried.values()):
                lone = "no other value is tried" if len(tried) == 1 else ""
                for name in names.values() or [f"{setting} {value:g}, {title}"]:
                    yield claims.Part(name, missing=lone or "not every candidate has been run")
                continue
            settings = tried[value][0][1]["cell"]["settings"]
            scores = {each: _score(runs) for each, runs in tried.items()}
            # Not the best of the others alone: by chance one of several is above sooner than one.
            for other, name in names.items():
                both = tried[value], tried[other]
                n = {"seeds": min(map(len, both))}
                n["validation episodes"] = settings["validation_episodes"]
                estimate = replace(scores[value] - scores[other], n=n)
                files = tuple(file for runs in both for file, _ in runs)
                yield claims.Part(name, estimate, files)


def _tried(params: Params, experiment: str, method: str) -> tuple[str, list[float]]:
    """The setting that is chosen for a method, if any, and its candidates' values."""
    choose = params.experiments[experiment].choice(method)
    return (choose.setting, choose.values) if choose else ("", [])


def _score(runs: list[Any]) -> stats.Estimate:
    """Mean validation accuracy of a candidate's seeds, which varies over episodes."""
    best = [run["metrics"]["best"] for _, run in runs]
    if any(b is None or run["metrics"]["diverged"] for b, (_, run) in zip(best, runs, strict=True)):
        return stats.Estimate(0.0, exact=True)
    # The seeds meet the same validation episodes, so their errors don't average out.
    means, widths = ([b[key] for b in best] for key in ("validation_accuracy", "validation_ci95"))
    return stats.Estimate(sum(means) / len(means), ((max(widths) / stats.Z95, None),))
