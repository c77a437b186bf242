"""One mini-batch of meta-transfer: what moves, what stays, and what comes back after a restart."""

import contextlib
import copy
from typing import Any

import pytest
import torch
import transfer_reference as reference
from helpers import PARAMS
from torch.nn import functional as F

from multistep.files import UserError
from multistep.inner.in_place import step_
from multistep.job import checkpoint
from multistep.plan import params
from multistep.transfer.algorithms import Algorithm
from multistep.transfer.algorithms.bilevel import Bilevel
from multistep.transfer.inner import MetaGradient, dynamics
from multistep.transfer.learner import Learner

CPU = torch.device("cpu")
Report = dict[str, torch.Tensor]


def learner(kind: type[Algorithm] = Bilevel, dtype: Any = torch.float32, **changes: Any) -> Learner:
    source, target = reference.networks(dtype)
    settings = reference.settings(**changes)
    read = settings.model_dump(include=set(kind.Settings.model_fields))
    return Learner(source, target, kind(kind.Settings.model_validate(read)), 0, CPU)


def run(each: Learner, steps: int = 2, dtype: Any = torch.float32) -> list[Report]:
    x, y = reference.images(dtype)
    return [each.step(x, y, each.settings.lr) for _ in range(steps)]


def flat(value: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def same(a: Any, b: Any) -> bool:
    pairs = zip(flat(a), flat(b), strict=True)
    return all(torch.equal(x.nan_to_num(7.0), y.nan_to_num(7.0)) for x, y in pairs)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_inner_loop_leaves_phi_and_the_optimiser_as_they_were(optimizer: str) -> None:
    """What the ordinary update alone would do, bit for bit; θ only moves between batches."""
    a, b = (learner(optimizer=optimizer, lr=1e-3) for _ in range(2))
    (report,) = run(a, 1)
    x, y = reference.images(torch.float32)
    params = {n: b.phi[n] for n in b.backbone} | b.buffers
    _, logits = torch.func.functional_call(b.target.train(), params, (x,))
    assert report["train_loss"] == F.cross_entropy(logits, y)
    b = learner(optimizer=optimizer, lr=1e-3)
    b.algorithm = Nothing(b.settings)
    run(b, 1)
    assert all(same(a.state[part], b.state[part]) for part in ("phi", "optimizer"))
    assert not same(a.theta, learner().theta)


class Nothing(Bilevel):
    """Its inner loop does nothing."""

    def meta_gradient(self, *args: Any) -> MetaGradient:
        return MetaGradient({}, torch.zeros(()), None, None)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_ordinary_update_is_a_step_of_the_dynamics(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = learner(optimizer=optimizer, dtype=torch.float64, lr=1e-3)
    run(a, 2, torch.float64)
    before, state = checkpoint.copies((a.phi, a.state["optimizer"]))
    grads: dict[str, torch.Tensor] = {}

    def spy(dynamics: Any, params: Any, state: Any, found: Any, **options: Any) -> None:
        grads.update({} if grads else checkpoint.copies(found))
        step_(dynamics, params, state, found, **options)

    monkeypatch.setattr("multistep.transfer.learner.step_", spy)
    run(a, 1, torch.float64)
    expected, after = dynamics(a.settings, a.settings.lr).step(before, state, grads)
    for name, p in expected.items():
        torch.testing.assert_close(a.phi[name].detach(), p, rtol=1e-12, atol=1e-14)
    for found, wanted in zip(flat(a.state["optimizer"]), flat(after), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(("updates", "steps"), [(2, 0), (2, 2), (1, 2), (1, 0)])
@pytest.mark.parametrize("scheme", ["keep", "replay"])
def test_running_statistics_see_a_batch_twice(updates: int, steps: int, scheme: str) -> None:
    """At φ and once more at φ₁; no later forward pass counts."""
    a = learner(bn_updates=updates, inner_steps=steps, scheme=scheme, dtype=torch.float64)
    expected = copy.deepcopy(a.target).train()
    x, _ = reference.images()
    expected(x)
    run(a, 1, torch.float64)
    if updates == 2:
        for name, p in expected.named_parameters():
            p.data = a.phi[name].detach()
        expected(x)
    for name, buffer in expected.named_buffers():
        torch.testing.assert_close(a.buffers[name], buffer, rtol=1e-12, atol=1e-14)
        if name.endswith("num_batches_tracked"):
            assert a.buffers[name] == updates


def test_baseline_and_multi_step_differ_in_their_window_alone() -> None:
    """So with one step in one window (K = 1, n = 1) they are the same run, and with two not."""
    plan, methods = params.load(PARAMS), ("l2t", "l2t_multistep")
    assert {plan.methods[m].algorithm for m in methods} == {"bilevel"}
    settings = [params.cell_settings(plan, "sgd_32", m).model_dump() for m in methods]
    windows = [each.pop("window") for each in settings]
    assert windows == [1, 2]
    assert settings[0] == settings[1]
    one = [learner(inner_steps=1, window=1), learner(inner_steps=1, window=min(windows))]
    assert same(*map(run, one))
    two = [learner(inner_steps=2, window=window) for window in windows]
    assert not same(*map(run, two))


@pytest.mark.parametrize("window", [1, 2])
def test_replaying_one_window_changes_no_bit(window: int) -> None:
    a, b = (learner(inner_steps=window, window=window, scheme=s) for s in ("keep", "replay"))
    assert same(run(a), run(b))
    assert same(a.state, b.state)


@pytest.mark.parametrize("change", [{"scheme": "replay"}, {"source_features": "step"}], ids=str)
@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_schemes_agree(change: dict[str, str], absent: str) -> None:
    a = learner(dtype=torch.float64, absent_gradients=absent)
    b = learner(dtype=torch.float64, absent_gradients=absent, **change)
    reports = (flat(run(each, 2, torch.float64)) for each in (a, b))
    for found, expected in zip(*reports, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_no_inner_step_no_meta_gradient() -> None:
    """With zeros Adam's decay still moves θ; without a gradient it stays."""
    zeros, skips = (learner(inner_steps=0, absent_gradients=a) for a in ("zero", "skip"))
    for each in (zeros, skips):
        start = copy.deepcopy(each.theta)
        for report in run(each):
            assert report["meta_gradient_norm"] == 0
            assert report["drift"].isnan()
        assert same(each.theta, start) == (each is skips)
    moved = zeros.theta["where.0.bias"]
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 2e-3), rtol=0, atol=1e-5)


def test_what_is_reported() -> None:
    (report,) = run(learner(), 1)
    pairs = 4
    assert report["lambda_mean"].shape == report["lambda_dead"].shape == (pairs,)
    assert all(v.dim() == 0 for k, v in report.items() if not k.startswith("lambda"))
    assert not any(v.requires_grad for v in report.values())
    assert 0 < report["drift"] < 3
    assert report["masked"] == 0
    two = reference.images(torch.float32, count=2)  # as a last batch may have
    assert learner().step(*two, 0.01)["lambda_mean"].shape == (pairs,)
    theta = flat(learner().theta)
    decay = 1e-4 * torch.cat([t.flatten() for t in theta]).norm()
    torch.testing.assert_close(report["meta_decay_norm"], decay.detach())
    (estimated,) = run(learner(window=2), 1)
    assert estimated["drift"].isnan()
    (dead,) = run(learner(where_bias=-50.0), 1)
    assert dead["lambda_dead"].tolist() == [1.0] * pairs
    assert dead["lambda_mean"].tolist() == [0.0] * pairs


def test_a_zero_second_moment_is_masked_and_counted() -> None:
    """All pairs dead: the matching biases, set to zero, never get a gradient."""
    a = learner(optimizer="adam", lr=1e-3, where_bias=-50.0, window=2)
    biases = [p for name, p in a.phi.items() if name.startswith("match.") and p.dim() == 1]
    for p in biases:
        p.data.zero_()
    (report,) = run(a, 1)
    assert report["masked"] >= sum(p.numel() for p in biases)
    assert report["meta_gradient_norm"] == 0


def test_divergence_says_what_and_where() -> None:
    a = learner()
    x, y = reference.images(torch.float32)
    with pytest.raises(UserError, match=r"the accuracy loss is not finite .*ordinary update"):
        a.step(x * torch.inf, y, 0.1)
    a = learner()
    a.theta["what.0.bias"].data[0, 0] = torch.nan
    with pytest.raises(UserError, match="the transfer loss is not finite"):
        run(a, 1)
    with pytest.raises(UserError, match=r"source_taps: \[9\] are no taps .* it has \[0, 1, 2\]"):
        learner(source_taps=[0, 9])


def test_no_beta_inside_is_twice_the_transfer_rate() -> None:
    """With β = ½ and without momentum and decay."""
    plain = {"momentum": 0.0, "weight_decay": 0.0, "inner_steps": 1}
    a = run(learner(beta_in_inner_steps=False, **plain), 1)
    b = run(learner(transfer_lr_factor=2.0, **plain), 1)
    torch.testing.assert_close(a[0]["meta_gradient_norm"], b[0]["meta_gradient_norm"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_gpu_takes_the_same_steps(optimizer: str) -> None:
    """To rounding, in float64; and divergence is noticed before the state is kept."""
    place, source_target = torch.device("cuda"), reference.networks()
    s = reference.settings(optimizer=optimizer, lr=1e-3)
    a = learner(dtype=torch.float64, optimizer=optimizer, lr=1e-3)
    b = Learner(*source_target, Bilevel(s), 0, place)
    x, y = reference.images()
    for _ in range(2):
        found, expected = b.step(x.to(place), y.to(place), s.lr), a.step(x, y, s.lr)
        for name, value in expected.items():
            torch.testing.assert_close(found[name].cpu(), value, rtol=1e-6, atol=1e-9)
    with contextlib.suppress(UserError):
        b.step(x.to(place) * torch.inf, y.to(place), s.lr)
        assert b._unchecked
        with pytest.raises(UserError, match="not finite"):
            b.settle()
