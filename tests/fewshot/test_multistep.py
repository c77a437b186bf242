"""MAML and Multi-step(n) against the textbook's steps, finite differences and each other."""

import dataclasses

import pytest
import torch
from fewshot_case import Case, Reference, case, descent, relative

from multistep.fewshot import meta

SLOPES = [{"window": 1}, {"window": 2}, {"window": 4}]
CASES = [*SLOPES, {"window": 2, "scheme": "replay"}]


def reference(case: Case) -> Reference:
    """Autograd through every step."""
    s = case.settings
    return case.differentiated(
        lambda task, p, shared: task.query(descent(task, p, shared, s), shared)
    )


def test_exact_estimated_and_first_order_differ() -> None:
    """Second order is really there, and windows really change it."""
    plain = {"momentum": 0.0, "weight_decay": 0.0}
    exact = case("multistep", {"window": 1, **plain})
    works = [exact, exact.but(window=2), exact.but(window=4)]
    works.append(case("first_order", {"inner_lr": exact.settings.inner_lr, **plain}))
    grads = [work.gradient().adapted for work in works]
    for i, a in enumerate(grads):
        assert all(relative(a, b) > 0.01 for b in grads[:i])


def test_adaptation_takes_the_test_steps() -> None:
    work = case("multistep", {"window": 2})
    four, eight = work.adapt(2), work.but(test_steps=8).adapt(2)
    assert not torch.allclose(four, eight)
    assert not torch.allclose(four, work.adapt(1))


def test_shuffled_support_labels_give_chance() -> None:
    """Nothing but the support set tells a class: with its labels shuffled accuracy is 1/N."""
    work = case("first_order", {"queries": 2}, tasks=400)
    generator = torch.Generator().manual_seed(2)
    labels = torch.stack([torch.randperm(5, generator=generator) for _ in range(400)])
    batch = dataclasses.replace(work.batch, support_labels=labels)
    parts = work.algorithm, work.network, work.theta
    accuracy, finite = meta.query_accuracy(*parts, batch, window=1)
    assert finite.all()
    assert accuracy.mean().item() == pytest.approx(0.2, abs=4 * (0.16 / 4000) ** 0.5)


@pytest.mark.parametrize("geometry", ["strided", "pooled"])
def test_replay_is_exact_and_its_memory_does_not_grow_with_the_windows(geometry: str) -> None:
    work = case("multistep", {"window": 1, "network": {"geometry": geometry, "head_std": 0.2}})
    found = {}
    for steps in (2, 8):
        for scheme in ("keep", "replay"):
            found[steps, scheme] = work.but(inner_steps=steps, scheme=scheme).gradient()
        kept, replayed = found[steps, "keep"], found[steps, "replay"]
        torch.testing.assert_close(replayed.adapted, kept.adapted, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(replayed.shared, kept.shared, rtol=1e-12, atol=1e-15)
    starts = 3 * 6 * work.network.adapted_size * 8  # φ at six more window starts, float64
    assert found[8, "replay"].nbytes - found[2, "replay"].nbytes == starts
    assert found[8, "keep"].nbytes - found[2, "keep"].nbytes > 10 * starts
