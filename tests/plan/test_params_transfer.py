"""The transfer half of params.yaml: the paper's settings, and mistakes found before any job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers import PARAMS, mistakes, put

from multistep.files import UserError
from multistep.plan import cells, params
from multistep.transfer.settings import Transfer

BASE = params.read(PARAMS)


def settings(experiment: str, method: str) -> Transfer:
    found = params.cell_settings(params.load(PARAMS), experiment, method)
    assert isinstance(found, Transfer)
    return found


@pytest.mark.parametrize("experiment", ["sgd_32", "sgd_224", "adam_32", "adam_224"])
def test_the_settings_of_appendix_e(experiment: str) -> None:
    optimizer, size = experiment.split("_")
    for method, window in {"l2t": 1, "l2t_multistep": 2}.items():
        s = settings(experiment, method)
        assert (s.epochs, s.batch_size) == (200, 128 if size == "32" else 64)
        assert (s.inner_steps, s.window, s.beta) == (2, window, 0.5)
        assert (s.optimizer, s.lr) == (optimizer, 0.1 if optimizer == "sgd" else 0.001)
        assert (s.momentum, s.weight_decay, s.meta_weight_decay) == (0.9, 1e-4, 1e-4)
        assert s.meta_lr == (0.001 if size == "32" else 0.0001)
        assert s.size == int(size)
        pairs = len(s.source_taps) * len(s.target_taps)
        assert pairs == (15 if size == "32" else 16)


def test_the_compared_variants_of_figure_4() -> None:
    expected = {
        "l2t_0": (0, 1, 1.0),
        "l2t_1": (1, 1, 1.0),
        "l2t_1_double": (1, 1, 2.0),
        "l2t_3": (3, 1, 1.0),
        "l2t_3_est": (3, 3, 1.0),
    }
    for method, values in expected.items():
        s = settings("steps", method)
        assert (s.inner_steps, s.window, s.transfer_lr_factor) == values
        assert s.optimizer == "adam"


@pytest.mark.parametrize("scale", [None, "demo", "dogs32-cpu", "miniimagenet-cpu"])
def test_no_run_happens_twice(scale: str | None) -> None:
    overlays = [PARAMS.parent / f"workflow/scales/{scale}.yaml"] if scale else []
    runs = set()
    for cell in cells.plan(params.load(PARAMS, *overlays)):
        run = (cell.dataset, cell.algorithm, cell.seed, cell.settings)
        assert run not in runs, cell.path
        runs.add(run)


def test_figure_4_is_timed_together_and_measurements_are_few() -> None:
    jobs = cells.measurements(params.load(PARAMS))
    transfer = {path for path, job in jobs.items() if job["family"] == "transfer"}
    adam = {f"results/measure/adam_32/{d}.json" for d in ("cifar100", "stl10")}
    adam |= {f"results/measure/adam_224/{d}.json" for d in ("bird", "indoor", "action", "dog")}
    others = {f"results/measure/{e}/bird.json" for e in ("sgd_224", "sgd_224_replay", "steps")}
    assert transfer == adam | others
    assert len(jobs["results/measure/steps/bird.json"]["methods"]) == 7


def test_cells_name_the_source_network_that_the_scale_really_uses() -> None:
    mine = {"mine": BASE["source_networks"]["tinyimagenet_resnet32"]}
    overlay = {"source_networks": mine, "stand_ins": {"tinyimagenet_resnet32": "mine"}}
    p = params.validate(params.merge(BASE, overlay))
    plan = [c for c in cells.plan(p) if c.family == "transfer"]
    found = {json.loads(c.settings)["source"] for c in plan if c.algorithm != "scratch"}
    assert found == {"mine", "imagenet_resnet34"} == set(cells.source_networks(p))


def test_scratch_knows_nothing_of_transfer() -> None:
    overlay = {"transfer": {"meta_lr": 0.5, "scheme": "replay", "beta": 1.0, "inner_steps": 0}}

    def scratch(config: dict[str, Any]) -> list[cells.Cell]:
        return [c for c in cells.plan(params.validate(config)) if c.method == "scratch"]

    assert scratch(BASE) == scratch(params.merge(BASE, overlay))
    assert scratch(BASE) != scratch(params.merge(BASE, {"transfer": {"weight_decay": 0.5}}))


def test_a_scale_may_run_one_family() -> None:
    p = params.validate(params.merge(BASE, {"families": ["few_shot"]}))
    assert {c.family for c in cells.plan(p)} == {"few_shot"}
    assert cells.source_networks(p) == []
    assert {job["family"] for job in cells.measurements(p).values()} == {"few_shot"}


# Changes of params.yaml, and what the one line about each must hold.
MISTAKES = """
transfer/inner_stepz=3 -> transfer.inner_stepz: unknown key; did you mean 'inner_st
experiments/sgd_32/settings/inner_steps=3 & methods/l2t=null -> methods.l2t
methods/l2t_multistep/settings/inner_steps=3 -> methods.l2t_multistep.settings.inner_steps: 3 steps
    are not divisible by methods.l2t_mul
transfer/source=imagenet -> transfer.source: no source network named 'imagenet'
transfer/optimizer=adamw -> transfer.optimizer: input should be 'sgd' or 'adam'
experiments/sgd_32/datasets=[omniglot] -> datasets.omniglot.images: missing; transfer needs train,
    validation
experiments/5way_1shot/datasets=[stl10] & experiments/5way_1shot/measured/datasets=[stl10] ->
    datasets.stl10.images_per_class: missing; episodes need it
experiments/sgd_32/methods=[maml] -> maml has the algorithm 'multistep', which the family transfer
    doesn't have
datasets/stl10/prepare/sise=32 -> datasets.stl10.prepare.sise: unknown key; did you mean 'size'?
datasets/stl10/archives/stl10-val/drawn/clases=3 -> datasets.stl10.archives.stl10-val.drawn.clases:
    unknown key
source_networks/imagenet_resnet34/dataset=imagenet -> source_networks.imagenet_resnet34.dataset: no
    dataset named 'imagenet'
source_networks/imagenet_resnet34/layout=null -> source_networks.imagenet_resnet34.archives: one
    checkpoint with its `layout`
experiments/steps/measured/methods=[l2] -> experiments.steps.measured.
experiments/steps/measured/methods=[maml] -> no method named 'maml'
experiments/sgd_32/measured/datasets=[bird] -> no dataset named 'bird'
transfer/source_taps=[4, 4] -> transfer.source_taps: 4 stands there more than once
transfer/adam_betas=[0.9, 1.5] -> transfer.adam_betas.1: input should be less than
transfer/size=64 -> transfer.size: 64, but datasets.cifar100.prepare.size is 32
source_networks/imagenet_resnet34/archives/a.pth/drawn={} ->
    source_networks.imagenet_resnet34.archives.a.pth.drawn: a network can't be drawn
"""


@pytest.mark.parametrize(("change", "message"), mistakes(MISTAKES))
def test_a_mistake_is_one_line_with_its_path(change: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        params.validate(params.merge(BASE, put({}, change)))
    lines = str(error.value).splitlines()[1:]
    assert any(message in line for line in lines), lines


def test_a_dataset_and_a_source_network_don_t_share_a_name() -> None:
    network = BASE["source_networks"]["imagenet_resnet34"]
    with pytest.raises(UserError, match="has this name"):
        params.validate(params.merge(BASE, {"source_networks": {"stl10": network}}))
