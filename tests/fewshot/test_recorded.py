"""A recorded meta-iteration, as CUDA graphs hold it: of every method, without a GPU.

On the CPU its operations are noted and run again; as tensors without values, which claim to be on
CUDA, it takes the branches of that device. Neither may read anything on the host.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers import prepared_dataset, small_params
from recording import Guard, HostReadError, Recorder, guarded
from torch._subclasses.fake_tensor import FakeTensorMode

from multistep.data import prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.episodes import Draw
from multistep.fewshot.trainer import Trainer
from multistep.job import checkpoint
from multistep.plan.params import cell_settings

PARAMS = small_params()
METHODS = [*PARAMS.experiments["5way_1shot"].methods, "maml_replay", "anil_uncached"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> prepared.Prepared:
    return prepared.read(prepared_dataset(tmp_path_factory.mktemp("data")))


def trainer(
    data: prepared.Prepared, images: torch.Tensor, method: str, record: Any = None, **changes: Any
) -> Trainer:
    s = cell_settings(PARAMS, "5way_1shot", method).model_copy(update={"meta_batch": 2, **changes})
    algorithm = algorithms.get(PARAMS.methods[method].algorithm)(s)
    return Trainer.of(algorithm, data, images, ["train"], 0, record)


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All tasks at once; and in float64, which no compiled loops take."""
    monkeypatch.setattr(meta, "tasks_together", lambda *_: None)
    adam = sys.modules["torch.optim.adam"]  # torch.optim.adam is the function, in some versions
    monkeypatch.setattr(adam, "_get_capturable_supported_devices", lambda: ["cpu"])
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("as_on_cuda")
@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_meta_iteration_is_the_eager_one(data: prepared.Prepared, method: str) -> None:
    """Of other episodes, with another rate, from a state that was put back."""
    images, recorder = torch.from_numpy(data.images), Recorder()
    eager, recorded = (trainer(data, images, method, r) for r in (None, recorder.record))
    for i in range(2):
        eager.step(i)
        recorded.step(i)
    state = checkpoint.copies(recorded.state)
    recorded.step(7)
    checkpoint.restore(recorded.state, state, images.device)
    for i in range(2, 4):
        eager.step(i)
        recorded.step(i)
    assert recorder.count > 100
    assert not recorder.noted[0][3].isnan().any()
    for name, p in eager.iterate.items():
        torch.testing.assert_close(recorded.iterate[name], p, rtol=1e-9, atol=1e-12)
    assert recorded.means() == pytest.approx(eager.means(), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize(
    ("method", "geometry"), [*((m, "strided") for m in METHODS), ("maml", "pooled")]
)
def test_cudas_branches_read_nothing_on_the_host(
    data: prepared.Prepared, method: str, geometry: str
) -> None:
    with FakeTensorMode():
        images = torch.zeros(data.images.shape, dtype=torch.uint8, device="cuda")
        network = cell_settings(PARAMS, "5way_1shot", method).network
        network = network.model_copy(update={"geometry": geometry})
        changes = {"network": network, "inner_steps": 4, "meta_batch": 1}
        made = trainer(data, images, method, **changes)
        s, n = made.s, (1, made.s.ways)
        shapes = (n, (*n, s.shots + s.queries), n, (1,))
        draw = Draw(*(torch.zeros(shape, dtype=torch.int64, device="cuda") for shape in shapes))
        with guarded() as guard:
            made._iterate(draw)
        assert made.sums.device.type == "cuda"
    assert guard.count > 100


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(), lambda x: x.tolist(), lambda x: bool(x.any()),
        lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.cpu(), lambda x: x.numpy(),
        lambda x: torch.tensor([1.0]), lambda x: float(x[0]), lambda x: torch.equal(x, x),
        lambda x: x.unique(), lambda x: torch.repeat_interleave(x, x.long()),
    ],
)  # fmt: skip
def test_the_guard_refuses_what_a_graph_cannot_hold(read: Any) -> None:
    x = torch.ones(3)
    with pytest.raises(HostReadError), guarded():
        read(x)
    with FakeTensorMode():
        x = torch.ones(3, device="cuda")
        with pytest.raises(HostReadError), guarded():
            read(x)


def test_the_guard_counts_what_computes() -> None:
    with guarded(Guard()) as guard:
        torch.ones(3).view(3, 1).add_(1)
    assert guard.count == 2
