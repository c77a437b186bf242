"""A real Slurm: the profile's jobs are stopped in every way that clusters know, and go on."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import slurm_cluster
import workspace

CELLS = [f"results/5way_1shot/drawn_first/{cell}.json" for cell in ("maml/0", "maml/1", "fomaml/0")]
ITERATIONS = 30
OPTIONS = ("--workflow-profile", "profiles/site")
PROFILE = "profiles/site/profile.yaml"
# Added to the training loop of a copy: which iterations were done, when, by whom, on which device.
# While there is a file `freeze`, a process stops itself after a few, as if its disk were gone.
COUNT = """
_own = []
def _count(title, iteration):
    import os, signal
    if file := os.environ.get("STEPS"):
        _own.append(iteration)
        device = os.environ["SLURMD_NODENAME"] + ":" + os.environ["CUDA_VISIBLE_DEVICES"]
        with open(file, "a") as steps:
            print(title, iteration, os.getpid(), time.time(), device, file=steps)
        if len(_own) == 4 and os.path.exists(os.path.join(os.path.dirname(file), "freeze")):
            os.kill(os.getpid(), signal.SIGSTOP)
"""

reason = slurm_cluster.missing()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm") / "cluster") as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A project whose cells were trained on this machine without any trouble, and profiles/slurm as
    a site edits it. Cells ask for a GPU, though they train on the CPU.
    """
    site = workspace.create(tmp_path_factory.mktemp("undisturbed") / "project")
    shutil.copytree(site / "profiles/slurm", site / "profiles/site")

    def quick(profile):
        profile |= {"slurm-init-seconds-before-status-checks": 2, "latency-wait": 10}
        partition = "'gpu' if wildcards.method == 'maml' and wildcards.seed == '0' else 'harsh'"
        profile["set-resources"]["train_cell"] |= {"slurm_partition": partition, "gpu": 1}

    def longer(plan):
        plan["checkpoint_seconds"] = 0.001  # after each iteration
        plan["few_shot"].update(iterations=ITERATIONS, log_every=10)
        plan["experiments"]["5way_5shot"]["datasets"] = []  # validates too often for that

    workspace.change(site, quick, PROFILE)
    workspace.change(site, longer)
    loop = site / "src/multistep/job/loop.py"
    counted = 'state["iteration"] += 1\n'
    assert counted in loop.read_text()
    more = f'{counted.rstrip()}; _count(self.title, state["iteration"])\n'
    loop.write_text(loop.read_text().replace(counted, more) + COUNT)
    workspace.snakemake(site, "--cores", "2", *CELLS)
    return site


class Step(NamedTuple):
    cell: str
    iteration: int
    pid: int
    time: float
    device: str


