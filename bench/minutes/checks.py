"""Every path of the device against the CPU in float32 and the reference in float64.

A check tells a distance and its limit. Float64 leaves rounding alone, so that the limit catches
any other computation; in float32 see `bench.agreement`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from bench import agreement, ours
from bench.minutes.stage import MINI, Result, Stage
from bench.problem import Contender, Problem, in_float64, paper
from bench.transfer import meta_gradient
from bench.transfer_problem import Contender as Way
from bench.transfer_problem import images, learner_of, settings, source_network
from multistep.fewshot import evaluate
from multistep.fewshot.trainer import Trainer
from multistep.files import UserError
from multistep.job import checkpoint
from multistep.transfer.settings import Training

CPU = torch.device("cpu")
FLOAT64 = 1e-6  # conjugate gradients may stop a step apart
FLOAT32 = agreement.LIMITS["float32"]
TRAINED = 1e-2  # of the way that θ has gone
POINTS = 0.5  # of accuracy
IMAGES = {"sgd_32": 4, "adam_32": 4, "sgd_224": 2}  # in a mini-batch
TRANSFER_FLOAT32 = 5e-2  # through two networks, twice differentiated


def few_shot() -> list[str]:
    """All few-shot methods, those too that are measured alone."""
    measured = paper().experiments["5way_1shot"].measured
    assert measured is not None
    return list(measured.methods)


WAYS = [
    Way("scratch"),
    *(Way(m, scheme) for m in ("l2t", "l2t_multistep") for scheme in ("keep", "replay")),
    Way("l2t", "replay", "step"),
    Way("l2t_3_est"),
]


def steps() -> dict[str, Callable[[Stage], Result]]:
    """All checks by their names, what decides most first."""
    found: dict[str, Callable[[Stage], Result]] = {}
    for experiment, methods in (("5way_1shot", few_shot()), (MINI, ["maml"])):
        for method in methods:
            where = experiment, method
            found[f"{experiment}/{method}/float64"] = partial(from_reference, *where)
            found[f"{experiment}/{method}/captured"] = partial(captured, *where)
            found[f"{experiment}/{method}/float32"] = partial(from_cpu, *where)
    for way in WAYS:
        found[f"sgd_32/{way.name}/float64"] = partial(transfer, "sgd_32", way)
    found["adam_32/l2t_multistep/keep/batch/float64"] = partial(transfer, "adam_32", WAYS[3])
    for method in ("maml", "reptile"):
        found[f"5way_1shot/{method}/resumed"] = partial(resumed, "5way_1shot", method)
    found["5way_1shot/maml/evaluated"] = partial(evaluated, "5way_1shot", "maml")
    found["sgd_32/l2t/refuses"] = partial(refuses, "sgd_32", WAYS[1])
    for way in (WAYS[0], WAYS[1], WAYS[4]):
        found[f"sgd_224/{way.name}/float64"] = partial(transfer, "sgd_224", way)
    for experiment in ("sgd_32", "sgd_224"):
        found[f"{experiment}/{WAYS[1].name}/float32"] = partial(single, experiment, WAYS[1])
    return found


def _compared(distance: float, limit: float) -> Result:
    return {"distance": distance, "limit": limit, "ok": distance <= limit}  # of NaN: no


def from_reference(experiment: str, method: str, stage: Stage) -> Result:
    """The largest distance of a task's meta-gradient from the reference's, in float64: autograd
    through the definition where there is one, else our own on the CPU, which tests hold against
    theirs.
    """
    contender, reference = ours.engine(method), ours.engine(method)
    if (algorithm := paper().methods[method].algorithm) in ("multistep", "first_order"):
        reference = partial(ours.torch_func, first_order=algorithm == "first_order")
    return _distance(stage, experiment, method, contender, reference, in_float64, FLOAT64)


def from_cpu(experiment: str, method: str, stage: Stage) -> Result:
    """The median over tasks, in float32, from the same computation on the CPU."""
    same = ours.engine(method)
    return _distance(stage, experiment, method, same, same, lambda p: p, FLOAT32)


def _distance(
    stage: Stage, experiment: str, method: str, contender: Contender, reference: Contender,
    precision: Callable[[Problem], Problem], limit: float,
) -> Result:  # fmt: skip
    there, here = (
        precision(stage.problem(experiment, method, stage.sizes.some, place))
        for place in (stage.place, CPU)
    )
    found = agreement.summary(
        agreement.per_task(contender, there), agreement.per_task(reference, here)
    )
    return _compared(found["median" if limit == FLOAT32 else "largest"], limit)


def trainer_of(problem: Problem, method: str) -> Trainer:
    """A fresh trainer of a method's problem."""
    return Trainer(problem.network, ours.algorithm_of(method, problem.s), problem.sampler, seed=0)


