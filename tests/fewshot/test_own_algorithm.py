"""An algorithm of one's own: its file is found and checked, and what is wrong in it is told."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fewshot_case import case
from helpers import checked, prepared_dataset, small_cell, with_algorithm

from multistep import cli
from multistep.fewshot import algorithms, meta, run
from multistep.files import UserError

FIRST = "from multistep.fewshot.algorithms import Algorithm\nfrom multistep.settings import Model\n"
WHOLE = FIRST + "class Own(Algorithm):\n    cost = meta_gradient = None\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", r"line 1: SyntaxError: .*; mend it"),
        ("import absent", r"line 1: ModuleNotFoundError: No module named 'absent'.*; mend it"),
        (FIRST, "needs one subclass of Algorithm, has 0"),
        (WHOLE + "class Other(Own):\n    pass\n", "needs one subclass of Algorithm, has 2"),
        (WHOLE.replace("cost = ", ""), "Own lacks cost; define it"),
        (WHOLE + "    Options = dict\n", "Own.Options is no multistep.settings.Model; derive it"),
        (
            WHOLE + "    class Options(Model):\n        beta: float = 0.5\n",
            "Options.beta has a def",
        ),
    ],
)
def test_a_mistake_in_what_a_file_declares_is_one_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(text)
    monkeypatch.setattr(algorithms, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, f"{algorithms.__name__}.own", raising=False)
    with pytest.raises(UserError, match=rf"^{tmp_path}/own.py.*{said}") as told:
        algorithms.get("own")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("multistep", lambda found, tasks: None, "MultiStep.meta_gradient gives NoneType"),
        ("multistep", lambda found, tasks: found.adapted, "MultiStep.meta_gradient gives Tensor"),
        (
            "multistep",
            lambda found, tasks: replace(found, carried={"m": found.adapted}),
            "hands on",
        ),
        ("reptile", lambda found, tasks: replace(found, carried={}), r"\['steps', 'variance'\]"),
        (
            "multistep",
            lambda found, tasks: replace(found, learned={"rate": found.loss}),
            r"has \['rate'\] of its own, but `learned` begins with \[\]; give them",
        ),
        (
            "reptile",
            lambda found, tasks: replace(found, carried=dict.fromkeys(found.carried, found.loss)),
            r"carried\['variance'\] is \[1\], but has to be a tensor of \[\d+\]",
        ),
        ("multistep", lambda found, tasks: total(tasks, by_theta=slice(1, None)), "by_theta is"),
        ("multistep", lambda found, tasks: total(tasks, by_shared=slice(-1)), "by_shared is"),
        ("multistep", lambda found, tasks: total(tasks, logits=0), r"logits is \[\d+, 5\], but"),
    ],
)
def test_a_meta_gradient_of_another_shape_is_refused(
    name: str, wrong: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could pass for another: a vector that lacks an entry for one of fewer tasks."""
    work = case(name, tasks=2)
    kind = type(work.algorithm)
    right = kind.meta_gradient
    monkeypatch.setattr(kind, "meta_gradient", lambda self, tasks: wrong(right(self, tasks), tasks))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with pytest.raises(UserError, match=said):
            work.gradient()
    torch.set_num_threads(1)


def total(tasks: meta.Tasks, **parts: Any) -> meta.MetaGradient:
    """With a part of what belongs there."""
    whole = [tasks.start(), tasks.theta.shared.repeat(tasks.count)]
    given = dict(zip(("by_theta", "by_shared"), whole, strict=True))
    given["logits"] = tasks.query.logits(tasks.start())
    return tasks.total(**{k: v[parts[k]] if k in parts else v for k, v in given.items()}, nbytes=0)


def test_a_wrong_adaptation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    work = case("multistep", tasks=2)
    for wrong in (None, torch.zeros(3)):
        monkeypatch.setattr(type(work.algorithm), "adapt", lambda *_, wrong=wrong: wrong)
        with pytest.raises(UserError, match=r"MultiStep.adapt is .*, but has to be a tensor of"):
            work.adapt()


