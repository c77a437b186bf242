"""The benchmark's own parts that need no other library: contenders, checks, counted bytes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import agreement, memory, ours, report
from bench.problem import ROOT, Problem, build, first_tasks, in_float64, stand_in_images
from multistep.files import UserError


@pytest.fixture(scope="module")
def problem() -> Problem:
    # Three: the median of float32 distances passes over one task with a pixel at a kink of ReLU.
    return build("5way_1shot", stand_in_images(classes=30), tasks=3)


def test_our_ways_to_the_exact_meta_gradient_agree(problem: Problem) -> None:
    exact = {**ours.REFERENCE, "engine": ours.engine("maml"), "recompute": ours.recompute}
    found = agreement.check(problem, exact)
    assert set(found["float64"]) == set(exact)
    assert all(d["largest"] < 1e-9 for d in found["float64"].values())


def test_another_computation_is_refused(problem: Problem) -> None:
    small = first_tasks(problem, 1)
    contenders = {"exact": ours.engine("maml"), "estimate": ours.engine("multistep2")}
    with pytest.raises(UserError, match="meta-gradient of estimate is"):
        agreement.check(small, contenders)


def test_saved_and_live_bytes_of_a_known_graph(problem: Problem) -> None:
    def contender(p: Problem) -> Tensor:
        x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
        y = x.exp()  # saves its output: 8 kB
        y = y.sin()  # saves its input, the same storage
        y.sum().backward()  # everything is released
        z = (x.detach() + 1).requires_grad_()
        (z * z).sum().backward()  # saves z, twice the same storage: 8 kB
        return x

    assert memory.saved_bytes(contender, problem) == 8000
    live = memory.live_bytes(lambda p: torch.ones(1000) + torch.ones(1000), problem)
    assert live == 3 * 4000
    assert memory.live_bytes(lambda p: torch.ones(1000)[10:], problem) == 4000


def test_the_engine_keeps_less_than_autograd_saves_in_its_reference_model(problem: Problem) -> None:
    """Of the first block, three quarters of the maps, only what goes on is kept."""
    share = memory.engine_bytes(problem, "maml") / memory.model_bytes("5way_1shot", 8)
    assert 0.5 < share < report.MEMORY_LIMIT
    kept = [memory.recompute_bytes(problem, steps, 1) for steps in (1, 8)]
    assert kept[0]["activations"] == kept[1]["activations"]
    assert kept[1]["starts"] == 8 * kept[0]["starts"]


def test_double_precision_is_another_problem_of_the_same_values(problem: Problem) -> None:
    double = in_float64(problem)
    assert double.theta.adapted.dtype == double.batch.query_images.dtype == torch.float64
    assert torch.equal(double.theta.adapted.float(), problem.theta.adapted)


@pytest.mark.parametrize(
    "record", sorted((ROOT / "bench" / "results").glob("*.json")), ids=lambda f: f.stem
)
def test_the_committed_page_is_made_from_its_record(record: Path) -> None:
    measured = json.loads(record.read_text(encoding="utf-8"))
    page = report.page(measured)
    assert all(f"| {target} | {limit:.2f} |" in page for target, _, limit in report.rows(measured))
    assert record.with_suffix(".md").read_text(encoding="utf-8") == page
