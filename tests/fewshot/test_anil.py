"""ANIL against MAML whose inner loop moves nothing but the head."""

from typing import Any

import pytest
import torch
from fewshot_case import Case, Plain, Reference, case, descent, relative
from torch import Tensor

PLAIN = {"momentum": 0.0, "weight_decay": 0.0}
CASES: list[dict[str, Any]] = [
    {},
    PLAIN,
    {"window": 2},
    {"options": {"cache_features": False}},
    {"options": {"cache_features": False}, "scheme": "replay", "window": 2},
    {"network": {"geometry": "valid", "order": "conv-relu-bn", "adapt_bn": True}},
    {"network": {"geometry": "pooled"}},
    {"network": {"geometry": "pooled", "adapt_bn": True}, **PLAIN},
    {"network": {"geometry": "pooled", "order": "conv-relu-bn"}},
]
SLOPES: list[dict[str, Any]] = [{}]


def reference(case: Case) -> Reference:
    """Autograd through every step of the head; the body's inner rate is zero."""

    def outer(plain: Plain, theta: Tensor, shared: Tensor) -> Tensor:
        head = torch.zeros_like(theta)
        head[case.head :] = 1.0
        phi = descent(plain, theta, shared, case.settings, moving=head)
        return plain.query(phi, shared)

    return case.differentiated(outer)


def test_second_order_and_the_support_features_count() -> None:
    """The query gradient at the adapted head is far from the meta-gradient, of body and head."""
    work = case("anil")
    found = work.gradient().adapted
    query = work.tasks.query.evaluate(work.adapt())
    first_order = work.network.sum_tasks(query.by_phi) / work.batch.tasks
    assert relative(first_order[: work.head], found[: work.head]) > 0.01
    assert relative(first_order[work.head :], found[work.head :]) > 0.01


def test_adaptation_moves_the_head_alone_for_the_test_steps() -> None:
    work = case("anil")
    start, phi = work.tasks.start(), work.adapt()
    body = work.batch.tasks * work.head
    assert torch.equal(phi[:body], start[:body])
    inner = work.tasks.support
    longer = work.but(test_steps=2 * work.settings.test_steps).adapt()
    losses = [inner.value(inner.logits(p)).mean().item() for p in (start, phi, longer)]
    assert losses[0] > losses[1] > losses[2]
    # The head that training ends with is the one that evaluation uses.
    outer = work.tasks.query
    value = outer.value(outer.logits(phi))
    torch.testing.assert_close(work.gradient().loss, value, rtol=1e-11, atol=0)


def test_memory_grows_with_the_steps_only_without_the_cache() -> None:
    work, kept = case("anil"), {}
    for cache in (True, False):
        for steps in (1, 2, 4):
            changed = work.but(inner_steps=steps, options={"cache_features": cache})
            kept[cache, steps] = changed.gradient().nbytes
    assert kept[True, 4] - kept[True, 1] < 0.02 * kept[True, 1]
    assert kept[False, 1] == pytest.approx(kept[True, 1], rel=0.02)
    step = kept[False, 2] - kept[False, 1]
    assert step > 0.1 * kept[False, 1]
    assert kept[False, 4] - kept[False, 2] == 2 * step
