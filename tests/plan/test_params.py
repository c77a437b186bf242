"""params.yaml: what it says of the paper, and what is refused before any job."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers import PARAMS, ROOT, mistakes, put
from pydantic import ValidationError

from multistep.files import UserError
from multistep.plan import cells, params
from multistep.plan.mistakes import explain
from multistep.plan.params import cell_settings
from multistep.settings import Model

BASE = params.read(PARAMS)
OVERLAYS = sorted((ROOT / "workflow" / "scales").glob("*.yaml"))
PAPER = params.load(PARAMS)


def settings(experiment: str, method: str) -> Any:
    return cell_settings(PAPER, experiment, method)


def test_appendix_f() -> None:
    windows = {"maml": 1, "multistep2": 2, "multistep4": 4, "multistep8": 8}
    for experiment in ("5way_1shot", "5way_5shot", "20way_1shot", "20way_5shot"):
        batch = 32 if experiment.startswith("5way") else 16
        for method, window in windows.items():
            s = settings(experiment, method)
            assert (s.momentum, s.weight_decay, s.window) == (0.9, 1e-4, window)
            assert (s.inner_lr, s.inner_steps, s.test_steps) == (0.4, 8, 8)
            assert (s.meta_batch, s.meta_lr, s.iterations) == (batch, 1e-3, 60_000)
            assert s.test_episodes == 600
        vanilla = settings(experiment, "fomaml")
        assert (vanilla.momentum, vanilla.weight_decay, vanilla.inner_lr) == (0.0, 0.0, 0.4)
        ways, shots = experiment.removesuffix("shot").split("way_")
        assert (vanilla.ways, vanilla.shots) == (int(ways), int(shots))


def test_appendix_f_of_miniimagenet() -> None:
    for shots in (1, 5):
        experiment = PAPER.experiments[f"mini_5way_{shots}shot"]
        assert experiment.choose is not None
        assert sorted(experiment.choose.values) == [0.004, 0.01, 0.04, 0.1]
        for method in experiment.choose.methods:
            s = settings(f"mini_5way_{shots}shot", method)
            assert (s.ways, s.shots, s.queries, s.meta_batch) == (5, shots, 15, 4)
            assert (s.inner_steps, s.test_steps, s.iterations) == (8, 8, 60_000)
            assert (s.network.geometry, s.network.filters) == ("pooled", 32)
            assert (s.selection, s.hold_out_validation) == ("best", True)
            assert not s.rotate_train
            assert not s.rotate_test
    assert experiment.choose.methods == ["maml", "fomaml", "multistep2", "multistep4", "multistep8"]


@pytest.mark.parametrize("overlay", [None, *OVERLAYS], ids=str)
def test_every_overlay_is_a_scale_of_its_own_and_no_run_happens_twice(overlay: Any) -> None:
    p = params.load(PARAMS, *([overlay] if overlay else []))
    if overlay:
        assert (p.scale, p.directory) == (overlay.stem, f"scales/{overlay.stem}")
    plan = cells.plan(p)
    runs = {(cell.dataset, cell.algorithm, cell.seed, cell.settings) for cell in plan}
    assert len(runs) == len({cell.path for cell in plan}) == len(plan) > 0


def test_a_stand_in_takes_its_dataset_s_place_under_its_own_name() -> None:
    p = params.load(PARAMS, ROOT / "workflow" / "scales" / "demo.yaml")
    for name in {c.dataset for c in cells.plan(p)}:
        assert name.endswith("_standin")
        assert "stand-in" in p.datasets[name].title


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
    expected = {"l2t_0": (0, 1, 1.0), "l2t_1": (1, 1, 1.0), "l2t_1_double": (1, 1, 2.0)}
    expected |= {"l2t_3": (3, 1, 1.0), "l2t_3_est": (3, 3, 1.0)}
    for method, values in expected.items():
        s = settings("steps", method)
        assert (s.inner_steps, s.window, s.transfer_lr_factor) == values
        assert s.optimizer == "adam"


def test_figure_4_is_timed_together_and_measurements_are_few() -> None:
    jobs = cells.measurements(PAPER)
    timed = {path for path, job in jobs.items() if job["family"] == "transfer"}
    adam = {f"results/measure/adam_32/{d}.json" for d in ("cifar100", "stl10")}
    adam |= {f"results/measure/adam_224/{d}.json" for d in ("bird", "indoor", "action", "dog")}
    others = {f"results/measure/{e}/bird.json" for e in ("sgd_224", "sgd_224_replay", "steps")}
    assert timed == adam | others
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


def test_single_methods_may_have_seeds_of_their_own() -> None:
    own = {"seeds": [0], "method_seeds": {"maml": [2, 1]}}
    merged = params.merge(params.read(PARAMS), {"experiments": {"5way_1shot": own}})
    planned = cells.plan(params.validate(merged))
    found = {
        method: [c.seed for c in planned if (c.experiment, c.method) == ("5way_1shot", method)]
        for method in ("maml", "fomaml")
    }
    assert found == {"maml": [2, 1], "fomaml": [0]}
    others = [c.seed for c in planned if (c.experiment, c.method) == ("5way_5shot", "maml")]
    assert others == [0, 1, 2]


def test_a_scale_may_run_some_experiments_only() -> None:
    p = params.validate(params.merge(BASE, {"only": ["steps", "mini_5way_1shot"]}))
    own = {c.path for c in cells.plan(p)}
    asked = ("steps", "mini_5way_1shot", "mini_5way_1shot-inner_lr-")
    assert own == {c.path for c in cells.plan(PAPER) if c.experiment.startswith(asked)}
    assert {job["experiment"] for job in cells.measurements(p).values()} == set(asked[:2])
    assert cells.source_networks(p) == ["imagenet_resnet34"]


# Changes of params.yaml, and what the one line about each must hold; `(of N)`: of so many lines.
MISTAKES = """
methods/reptile/settings/momentum=0.9 -> methods.reptile.settings.momentum: must be 0 for
methods/imaml/settings/weight_decay=0.1 -> methods.imaml.settings.weight_decay: must be 0 f
seedz=[1] -> seedz: unknown key; did you mean 'seeds'?
few_shot/inner_stepz=3 -> few_shot.inner_stepz: unknown key; did you mean 'inner_st
few_shot/network/filterz=1 -> few_shot.network.filterz: unknown key; did you m
methods/maml/settings/windov=2 -> methods.maml.settings.windov: unknown k
datasets/omniglot/splitt=1 -> datasets.omniglot.splitt: unknown key
few_shot/inner_lr='0.4' -> few_shot.inner_lr: input should be a valid number, got '
few_shot/rotate_test=1 -> few_shot.rotate_test: input should be a valid boolean
few_shot/momentum=1.0 -> few_shot.momentum: input should be less than 1, got 1.0
methods/maml_replay/settings/window=3 -> few_shot.inner_steps: 8 steps are not divisible by
    methods.maml_replay.settings.window=3 (of 2)
