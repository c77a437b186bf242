"""Trained parameters of meta-transfer in use: the target network, and its test once more."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from multistep import stats
from multistep.data.prepared import Prepared
from multistep.files import UserError
from multistep.job import parameters
from multistep.job.record import TRAINED
from multistep.networks.build import build
from multistep.transfer import algorithms
from multistep.transfer.batches import Batches, count_correct

TARGET = "target."


class Trained:
    """`module`: the target network of the reported epoch, in eval mode, a plain `torch.nn.Module`
    (images normalised as in training to taps and logits); `matching`, `meta`: the tensors of the
    matching and the meta-networks by their names.
    """

    def __init__(self, about: dict[str, Any], tensors: dict[str, np.ndarray], **changes: Any):
        if changes:
            raise UserError(
                f"{', '.join(changes)}: a network of meta-transfer isn't adapted to images, so "
                "there is nothing to change; leave it out"
            )
        self.cell = cell = about["cell"]
        self.settings = algorithms.create(cell["algorithm"], cell["settings"]).settings
        params = {name: torch.from_numpy(p) for name, p in tensors.items()}
        own = {n.removeprefix(TARGET): p for n, p in params.items() if n.startswith(TARGET)}
        with parameters.fitting(), torch.device("cpu"):
            module = build(self.settings.target, about["network"]["classes"], None)
            dtypes = (p.dtype for p in own.values() if p.is_floating_point())
            self.module = module.to(next(dtypes, torch.float32))  # whatever torch makes by default
            self.module.load_state_dict(own)
        self.module.eval().requires_grad_(False)
        self.matching = {n: p for n, p in params.items() if n.startswith("match.")}
        self.meta = {n: p for n, p in params.items() if n.startswith("meta.")}


def tester(
    about: dict[str, Any], tensors: dict[str, np.ndarray], images: Prepared, device: torch.device,
    *, episodes: int | None, protocols: Sequence[str], floors: bool, **changes: Any,
) -> Callable[[], tuple[dict[str, Any], dict[str, dict[str, dict[str, Any]]]]]:  # fmt: skip
    """What tests the target network on the test images when it is called. It gives no settings,
    and the accuracy with Wilson's 95% interval, in percent. Raises UserError before that for what
    can't be tested.
    """
    if episodes or floors or changes or protocols != ["together"]:
        raise UserError(
            "a cell of meta-transfer is tested on images, not on episodes; leave out "
            "the options of episodes"
        )
    trained = Trained(about, tensors)
    if len(images.classes) != about["network"]["classes"]:
        raise UserError(
            f"{images.name}: {len(images.classes)} classes, but the network tells "
            f"{about['network']['classes']} apart; choose data with the cell's classes"
        )
    batches = Batches(images, "test", trained.settings, device, 0)

    def test() -> tuple[dict[str, Any], dict[str, dict[str, dict[str, Any]]]]:
        network = trained.module.to(device)
        correct, count = count_correct(lambda x: network(x)[1], batches.evaluation("test"))
        low, high = stats.wilson(correct, count)
        row = {"mean": 100 * correct / count, "low": low, "high": high, "images": count}
        return {}, {TRAINED: {"test": row}}

    return test
