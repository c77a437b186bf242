"""What every few-shot algorithm has to do; a file of `algorithms` is found and checked by itself.

Its numbers are those of the `reference` in its test file, for all its CASES (`fewshot_case`).
"""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from fewshot_case import case, params, relative, settings
from helpers import checked, prepared_dataset, with_algorithm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from multistep import cli
from multistep.data import prepared
from multistep.fewshot import algorithms, meta
from multistep.fewshot.settings import FewShot
from multistep.fewshot.trainer import Trainer
from multistep.files import UserError
from multistep.job import checkpoint, results

NAMES = algorithms.names()
every_algorithm = pytest.mark.parametrize("name", NAMES)


def own_tests(name: str) -> ModuleType:
    """The algorithm's own tests, with a reference in them."""
    file = Path(__file__).with_name(f"test_{name}.py")
    module = importlib.import_module(f"fewshot.{file.stem}") if file.exists() else ModuleType(name)
    lacks = [what for what in ("CASES", "reference") if not hasattr(module, what)]
    if lacks:
        pytest.fail(
            f"{file.name} lacks {' and '.join(lacks)}: write CASES, a list of changes of settings, "
            f"and reference(case), the meta-gradient of algorithms/{name}.py computed naively in "
            "float64, as tests/fewshot_case.py says; test_first_order.py is a short example"
        )
    return module


def test_declarations_are_read_without_torch() -> None:
    """Snakemake reads them for every plan, and torch takes seconds to import."""
    code = """
import sys
from multistep.fewshot import algorithms as few_shot
from multistep.transfer import algorithms as transfer
for family in (few_shot, transfer):
    assert [family.get(name) for name in family.names()]
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@every_algorithm
def test_meta_gradient_is_that_of_its_reference(name: str) -> None:
    tests = own_tests(name)
    for changes in tests.CASES:
        work = case(name, changes, tasks=2)
        adapted, shared, losses, *own = tests.reference(work)
        found = work.gradient()
        tolerance = getattr(tests, "TOLERANCE", 1e-11)
        torch.testing.assert_close(found.loss, losses, rtol=tolerance, atol=0, msg=str(changes))
        assert relative(found.adapted, adapted) < tolerance, changes
        assert relative(found.shared, shared) < tolerance, changes
        for key, g in (own[0] if own else work.theta.learned).items():
            assert relative(found.learned[key], g) < tolerance, (changes, key)


@every_algorithm
def test_meta_gradient_is_the_slope_of_the_query_loss(name: str) -> None:
    """By finite differences, where it is the derivative of something: under SLOPES."""
    for changes in getattr(own_tests(name), "SLOPES", []):
        work = case(name, changes)
        found, along = work.gradient(), work.directions()
        if name == "memory_reduced":
            along.adapted[work.head :] = 0.0  # where the head starts is no meta-parameter
        expected = found.adapted @ along.adapted + found.shared @ along.shared
        assert work.slope(along) == pytest.approx(expected.item(), rel=1e-5), changes


@every_algorithm
def test_chunks_and_the_order_of_tasks_do_not_matter(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A meta-batch in parts (CPU), several at once, or whole (CUDA) gives one gradient."""
    work, order = case(name, tasks=5), [3, 0, 4, 1, 2]
    whole, permuted = work.gradient(), work.permuted(order).gradient()
    monkeypatch.setattr(meta, "chunk_size", lambda *_: 2)
    others = [work.gradient()]
    torch.set_num_threads(2)
    others.append(work.gradient())
    torch.set_num_threads(1)
    if not work.theta.carried:  # else every task depends on those before it
        torch.testing.assert_close(permuted.loss, whole.loss[order], rtol=1e-8, atol=0)
        others.append(permuted)
    for other in others:
        assert relative(other.adapted, whole.adapted) < 1e-8
        assert relative(other.shared, whole.shared) < 1e-8