methods/anil_uncached/settings/options/cache_features=1 ->
    methods.anil_uncached.settings.options.cache_features: input should be a valid boolean
seeds=[] -> seeds: list should have at least 1 item
seeds=[-1] -> seeds.0: input should be greater than or equal to 0
experiments/5way_1shot/seeds=[] -> experiments.5way_1shot.seeds: value should
methods/reptile/settings/options/adam_beta2=null & methods/reptile/settings/inner_batch=3 ->
    methods.reptile.settings.inner_batch: an option of reptile; put it under options
datasets/omniglot/loader=image_folder & datasets/omniglot/archives/a.zip/drawn={} ->
    datasets.omniglot.archives.a.zip.drawn: the loader image_folder has no stand-in to draw (of 7)
experiments/choices={} & experiments/choices/family=few_shot & experiments/choices/settings={} &
    experiments/choices/datasets=[] & experiments/choices/methods=[] ->
    experiments.choices: the name is taken by a folder of results
methods/Mine={} -> methods.Mine.[key]: names are of a-z (of 4)
methods/maml/algorithm=Multistep -> methods.maml.algorithm: no algorithm named 'Multistep'; did you
    mean 'multistep'?
measure/steps=[0] -> measure.steps.0: input should be greater than or equal to 1
few_shot/meta_batch=0 -> few_shot.meta_batch: input should be greater than or equal to 1
transfer/inner_steps=-1 -> transfer.inner_steps: input should be greater than or equal to 0
methods/scratch/settings/inner_steps='x' -> methods.scratch.settings.inner_steps: input should be
experiments/5way_1shot/overrides/scratch={} -> experiments.5way_1shot.overrides: scratch has the
experiments/mini_5way_1shot/choose/methods=['scratch'] ->
    experiments.mini_5way_1shot.choose.methods: scratch has the algorithm 'scratch'
