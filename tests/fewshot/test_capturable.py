"""What a CUDA graph can hold: no value may travel to the host in a meta-iteration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import small_params
from torch.utils._python_dispatch import TorchDispatchMode

from multistep.fewshot import algorithms, meta
from multistep.fewshot.episodes import Batch
from multistep.fewshot.settings import FewShot
from multistep.plan.params import cell_settings

OPTIONS: dict[str, dict[str, Any]] = {
    "first_order": {},
    "multistep": {},
    "reptile": {"train_shots": 3, "inner_batch": 10, "test_batch": 5, "adam_beta2": 0.999},
    "imaml": {
        "prox": 2.0,
        "prox_steps": "every",
        "cg_steps": 3,
        "damping": 0.0,
        "test_prox": False,
    },
}


class Watch(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        if func is torch.ops.aten.index.Tensor and any(
            i is not None and i.dtype is torch.bool for i in args[1]
        ):
            self.seen.add("nonzero")
        return func(*args, **(kwargs or {}))


# Reading a value, sizes that depend on values, and new constants from the host.
FORBIDDEN = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh", "unique"}


def test_the_watch_sees_what_is_forbidden() -> None:
    x = torch.arange(4.0)
    for misuse in (
        lambda: x.sum().item(),
        lambda: bool((x > 1).all()),
        lambda: x[x > 1],
        lambda: x + torch.tensor([1.0, 2.0, 3.0, 4.0]),
    ):
        with Watch() as watch:
            misuse()
        assert watch.seen & FORBIDDEN


@pytest.mark.parametrize("algorithm", OPTIONS)
def test_a_meta_gradient_leaves_its_values_on_the_device(algorithm: str) -> None:
    s = cell_settings(small_params(), "5way_1shot", "maml").model_copy(update={"queries": 3})
    assert isinstance(s, FewShot)
    s = s.model_copy(update={"options": OPTIONS[algorithm], "inner_steps": 2})
    network = meta.build_network(s, 28)
    theta = meta.initial_theta(network, 0, torch.device("cpu"))
    labels = torch.arange(5).expand(2, 5).contiguous()
    images = torch.rand(2, 5, 1, 28, 28), torch.rand(2, 15, 1, 28, 28)
    batch = Batch(images[0], labels, images[1], labels.repeat_interleave(3, 1))
    with Watch() as watch:
        meta.meta_gradient(algorithms.get(algorithm)(s), network, theta, batch)
    assert not watch.seen & FORBIDDEN
    assert "convolution" in watch.seen