@dataclass
class Run:
    """Snakemake on the cluster, and the cells that it trains there."""

    site: Path
    cluster: slurm_cluster.Cluster
    undisturbed: list[dict]
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "snakemake", *(options or (*OPTIONS, *CELLS))]
        with (self.site / "out").open("a") as out:
            self.started.append(workspace.start(self.site, *command, stdout=out))
        return self.started[-1]

    def end(self) -> None:
        """Leave the cluster empty, also after a failure: the next test has the same two GPUs."""
        for snakemake in self.started:
            snakemake.kill()
            snakemake.wait()
        self.cluster("scancel", "--me")
        self.until(lambda: self.cluster("squeue", "-h") == "", 60)

    @property
    def said(self) -> str:
        return (self.site / "out").read_text()

    @property
    def steps(self) -> list[Step]:
        file = self.site / "steps"
        rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [Step(x[0], int(x[1]), int(x[2]), float(x[3]), x[4]) for x in rows]

    def until(self, what: Callable[[], Any], seconds: float = 600) -> Any:
        """The first true value of `what()`."""
        return workspace.until(what, seconds, lambda: self.said[-5000:])

    def frozen(self, count: int = 2) -> list[int]:
        """The processes that wait in the middle of their cells, if so many do (of two nodes)."""
        pids = [pid for pid in {step.pid for step in self.steps} if state(pid) == "T"]
        return pids if len(pids) == count else []

    def job(self, pid: int) -> str:
        """Slurm's number of the job that a process belongs to."""
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next(e for e in environment if e.startswith(b"SLURM_JOB_ID=")).decode()[13:]

    def shown(self, job: str, key: str) -> str:
        text = self.cluster("scontrol", "show", "job", job)
        return next(word for word in text.split() if word.startswith(f"{key}=")).partition("=")[2]

    def check(
        self, cells: Sequence[str] = CELLS, gpus: int = 2, again: Counter[Any] | None = None
    ) -> None:
        """Results are those of the undisturbed run, every iteration was done once (but those that
        are told), and no two jobs had one GPU at a time.
        """
        for path, right in zip(cells, self.undisturbed, strict=False):
            made = workspace.read(self.site, path)
            for part in ("cell", "metrics", "history"):
                assert made[part] == right[part]
        done = Counter((f"results/{step.cell}.json", step.iteration) for step in self.steps)
        once = Counter((path, n) for path in cells for n in range(1, ITERATIONS + 1))
        assert done == once + (again or Counter())
        spans: dict[str, list[tuple[float, float]]] = {}
        for pid in {step.pid for step in self.steps}:
            mine = [step for step in self.steps if step.pid == pid]
            spans.setdefault(mine[0].device, []).append((mine[0].time, mine[-1].time))
        assert len(spans) == gpus
        for own in map(sorted, spans.values()):
            assert all(a[1] < b[0] for a, b in itertools.pairwise(own))


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.fixture
def run(undisturbed, cluster, tmp_path, monkeypatch):
    """A copy of the project without the cells' results, and the cluster."""
    site = Path(shutil.copytree(undisturbed, tmp_path / "project", symlinks=True))
    for path in CELLS:
        (site / path).unlink()
        (site / "scratch" / path.replace(".json", ".state")).unlink()
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    monkeypatch.setenv("STEPS", str(site / "steps"))
    (site / "freeze").touch()
    run = Run(site, cluster, [workspace.read(undisturbed, path) for path in CELLS])
    yield run
    run.end()


@pytest.mark.fault("Slurm: preempted, cancelled, out of time", "goes on, each iteration done once")
def test_what_slurm_stops_goes_on(run):
    snakemake = run.start()
    first = run.until(run.frozen)
    preempted = [run.job(pid) for pid in first]
    run.cluster("sbatch", "-p", "urgent", "-N2", "--gpus=2", "-o", "/dev/null", "--wrap", "true")
    run.until(lambda: all(run.shown(job, "PreemptTime") != "None" for job in preempted))
    for pid in first:
        with contextlib.suppress(ProcessLookupError):  # Slurm wakes what it preempts, too
            os.kill(pid, signal.SIGCONT)
    second = run.until(run.frozen)
    cancelled, late = [run.job(pid) for pid in second]
    run.cluster("scancel", cancelled)
    run.cluster("scontrol", "update", f"jobid={late}", "EndTime=now+1")
    (run.site / "freeze").unlink()
    run.until(lambda: snakemake.poll() is not None)
    assert snakemake.returncode == 0, run.said
    ended = [run.shown(job, "JobState") for job in (*preempted, cancelled, late)]
    told = {"gpu": "FAILED", "harsh": "PREEMPTED"}  # the first ends by itself in the time it has
    assert ended[:3] == [*(told[run.shown(job, "Partition")] for job in preempted), "CANCELLED"]
    assert ended[3] in ("TIMEOUT", "FAILED")  # the latter if it has ended by itself before its time
    for job, how in zip((*preempted, cancelled, late), ended, strict=True):
        if how == "FAILED":  # it was told to, and for no other reason
            assert "signal 15: saved to" in Path(run.shown(job, "StdOut")).read_text()
    assert "PREEMPTED" in ended
    run.check()


