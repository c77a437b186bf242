"""`.snakemake` lost, or results copied in: what is there counts if it is what the plan says."""

import base64
import re
import shutil

import pytest
import workspace

CELL = "results/5way_1shot/drawn_first/fomaml/0.json"


@pytest.mark.fault(".snakemake deleted, then other settings", "told, with the key that differs")
def test_without_snakemakes_record_the_plan_decides(project):
    shutil.rmtree(project / ".snakemake")
    assert workspace.pending(project) == {}
    workspace.change(project, lambda p: p["methods"]["fomaml"]["settings"].update(momentum=0.5))
    output = workspace.snakemake(project, status=1)
    assert f"{CELL}: cell.settings.momentum is 0.0, but the plan says 0.5; delete it" in output
    assert "Traceback" not in output
    for seed in (0, 1):
        (project / CELL.replace("0.json", f"{seed}.json")).unlink()
    output = workspace.snakemake(project, "-n", status=1)
    assert "results/measure/5way_1shot/drawn_first.json: cell.methods.fomaml" in output
    (project / "results/measure/5way_1shot/drawn_first.json").unlink()
    counts = workspace.pending(project)
    assert (counts["train_cell"], counts["measure_methods"]) == (2, 1)


@pytest.mark.fault(
    ".snakemake deleted, then another title, other data settings or another grid",
    "told, with the key that differs",
)
def test_other_data_another_choice_and_an_older_page_are_told(project, record_property):
    shutil.rmtree(project / ".snakemake")
    workspace.change(
        project, lambda p: p["datasets"]["drawn_first"]["prepare"].update(invert=False)
    )
    output = workspace.snakemake(project, "-n", status=1)
    assert "data/processed/drawn_first/dataset.json: prepared with invert True" in output
    workspace.git(project, "checkout", "-q", "params.yaml")
    grid = {"values": [0.4, 0.2]}
    workspace.change(project, lambda p: p["experiments"]["5way_5shot"]["choose"].update(grid))
    output = workspace.snakemake(project, "-n", status=1)
    assert "/maml.json: values is [0.1, 0.4], but the plan says [0.2, 0.4]" in output
    workspace.git(project, "checkout", "-q", "params.yaml")
    workspace.change(project, lambda p: p["methods"]["fomaml"].update(title="Another"))
    output = workspace.snakemake(project, "-n", status=1)
    assert re.search(
        r"table4.json: drawn with context.methods.fomaml '.*', but .* 'Another'", output
    )
    record_property("injected", 3)


@pytest.mark.fault(
    "other settings, or another title, and `--rerun-triggers mtime` or `--touch`",
    "told, with the key that differs",
)
def test_what_snakemake_is_told_to_take_has_to_be_what_the_plan_says(project, record_property):
    mtime, touch = ("-n", "--rerun-triggers", "mtime"), ("--touch",)
    workspace.append(project, "fewshot/run.py")
    assert "Nothing to be done" in workspace.snakemake(project, *mtime)
    workspace.change(project, lambda p: p["methods"]["fomaml"].update(title="Another"))
    assert "Nothing to be done" in workspace.snakemake(project, *mtime)  # drawn again without it
    told = workspace.snakemake(project, *touch, status=1)
    assert "--touch would record are not what the plan says" in told
    assert "drawn with context.methods.fomaml" in told
    workspace.change(project, lambda p: p["methods"]["fomaml"]["settings"].update(momentum=0.5))
    for words in (mtime, touch, (*mtime, "--", "table4")):
        told = workspace.snakemake(project, *words, status=1)
        assert f"{CELL}: cell.settings.momentum is 0.0, but the plan says 0.5" in told
    workspace.git(project, "checkout", "-q", "params.yaml")
    assert workspace.pending(project)["train_cell"] > 2  # nothing was recorded
    workspace.snakemake(project, *touch)
    assert workspace.pending(project) == {}
    record_property("injected", 4)


def test_jobs_that_a_killed_run_left_in_a_queue_are_told(project):
    name = base64.urlsafe_b64encode(CELL.encode()).decode()
    (project / CELL).unlink()
    (project / ".snakemake/incomplete" / name).write_text('{"external_jobid": "4711"}')
    told = workspace.snakemake(project, CELL)
    assert "4711" in told
    assert "Cancel the old ones" in told
    assert "Cancel the old ones" not in workspace.snakemake(
        project, "--forcerun", "table", "--", "table4"
    )
