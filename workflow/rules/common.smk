import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir).resolve()

# The sources that provenance names are the ones that run, and `multistep` is the command beside
# this Python, whether or not the environment is activated.
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(
    PYTHONPATH=os.pathsep.join([str(ROOT / "src"), os.getenv("PYTHONPATH", "")]).strip(os.pathsep),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")]),
)

from multistep import cells, params, provenance  # noqa: E402
from multistep.files import UserError, canonical_json  # noqa: E402

try:
    PARAMS = params.validate(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

# The plan, made in memory: nothing is written while the workflow is read.
CELLS = {cell.path: cell for cell in cells.plan(PARAMS)}
MEASUREMENTS = {path: job for path, job in cells.measurements(PARAMS).items() if job["methods"]}
DATASETS = sorted({cell.dataset for cell in CELLS.values()})
CUDA = PARAMS.device == "cuda"
# None where a cluster does the counting.
ALL_CORES = workflow.resource_settings.cores or 1


wildcard_constraints:
    archive=r"[^/]+",
    dataset="|".join(PARAMS.datasets),
    experiment="|".join(PARAMS.experiments),
    method="|".join(PARAMS.methods),
    seed=r"\d+",
    table="|".join(PARAMS.tables) or "none",
    figure="|".join(PARAMS.figures) or "none",


def as_json(model):
    """Settings as one line that the command line takes; columns and rows keep their order."""
    return json.dumps(model.model_dump(), ensure_ascii=False)


def here(file):
    """A file of the project, relative to the scale's folder, so that provenance can travel."""
    return os.path.relpath(file, ROOT / PARAMS.directory)


def code(*entries, alone=()):
    """Source files of a step. Editing one reruns the step's jobs; touching it does not."""
    return [here(file) for file in provenance.sources(*entries, alone=alone)]


# --- data -------------------------------------------------------------------------------------


def archive(wildcards):
    return PARAMS.datasets[wildcards.dataset].archives[wildcards.archive]


def archive_code(wildcards):
    drawn = archive(wildcards).drawn is not None
    entry = "multistep.datasets.drawn" if drawn else "multistep.datasets.download"
    return code(entry, alone=("multistep.datasets.cli",))


def archive_source(wildcards, output):
    """`--source FOLDER` if the user has the archive.

    Asking for `output` keeps this out of the recorded parameters: where a copy lay is no part of
    what it is, and must not make anything stale.
    """
    folder = PARAMS.sources.get(wildcards.dataset)
    return ["--source", str(ROOT / folder)] if folder else []


def raw_archives(wildcards):
    archives = PARAMS.datasets[wildcards.dataset].archives
    return [f"data/raw/{wildcards.dataset}/{name}" for name in archives]


def loader_code(wildcards):
    loader = PARAMS.datasets[wildcards.dataset].loader
    return code(f"multistep.datasets.{loader}", alone=("multistep.datasets.cli",))


def committed_split(wildcards):
    """The committed list of classes that the dataset's split names, if it is one."""
    dataset = PARAMS.datasets[wildcards.dataset]
    folder = ROOT / "src" / "multistep" / "datasets" / "splits"
    file = folder / f"{dataset.loader}_{dataset.prepare.split}.json"
    return [here(file)] if file.exists() else []


# --- cells and measurements -------------------------------------------------------------------


def cell(wildcards):
    path = "results/{experiment}/{dataset}/{method}/{seed}.json".format(**wildcards)
    if path not in CELLS:
        raise WorkflowError(f"{path} is not in the plan of scale {PARAMS.scale}; see params.yaml")
    return CELLS[path]


def cell_code(wildcards):
    return code("multistep.train", f"multistep.fewshot.methods.{cell(wildcards).algorithm}")


def measurement(wildcards):
    path = "results/measure/{experiment}/{dataset}.json".format(**wildcards)
    if path not in MEASUREMENTS:
        raise WorkflowError(f"{path} is not in the plan of scale {PARAMS.scale}; see params.yaml")
    return MEASUREMENTS[path]


def measurement_code(wildcards):
    algorithms = {method["algorithm"] for method in measurement(wildcards)["methods"].values()}
    return code("multistep.measure", *(f"multistep.fewshot.methods.{name}" for name in algorithms))


# --- tables and figures -----------------------------------------------------------------------


def selected_cells(page, experiments):
    """Results of the plan that a table or figure shows; what is not in the plan stays open."""
    chosen = cells.select(
        list(CELLS.values()),
        dataset=PARAMS.dataset(page.dataset),
        experiments=list(experiments),
        methods=page.methods,
    )
    return [cell.path for cell in chosen]


def figure_results(figure):
    if figure.kind != "cost":
        return selected_cells(figure, figure.panels)
    dataset = PARAMS.dataset(figure.dataset)
    paths = [f"results/measure/{experiment}/{dataset}.json" for experiment in figure.panels]
    return [path for path in paths if path in MEASUREMENTS]


# Those of which this scale computes anything, with the results that they show.
TABLES = {name: selected_cells(table, table.columns) for name, table in PARAMS.tables.items()}
TABLES = {name: results for name, results in TABLES.items() if results}
FIGURES = {name: figure_results(figure) for name, figure in PARAMS.figures.items()}
FIGURES = {name: results for name, results in FIGURES.items() if results}

# The names that pages print; the order of the methods gives them their colours.
CONTEXT = json.dumps(
    {
        "scale": PARAMS.scale,
        "datasets": {name: dataset.title for name, dataset in PARAMS.datasets.items()},
        "methods": {name: method.title for name, method in PARAMS.methods.items()},
        "stand_ins": PARAMS.stand_ins,
    },
    ensure_ascii=False,
)
