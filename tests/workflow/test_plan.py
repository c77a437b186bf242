"""Which jobs run: the fresh plan, and after each kind of change exactly the affected ones."""

import json
import math
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import workspace
import yaml

from multistep.plan import cells, params, provenance

EVERYTHING = {"download": 5, "prepare": 3, "source_network": 1, "train_cell": 10, "choose": 1}
EVERYTHING |= {"measure_methods": 3, "table": 5, "figure": 5}


def test_lint_finds_nothing(fresh):
    assert "good condition" in workspace.snakemake(fresh(), "--lint")


def test_the_workflow_draws_itself(fresh):
    drawing = workspace.snakemake(fresh(), "--rulegraph", "mermaid-js", "--quiet")
    for rule in EVERYTHING:
        assert rule in drawing


def test_fresh_plan(fresh):
    assert workspace.pending(fresh()) == EVERYTHING


def test_the_paper_scale(fresh):
    """The plan's jobs are those that params.yaml's own lists multiply to, counted without it."""
    folder = fresh()
    workspace.restore(folder)
    plan = yaml.safe_load((folder / "params.yaml").read_text())
    experiments = list(plan["experiments"].values())
    grids = [
        (len(e["datasets"]), len(e["methods"]), len(e.get("seeds", plan["seeds"])))
        for e in experiments
    ]
    choices = [(len(e["datasets"]), e["choose"]) for e in experiments if "choose" in e]
    candidates = sum(n * len(c["methods"]) * len(c["values"]) * len(c["seeds"]) for n, c in choices)
    made = [*plan["datasets"].values(), *plan["source_networks"].values()]
    pages = folder / "workflow" / "report"
    assert workspace.pending(folder) == {
        "download": sum(len(entry["archives"]) for entry in made),
        "prepare": len(plan["datasets"]),
        "source_network": len(plan["source_networks"]),
        "train_cell": sum(map(math.prod, grids)) + candidates,
        "choose": sum(n * len(c["methods"]) for n, c in choices),
        "measure_methods": sum(len(e.get("measured", e)["datasets"]) for e in experiments),
        "table": len(list((pages / "tables").glob("*.yaml"))),
        "figure": len(list((pages / "figures").glob("*.yaml"))),
    }
    for table, numbers in (("table4", 20), ("table5", 10)):  # that the paper prints as its own
        printed = yaml.safe_load((pages / "tables" / f"{table}.yaml").read_text())["paper"]
        trained = [
            method in plan["experiments"][experiment]["methods"]
            for method, row in printed["values"].items()
            for experiment in row
        ]
        assert trained == [True] * numbers


def test_every_scale_is_a_plan_and_builds_in_its_own_folder(fresh):
    folder = fresh()
    workspace.restore(folder)
    overlays = sorted((folder / "workflow" / "scales").glob("*.yaml"))
    assert overlays
    for overlay in overlays:
        scale = params.load(folder / "params.yaml", overlay)
        assert scale.directory == f"scales/{scale.scale}" == f"scales/{overlay.stem}"
    demo = folder / "workflow" / "scales" / "demo.yaml"
    paper, small = params.load(folder / "params.yaml"), params.load(folder / "params.yaml", demo)
    counts = workspace.pending(folder, "--configfile", "workflow/scales/demo.yaml")
    assert counts["train_cell"] == len(cells.plan(small))
    # The demo leaves out no step, table, figure, experiment or method.
    assert set(counts) == set(EVERYTHING)
    for form in ("table", "figure"):
        pages = (folder / "workflow" / "report" / f"{form}s").glob("*.yaml")
        assert counts[form] == len(list(pages))
    for part in ("experiment", "method"):
        ran, wanted = (
            {getattr(cell, part) for cell in cells.plan(p) if cell.kind == "cell"}
            for p in (small, paper)
        )
        assert ran == wanted
    stand_ins = {small.used(cell.dataset) for cell in cells.plan(paper)}
    assert stand_ins == {cell.dataset for cell in cells.plan(small)}
    assert (folder / "scales" / "demo").is_dir()


def test_an_overlay_leaves_methods_in_the_order_of_params_yaml(fresh):
    folder = fresh()
    (folder / "over.yaml").write_text("methods: {reptile: {title: Another}}")
    output = workspace.snakemake(folder, "-n", "-p", "figure2", "--configfile", "over.yaml")
    context = re.search(r"--context '(.*?)' --plan", output)
    assert context
    methods = json.loads(context[1])["methods"]
    assert methods["reptile"] == "Another"
    plan = yaml.safe_load((folder / "params.yaml").read_text())
    assert list(methods) == list(plan["methods"])


def test_a_scale_builds_in_its_own_folder_alone(fresh):
    folder = fresh()
    output = workspace.snakemake(folder, "-n", "--directory", str(folder.parent / "b"), status=1)
    assert f"scale paper builds in {folder}; leave that out" in output
    assert workspace.pending(folder, "--directory", ".") == EVERYTHING


