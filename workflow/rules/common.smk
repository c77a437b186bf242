import gc
import inspect
import json
import os
import re
import sys
from contextlib import redirect_stderr
from functools import cache, partial, reduce
from io import StringIO
from pathlib import Path

from snakemake import cli
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import RerunTrigger

# The jobs of a plan live as long as it does. Looking through all of them for cycles again and again,
# as Python does by default, is a seventh of a dry run.
gc.set_threshold(100_000, 20, 20)

ROOT = Path(workflow.basedir).resolve()

# The sources that provenance names are the ones that run, and `multistep` is the command beside
# this Python, whether or not the environment is activated.
sys.path.insert(0, str(ROOT / "src"))
os.environ.update(
    PYTHONPATH=os.pathsep.join([str(ROOT / "src"), os.getenv("PYTHONPATH", "")]).strip(os.pathsep),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.getenv("PATH", "")]),
)
# Snakemake's plugin for Slurm takes SLURM_CONF from the `srun` of its jobs, which then finds no cluster
# whose settings aren't in /etc/slurm. The one in profiles/slurm/bin puts it back.
if settings_of_slurm := os.getenv("SLURM_CONF"):
    os.environ.update(
        MULTISTEP_SLURM_CONF=settings_of_slurm,
        PATH=os.pathsep.join([str(ROOT / "profiles/slurm/bin"), os.getenv("PATH", "")]),
    )

from multistep.data import identity  # noqa: E402
from multistep.job import accepted, parameters  # noqa: E402
from multistep.plan import (
    by_path,
    cells,
    mistakes,
    params,
    provenance,
    slurm,
    unrecorded,
)  # noqa: E402
from multistep.files import UserError, canonical_json, own_path  # noqa: E402
from multistep.pages import checks, inputs, load, record  # noqa: E402

try:
    for file in map(Path, workflow.configfiles):
        if file.suffix not in (".yaml", ".yml"):
            raise UserError(
                f"{file}: no overlay: --configfile takes every name that follows it; put -- before a target"
            )
    # Not `config`: Snakemake's reader drops equal keys, takes 2e-05 (of DVC) for text and puts the
    # keys of an overlay first, and rows go by the order of params.yaml.
    BASE, *OVERLAYS = params.layers(
        ROOT / "params.yaml", *map(Path, workflow.overwrite_configfiles)
    )
    ARGUMENTS = params.arguments(workflow.config_settings.config_args)
    MERGED = reduce(params.merge, [BASE, *OVERLAYS, ARGUMENTS])
    PARAMS = params.validate(MERGED)
    PAGES = load.pages(ROOT / "workflow" / "report", PARAMS)
except UserError as error:
    raise WorkflowError(str(error)) from None

code = cache(provenance.code)  # asked for once a job

# The plan, made in memory: nothing is written while the workflow is read.
PLAN = inputs.Plan.of(PARAMS)
CELLS, MEASUREMENTS = PLAN.cells, PLAN.measurements
CHOICES = cells.choices(PARAMS)
NETWORKS = cells.source_networks(PARAMS)
# The cells' datasets, and those that source networks are trained or scored on.
DATASETS = sorted(
    {cell.dataset for cell in CELLS.values()}
    | {PARAMS.used(d) for n in NETWORKS if (d := PARAMS.source_networks[n].dataset)}
)
CUDA = PARAMS.device == "cuda"
HOME = ROOT / PARAMS.directory
# What jobs read of the project, and what is compared with the plan, has its paths from there.
if workflow.overwrite_workdir and Path.cwd() != HOME.resolve():
    raise WorkflowError(
        f"--directory {Path.cwd()}: scale {PARAMS.scale} builds in {HOME}; leave that out. For another place "
        "make a clone there, for something else an overlay with a `scale` and a `directory` of its own"
    )
# None where a cluster does the counting.
ALL_CORES = workflow.resource_settings.cores or 1


wildcard_constraints:
    archive=r"[^/]+",
    key="[0-9a-f]{12}",
    dataset="|".join(PARAMS.datasets),
    network="|".join(PARAMS.source_networks) or "none",
    archived="|".join(PARAMS.archived),
    experiment="|".join(
        map(re.escape, {**PARAMS.experiments, **{c.experiment: c for c in CELLS.values()}})
    ),
    method="|".join(PARAMS.methods),
    seed=r"\d+",
    table="|".join(PAGES["tables"]) or "none",
    figure="|".join(PAGES["figures"]) or "none",


def as_json(model):
    """Settings as one line that the command line takes; columns and rows keep their order.

    Without those that have their default: a new setting makes nothing stale by itself.
    """
    return json.dumps(model.model_dump(exclude_defaults=True), ensure_ascii=False)


