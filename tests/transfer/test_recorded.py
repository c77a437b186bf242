"""A mini-batch of meta-transfer reads nothing on the host: the processor never waits for a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transfer_reference as reference
from recording import guarded, unguarded
from torch.nn import functional as F

from multistep.inner import in_place
from multistep.networks import vgg9
from multistep.transfer import algorithms
from multistep.transfer.learner import Learner

CASES = [
    *(("bilevel", {"scheme": scheme, "optimizer": optimizer})
      for scheme in ("keep", "replay") for optimizer in ("sgd", "adam")),
    ("bilevel", {"source_features": "step"}),
    ("bilevel", {"absent_gradients": "skip", "optimizer": "adam"}),
    ("bilevel", {"inner_steps": 0}),
    ("first_order", {}),
    ("scratch", {}),
]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "changes"), CASES)
def test_a_mini_batch_reads_nothing_on_the_host(
    algorithm: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the check of what is finite, which waits on a CPU alone, and torch's own optimisers,
    which count steps on the CPU; pooling is CUDA's.
    """
    monkeypatch.setattr(Learner, "_check", lambda self, report: None)
    monkeypatch.setattr(vgg9, "max_pool", lambda x: F.max_pool2d(x, 2))
    for name in ("adam", "sgd"):
        monkeypatch.setattr(in_place, name, unguarded(getattr(in_place, name)))
    kind = algorithms.get(algorithm)
    read = reference.settings(**changes).model_dump(include=set(kind.Settings.model_fields))
    settings = kind.Settings.model_validate(read)
    networks, dtype = reference.networks(torch.float32), torch.float32
    each = Learner(*networks, kind(settings), 0, torch.device("cpu"))
    for _ in range(2):
        with guarded() as guard:
            each.step(*reference.images(dtype), settings.lr)
    assert guard.count > 50
