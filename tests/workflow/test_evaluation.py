"""Tests of trained parameters as a step of the workflow: for pages that ask for them."""

import shutil

import workspace
import yaml

PAGE = {
    "kind": "protocols",
    "title": "Protocols",
    "caption": "{data}",
    "beyond": True,
    "experiment": "5way_1shot",
    "dataset": "omniglot",
    "methods": ["maml", "fomaml"],
    "columns": {"together": "all", "support": "support", "alone": "one"},
}
RECORD = "evaluations/5way_1shot/drawn_first/maml/0.json"


def test_a_page_of_protocols_has_its_parameters_tested(project):
    page = project / "workflow/report/paper/tables/protocols.yaml"
    page.parent.mkdir(parents=True)
    page.write_text(yaml.safe_dump(PAGE, sort_keys=False))
    assert workspace.pending(project) == {"evaluate_cell": 4, "table": 1}
    workspace.snakemake(project, "protocols")
    assert workspace.pending(project) == {}
    record, result = (
        workspace.read(project, path) for path in (RECORD, RECORD.replace("evaluations", "results"))
    )
    trained = record["rows"]["trained"]["together"]
    assert trained["episodes"] == result["metrics"]["episode_accuracies"]
    assert "Nearest pixels" in (project / "reports/tables/protocols.md").read_text()
    shutil.rmtree(project / ".snakemake")
    assert workspace.pending(project) == {}
    shutil.copy(project / RECORD.replace("0.json", "1.json"), project / RECORD)
    output = workspace.snakemake(project, "-n", status=1)
    assert f"{RECORD}: cell.seed is 1, but the plan says 0; delete it" in output
    (project / RECORD).unlink()  # as by a test that failed
    assert workspace.pending(project)["evaluate_cell"] == 1