# --- data -------------------------------------------------------------------------------------


def archived(wildcards):
    """The dataset or the source network that an archive belongs to."""
    return PARAMS.archived[wildcards.archived]


def archive(wildcards):
    return archived(wildcards).archives[wildcards.archive]


def records(owner):
    """The records of the archives of a dataset or source network, which stand for them."""
    folder = HOME / "data" / "raw" / owner
    own = PARAMS.sources.get(owner)
    mine = own_path(own, ROOT) if own else None
    found = [
        identity.record_path(entry, folder / name, mine and mine / name)
        for name, entry in PARAMS.archived[owner].archives.items()
    ]
    return [f"data/raw/{owner}/{record.name}" for record in found]


def archive_code(wildcards):
    """Of a stand-in what draws it. A download's digest says what it is, whatever fetched it."""
    drawn = archive(wildcards).drawn is not None
    return code(f"multistep.data.standins.{archived(wildcards).loader}") if drawn else None


def archive_loader(wildcards, output):
    """`--loader NAME` where a stand-in is drawn."""
    if archive(wildcards).drawn is None:
        return []
    return ["--loader", archived(wildcards).loader]


def own_copy(wildcards, output):
    """`--source FOLDER` if the user has the archive."""
    folder = PARAMS.sources.get(wildcards.archived)
    return ["--source", str(own_path(folder, ROOT))] if folder else []


def loader_code(wildcards):
    loader = PARAMS.datasets[wildcards.dataset].loader
    return code(f"multistep.data.loaders.{loader}")


def committed_split(wildcards):
    """The committed lists that the dataset's settings name (splits by class, validation), as seen from
    the scale's folder, so that provenance can travel.
    """
    dataset = PARAMS.datasets[wildcards.dataset]
    folder = ROOT / "src" / "multistep" / "data" / "splits"
    names = [v for v in dataset.prepare.values() if isinstance(v, str)]
    files = [folder / f"{dataset.loader}_{name}.json" for name in names]
    return [os.path.relpath(file, HOME) for file in files if file.exists()]


# --- cells and measurements -------------------------------------------------------------------


def unplanned(target, made):
    """What is said of a target that isn't made, with what of that is spelt most like it."""
    near = " or ".join(mistakes.near(target, made))
    return (
        f"{target}: no rule, and nothing that the plan of scale {PARAMS.scale} makes (another scale needs its "
        "--configfile); " + (f"did you mean {near}?" if near else "see `multistep plan`")
    )


def planned(jobs, path, wildcards):
    """The job of a plan that makes the file at `path`."""
    path = path.format(**wildcards)
    if path not in jobs:
        raise WorkflowError(unplanned(path, jobs))
    return jobs[path]


cell = partial(planned, CELLS, "results/{experiment}/{dataset}/{method}/{seed}.json")
choice = partial(planned, CHOICES, "results/choices/{experiment}/{dataset}/{method}.json")
measurement = partial(planned, MEASUREMENTS, "results/measure/{experiment}/{dataset}.json")


def cell_code(wildcards):
    job = cell(wildcards)
    return code(*provenance.cell_modules(job.family, job.algorithm))


def evaluation_code(wildcards):
    job = cell(wildcards)
    return code(*provenance.evaluation_modules(job.family, job.algorithm))


def cell_inputs(wildcards):
    """Beside its data: the source network of a cell, and what validation chooses for it, if any."""
    job = cell(wildcards)
    found = {"network": network_files(json.loads(job.settings)), "choice": job.choice}
    return {name: files for name, files in found.items() if files}


def train_options(wildcards, input):
    """Asking for `input` keeps them out of the recorded parameters. Snakemake asks for every function
    of every job, so of a plan's cells there is one function for all options.
    """
    return by_path.options(cell(wildcards), PARAMS, CHOICES, Path())


def network_files(settings):
    """The source network of a method, if it has one."""
    if not settings.get("source"):
        return []
    folder = f"data/networks/{settings['source']}"
    # The weights decide what is stale; the description beside them has times in it.
    return [f"{folder}/weights.pt", ancient(f"{folder}/network.json")]


def measurement_network(wildcards):
    """The one source network of its methods; some may have none."""
    settings = [method["settings"] for method in measurement(wildcards)["methods"].values()]
    return network_files(max(settings, key=lambda s: bool(s.get("source"))))


def network_option(wildcards, input):
    """`--network FOLDER` for what takes features from a source network."""
    network = input.get("network")
    return ["--network", os.path.dirname(network[0])] if network else []


def measurement_code(wildcards):
    job = measurement(wildcards)
    algorithms = [method["algorithm"] for method in job["methods"].values()]
    return code(*provenance.measurement_modules(job["family"], algorithms))


