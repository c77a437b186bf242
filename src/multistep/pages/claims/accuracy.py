"""Claims on accuracy: one method's minus another's, in points, in each of some cells."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from multistep import stats
from multistep.pages import claims
from multistep.pages.scales import Run

# What makes the test episodes of two few-shot cells of one dataset the same, by number: they are
# drawn from the test classes with one seed for all (fewshot/run.py).
_EPISODES = ("ways", "shots", "queries", "rotate_test", "test_episodes")


class Spec(claims.Comparison):
    """Accuracy of each of `of` minus that of each of `to`, over shared episodes and seeds.

    Where fewer than two seeds are shared all that were run count, unpaired: what is known of how
    much seeds differ isn't left out.
    """

    unit: ClassVar[str] = " points"

    def parts(self, scale: claims.Scale) -> Iterator[claims.Part]:
        for experiment, dataset, *both in self.pairs():
            ours, theirs = (scale.runs(e, dataset, method) for e, method in both)
            first, second = (scale.method_title(method) for _, method in both)
            name = f"{first} − {second}, {scale.cell_title(experiment, dataset)}"
            if missing := [t for t, runs in ((first, ours), (second, theirs)) if not runs]:
                yield claims.Part(name, missing=f"no result of {' and '.join(missing)}")
                continue
            shared = sorted(ours.keys() & theirs.keys())
            sides = [shared if len(shared) > 1 else sorted(runs) for runs in (ours, theirs)]
            found = [[runs[s] for s in of] for runs, of in zip((ours, theirs), sides, strict=True)]
            files = tuple(file for side in found for file, _ in side)
            estimate = difference(*([run for _, run in side] for side in found))
            yield claims.Part(name, estimate, files)


def level(runs: Sequence[Run]) -> stats.Estimate:
    """The test accuracy of a cell's seeds, in percent."""
    metrics = [run["metrics"] for run in runs]
    if "episode_accuracies" in metrics[0]:
        return stats.seeds_and_episodes([m["episode_accuracies"] for m in metrics])
    return stats.sampled([m["test_accuracy"] for m in metrics], "seeds")


def difference(ours: Sequence[Run], theirs: Sequence[Run]) -> stats.Estimate:
    """Accuracy of some runs minus others', in points; paired where run i of both has one seed and,
    of few-shot cells, was tested on the same episodes.
    """
    seeds = [[run["cell"]["seed"] for run in runs] for runs in (ours, theirs)]
    few_shot = "episode_accuracies" in ours[0]["metrics"]
    key = "episode_accuracies" if few_shot else "test_accuracy"
    values: list[Any] = [[run["metrics"][key] for run in runs] for runs in (ours, theirs)]
    drawn = {
        (run["made_from"]["dataset"], *(run["cell"]["settings"].get(k) for k in _EPISODES))
        for run in (*ours, *theirs)
    }
    if seeds[0] != seeds[1] or len(drawn) > 1:
        return _unpaired(level(ours), level(theirs))
    paired = np.subtract(*values)
    return stats.seeds_and_episodes(paired) if few_shot else stats.sampled(paired.tolist(), "seeds")


def _unpaired(ours: stats.Estimate, theirs: stats.Estimate) -> stats.Estimate:
    """The difference; of unequal numbers `n` has the smaller, and after it the other's."""
    n: dict[str, int] = {}
    for key in ours.n:
        n[key], most = sorted((ours.n[key], theirs.n[key]))
        n |= {f"{key} of the other": most} if most != n[key] else {}
    return replace(ours - theirs, n=n)