@pytest.mark.fault(
    "Slurm: a node dies under its job",
    "goes on on another node",
    "at most what a job did since its checkpoint",
)
def test_a_node_that_dies(run):
    snakemake = run.start()
    lost, kept = run.until(run.frozen)
    steps = {pid: [step for step in run.steps if step.pid == pid] for pid in (lost, kept)}
    node, other = (steps[pid][0].device.partition(":")[0] for pid in (lost, kept))
    assert {node, other} == set(slurm_cluster.NODES)
    (job,) = {run.job(lost)}
    run.cluster.die(node)
    try:
        (run.site / "freeze").unlink()
        os.kill(kept, signal.SIGCONT)
        run.until(lambda: snakemake.poll() is not None)
    finally:
        run.cluster.revive(node)
    assert snakemake.returncode == 0, run.said
    assert run.shown(job, "JobState") == "NODE_FAIL"
    cell = f"results/{steps[lost][0].cell}.json"
    later = [s.iteration for s in run.steps if s.cell == steps[lost][0].cell and s.pid != lost]
    done = [step.iteration for step in steps[lost]]
    again = Counter((cell, n) for n in done if n in later)
    assert len(again) < len(done), "it went on from a checkpoint"
    run.check(again=again)
    after = [s for s in run.steps if s.time > steps[kept][-1].time and s.pid not in steps]
    assert {step.device.partition(":")[0] for step in after} == {other}


@pytest.mark.fault("Slurm: Snakemake killed, its jobs run and wait", "each iteration done once")
def test_a_killed_snakemake_goes_on(run):
    snakemake = run.start()
    pids = run.until(run.frozen)
    run.until(lambda: len(run.cluster("squeue", "-h").splitlines()) == 3)
    snakemake.kill()
    snakemake.wait()
    left = run.cluster("squeue", "-h", "-o", "%i").split()
    (run.site / "freeze").unlink()
    workspace.snakemake(run.site, "--unlock", *OPTIONS, *CELLS)
    said = workspace.snakemake(run.site, *OPTIONS, *CELLS)
    assert "a run that was killed left jobs in Slurm's queue" in said
    assert all(job in said for job in left)
    assert {state(pid) for pid in pids} == {""}
    run.check()


def test_many_short_jobs_are_one_of_slurm(run):
    (run.site / "freeze").unlink()

    def grouped(profile):
        short = {"runtime": "min(60 * attempt, 120)", "slurm_partition": "gpu"}
        profile["set-resources"]["train_cell"] |= short
        profile |= {"groups": ["train_cell=short"], "group-components": ["short=3"]}
        profile |= {"resources": ["gpu=1"], "set-resource-scopes": ["gpu=local"]}

    workspace.change(run.site, grouped, PROFILE)
    said = workspace.snakemake(run.site, *OPTIONS, *CELLS)
    (job,) = re.findall(r"submitted with SLURM jobid (\d+)", said)
    assert run.shown(job, "TimeLimit") == "03:00:00"  # one after the other
    assert run.shown(job, "MinMemoryNode") == "16000M"
    assert run.shown(job, "TresPerJob") == "gres:gpu:1"
    run.check(gpus=1)


def test_what_can_never_run_is_refused_before_anything_is_submitted(run):
    longer = {"runtime": "480 * attempt"}
    workspace.change(run.site, lambda p: p["set-resources"]["train_cell"].update(longer), PROFILE)
    said = workspace.snakemake(run.site, *OPTIONS, *CELLS, status=1)
    assert "train_cell, attempt 4: asks for 1920 min, of which partition" in said
    assert "Traceback" not in said
    assert run.cluster("squeue", "-h") == ""
    assert list((run.site / ".snakemake").glob("locks/*")) == []


@pytest.mark.fault("sbatch as any batch system: cancelled", "goes on, each iteration done once")
def test_any_submit_command(run):
    """profiles/generic over profiles/slurm, as it stands."""
    options = ("--profile", "profiles/slurm", "--workflow-profile", "profiles/generic")
    quickly = ("--set-resources", "train_cell:gpu=1", "--seconds-between-status-checks", "2")
    snakemake = run.start(*options, CELLS[0], *quickly)
    (pid,) = run.until(lambda: run.frozen(1))
    (run.site / "freeze").unlink()
    run.cluster("scancel", run.job(pid))
    run.until(lambda: snakemake.poll() is not None)
    assert snakemake.returncode == 0, run.said
    assert len({step.pid for step in run.steps}) == 2
    run.check(CELLS[:1], gpus=1)