@pytest.mark.parametrize("what", ["carried", "learned"])
@pytest.mark.parametrize("wrong", [None, [torch.zeros(3)], {"rate": 0.5}])
def test_what_is_no_tensors_by_name_is_refused(
    what: str, wrong: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = case("multistep")
    monkeypatch.setattr(type(work.algorithm), what, lambda *_: wrong)
    with pytest.raises(UserError, match=rf"MultiStep\.{what} has to give tensors by name"):
        meta.start(work.algorithm, work.network, 0, torch.device("cpu"))


def test_learned_numbers_of_another_type_than_theta_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The optimiser raised, or the network, at the first iteration."""
    work = case("multistep")
    for dtype in (torch.int64, torch.float64):
        given = {"rate": torch.ones(3, dtype=dtype)}
        monkeypatch.setattr(type(work.algorithm), "learned", lambda *_, given=given: given)
        with pytest.raises(UserError, match=rf"learned\['rate'\] is of {dtype}, .*float32, as θ"):
            meta.start(work.algorithm, work.network, 0, torch.device("cpu"))


def test_a_wrong_adaptation_is_told_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was found at the test, and the code that mends it begins anew."""
    monkeypatch.setattr(algorithms.get("multistep"), "adapt", lambda *_: None)
    data, cell = prepared_dataset(tmp_path / "data"), json.loads(small_cell().json)
    with pytest.raises(UserError, match=r"MultiStep\.adapt is NoneType, but has to be a tensor"):
        run.Run(cell, data, None, torch.device("cpu"))


TOY = '''"""Reptile with appendix F's SGD: θ moves towards where the inner loop ends (eq. 17)."""

from multistep.fewshot.algorithms import GRADIENT, Algorithm


class Toy(Algorithm):
    def cost(self):
        return GRADIENT * self.windows * self.support_images + self.query_images

    def meta_gradient(self, tasks):
        phi, _ = self.inner_loop(tasks.support, tasks.start(), keep=False)
        return tasks.total(tasks.start() - phi, None, tasks.query.logits(phi), phi.nbytes)
'''
TOY_TESTS = """import torch
from fewshot_case import descent, parts

CASES = [{"window": 1}, {"window": 2}]


def reference(case):
    (theta, shared), total, losses = parts(case.theta), 0, []
    for plain in case.plain():
        start = theta.clone().requires_grad_()
        phi = descent(plain, start, shared, case.settings, first_order=True).detach()
        total = total + (theta - phi) / case.batch.tasks
        losses.append(plain.query(phi, shared))
    return total, torch.zeros_like(shared), torch.stack(losses)
"""


META_SGD = '''"""Meta-SGD (Li et al. 2017): plain descent with a learned rate of every parameter.

    T times  φ ← φ - α ∘ ∇L_S(φ);  meta-gradients  dL_Q(φ)/dθ and dL_Q(φ)/dα
"""

from pydantic import Field

from multistep.fewshot.algorithms import GRADIENT, PRODUCT, Algorithm
from multistep.settings import Model


class MetaSGD(Algorithm):
    class Options(Model):
        """`first_rate`: where the rates begin."""

        first_rate: float = Field(gt=0)

    def cost(self):
        steps = self.settings.inner_steps * (GRADIENT + PRODUCT)
        return steps * self.support_images + GRADIENT * self.query_images

    def learned(self, size, device):
        import torch

        return {"rates": torch.full((size,), self.options.first_rate, device=device)}

    def descend(self, tasks, steps, keep):
        phi, points = tasks.start(), []
        rates = tasks.network.expand(tasks.theta.learned["rates"], tasks.count)
        for _ in range(steps):
            g, tape = tasks.support.gradient(phi, keep=keep)
            points.append((g, tape))
            phi = phi - rates * g
        return phi, rates, points

    def meta_gradient(self, tasks):
        phi, rates, points = self.descend(tasks, self.settings.inner_steps, keep=True)
        query = tasks.query.evaluate(phi)
        back, by_rates, shared = query.by_phi, 0, query.by_shared
        for g, tape in reversed(points):
            by_rates = by_rates - g * back
            product, mixed = tasks.support.hessian_product(tape, -rates * back)
            back, shared = back + product, shared + mixed
        nbytes = sum(tape.nbytes for _, tape in points) + query.nbytes
        learned = {"rates": tasks.network.sum_tasks(by_rates)}
        return tasks.total(back, shared, query.logits, nbytes, learned=learned)

    def adapt(self, tasks, window):
        return self.descend(tasks, self.settings.test_steps, keep=False)[0]
'''
META_SGD_TESTS = """import json

import torch
from fewshot_case import params, parts, settings
from helpers import prepared_dataset

import multistep
from multistep import cli

CASES = [{"options": {"first_rate": 0.05}}]
CASES += [CASES[0] | {"network": {"adapt_bn": True}}]


def reference(case):
    rates = case.theta.learned["rates"]
    leaves = [t.clone().requires_grad_() for t in (*parts(case.theta), rates)]
    theta, shared, rates = leaves
    losses = []
    for plain in case.plain():
        phi = theta
        for _ in range(case.settings.inner_steps):
            loss = plain.support(phi, shared)
            phi = phi - rates * torch.autograd.grad(loss, phi, create_graph=True)[0]
        losses.append(plain.query(phi, shared))
    losses = torch.stack(losses)
    *two, by_rates = torch.autograd.grad(losses.mean(), leaves, materialize_grads=True)
    return *two, losses.detach(), {"rates": by_rates}


def test_rates_move_and_are_kept(tmp_path):
    data, out = prepared_dataset(tmp_path / "data"), tmp_path / "cell.json"
    few = {"meta_batch": 2, "iterations": 2, "test_episodes": 3, "validation_episodes": 2}
    few |= {"queries": 5, "log_every": 1, "validate_every": 2, "test_steps": 4}
    cell = {"scale": "test", "family": "few_shot", "experiment": "small", "dataset": "omniglot"}
    cell |= {"data": params().datasets["omniglot"].prepare, "method": "own", "seed": 0}
    cell |= {"algorithm": "metasgd", "settings": settings("metasgd", few).model_dump()}
    line = ["--cell", json.dumps(cell), "--data", str(data), "--device", "cpu", "--out", str(out)]
    assert cli.main(["train", *line, "--checkpoint", str(tmp_path / "cell.pt")]) == 0
    learner = multistep.load(str(out))
    rates = learner.theta.learned["rates"]
    assert rates.shape == learner.theta.adapted.shape
    assert 0 < (rates - 0.05).abs().max() <= 2.1 * cell["settings"]["meta_lr"]
    line = [str(out), "--data", str(data), "--episodes", "3", "--out", str(tmp_path / "again")]
    assert cli.main(["evaluate", *line]) == 0
    [again] = (tmp_path / "again").rglob("*.json")
    kept = json.loads(out.read_text())["metrics"]["episode_accuracies"]
    assert str(kept)[1:-1] in str(json.loads(again.read_text()))
"""


def test_a_new_file_is_found_and_checked(tmp_path: Path) -> None:
    """As a user adds one: without a reference told what to write, with one all of this passes."""
    folder = with_algorithm(tmp_path, "fewshot", "toy", TOY)
    of_toy = "tests/fewshot/test_algorithms.py", "-ktoy]"
    before = checked(tmp_path, *of_toy)
    assert "test_toy.py lacks CASES and reference: write CASES" in before
    assert "2 failed, 5 passed" in before
    (folder / "test_toy.py").write_text(TOY_TESTS)
    after = checked(tmp_path, *of_toy)
    assert "7 passed" in after
    assert "failed" not in after
    # What `multistep init` begins has its settings in an overlay of its own, options among them.
    assert cli.main(["init", "method", "mine", "--like", "anil", "--project", str(tmp_path)]) == 0
    begun = checked(tmp_path, "tests/fewshot/test_mine.py")
    assert "passed" in begun
    assert "failed" not in begun


def test_meta_parameters_of_its_own_are_trained_kept_and_checked(tmp_path: Path) -> None:
    """As a user adds Meta-SGD: rates that are neither θ nor carried, and an option."""
    folder = with_algorithm(tmp_path, "fewshot", "metasgd", META_SGD)
    (folder / "test_metasgd.py").write_text(META_SGD_TESTS)
    method = {"title": "Meta-SGD", "algorithm": "metasgd"}
    method |= {"settings": {"window": 1, "options": {"first_rate": 0.05}}}  # type: ignore[dict-item]
    overlay = tmp_path / "workflow/scales/own.yaml"
    overlay.write_text(json.dumps({"methods": {"metasgd": method}}))
    of = "tests/fewshot/test_algorithms.py", "tests/fewshot/test_metasgd.py"
    after = checked(tmp_path, *of, "-kmetasgd] or rates")
    assert "8 passed" in after, after
    assert "failed" not in after