@pytest.mark.parametrize(
    "targets", ["", "all data train measure pages table4 figure2 curves_second"]
)
def test_the_built_project_has_nothing_to_do(built, targets):
    assert workspace.pending(built, *targets.split()) == {}


def new_hyper_parameter(plan):
    plan["methods"]["fomaml"]["settings"]["momentum"] = 0.5


def new_seed(plan):
    plan["seeds"] = [0, 1, 2]


def other_archive(plan):
    archives = plan["datasets"]["drawn_second"]["archives"]
    archives["images_background.zip"]["drawn"]["seed"] = 9


def new_grid(plan):
    plan["experiments"]["5way_5shot"]["choose"]["values"] = [0.4, 0.1, 0.04]


def new_title(plan):
    plan["methods"]["maml"]["title"] = "MAML"


def new_meta_rate(plan):
    plan["transfer"]["meta_lr"] = 0.01


def new_source(plan):
    plan["sources"] = {"drawn_first": "elsewhere"}


CHANGES = {
    new_hyper_parameter: {"train_cell": 2, "measure_methods": 1, "table": 2, "figure": 3},
    new_seed: {"train_cell": 3, "table": 2, "figure": 2},
    other_archive: {"download": 1, "prepare": 1}
    | {"train_cell": 4, "choose": 1, "measure_methods": 1, "figure": 1},
    new_grid: {"train_cell": 3, "choose": 1, "figure": 1},
    new_title: {"table": 5, "figure": 5},
    new_meta_rate: {"train_cell": 1, "measure_methods": 1, "table": 1, "figure": 1},
    new_source: {},
}


FEW_SHOT = {"train_cell": 8, "choose": 1, "measure_methods": 2, "table": 2, "figure": 4}
TRANSFER = {"train_cell": 2, "measure_methods": 1, "table": 2, "figure": 1}
WITHOUT_DOWNLOADS = {rule: n for rule, n in EVERYTHING.items() if rule != "download"}

# A module with a statement more, or a class of settings with one more setting that has a default.
EDITS = {
    "pages/tables/__init__.py": {"table": 5},
    "pages/figures/__init__.py": {"figure": 5},
    "pages/tables/splits.py": {"table": 1},
    "pages/figures/curves.py": {"figure": 3},
    "plan/choose.py": {"choose": 1, "train_cell": 2, "figure": 1},
    "fewshot/algorithms/first_order.py": CHANGES[new_hyper_parameter],
    "transfer/algorithms/bilevel.py": {**TRANSFER, "train_cell": 1, "table": 1},
    "data/loaders/omniglot.py": {"prepare": 2, **FEW_SHOT},
    "data/standins/omniglot.py": {"download": 4, "prepare": 2, **FEW_SHOT},
    # What checks a plan, fetches, or reads command lines.
    "cli.py data/download.py fewshot/checks.py plan/checks.py plan/cells.py transfer/checks.py": {},
    # What pages say: a change of its shape makes no cell stale.
    "pages/spec.py": {"table": 5, "figure": 5},
    "fewshot/settings.py:FewShot": FEW_SHOT,
    "transfer/settings.py:Transfer": TRANSFER,
    "transfer/source_settings.py:SourceNetwork": {"source_network": 1, **TRANSFER},
    "data/settings.py:Dataset": WITHOUT_DOWNLOADS,
    "data/settings.py:Archive": WITHOUT_DOWNLOADS,
    "job/settings.py:Measure": {"measure_methods": 3, "table": 1, "figure": 2},
}


def a_comment_everywhere(folder):
    for path in (folder / "src" / "multistep").rglob("*.py"):
        path.write_text(path.read_text() + "\n# A remark.\n")


@pytest.fixture(scope="module")
def reruns(built, tmp_path_factory):
    """What Snakemake would run after each change and each edit, all asked at once."""

    def ask(case):
        folder = tmp_path_factory.mktemp("change") / "project"
        shutil.copytree(built, folder, symlinks=True)
        if case is a_comment_everywhere:
            case(folder)
        elif callable(case):
            workspace.change(folder, case)
        else:
            for module, _, settings in (edit.partition(":") for edit in case.split()):
                if settings:
                    workspace.add_setting(folder, module, settings)
                else:
                    workspace.append(folder, module)
        return workspace.pending(folder)

    cases = [*CHANGES, *EDITS, a_comment_everywhere]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(cases, pool.map(ask, cases), strict=True))


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: edit.__name__)
def test_a_change_of_the_plan_reruns_what_it_affects(reruns, edit):
    assert reruns[edit] == CHANGES[edit]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_reruns_the_jobs_that_use_it(reruns, edit):
    assert reruns[edit] == EDITS[edit]


def test_a_comment_in_every_module_reruns_nothing(reruns):
    assert reruns[a_comment_everywhere] == {}