# --- source networks --------------------------------------------------------------------------


def network(wildcards):
    """A source network, with the dataset that this scale really uses."""
    found = PARAMS.source_networks[wildcards.network]
    return found.on(found.dataset and PARAMS.used(found.dataset))


def published_option(wildcards):
    """`--published FILE` for a network whose weights others have published."""
    folder = f"data/raw/{wildcards.network}"
    names = network(wildcards).archives
    return [option for name in names for option in ("--published", f"{folder}/{name}")]


def network_data(wildcards):
    """The prepared dataset that trains the network, or on whose test part it is scored."""
    if network(wildcards).dataset is None:
        return []
    folder = f"data/processed/{network(wildcards).dataset}"
    return [ancient(f"{folder}/images.npy"), f"{folder}/dataset.json"]


def network_data_option(wildcards, input):
    """`--data FOLDER` of that dataset, and how the plan prepares it."""
    if not input.data:
        return []
    preparation = PARAMS.datasets[network(wildcards).dataset].prepare
    folder = str(Path(input.data[0]).parent)
    return ["--data", folder, "--prepared", canonical_json(preparation)]


# --- tables and figures -----------------------------------------------------------------------


# The paper's own scale, to which pages compare what this one does.
PAPER = PLAN if MERGED == BASE else inputs.Plan.of(params.validate(BASE))
CONTEXT = inputs.context(PARAMS)
context_of = partial(inputs.context_of, plan=PLAN, paper=PAPER)
# Those pages of which this scale computes anything, with the files that they are drawn from.
SHOWN = {
    form: {name: files for name, spec in pages.items() if (files := inputs.results(spec, PLAN))}
    for form, pages in PAGES.items()
}
TABLES, FIGURES = SHOWN["tables"], SHOWN["figures"]


def files_of(form, names):
    """The files of some pages, their records among them."""
    suffixes = [*record.SUFFIXES[form], "json"]
    return expand(f"reports/{form}/{{name}}.{{suffix}}", name=names, suffix=suffixes)


def spec_of(form, wildcards):
    return PAGES[form][wildcards[0]]


def cells_beside_pages(wildcards):
    """The cells that `all` asks for itself: those that no page shows, and those whose result is lost
    while a page that shows it is there. A page asks for the others when it is drawn, so that of a
    large plan each cell has one dependant less, a twentieth of Snakemake's memory.
    """
    if workflow.storage_settings.default_storage_provider:  # what is there isn't seen here
        return list(CELLS)
    shown, asked = set(), set()
    for form, pages in SHOWN.items():
        for name, files in pages.items():
            drawn = os.path.exists(f"reports/{form}/{name}.json")
            (shown if drawn else asked).update(files)
    return [c for c in CELLS if c not in asked and (c not in shown or not os.path.exists(c))]


def left_by_failures(wildcards):
    """What a job that failed has left unmade behind results that are there: Snakemake takes it for done
    with what it was asked for (findings/snakemake-failed-job-is-forgotten.sh), and nothing else asks for
    it again. Its log is the trace; what was never made here, such as data that aren't pulled, has none.
    """
    logs = {f"data/processed/{d}/dataset.json": f"logs/prepare/{d}.log" for d in DATASETS}
    logs |= {f"data/networks/{n}/network.json": f"logs/networks/{n}.log" for n in NETWORKS}
    logs |= {
        file: f"logs/{Path(file).relative_to('results').with_suffix('.log')}" for file in CHOICES
    }
    logs |= {
        file: f"logs/{Path(file).with_suffix('.log')}"
        for pages in SHOWN.values()
        for files in pages.values()
        for file in files
        if file.startswith("evaluations/")
    }
    return [file for file, log in logs.items() if os.path.exists(log) and not os.path.exists(file)]


def page_code(form, wildcards):
    """The code that draws a page: its kind's, and no other kind's."""
    files = SHOWN[form][wildcards[0]]
    families = [CELLS[file].family for file in files if file in CELLS]
    families += [MEASUREMENTS[file]["family"] for file in files if file in MEASUREMENTS]
    entries = provenance.page_modules(form, spec_of(form, wildcards).kind, families)
    return code(*entries, alone=provenance.PAGE_COMMAND)


def page_group(form, wildcards):
    """Where Snakemake's report has a page among those of its form."""
    return "Beyond the paper" if spec_of(form, wildcards).beyond else "The paper's"


def page_labels(form, wildcards):
    """What Snakemake's report lists a page by."""
    return {form[:-1]: wildcards[0], "title": spec_of(form, wildcards).title}