@every_algorithm
def test_its_cost_is_what_it_says(name: str) -> None:
    """In operations, one forward pass of an image as the unit."""
    for scheme in ("keep", "replay"):
        # Of one task: torch counts the backward pass of grouped convolutions once per group.
        work = case(name, {"scheme": scheme, "network": {"filters": 64}}, tasks=1).to("meta")
        tasks = work.tasks
        with FlopCounterMode(display=False) as forward, torch.no_grad():
            tasks.query.logits(tasks.start())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            work.algorithm.meta_gradient(tasks)
        passes = work.algorithm.query_images * counter.get_total_flops()
        cost = passes / forward.get_total_flops()
        assert cost == pytest.approx(work.algorithm.cost(), rel=0.03)


class Watch(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func.overloadpacket.__name__)
        indices = args[1] if func is torch.ops.aten.index.Tensor else ()
        if any(i is not None and i.dtype is torch.bool for i in indices):
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


@every_algorithm
def test_a_cuda_graph_can_hold_it(name: str) -> None:
    """Tensors without values are enough, and none is asked for on the host."""
    work = case(name).to(torch.float32)
    with Watch() as watch:
        work.gradient()
    assert not watch.seen & FORBIDDEN
    assert "convolution" in watch.seen
    valueless = work.to("meta")
    assert valueless.gradient().adapted.shape == work.theta.adapted.shape
    assert valueless.adapt().shape == work.tasks.start().shape


OUTER = [
    {"meta_optimizer": optimizer, "meta_schedule": schedule}
    for optimizer, schedule in product(("adam", "sgd"), ("constant", "linear"))
]


@every_algorithm
def test_a_resumed_run_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    data = prepared.read(prepared_dataset(tmp_path))
    for changes in OUTER if name == "multistep" else [{}]:
        s = settings(name, {"meta_batch": 2, "iterations": 4, "queries": 5} | changes)

        def trainer(s: FewShot = s) -> Trainer:
            images = torch.from_numpy(data.images)
            return Trainer.of(algorithms.get(name)(s), data, images, ["train"], seed=0)

        whole, first, second = (trainer() for _ in range(3))
        for i in range(4):
            whole.step(i)
        for i in range(2):
            first.step(i)
        checkpoint.restore(second.state, checkpoint.copies(first.state), torch.device("cpu"))
        for i in range(2, 4):
            second.step(i)
        assert all(torch.equal(p, q) for p, q in zip(*map(flat, (second, whole)), strict=True))
        assert second.means() == whole.means()


def flat(trainer: Trainer) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(trainer.state)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


@every_algorithm
def test_it_is_trained_and_measured(name: str, tmp_path: Path) -> None:
    data = str(prepared_dataset(tmp_path / "data"))
    small = {"meta_batch": 2, "iterations": 2, "test_episodes": 3, "validation_episodes": 2}
    few = small | {"queries": 5, "log_every": 1, "validate_every": 2, "test_steps": 4}
    about: dict[str, Any] = {
        "scale": "test", "family": "few_shot", "experiment": "small", "dataset": "omniglot",
        "data": params().datasets["omniglot"].prepare,
    }  # fmt: skip
    cell: dict[str, Any] = about | {
        "method": name,
        "algorithm": name,
        "seed": 0,
        "settings": settings(name, few).model_dump(),
    }
    line = ["--data", data, "--device", "cpu", "--out"]
    out, scratch = str(tmp_path / "cell.json"), str(tmp_path / "cell.pt")
    assert cli.main(["train", "--cell", json.dumps(cell), *line, out, "--checkpoint", scratch]) == 0
    assert len(results.read(tmp_path / "cell.json")["metrics"]["episode_accuracies"]) == 3
    timed = {"steps": [2], "rounds": 1, "tasks": 2, "batches": 1, "alone": True}
    methods = {name: {"algorithm": name, "settings": cell["settings"]}}
    definition = about | {"methods": methods, "measure": timed}
    out = str(tmp_path / "measured.json")
    assert cli.main(["measure", "--definition", json.dumps(definition), *line, out]) == 0
    rows = results.read(tmp_path / "measured.json")["rows"]
    assert rows
    assert all(row["bytes"] > 0 for row in rows)


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
