"""First-order MAML against the textbook's steps with constant gradients."""

import torch
from fewshot_case import Case, Plain, Reference, case, descent
from torch import Tensor

CASES = [{}, {"momentum": 0.9, "weight_decay": 0.01, "inner_steps": 4, "window": 2}]


def reference(case: Case) -> Reference:
    """Eq. 16: the query loss by φ_{T+1} itself, wherever it came from."""

    def outer(plain: Plain, theta: Tensor, shared: Tensor) -> Tensor:
        phi = descent(plain, theta, shared.detach(), case.settings, first_order=True)
        with torch.no_grad():
            far = phi - theta
        return plain.query(theta + far, shared)

    return case.differentiated(outer)


def test_memory_is_that_of_the_larger_gradient() -> None:
    """A support gradient holds more than the query's where there are more shots than queries."""
    for shots, queries in ((5, 1), (1, 5)):
        work = case("first_order", {"shots": shots, "queries": queries}, tasks=1)
        tasks = work.tasks
        one, other = (of.evaluate(tasks.start()).nbytes for of in (tasks.support, tasks.query))
        assert work.gradient().nbytes == max(one, other) != min(one, other)
