"""What every meta-transfer algorithm has to do; a file of `algorithms` is found and checked.

One that has meta-parameters has a `reference` in its test file: see test_first_order.py; one that
has settings of its own `SETTINGS`, too, their values for these tests.
"""

import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transfer_reference as reference
from helpers import checked, with_algorithm
from torch.utils.flop_counter import FlopCounterMode
from transfer_data import measured, prepared_images, small_transfer, source_folder

from multistep import cli
from multistep.job import checkpoint, results
from multistep.networks.build import build
from multistep.networks.settings import Architecture
from multistep.transfer import algorithms
from multistep.transfer.learner import Learner, MiniBatch
from multistep.transfer.settings import Transfer

every_algorithm = pytest.mark.parametrize("name", algorithms.names())
CPU = torch.device("cpu")


def own_tests(name: str) -> Any:
    """The algorithm's own tests, if there are any."""
    file = Path(__file__).with_name(f"test_{name}.py")
    return importlib.import_module(f"transfer.{file.stem}") if file.exists() else None


def own_settings(name: str) -> dict[str, Any]:
    """Those that it alone has, as its tests say."""
    found: dict[str, Any] = getattr(own_tests(name), "SETTINGS", {})
    known, own = Transfer.model_fields, algorithms.get(name).Settings.model_fields
    if lacks := sorted(own.keys() - known.keys() - found.keys()):
        pytest.fail(f"test_{name}.py lacks SETTINGS, a dictionary with {', '.join(lacks)}")
    return found


def create(name: str, **changes: Any) -> algorithms.Algorithm:
    """An algorithm with those of the reference's settings that it reads."""
    known = algorithms.get(name).Settings.model_fields
    common = reference.settings(**changes).model_dump(include=set(known))
    return algorithms.create(name, common | own_settings(name))


@every_algorithm
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("window", [1, 2])
def test_meta_gradient_is_that_of_its_reference(name: str, optimizer: str, window: int) -> None:
    """Batch norm, every pair, state carried in; float64; every way to compute it."""
    lr = {"sgd": 0.05, "adam": 1e-3}[optimizer]
    algorithm = create(name, optimizer=optimizer, window=window, lr=lr)
    s = algorithm.settings
    if not isinstance(s, Transfer):
        with pytest.raises(NotImplementedError, match="has no meta-parameters"):
            algorithm.meta_gradient(None, {}, {}, {}, lr)  # type: ignore[arg-type]
        return
    own = own_tests(name)
    if not hasattr(own, "reference"):
        pytest.fail(
            f"test_{name}.py lacks reference: write one that computes the meta-gradient of "
            f"algorithms/{name}.py naively, as test_first_order.py does"
        )
    learner, _, x, y = reference.learner_at_work(algorithm)
    plain = reference.Reference(learner.source, learner.target, s)
    phi, state = learner.phi, learner.state["optimizer"]
    expected, loss = own.reference(plain, phi, state, learner.theta, x, y)
    size = torch.stack([g.norm() for g in expected.values()]).norm()
    assert size > 1e-8
    for scheme, features in (("keep", "batch"), ("replay", "batch"), ("replay", "step")):
        changed = s.model_copy(update={"scheme": scheme, "source_features": features})
        learner.transfer, again = changed, MiniBatch(learner, x, y)
        taps, _ = again.forward(phi)
        again.pair_weights, again.maps = again._source_features(taps)
        again.closure = list(again.pair_weights.weights.values())
        if features == "step":
            again.maps, again.closure = {}, list(learner.theta.values())
        found = type(algorithm)(changed).meta_gradient(again, learner.theta, phi, state, lr)
        assert found.loss.item() == pytest.approx(loss.item(), rel=1e-12)
        for n, g in expected.items():
            assert (found.grads[n] - g).norm() < 1e-10 * size, (scheme, features, n)


@every_algorithm
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_restored_learner_goes_on_to_the_same_bits(name: str, optimizer: str) -> None:
    x, y = reference.images(torch.float32)
    algorithm = create(name, optimizer=optimizer)
    a, b = (Learner(*reference.networks(torch.float32), algorithm, 0, CPU) for _ in range(2))

    def run(each: Learner) -> list[torch.Tensor]:
        reports = [each.step(x, y, 1e-3) for _ in range(2)]
        leaves = torch.utils._pytree.tree_leaves([reports, each.state, each.logits(x)])
        return [leaf.nan_to_num(7.0) for leaf in leaves if isinstance(leaf, torch.Tensor)]

    run(a)
    file = io.BytesIO()
    torch.save(checkpoint.copies(a.state), file)
    file.seek(0)
    expected = run(a)
    checkpoint.restore(b.state, torch.load(file, weights_only=True), CPU)
    assert all(torch.equal(p, q) for p, q in zip(run(b), expected, strict=True))