source_networks/tinyimagenet_resnet32/classes=100 -> source_networks.tinyimagenet_resnet32.classes:
    100, but datasets.tinyimagenet has 200 classes
datasets/stl10/images/train=-1 -> datasets.stl10.images.train: input should be greater than or
datasets/stl10/classes=1 -> datasets.stl10.classes: input should be greater than or equal to 2
datasets/omniglot/archives=None -> datasets.omniglot.archives: input should be a valid dict
datasets/miniimagenet/prepare/size=8 -> datasets.miniimagenet.prepare.size: 8, of which (of 2)
datasets/miniimagenet/classes=90 -> datasets.miniimagenet.classes: 90, but prepare.split lists 100
few_shot/inner_lr=.inf -> few_shot.inner_lr: input should be a finite numb
scale=mine -> directory: the scale 'mine' builds in 'scales/mine', not elsewhere
few_shot/hold_out_validation=true & few_shot/validate_every=150 -> few_shot.validate_every: 150 is
    not a multiple of few_shot.log_every=100
only=[steps, 5way_1shott] -> only: no experiment named '5way_1shott'; did you mean '5way_1shot'?
families=[few_shot] & only=[steps] -> only: steps is of transfer &&
    experiments: none of `only` has datasets and methods
device=gpu -> device: input should be 'cuda' or 'cpu', got 'gpu'
few_shot/inner_steps=6 -> few_shot.inner_steps: 6 steps are not divisible by
    methods.multistep4.settings.window=4 (of 2)
experiments/5way_1shot/settings/ways=2000 -> experiments.5way_1shot.settings.ways: 2000 ways, but
    datasets.omniglot has 1623 classes
experiments/5way_1shot/settings/ways=424 -> experiments.5way_1shot.settings.ways: 424 ways, but
    datasets.omniglot has 423 test classes (prepare.split: finn)
few_shot/hold_out_validation=true & experiments/5way_1shot/settings/ways=101 ->
    experiments.5way_1shot.settings.ways: 101 ways, but datasets.omniglot has 100 validation
experiments/mini_5way_1shot/settings/ways=17 -> ways: 17 ways, but datasets.miniimagenet has 16
    validation classes (prepare.split: ravi)
few_shot/queries=16 -> few_shot.queries: 16 queries + 5 shots
    (experiments.5way_5shot.settings.shots) exceed the 20 images per class of dat (of 2)
experiments/5way_1shot/methods=[mamll] -> experiments.5way_1shot.methods: no method named 'mamll';
    did you mean 'maml'?
stand_ins/omniglot=drawn -> stand_ins.omniglot: no dataset named 'drawn'
stand_ins/omniglott=bird -> stand_ins: no dataset or source network named 'omnig
sources/mini=/data -> sources: no dataset or source network named 'mini'
methods/maml/algorithm=maml -> methods.maml.algorithm: no algorithm named 'maml'
families=[] -> families: list should have at least 1 item
families=[few_shot, few_shot] -> families: 'few_shot' stands there more than once
seeds=[0, 0, 1] -> seeds: 0 stands there more than once
seeds=[18446744073709551616] -> seeds: integers end at 2^53 here
few_shot/iterations=99999999999999999999999999 -> few_shot.iterations: integers end at 2^53
few_shot/inner_lr=1.0e+300 -> few_shot.inner_lr: float32 has no such number
transfer/adam_betas=[0.9, 1.0e-320] -> transfer.adam_betas: float32 has no such number
measure/steps=[1, 1] -> measure.steps: 1 stands there more than once
experiments/5way_1shot/seeds=[1, 1] -> experiments.5way_1shot.seeds: 1 stands there more than once
experiments/5way_1shot/method_seeds={maml: [1, 1]} -> experiments.5way_1shot.method_seeds.maml: 1
    stands there more than once
