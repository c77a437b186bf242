"""Whether contenders compute the same meta-gradient, before anything is timed.

In float64 they must agree to rounding on every task. In float32 the median over tasks must, within
a wider limit: of the many activations a few lie within rounding of ReLU's kink, two orders of
summation disagree about their sign, and eight steep steps turn one such pixel into up to some per
cent of its task's gradient. The peers are as far from the float64 result there as ours is; with a
smooth function in ReLU's place every task of every contender agrees with it to 2e-5 (20-way
1-shot).
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from torch import Tensor

from bench.problem import Contender, Problem, first_tasks, in_float64
from multistep.files import UserError

LIMITS = {"float32": 5e-3, "float64": 1e-9}  # of the median; in float64 of the largest
TASKS = {"float32": 8, "float64": 2}
Distances = dict[str, dict[str, float]]  # contender → "median", "largest" over tasks


def check(problem: Problem, contenders: dict[str, Contender]) -> dict[str, Distances]:
    """Relative distances from the first contender in both precisions; an error if too large."""
    found = {
        "float32": distances(first_tasks(problem, TASKS["float32"]), contenders),
        "float64": distances(first_tasks(in_float64(problem), TASKS["float64"]), contenders),
    }
    for precision, of_contenders in found.items():
        which = "median" if precision == "float32" else "largest"
        for name, of_tasks in of_contenders.items():
            if not of_tasks[which] <= LIMITS[precision]:  # catches NaN too
                raise UserError(
                    f"{problem.name}: the {precision} meta-gradient of {name} is "
                    f"{of_tasks[which]:.1e} away from {next(iter(contenders))}'s, more than "
                    f"{LIMITS[precision]:.0e}: not the same computation, nothing to time"
                )
    return found


def distances(problem: Problem, contenders: dict[str, Contender]) -> Distances:
    """Of each task's meta-gradient from the first contender's."""
    gradients = {name: per_task(contender, problem) for name, contender in contenders.items()}
    first = next(iter(gradients.values()))
    return {name: summary(found, first) for name, found in gradients.items()}


def summary(found: list[Tensor], expected: list[Tensor]) -> dict[str, float]:
    """Median and largest relative distance over tasks."""
    pairs = zip(found, expected, strict=True)
    relative = [float((f.to(e) - e).norm() / e.norm()) for f, e in pairs]
    return {"median": median(relative), "largest": max(relative)}


def per_task(contender: Contender, problem: Problem) -> list[Tensor]:
    """Each task's meta-gradient."""
    return [contender(replace(problem, batch=part)) for part in problem.batch.split(1)]
