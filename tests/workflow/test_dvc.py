"""DVC and Snakemake together: nothing runs twice."""

import os

import pytest
import workspace
import yaml

from multistep.plan import provenance

STAGES = {
    "data": [
        ("multistep.data.cli", "multistep.data.download"),
        ("multistep.data.standins.omniglot", "multistep.data.standins.cifar100"),
        (
            "multistep.data.loaders.omniglot",
            "multistep.data.loaders.cifar100",
            "multistep.plan.cells",
        ),
    ],
    "train": [
        ("multistep.job.train", "multistep.job.measure", "multistep.plan.cells"),
        ("multistep.fewshot.algorithms.multistep", "multistep.fewshot.algorithms.first_order"),
        ("multistep.fewshot.run", "multistep.fewshot.measure", "multistep.transfer.measure"),
        ("multistep.transfer.algorithms.bilevel", "multistep.transfer.pretrain"),
    ],
    "pages": [("multistep.pages.cli", "multistep.pages.inputs", "multistep.pages.load")],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_source_that_its_jobs_run(stage):
    deps = yaml.safe_load((workspace.ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    entries = [entry for group in STAGES[stage] for entry in group]
    for module in provenance.closure(*entries):
        if provenance._module(module)[0] == provenance.read("", "")[0]:
            continue  # a package's docstring
        name = provenance._file(module).relative_to(workspace.ROOT).as_posix()
        assert any(name == d or name.startswith(f"{d}/") for d in deps), f"{stage} lacks {name}"
    for dep in deps:
        assert dep in ("data/raw", "data/processed", "results") or (workspace.ROOT / dep).exists()


def test_folders_that_a_plan_may_leave_empty_are_there_for_dvc():
    """A plan of the few-shot half alone has no source network, one without figures no figures."""
    stages = yaml.safe_load((workspace.ROOT / "dvc.yaml").read_text())["stages"]
    for stage, empty in {
        "train": ["data/networks"],
        "pages": ["reports/tables", "reports/figures"],
    }.items():
        made = stages[stage]["cmd"].partition(" && ")[0].split()
        assert made == ["mkdir", "-p", *empty]
        assert set(empty) <= {next(iter(out)) for out in stages[stage]["outs"]}


def test_the_parameters_to_compare_are_dozens_and_all_others_count_too():
    stages = yaml.safe_load((workspace.ROOT / "dvc.yaml").read_text())["stages"]
    plan = yaml.safe_load((workspace.ROOT / "params.yaml").read_text())

    def leaves(value):
        return sum(map(leaves, value.values())) if isinstance(value, dict) else 1

    tracked = {key for stage in stages.values() for key in stage.get("params", [])}
    assert sum(leaves(plan[key]) for key in tracked) < 100
    assert all("params.yaml" in stage["deps"] for stage in stages.values())


def test_the_report_asks_for_no_training_and_has_an_output_for_each_committed_scale():
    plan = yaml.safe_load((workspace.ROOT / "dvc.yaml").read_text())
    stages = plan["stages"]
    made = {next(iter(out)) for name in ("data", "train", "pages") for out in stages[name]["outs"]}
    deps = stages["report"]["deps"]
    assert not any(out == d or out.startswith(f"{d}/") for d in deps for out in made)
    committed = {path.parent.name for path in (workspace.ROOT / "scales").glob("*/results")}
    outs = {name: how for out in stages["report"]["outs"] for name, how in out.items()}
    assert all(how["persist"] for how in outs.values())  # else gone where a result is refused
    assert {f"reports/{scale}" for scale in committed - {"demo"}} <= {*outs}
    # Folders, so that scales count which have no results yet, the paper's among them.
    assert (plan["metrics"], [*plan["plots"][0]]) == (["reports/metrics"], ["reports/curves"])
    assert {"reports/metrics", "reports/curves"} <= {*outs}
    for stage in stages.values():  # the code of a copy that an experiment makes, not the installed
        assert "PYTHONPATH=$PWD/src:$PYTHONPATH " in stage["cmd"]


def test_a_second_repro_does_nothing(project):
    log = project / ".snakemake" / "log"
    before = set(log.iterdir())
    output = workspace.dvc(project, "repro")
    for stage in STAGES:
        assert f"Stage '{stage}' didn't change, skipping" in output
    assert set(log.iterdir()) == before
    assert "up to date" in workspace.dvc(project, "status")


def test_a_touched_table_function_rebuilds_the_tables_alone(project):
    workspace.append(project, "pages/tables/__init__.py")
    output = workspace.dvc(project, "repro")
    assert "Stage 'data' didn't change" in output
    assert "Stage 'train' didn't change" in output
    assert workspace.jobs(output) == {"table": 5, "pages": 1}
    assert workspace.pending(project) == {}


def test_the_cache_shares_no_bytes_with_the_workspace(built):
    """Snakemake rewrites its metadata in place: a link into the cache would damage it."""
    cached = {os.stat(p).st_ino for p in (built / ".dvc" / "cache").rglob("*") if p.is_file()}
    assert cached
    for folder in (".snakemake/metadata", "results", "data"):
        for path in (built / folder).rglob("*"):
            assert os.stat(path).st_ino not in cached
            assert not path.is_symlink()