experiments/5way_1shot/method_seeds={maml: []} -> experiments.5way_1shot.method_seeds.maml:
experiments/5way_1shot/method_seeds={mamml: [1]} -> experiments.5way_1shot.method_seeds: no method
    named 'mamml'; did you mean 'maml'?
experiments/5way_1shot/method_seeds={scratch: [1]} -> experiments.5way_1shot.method_seeds: scratch
    has the algorithm
experiments/5way_1shot/datasets=[omniglot, omniglot] -> datasets: 'omniglot' stands there more than
experiments/5way_1shot/methods=[maml, maml] -> methods: 'maml' stands there more than once
experiments/mini_5way_1shot/choose/values=[0.1, 0.1000000001] -> mini_5way_1shot.choose.values: two
    of them are 0.1 with six digits
transfer/source_taps=[1, 9] -> transfer.source_taps: resnet32 has no tap 1; it has 4, 9, 14
stand_ins/omniglot=omniglot -> stand_ins.omniglot: 'omniglot' has a stand-in itself; name that one
stand_ins/omniglot=miniimagenet & stand_ins/miniimagenet=omniglot -> stand_ins.omniglot: (of 2)
datasets/omniglot/archives/images_background.zip/bytes=-5 -> images_background.zip.bytes: input
datasets/omniglot/archives/images_background.zip/urls=[not a url] -> urls.0: string should match
datasets/omniglot/archives/a b.zip={unverified: true} -> archives.a b.zip.[key]: string should match
datasets/omniglot/archives/a.Tar.xz={unverified: true} -> archives.a.Tar.xz.[key]: not unpacked here
few_shot/test_episodes=1000000000000 -> few_shot.test_episodes: input should be less than or equal
few_shot/network/filters=1000000000 -> few_shot.network.filters: input should be less than or equal
threads=100000000 -> threads: input should be less than or equal to 1024
methods/maml/title='' -> methods.maml.title: string should match pattern
datasets/omniglot/title="a\\nb" -> datasets.omniglot.title: string should match pattern
sources/omniglot='' -> sources.omniglot: string should match pattern
sources/omniglot="a\\0b" -> sources.omniglot: string should match pattern
sources/omniglot=~nobody-here/a -> sources.omniglot: ~nobody-here/a: whose home is not known
methods/measure={title: t, algorithm: multistep, settings: {}} -> methods.measure: the name is taken
datasets/results={loader: stl10, title: t, classes: 2, archives: {a: {unverified: true}},
    prepare: {size: 32, validation: own}} -> datasets.results: the name is taken by a folder of
stand_ins/cifar_fs=fc100 -> experiments.cifar_5way_1shot.datasets: cifar_fs and fc100 are (of 2)
transfer/augmentation=resize_crop & transfer/size=31 -> transfer.size: 31; vgg9 needs 32 at least
experiments/sgd_32/settings={target: {name: resnet18, width: 8}, target_taps: [1, 4],
    batch_size: 4499} -> experiments.sgd_32.settings.batch_size: 4499 leaves one of 4500 training
source_networks/mine={title: t, architecture: {name: resnet34, width: 4}, classes: 10,
    dataset: stl10, train: {epochs: 1, batch_size: 11, lr: 0.1, momentum: 0.9, weight_decay: 0.0,
    lr_steps: [], augmentation: pad_crop, size: 32, seed: 0}} ->
    source_networks.mine.train.batch_size: 11 leaves one of 4500 training images
experiments/sgd_32/datasets=[tieredimagenet] -> datasets.tieredimagenet.prepare.split: ren (of 2)
source_networks/tinyimagenet_resnet32/train/lr_steps=[-5] -> train.lr_steps.0: input should be
source_networks/mine={title: t, architecture: {name: vgg9, width: 4}, classes: 1623,
    dataset: omniglot, train: {epochs: 1, batch_size: 4, lr: 0.1, momentum: 0.9, weight_decay: 0.0,
    lr_steps: [], augmentation: pad_crop, size: 30, seed: 0}} ->
    source_networks.mine.train.size: 30, but datasets.omniglot.prepare.size is 28 &&
    source_networks.mine.train.size: 30; its architecture needs 32 at least &&
    source_networks.mine.dataset: omniglot states no `images` of three parts
