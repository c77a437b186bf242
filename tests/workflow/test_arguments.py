"""What is asked of the workflow: keys, values, targets and options, told before any job."""

import re
import sys

import workspace


def test_a_misspelt_key_is_named_before_any_job(fresh):
    folder = fresh()
    workspace.change(folder, lambda p: p["few_shot"].update(inner_step=8))
    output = workspace.snakemake(folder, "-n", status=1)
    assert "few_shot.inner_step: unknown key; did you mean 'inner_steps'?" in output
    assert "Job stats" not in output


def test_lists_and_mappings_of_the_command_line_hold_numbers(fresh):
    folder = fresh()
    asked = ("--config", "seeds=[7]", "few_shot={iterations: 1}", "device=cpu", "--")
    output = workspace.snakemake(folder, "-n", "-p", *asked, "train")
    assert all(said in output for said in ('"seed": 7', '"iterations": 1,'))
    output = workspace.snakemake(folder, "-n", "--config", "seeds=[017]", status=1)
    assert "--config seeds=[017], line 1: not valid YAML: in a list: readers" in output


def test_numbers_as_dvc_writes_them_are_numbers(fresh):
    """`dvc exp run -S few_shot.inner_lr=0.00002` writes 2e-05, which is text to Snakemake."""
    folder = fresh()
    (folder / "over.yaml").write_text("few_shot: {inner_lr: 2e-05, meta_lr: 0.5}")
    asked = ("--config", "few_shot={meta_lr: 3e-04}", "--configfile", "over.yaml")
    output = workspace.snakemake(folder, "-n", "-p", "train", *asked)
    assert all(said in output for said in ('"inner_lr": 2e-05,', '"meta_lr": 0.0003,'))


def test_what_nothing_makes_is_told_with_its_nearest(fresh):
    folder = fresh()
    name = "5way_1shot/drawn_first"
    pairs = {
        "results/5way_1shot/x/maml/0.json": f"results/{name}/maml/0.json",
        f"evaluations/{name}/maml/7.json": f"evaluations/{name}/maml/0.json",
        "results/measure/5way_1shot/drawn_frist.json": f"results/measure/{name}.json",
        "data/processed/drawn_frist/images.npy": "data/processed/drawn_first/images.npy",
        "reports/tables/table44.html": "reports/tables/table4.html",
        "tabel4": "table4",
    }
    said = workspace.snakemake(folder, "-n", "--cores", "2", "--", "data", *pairs, status=1)
    for mistyped, meant in pairs.items():
        (line,) = (line for line in said.splitlines() if line.strip().startswith(mistyped))
        assert f"did you mean {meant}" in line


def test_an_option_of_a_rule_that_is_none_is_told(fresh):
    """Snakemake itself passes over most of these without a word."""
    folder = fresh()
    mistyped = {"until": "tables", "omit-from": "tables", "forcerun": "tables"}
    mistyped |= {"prioritize": "tables", "allowed-rules": "tables", "batch": "tables=1/2"}
    options = [word for option, name in mistyped.items() for word in (f"--{option}", name)]
    said = workspace.snakemake(folder, "-n", *options, "--", "train", status=1)
    for option in mistyped:
        (line,) = (line for line in said.splitlines() if line.strip().startswith(f"--{option}"))
        assert re.search("did you mean '?table\\b", line)

    mistyped = {"set-threads": "tabel=2", "set-resources": "tabel:mem_mb=1", "groups": "tabel=a"}
    options = [word for option, name in mistyped.items() for word in (f"--{option}", name)]
    said = workspace.snakemake(folder, "-n", *options, "--resources", "gpus=1", "--", "train")
    assert "warning: --resources: no resource named 'gpus'; did you mean 'gpu'?" in said
    for option in mistyped:  # of another workflow's rule, perhaps
        assert f"warning: --{option}: no rule named 'tabel'; did you mean 'table'?" in said


def test_by_snakemakes_api_the_arguments_are_the_programs_own(fresh):
    folder = fresh()
    program = """
import sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ResourceSettings
with SnakemakeApi() as api:
    workflow = api.workflow(ResourceSettings(cores=1), snakefile=Path("Snakefile"))
    workflow.dag().execute_workflow(executor="dryrun")
"""
    said = workspace.run(folder, sys.executable, "-c", program, "--of-its-own", "x")
    assert "train_cell" in said


def test_a_mistake_in_a_page_or_a_claim_names_its_file_before_any_job(fresh):
    folder = fresh()
    page = folder / "workflow" / "report" / "tables" / "table4.yaml"
    page.write_text(page.read_text().replace("dataset: omniglot", "dataset: omniglott"))
    output = workspace.snakemake(folder, "-n", status=1)
    assert "table4.yaml: dataset: no dataset named 'omniglott'; did you mean 'omniglot'" in output
    assert "Job stats" not in output
    page.write_text(page.read_text().replace("omniglott", "omniglot"))
    claims = folder / "workflow" / "report" / "claims" / "few_shot.yaml"
    claims.write_text(claims.read_text().replace("of: [multistep4]", "of: [multistep5]", 1))
    output = workspace.snakemake(folder, "-n", status=1)
    assert "compare.of: no method named 'multistep5'; did you mean 'multistep8'" in output
    assert "Job stats" not in output