# By the log of a job of each step: the modules that the rule names. The logs have what the jobs
# really imported (see `built`).
STEPS = {
    "download/drawn_first/images_background.zip@*": ["multistep.data.standins.omniglot"],
    "prepare/drawn_first": ["multistep.data.loaders.omniglot"],
    "prepare/drawn_photographs": ["multistep.data.loaders.cifar100"],
    "networks/drawn_network": ["multistep.transfer.pretrain"],
    "train/5way_1shot/drawn_first/maml/0": provenance.cell_modules("few_shot", "multistep"),
    "train/sgd_32/drawn_photographs/l2t_multistep/0": provenance.cell_modules(
        "transfer", "bilevel"
    ),
    "train/sgd_32/drawn_photographs/scratch/0": provenance.cell_modules("transfer", "scratch"),
    "measure/5way_1shot/drawn_first": provenance.measurement_modules(
        "few_shot", ["multistep", "first_order"]
    ),
    "measure/sgd_32/drawn_photographs": provenance.measurement_modules("transfer", ["bilevel"]),
    "choices/5way_5shot/drawn_second/maml": ["multistep.plan.choose", "multistep.fewshot.record"],
    "tables/table4": ["multistep.pages.tables.accuracy", "multistep.fewshot.record"],
    "figures/curves_sgd": ["multistep.pages.figures.transfer_curves", "multistep.transfer.record"],
}
# The rooms that this code lies in, beside those of one half of the paper.
DATA = {"data", "declared", "files", "lock", "options", "progress", "seal", "settings"}
ENGINE = {*DATA, "algorithms", "inner", "job", "kinds", "machine_code", "networks", "plan", "stats"}
READ = {"declared", "files", "job", "kinds", "plan", "seal", "settings", "stats"}
ROOMS = {"download": DATA, "prepare": {*DATA, "plan"}, "networks": ENGINE}
ROOMS |= {"train": ENGINE, "measure": ENGINE, "choices": READ}
ROOMS |= {"tables": {*READ, "pages"}, "figures": {*READ, "pages"}}
# What reads the command line: the rules write it, and it is recorded by itself.
COMMANDS = ["multistep.cli", "multistep.data.cli", "multistep.pages.cli"]
# What refuses a job before it begins, and leaves nothing in what the others make.
CHECKS = ["multistep.fewshot.checks", "multistep.transfer.checks"]


@pytest.mark.parametrize("step", STEPS)
def test_the_code_of_a_step_is_what_its_job_imports(built, step):
    (path,) = (built / "logs").glob(f"{step}.log")
    log = path.read_text()
    ran = set(re.findall(r"^import time:.*\| +(multistep\.[\w.]+)$", log, re.MULTILINE))
    assert ran, log
    code, kind = provenance.closure(*STEPS[step]), step.partition("/")[0]
    checks = CHECKS if kind in ("train", "measure") else []
    assert ran - provenance.closure(*COMMANDS, *checks) <= code
    halves = {m.split(".")[1] for m in code} - ROOMS[kind]
    assert halves <= {"fewshot"} or halves <= {"transfer"}
    names = ("inner", "fewshot.run", "job.train", "plan.params")
    engine = tuple(f"multistep.{name}" for name in names)
    assert kind in ("networks", "train", "measure") or not any(m.startswith(engine) for m in code)
    own = {m for m in code if ".algorithms." in m}
    assert own == {m for m in STEPS[step] if ".algorithms." in m}


def test_touching_and_checking_out_again_rerun_nothing(project):
    module = project / "src" / "multistep" / "job" / "train.py"
    os.utime(module)
    workspace.append(project, "pages/tables/__init__.py")
    workspace.git(project, "checkout", "-q", "--", "src")
    assert workspace.pending(project) == {}


def test_a_deleted_result_is_built_again_with_what_shows_it(project):
    lost = ("results/5way_1shot/drawn_first/maml/0.json", "reports/tables/table4.json")
    for file in lost:  # while all pages that show it are there, and not
        (project / file).unlink()
        assert workspace.pending(project) == {"train_cell": 1, "table": 2, "figure": 1}


def test_what_a_failed_job_left_unmade_is_made_though_results_of_an_older_one_are_there(project):
    """Snakemake deletes what it would have replaced, and counts it as done."""
    folder = project / "data" / "processed" / "drawn_first"
    made = {file: file.read_bytes() for file in folder.iterdir()}
    for file in made:
        file.unlink()
    for target in ("all", "train"):
        assert workspace.pending(project, target)["prepare"] == 1
    (project / "logs" / "prepare" / "drawn_first.log").unlink()  # as where data weren't pulled
    assert workspace.pending(project) == {}
    for file, content in made.items():
        file.write_bytes(content)
    next((project / "results" / "choices").rglob("*.json")).unlink()
    assert workspace.pending(project)["choose"] == 1


def test_the_report_shows_tables_and_figures_with_captions(project):
    workspace.snakemake(project, "--report", "report.html")
    page = (project / "report.html").read_text()
    for text in ("table4", "figure2", "curves_second", "not a reproduction of the paper"):
        assert text in page
    for form in ("tables", "figures"):
        for file in (project / "reports" / form).glob("*.json"):
            assert json.loads(file.read_text())["spec"]["title"] in page
    assert "Beyond the paper" in page
    assert "The paper's" in page