datasets/omniglot/prepare/size=5000 -> datasets.omniglot.prepare.size: input should be less than or
datasets/stl10/images/train=99999999999999999999 -> datasets.stl10.images.train: input should be
experiments/mini_5way_1shot/choose/setting=test_episodes &
    experiments/mini_5way_1shot/choose/values=[20, 40] ->
    experiments.mini_5way_1shot.choose.setting: test_episodes, but no candidate is tested
experiments/mini_5way_1shot-inner_lr-1={family: few_shot, datasets: [], methods: [], settings: {}}
    -> experiments.mini_5way_1shot-inner_lr-1: a name of candidates of mini_5way_1shot
methods/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa={title: t, algorithm: x,
    settings: {}} -> names are of a-z, 0-9, _ and -, at most 64
methods/a;b={title: t, algorithm: multistep, settings: {}} -> methods.a;b.[key]: names are of a-z
experiments/..={family: few_shot, datasets: [], methods: [], settings: {}} -> names are of a-z
source_networks/a b={title: t, architecture: {name: vgg9, width: 1}, classes: 2} -> names are of a-z
source_networks/stl10={title: t, architecture: {name: vgg9, width: 1}, classes: 2} ->
    source_networks.stl10: a dataset has this name
datasets/omniglot/archives/images_background.zip/sha256=null ->
    datasets.omniglot.archives.images_background.zip: needs `urls` and `sha256`, or `drawn`
transfer/inner_stepz=3 -> transfer.inner_stepz: unknown key; did you mean 'inner_st
experiments/sgd_32/settings/inner_steps=3 & methods/l2t=null -> methods.l2t
methods/l2t_multistep/settings/inner_steps=3 -> methods.l2t_multistep.settings.inner_steps: 3 steps
    are not divisible by methods.l2t_mul
transfer/source=imagenet -> transfer.source: no source network named 'imagenet'
transfer/optimizer=adamw -> transfer.optimizer: input should be 'sgd' or 'adam'
experiments/sgd_32/datasets=[omniglot] -> datasets.omniglot.images: missing; transfer needs train,
    validation (of 2)
experiments/5way_1shot/datasets=[stl10] & experiments/5way_1shot/measured/datasets=[stl10] ->
    datasets.stl10.images_per_class: missing; episodes need it
experiments/sgd_32/methods=[maml] -> maml has the algorithm 'multistep', which the family transfer
    doesn't have
datasets/stl10/prepare/sise=32 -> datasets.stl10.prepare.sise: unknown key; did you mean 'size'?
datasets/stl10/archives/stl10-val/drawn/clases=3 -> datasets.stl10.archives.stl10-val.drawn.clases:
    unknown key (of 6)
source_networks/imagenet_resnet34/dataset=imagenet -> source_networks.imagenet_resnet34.dataset: no
    dataset named 'imagenet'
source_networks/imagenet_resnet34/layout=null -> source_networks.imagenet_resnet34.archives: one
    file of weights with its `layout`
experiments/steps/measured/methods=[l2] -> experiments.steps.measured.
experiments/steps/measured/methods=[maml] -> no method named 'maml'
families=[few_shot] & only=[5way_1shot, sgd_32] -> only: sgd_32 is of transfer, which `families`
    leaves out; name both or neither
experiments/mini_5way_1shot/choose/settings/inner_lr=1.0 ->
    experiments.mini_5way_1shot.choose.settings.inner_lr: candidates try `values`
experiments/sgd_32/measured/datasets=[bird] -> experiments.sgd_32.measured.datasets: bird is none of
    experiments.sgd_32.datasets; add it there
