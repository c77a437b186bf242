"""The whole paper: `snakemake` builds every table and figure that params.yaml lists."""

from os.path import relpath
from pathlib import Path

from snakemake.utils import min_version

min_version("9.18")  # recorded content checksums decide what is stale


configfile: Path(workflow.basedir) / "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


# Made of the Dockerfile (docs/running.md); in use only with `--software-deployment-method apptainer`. Seen from
# where jobs run, since Snakemake refuses a blank in it, which the path of a clone may have.
container: relpath(ROOT / "multistep.sif", HOME)


include: "workflow/rules/data.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/report.smk"


# Each scale builds in a folder of its own, with its own locks and provenance.
workdir: HOME


onstart:
    unrecorded.unlink(Path.cwd())
    if workflow.executor_plugin.name == "slurm":
        try:
            slurm.begin(workflow, Path.cwd())
        except UserError as error:
            raise WorkflowError(str(error)) from None
    elif left := unrecorded.left_in_queue(
        Path.cwd(),
        workflow.executor_plugin.name,
        getattr(workflow.executor_settings, "cancel_cmd", None),
    ):
        print(left, file=sys.stderr)
    # Snakemake's own limit, 100 jobs a second, starts a timer with each job that ends; for good, each looks
    # through all waiting jobs once a second, and after some hundred jobs they keep a core busy. A limit
    # that someone has set stays.
    limit = workflow.scheduler.job_rate_limiter
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


# Outcomes of finished jobs stay until their results have been accepted: now they have been.
onsuccess:
    accepted.forget(Path())


rule all:
    default_target: True
    input:
        cells_beside_pages,
        left_by_failures,
        rules.measure.input,
        rules.pages.input,


# Last, when every rule is known: what was mistyped is told with what is spelt most like it; Snakemake
# would say that it has no rule.
if workflow.is_main_process:
    if wrong := list(unmade({rule.name for rule in workflow.rules})):
        raise WorkflowError("\n".join(wrong))
    for warning in set_for_none():
        print(f"warning: {warning}", file=sys.stderr)