def page_caption(form, wildcards):
    """What Snakemake's report says under a page."""
    spec = spec_of(form, wildcards)
    datasets = spec.wants().datasets
    caption = spec.caption.format(data=CONTEXT.titles(datasets))
    made = CONTEXT.provenance(datasets)
    text = f"{spec.title}: {caption}, at scale **{PARAMS.scale}**. {inspect.getdoc(spec)}"
    return "\n\n".join([text, f"{made[0].upper()}{made[1:]}.", *spec.notes])


def page_plan(wildcards, input):
    """What the plan says of the results that a page shows."""
    return json.dumps(inputs.expectations(input.results, PLAN), ensure_ascii=False)


# --- targets ------------------------------------------------------------------------------------


def unmade(rules):
    """A line for each rule or file that was asked for and is no rule, no file, and not made by the plan."""
    batch = ASKED.batch and [ASKED.batch.rulename]
    for option, names in {"allowed-rules": ASKED.allowed_rules, "batch": batch}.items():
        yield from mistakes.unknown(f"--{option}", names or (), rules, "rule")
    asked = {
        "": ASKED.targets,
        "--until ": ASKED.until,
        "--omit-from ": ASKED.omit_from,
        "--forcerun ": ASKED.forcerun,
        "--prioritize ": ASKED.prioritize,
    }
    asked = [
        (option, name)
        for option, names in asked.items()
        for name in names or ()
        if name not in rules and not os.path.exists(name)
    ]
    if not asked:
        return
    made = {*CELLS, *CHOICES, *MEASUREMENTS, *(cell.evaluation for cell in CELLS.values())}
    made |= {path.replace(".json", ".safetensors") for path in CELLS}
    made |= {
        f"data/processed/{d}/{file}" for d in DATASETS for file in ("images.npy", "dataset.json")
    }
    made |= {
        f"data/networks/{n}/{file}" for n in NETWORKS for file in ("weights.pt", "network.json")
    }
    made |= {file for owner in (*DATASETS, *NETWORKS) for file in records(owner)}
    made |= {*files_of("tables", TABLES), *files_of("figures", FIGURES), *rules}
    for option, target in asked:
        if os.path.relpath(target) not in made:
            yield option + unplanned(target, made)


def set_for_none():
    """A line for each rule and resource that an option sets something of and that isn't one here. A user's
    own profile may name those of other workflows.
    """
    rules = {rule.name: rule.resources for rule in workflow.rules}
    for option in ("set_threads", "set_resources", "groups"):
        flag = f"--{option.replace('_', '-')}"
        yield from mistakes.unknown(flag, getattr(ASKED, option) or (), rules, "rule")
    asked = [*rules.values(), ASKED.default_resources or {}, *(ASKED.set_resources or {}).values()]
    yield from mistakes.unknown(
        "--resources", ASKED.resources or (), set().union(*asked), "resource"
    )


# --- what Snakemake has no record of, or is told to take -------------------------------------------


def compared(pages):
    """How each file of the plan is compared with it, and with `pages` each page with what it is to show."""
    yield from unrecorded.checks(HOME, PARAMS, CELLS, CHOICES, MEASUREMENTS)
    for form, shown in SHOWN.items() if pages else ():
        for name, files in shown.items():
            spec = PAGES[form][name]
            page = partial(unrecorded.page, HOME, form, name, spec, files, context_of)
            yield f"reports/{form}/{name}.json", page


def refuse(why, pages=True, recorded=False):
    """Stop where files that Snakemake would take aren't what the plan says: those that it has no record of,
    or all of them.
    """
    if wrong := unrecorded.mistakes(HOME, compared(pages), recorded=recorded):
        shown = wrong[:5] + [f"and {len(wrong) - 5} more"] * (len(wrong) > 5)
        raise WorkflowError(
            f"{len(wrong)} of the files in {HOME} that {why} are not what the plan says:\n  "
            + "\n  ".join(shown)
        )


if workflow.is_main_process:
    try:
        for warning in checks.warnings(ROOT / "workflow" / "report", PLAN, lambda: PAPER, PAGES):
            print(f"warning: {warning}", file=sys.stderr)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    # With its profiles; while it is read the workflow isn't told of all of it. A program that runs Snakemake
    # by its API has arguments of its own.
    command = sys.argv[1:] if "snakemake" in Path(sys.argv[0]).parts[-2:] else []
    with redirect_stderr(StringIO()):  # which profile it is was said
        ASKED = cli.parse_args(command)[1]
    refuse("Snakemake has no record of (copied in, pulled in part, or .snakemake was lost)")
    if ASKED.touch:
        refuse("--touch would record", recorded=True)
    # Used to keep results of older code, it would keep those of other settings. Pages are drawn another time.
    elif RerunTrigger.PARAMS not in ASKED.rerun_triggers:
        refuse("--rerun-triggers without params would take", pages=False, recorded=True)
