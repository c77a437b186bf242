"""The outer loop: Adam's steps, what a state holds, and divergence."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import prepared_dataset, small_params

from multistep.data import prepared
from multistep.fewshot import algorithms, evaluate, meta
from multistep.fewshot.episodes import Sampler
from multistep.fewshot.trainer import Trainer
from multistep.files import UserError
from multistep.job import checkpoint
from multistep.plan.params import cell_settings


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return make(tmp_path)


def make(folder: Path, method: str = "maml", **changes: object) -> Trainer:
    s = cell_settings(small_params(), "5way_1shot", method)
    s = s.model_copy(update={"meta_batch": 4, **changes})
    data = prepared.read(prepared_dataset(folder))
    algorithm = algorithms.get("first_order" if method == "fomaml" else "multistep")(s)
    return Trainer.of(algorithm, data, torch.from_numpy(data.images), ["train"], 0)


def evaluated(trainer: Trainer, episodes: int, **others: Any) -> tuple[list[float], int]:
    work = {key: getattr(trainer, key) for key in ("algorithm", "network", "theta", "sampler")}
    return evaluate.episode_accuracies(**work | others, episodes=episodes)


def test_a_step_is_adam_on_the_mean_meta_gradient(trainer: Trainer) -> None:
    batch = trainer.sampler.batch(0, 4)
    before = trainer.theta.adapted.clone()
    g = meta.meta_gradient(trainer.algorithm, trainer.network, trainer.theta, batch)
    trainer.step(0)
    expected = before - 1e-3 * g.adapted / (g.adapted.abs() + 1e-8)  # Adam's first step
    torch.testing.assert_close(trainer.theta.adapted, expected, rtol=1e-5, atol=1e-7)
    means = trainer.means()
    assert means["train_loss"] == pytest.approx(g.loss.mean().item(), rel=1e-6)
    assert means["train_accuracy"] == pytest.approx(g.accuracy.mean().item(), rel=1e-6)
    norm = torch.cat([g.adapted, g.shared]).norm().item()
    assert means["meta_gradient_norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_rehearsal_leaves_no_trace(tmp_path: Path, steps: int) -> None:
    """Before its graph is recorded a trainer iterates and undoes it, also after resuming."""
    plain, rehearsed = make(tmp_path / "a"), make(tmp_path / "b")
    for i in range(steps):
        plain.step(i)
        rehearsed.step(i)
    tensors = [rehearsed.theta.adapted, rehearsed.sums]
    rehearsed.rehearse(rehearsed.sampler.draw(99, 4))
    assert rehearsed.theta.adapted is tensors[0]
    assert rehearsed.sums is tensors[1]
    plain.step(steps)
    rehearsed.step(steps)
    assert torch.equal(rehearsed.theta.adapted, plain.theta.adapted)
    assert torch.equal(rehearsed.theta.shared, plain.theta.shared)
    assert rehearsed.means() == plain.means()


def test_batch_norm_parameters_move_only_in_the_outer_loop_unless_adapted(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    assert trainer.network.shared_size == 4 * 2 * 8
    before = trainer.theta.shared.clone()
    trainer.step(0)
    assert not torch.equal(trainer.theta.shared, before)
    network = trainer.s.network.model_copy(update={"adapt_bn": True})
    adapting = make(tmp_path / "b", network=network)
    assert adapting.network.shared_size == 0
    adapting.step(0)
    assert len(adapting.params) == 1


def test_divergence_stops_with_a_message(tmp_path: Path) -> None:
    trainer = make(tmp_path, inner_lr=1e30)
    trainer.step(0)
    with pytest.raises(UserError, match=r"train_loss.* is not finite: training has diverged"):
        trainer.means()


def test_training_learns(tmp_path: Path) -> None:
    """Forty iterations on separable patterns: far above chance on classes never seen."""
    trainer = make(tmp_path, method="fomaml")
    for i in range(40):
        trainer.step(i)
    data = prepared.read(tmp_path)
    images = torch.from_numpy(data.images)
    sampler = Sampler(images, *data.rows(["test"]), 5, 1, 5, True, 0, "test")
    accuracies, non_finite = evaluated(trainer, 50, sampler=sampler)
    assert sum(accuracies) / 50 > 60
    assert non_finite == 0


def test_episodes_without_finite_logits_are_counted(trainer: Trainer) -> None:
    """Steps this long leave the finite numbers; their accuracies stand, and are told."""
    too_far = trainer.algorithm.settings.model_copy(update={"inner_lr": 1e38})
    algorithm = type(trainer.algorithm)(too_far)
    accuracies, non_finite = evaluated(trainer, 9, algorithm=algorithm)
    assert len(accuracies) == non_finite == 9


def test_evaluation_is_deterministic_and_episodes_are_numbered(trainer: Trainer) -> None:
    nine = evaluated(trainer, 9)
    assert evaluated(trainer, 9) == nine
    assert evaluated(trainer, 5)[0] == nine[0][:5]


def test_outer_sgd_with_a_linear_rate(tmp_path: Path) -> None:
    """θ ← θ - ε(1 - k/K) g, as Reptile has it; nothing is clipped unless asked."""
    trainer = make(tmp_path, meta_optimizer="sgd", meta_lr=0.5, meta_schedule="linear")
    for i in range(3):
        before = checkpoint.copies(trainer.params)
        trainer.step(i)
        rate = 0.5 * (1 - i / trainer.s.iterations)
        for name, p in trainer.params.items():
            expected = before[name] - rate * trainer.grads[name]
            torch.testing.assert_close(p, expected, rtol=1e-6, atol=1e-8)


def test_the_meta_gradient_is_clipped_entry_by_entry(tmp_path: Path) -> None:
    free, clipped = make(tmp_path), make(tmp_path, meta_clip=1e-3)
    free.step(0)
    clipped.step(0)
    for name, g in free.grads.items():
        assert g.abs().max() > 1e-3
        assert torch.equal(clipped.grads[name], g.clamp(-1e-3, 1e-3))
    assert free.means()["meta_gradient_norm"] == clipped.means()["meta_gradient_norm"]