@every_algorithm
@pytest.mark.parametrize("scheme", ["keep", "replay"])
def test_its_cost_is_what_it_says(name: str, scheme: str) -> None:
    """In operations; taps are left out of no loss here, but the layers above the last one are."""
    wide = Architecture(name="vgg9", width=64, blocks=1)
    x, y = reference.images(torch.float32, count=2)
    for steps, window in ((0, 1), (1, 1), (2, 1), (2, 2)):
        algorithm = create(name, target=wide, inner_steps=steps, window=window, scheme=scheme)
        generator = torch.Generator().manual_seed(0)
        source, target = build(reference.SOURCE, 7, generator), build(wide, 5, generator)
        learner = Learner(source, target, algorithm, 0, CPU)
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            learner.logits(x)
        with FlopCounterMode(display=False) as features, torch.no_grad():
            source(x)
        with FlopCounterMode(display=False) as counter:
            learner.step(x, y, 0.1)
        own = counter.get_total_flops()
        own -= features.get_total_flops() if learner.matching else 0
        assert own / forward.get_total_flops() == pytest.approx(algorithm.cost(), rel=0.08)


@every_algorithm
def test_it_is_trained_and_measured(name: str, tmp_path: Path) -> None:
    cell = small_transfer(name, epochs=1, **own_settings(name))
    line = ["--data", str(prepared_images(tmp_path / "data")), "--device", "cpu"]
    line += ["--network", str(source_folder(tmp_path / "network")), "--out"]
    out, scratch = str(tmp_path / "cell.json"), str(tmp_path / "cell.pt")
    assert cli.main(["train", "--cell", json.dumps(cell), *line, out, "--checkpoint", scratch]) == 0
    assert results.read(tmp_path / "cell.json")["metrics"]["epochs"] == 1
    record = measured(tmp_path / "measured", {name: cell}, 1)
    assert record["rows"][0]["bytes"] > 0


PULLED = '''"""First order, pulled to θ = 0: the meta-gradient of first_order.py, and γ θ."""

from pydantic import Field

from multistep.transfer.algorithms import GRADIENT, Algorithm
from multistep.transfer.settings import Transfer


class Pulled(Algorithm):
    class Settings(Transfer):
        """`pull`: γ."""

        pull: float = Field(ge=0)

    def cost(self):
        return GRADIENT * (self.settings.inner_steps // self.settings.window + 2) + 2

    def meta_gradient(self, losses, theta, phi, state, lr):
        import torch

        from multistep.transfer.inner import Drift, MetaGradient, gradients, inner_loop, masked

        drift = Drift()
        with torch.no_grad():
            end, last = inner_loop(losses, phi, state, lr, self.settings, watch=drift)
            accuracy = losses.accuracy(end)
        transfer = self.settings.beta * losses.transfer(end)
        grads = gradients(transfer, theta)
        grads = {n: g + self.settings.pull * theta[n].detach() for n, g in grads.items()}
        return MetaGradient(grads, (accuracy + transfer).detach(), drift.value, masked(last))
'''
PULLED_TESTS = """from transfer.test_first_order import reference as first_order

SETTINGS = {"pull": 0.5}


def reference(plain, phi, state, theta, x, y):
    grads, loss = first_order(plain, phi, state, theta, x, y)
    return {n: g + plain.s.pull * theta[n].detach() for n, g in grads.items()}, loss
"""


def test_a_new_file_with_a_setting_of_its_own(tmp_path: Path) -> None:
    """As a user adds one."""
    folder = with_algorithm(tmp_path, "transfer", "pulled", PULLED)
    of = "tests/transfer/test_algorithms.py", "-kpulled"
    before = checked(tmp_path, *of, "-x")
    assert "test_pulled.py lacks SETTINGS, a dictionary with pull" in before
    (folder / "test_pulled.py").write_text(PULLED_TESTS)
    after = checked(tmp_path, *of)
    assert "9 passed" in after, after
    assert "failed" not in after
    plan = [sys.executable, "-m", "multistep.cli", "plan", "params.yaml", "own.yaml"]
    own = {"title": "Pulled", "algorithm": "pulled", "settings": {"inner_steps": 2, "window": 1}}
    experiment = {"methods": ["scratch", "l2t", "pulled"], "measured": {"datasets": []}}

    def planned(**changes: Any) -> str:
        overlay = {"methods": {"pulled": own}, "experiments": {"sgd_32": experiment}} | changes
        (tmp_path / "own.yaml").write_text(json.dumps(overlay))
        environment = {"PYTHONPATH": str(tmp_path / "src")}
        done = subprocess.run(plan, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "  methods.pulled.settings.pull: missing" in planned()
    own["settings"] |= {"pull": 0.5}  # type: ignore[operator]
    assert "can't be run" not in planned()
    said = "  transfer.pull: a setting of pulled alone; put it under methods.pulled.settings"
    assert said in planned(transfer={"pull": 0.1})
    own["settings"] |= {"pull": -1.0}  # type: ignore[operator]
    assert "  methods.pulled.settings.pull: input should be greater than" in planned()