experiments/sgd_32/measured/datasets=[birds] -> no dataset named 'birds'; did you mean 'bird'?
transfer/source_taps=[4, 4] -> transfer.source_taps: 4 stands there more than once
transfer/adam_betas=[0.9, 1.5] -> transfer.adam_betas.1: input should be less than
transfer/size=64 -> transfer.size: 64, but datasets.cifar100.prepare.size is 32 (of 2)
experiments/adam_32/overrides={l2t: {batch_size: 64, source: imagenet_resnet34, source_taps: [1]}}
    ->
    adam_32.measured.methods: l2t has batch_size 64 and l2t_multistep 128, but what is measured &&
    adam_32.measured.methods: l2t has source imagenet_resnet34 and l2t_multistep tinyimagenet_resnet
source_networks/imagenet_resnet34/archives/a.pth/drawn={} ->
    source_networks.imagenet_resnet34.archives.a.pth.drawn: a network can't be drawn (of 2)
"""


@pytest.mark.parametrize(("change", "message"), mistakes(MISTAKES))
def test_a_mistake_is_one_line_with_its_path(change: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        params.validate(params.merge(BASE, put({}, change)))
    lines = str(error.value).splitlines()[1:]
    message, _, count = message.partition(" (of ")
    for said in (every := message.split(" && ")):
        assert any(said in line for line in lines), lines
    assert len(lines) == int(count.rstrip(")") or len(every))


@pytest.mark.parametrize(
    ("experiment", "ways", "message"),
    [
        ("5way_1shot", 37, None),
        ("5way_1shot", 38, "38 ways, but datasets.omniglot_standin has 37 test classes"),
        ("mini_5way_1shot", 8, None),
        ("mini_5way_1shot", 9, "9 ways, but datasets.miniimagenet_standin has 8 validation clas"),
    ],
)
def test_classes_of_drawn_data_are_counted(experiment: str, ways: int, message: str | None) -> None:
    drawn = params.merge(BASE, params.read(ROOT / "workflow" / "scales" / "demo.yaml"))
    config = params.merge(drawn, {"experiments": {experiment: {"settings": {"ways": ways}}}})
    if message is None:
        params.validate(config)
        return
    with pytest.raises(UserError, match=message):
        params.validate(config)


def test_a_missing_setting_is_named() -> None:
    config = params.merge(BASE, {})
    config["few_shot"] = {k: v for k, v in BASE["few_shot"].items() if k != "meta_lr"}
    with pytest.raises(UserError, match=r"few_shot\.meta_lr: missing"):
        params.validate(config)


def test_merge_replaces_lists_and_joins_mappings() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    merged = {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2}
    assert params.merge(base, {"a": {"y": [3]}, "c": 2}) == merged
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_a_missing_option_is_asked_for_where_it_belongs() -> None:
    over = {"methods": {"own": {"title": "Own", "algorithm": "reptile", "settings": {}}}}
    over["experiments"] = {"5way_1shot": {"methods": ["own"]}}  # type: ignore[dict-item]
    with pytest.raises(UserError, match=r"\n  methods.own.settings.options.inner_batch: missing"):
        params.validate(params.merge(BASE, over))


def test_mirrors_are_different_servers() -> None:
    """Of each archive; github.com hands its raw files on to another one."""
    for name, owner in PAPER.archived.items():
        for archive, entry in owner.archives.items():
            hosts = [urlsplit(url).hostname for url in entry.urls]
            hosts = [str(h).replace("raw.githubusercontent.com", "github.com") for h in hosts]
            assert len(hosts) == len(set(hosts)), f"{name}: {archive}"
    assert len(PAPER.datasets["cifar100"].archives["cifar-100-python.tar.gz"].urls) == 2


def test_a_plan_of_nothing_is_a_mistake() -> None:
    nothing = {"experiments": {name: {"datasets": []} for name in BASE["experiments"]}}
    with pytest.raises(UserError, match="nothing would run"):
        params.validate(params.merge(BASE, nothing))


def test_of_an_unknown_key_those_of_its_own_algorithm_are_known_too() -> None:
    class Known(Model):
        rate: float

    class Own(Known):
        temperature: float

    with pytest.raises(ValidationError) as told:
        Own.model_validate({"rate": 0.1, "temperatur": 2.0, "raet": 0.1})
    lines = explain(told.value, Own, "settings.", Known)
    assert "settings.temperatur: unknown key; did you mean 'temperature'?" in lines
    assert "settings.raet: unknown key; did you mean 'rate'?" in lines
