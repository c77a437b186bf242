"""The transfer part of the benchmark: its contenders, what it counts, its photographs, its page."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from records import MACHINE
from torch import Tensor

from bench import report, timing, transfer, transfer_loading, transfer_problem
from bench.transfer_problem import Contender
from multistep.files import UserError
from multistep.transfer.learner import Learner
from multistep.transfer.settings import Training, Transfer

CPU = torch.device("cpu")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's problem with a thin target network, and little of the source's."""
    settings, paper = transfer_problem.settings, transfer_problem.paper()

    def thin(experiment: str, c: Contender, batch: int | None) -> Training:
        s = settings(experiment, c, batch)
        target = s.target.model_copy(update={"width": 4})
        taps = {"source_taps": [0, 2]} if isinstance(s, Transfer) else {}
        return s.model_copy(update={"target": target, **taps})

    networks = dict(paper.source_networks)
    about = networks["tinyimagenet_resnet32"]
    architecture = about.architecture.model_copy(update={"width": 4, "blocks": 1})
    networks["tinyimagenet_resnet32"] = about.model_copy(update={"architecture": architecture})
    monkeypatch.setattr(
        transfer_problem, "paper", lambda: paper.model_copy(update={"source_networks": networks})
    )
    for module in (transfer_problem, transfer):
        monkeypatch.setattr(module, "settings", thin)


def test_contenders_have_the_settings_of_the_papers_cells() -> None:
    s = transfer_problem.settings("adam_32", Contender("l2t_3_est", "replay", "step"), 8)
    assert (s.inner_steps, s.window, s.scheme, s.source_features) == (3, 3, "replay", "step")
    assert (s.optimizer, s.batch_size, s.size, s.target.width) == ("adam", 8, 32, 64)
    large = transfer_problem.settings("sgd_224", Contender("l2t"), None)
    assert (large.batch_size, large.target.name) == (64, "resnet18")
    names = [c.name for c in transfer.CONTENDERS]
    assert len(set(names)) == len(names) == 16


@pytest.mark.usefixtures("narrow")
def test_ways_to_the_same_meta_gradient_agree_and_others_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = transfer.agreement("adam_32", transfer.CHECKED)
    assert set(found) == {c.name for c in transfer.CHECKED}
    assert max(found.values()) < transfer.LIMIT
    build = transfer.learner

    def mistaken(experiment: str, c: Contender, *rest: Any) -> Learner:
        return build(experiment, Contender("l2t_multistep") if c.scheme == "replay" else c, *rest)

    monkeypatch.setattr(transfer, "learner", mistaken)
    with pytest.raises(UserError, match="meta-gradient of l2t/replay/batch is"):
        transfer.agreement("sgd_32", transfer.CHECKED)


@pytest.mark.usefixtures("narrow")
def test_a_setting_is_timed_and_counted_and_becomes_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)  # slow among pytest's many objects
    found = transfer.compare("sgd_32", 2, CPU, rounds=1)
    counted = found["counted"]
    assert set(found["times"]) == set(counted) == {c.name for c in transfer.CONTENDERS}
    assert counted["l2t/keep/batch"]["bytes"] > counted["l2t_multistep/keep/batch"]["bytes"]
    baseline, estimate, scratch, earlier = (
        counted[name]["operations"]
        for name in ("l2t/keep/batch", "l2t_multistep/keep/batch", "scratch", "l2t/replay/step")
    )
    assert 3 * scratch < estimate < baseline < earlier
    page = report.page(_record({"sgd_32": found}))
    assert "| T = 3, replay |" in page
    assert page.count("SGD, 2 images") == 4  # three targets and a section


def test_targets_are_met_or_missed() -> None:
    page = report.page(_record({"sgd_32": _made_up(baseline=1.0, estimate=0.71)}))
    assert "keep: ResNet-32 → VGG-9 at 32 × 32, SGD, 16 images | 0.72 | 0.710 | yes |" in page
    assert "replay: ResNet-32 → VGG-9 at 32 × 32, SGD, 16 images | 0.70 | 0.710 | **no** |" in page
    assert "one window | 1.05 | 1.000 | yes |" in page


def test_photographs_differ_in_size_and_are_cut_by_a_loader(tmp_path: Path) -> None:
    images = transfer_loading.photographs(tmp_path, 4)
    assert images.shapes is not None
    assert (images.shapes.max(1) == 500).all()
    assert len(np.unique(images.shapes, axis=0)) == 4
    s = transfer_problem.settings("sgd_224", Contender("scratch"), 2)
    batches = transfer_loading.Batches(images, "train", s, CPU, seed=0, loaders=1)
    assert [tuple(x.shape) for x, _ in batches.epoch(0)] == [(2, 3, 224, 224)] * 2


def test_loading_is_measured_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the runs themselves."""
    monkeypatch.setattr(transfer_loading, "interleave", lambda jobs, rounds, title: list(jobs))
    monkeypatch.setitem(transfer_loading.SIZES, "cpu", (1, 1, 2))
    found = transfer_loading.measure(CPU, 1)["times"]
    methods = [
        f"{m}/{way}" for m in ("scratch", "l2t_multistep") for way in ("loading", "resident")
    ]
    assert found == [*methods, "loader"]


def test_a_run_takes_the_same_number_of_mini_batches_with_loading_and_without() -> None:
    class Counting:
        settings = transfer_problem.settings("sgd_224", Contender("scratch"), 2)
        steps = 0

        def step(self, x: Tensor, y: Tensor, lr: float) -> None:
            self.steps += 1

    class Ten:
        def __len__(self) -> int:
            return 10

        def epoch(self, number: int, start: int) -> Any:
            return iter([(None, None)] * (10 - start))

    each: Any = Counting()
    transfer_loading.loading(each, Ten(), 3)(0)  # type: ignore[arg-type]
    assert each.steps == 3
    transfer_loading.resident(each, (torch.ones(1), torch.ones(1)), 3)(0)
    assert each.steps == 6


def test_every_clock_has_a_time_for_every_round_but_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timing.gc, "collect", lambda: 0)
    times = timing.interleave({"a": lambda _: None, "b": lambda _: None}, 3, "nothing")
    assert list(times) == ["a", "b"]
    assert {len(t) for clocks in times.values() for t in clocks.values()} == {3}
    assert {"process", "wall"} <= set(times["a"])


def _made_up(baseline: float, estimate: float) -> dict[str, Any]:
    seconds = {c.name: estimate if "multistep" in c.name else baseline for c in transfer.CONTENDERS}
    return {
        "batch": 16,
        "times": {name: _clocks(value) for name, value in seconds.items()},
        "counted": {name: {"bytes": 1, "operations": 1} for name in seconds},
    }


def _record(settings: dict[str, Any]) -> dict[str, Any]:
    runs = ("scratch/loading", "scratch/resident", "l2t_multistep/loading")
    times = {name: _clocks(1.0) for name in (*runs, "l2t_multistep/resident", "loader")}
    return {
        **MACHINE,
        "kind": "bench-transfer",
        "rounds": 1,
        "agreement": {"sgd_32": {"l2t/keep/batch": 0.0, "l2t/replay/batch": 1e-16}},
        "settings": settings,
        "loading": {"batch": 2, "batches": 2, "images": 64, "times": times},
    }


def _clocks(seconds: float) -> dict[str, list[float]]:
    return {"process": [seconds], "wall": [seconds]}