def _trained(trainer: Trainer, begin: int, end: int) -> Tensor:
    """θ after the meta-iterations from `begin` on."""
    for i in range(begin, end):
        trainer.step(i)
    return torch.cat([trainer.theta.adapted, trainer.theta.shared])


def captured(experiment: str, method: str, stage: Stage) -> Result:
    """θ after some captured meta-iterations from the eager ones', as part of the way."""
    problem = stage.problem(experiment, method, stage.sizes.some)
    first, second = (trainer_of(problem, method) for _ in range(2))
    second.record = None
    start, end = _trained(first, 0, 0), stage.sizes.iterations
    found, expected = _trained(first, 0, end), _trained(second, 0, end)
    means = {"means": first.means(), "eager_means": second.means()}
    return _compared(_relative(found - start, expected - start), TRAINED) | means


def resumed(experiment: str, method: str, stage: Stage) -> Result:
    """The same of a run that was saved and put back into a trainer with a graph of its own."""
    problem = stage.problem(experiment, method, stage.sizes.some)
    whole, first, second = (trainer_of(problem, method) for _ in range(3))
    start, half = _trained(whole, 0, 0), stage.sizes.iterations
    expected = _trained(whole, 0, 2 * half)
    _trained(first, 0, half)
    second.step(99)
    checkpoint.restore(second.state, checkpoint.copies(first.state), stage.place)
    found = _trained(second, half, 2 * half)
    return _compared(_relative(found - start, expected - start), TRAINED)


def evaluated(experiment: str, method: str, stage: Stage) -> Result:
    """How far apart test accuracies are, in float64, in points."""
    means = []
    with _default(torch.float64):
        for place in (stage.place, CPU):
            p = in_float64(stage.problem(experiment, method, 1, place))
            found, _ = evaluate.episode_accuracies(
                ours.algorithm_of(method, p.s), p.network, p.theta, p.sampler,
                episodes=5 * stage.sizes.some,
            )  # fmt: skip
            means.append(sum(found) / len(found))
    return _compared(abs(means[0] - means[1]), POINTS)


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def transfer_settings(experiment: str, way: Way, batch: int | None, *, small: bool) -> Training:
    """An experiment's settings, of small networks on small images if asked."""
    s = settings(experiment, way, batch)
    if not small:
        return s
    target = s.target.model_copy(update={"width": 4})
    return s.model_copy(update={"target": target, "size": min(s.size, 64)})


def transfer(experiment: str, way: Way, stage: Stage) -> Result:
    """The first mini-batch's meta-gradient and the change of φ, in float64, from the CPU's."""
    return _mini_batches(experiment, way, stage, (stage.place, CPU), (torch.float64,) * 2, FLOAT64)


def single(experiment: str, way: Way, stage: Stage) -> Result:
    """The same in float32 from float64, both on the device."""
    places, dtypes = (stage.place, stage.place), (torch.float32, torch.float64)
    return _mini_batches(experiment, way, stage, places, dtypes, TRANSFER_FLOAT32)


def _mini_batches(
    experiment: str, way: Way, stage: Stage, places: tuple[torch.device, ...],
    dtypes: tuple[torch.dtype, ...], limit: float,
) -> Result:  # fmt: skip
    with_source = way if way.method != "scratch" else WAYS[1]
    small = stage.sizes.small
    batch = 4 if small else IMAGES[experiment]
    made, lent = (
        transfer_settings(experiment, w, batch, small=small)
        for w in (way, with_source)
    )  # fmt: skip
    source, (x, y) = source_network(lent, CPU), images(made, CPU)
    found = []
    for place, dtype in zip(places, dtypes, strict=True):
        own = copy.deepcopy(source).to(place, dtype)
        each = learner_of(made, way.method, own, place, dtype)
        start = {name: p.detach().clone() for name, p in each.phi.items()}
        gradient = meta_gradient(each, x.to(place, dtype), y.to(place))
        each.settle()
        moved = torch.cat([(each.phi[n] - p).detach().flatten() for n, p in start.items()])
        found.append([part.double().cpu() for part in (gradient, moved) if part.numel()])
    distances = [_relative(a, b) for a, b in zip(*found, strict=True)]
    return _compared(max(distances), limit)


def refuses(experiment: str, way: Way, stage: Stage) -> Result:
    """A mini-batch that isn't finite is noticed before its outcome is kept."""
    s = transfer_settings(experiment, way, IMAGES[experiment], small=stage.sizes.small)
    each = learner_of(s, way.method, source_network(s, stage.place), stage.place)
    x, y = images(s, stage.place)
    try:
        each.step(x * torch.inf, y, s.lr)
        each.settle()
    except UserError as error:
        return {"ok": "not finite" in str(error), "said": str(error)}
    return {"ok": False, "said": "nothing"}


def _relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.double().cpu(), expected.double().cpu()
    return float((found - expected).norm() / expected.norm())
