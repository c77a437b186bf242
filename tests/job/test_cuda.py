"""The CUDA path against the CPU's; needs a GPU, and says so where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import prepared_dataset, small_params

from multistep.data import prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.trainer import Trainer
from multistep.job import checkpoint, device
from multistep.plan.params import cell_settings


def trainer(folder: Path, method: str, where: torch.device) -> Trainer:
    s = cell_settings(small_params(), "5way_1shot", method).model_copy(update={"meta_batch": 4})
    data = prepared.read(prepared_dataset(folder))
    algorithm = algorithms.get("first_order" if method == "fomaml" else "multistep")(s)
    return Trainer.of(algorithm, data, torch.from_numpy(data.images).to(where), ["train"], 0)


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return device.prepare("cuda", 1)


@pytest.mark.parametrize("method", ["maml", "multistep2", "fomaml"])
def test_gpu_and_cpu_meta_gradients_agree(tmp_path: Path, cuda: torch.device, method: str) -> None:
    here, there = trainer(tmp_path, method, torch.device("cpu")), trainer(tmp_path, method, cuda)
    assert torch.equal(here.theta.adapted, there.theta.adapted.cpu())
    grads = [
        meta.meta_gradient(t.algorithm, t.network, t.theta, t.sampler.batch(0, 4))
        for t in (here, there)
    ]
    for key in ("adapted", "shared"):
        a, b = getattr(grads[0], key), getattr(grads[1], key).cpu()
        assert float((a - b).norm() / a.norm()) < 1e-3


@pytest.mark.parametrize("method", ["maml", "multistep2", "fomaml"])
def test_a_captured_meta_iteration_is_the_eager_one(
    tmp_path: Path, cuda: torch.device, method: str
) -> None:
    eager, captured = (trainer(tmp_path, method, cuda) for _ in range(2))
    for i in range(5):
        eager._iterate(eager.sampler.draw(i, 4).to(cuda))
        eager.state["summed"] += 1
        captured.step(i)
    torch.testing.assert_close(captured.theta.adapted, eager.theta.adapted, rtol=1e-4, atol=1e-5)
    assert captured.means() == pytest.approx(eager.means(), rel=1e-3)


def test_a_restored_captured_run_goes_on(tmp_path: Path, cuda: torch.device) -> None:
    whole, first, second = (trainer(tmp_path, "maml", cuda) for _ in range(3))
    for i in range(6):
        whole.step(i)
    for i in range(3):
        first.step(i)
    checkpoint.restore(second.state, checkpoint.copies(first.state), cuda)
    for i in range(3, 6):
        second.step(i)
    torch.testing.assert_close(second.theta.adapted, whole.theta.adapted, rtol=1e-4, atol=1e-5)
