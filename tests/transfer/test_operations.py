"""Operations of two exact steps and of their estimate: the ratios in the notes on Table 1."""

import re

import pytest
import torch
from helpers import ROOT
from torch.utils.flop_counter import FlopCounterMode

from bench.problem import paper
from bench.transfer_problem import CLASSES, Contender, images, settings, source_network
from multistep.networks.build import build
from multistep.transfer import algorithms
from multistep.transfer.learner import Learner

CPU = torch.device("cpu")


def operations(method: str, scheme: str = "replay", source_features: str = "step") -> int:
    """Of convolutions and matrix products in one mini-batch.

    At 64×64, a twelfth of the work at 224×224: all of it shrinks alike but the heads.
    """
    contender = Contender(method, scheme, source_features)
    s = settings("sgd_224", contender, batch=4).model_copy(update={"size": 64})
    x, y = images(s, CPU)
    target = build(s.target, CLASSES, torch.Generator().manual_seed(0))
    algorithm = algorithms.get(paper().methods[method].algorithm)(s)
    learner = Learner(source_network(s, CPU), target, algorithm, 0, CPU)
    with FlopCounterMode(display=False) as counted:
        learner.step(x, y, s.lr)
    return int(counted.get_total_flops())


def test_the_notes_on_table_1_print_the_ratios_that_the_operations_have() -> None:
    none, one, two = (operations(method) for method in ("l2t_0", "l2t_multistep", "l2t"))
    # A window beyond the first costs the released code as much as this one; its first one too,
    # since it also differentiates into the state before it.
    window = two - one
    released = (none + window) / (none + 2 * window)
    kept = [operations(method, "keep", "batch") for method in ("l2t_multistep", "l2t")]
    ratios = [one / two, released, kept[0] / kept[1]]
    for page, told in (("table1", ratios), ("table1_replay", ratios[:2])):
        note = (ROOT / "workflow" / "report" / "tables" / f"{page}.yaml").read_text("utf-8")
        printed = [float(number) for number in re.findall(r"\b0\.6\d\d\b", note)]
        assert printed == [pytest.approx(ratio, abs=2e-3) for ratio in told]
