"""Every command killed, stopped, starved and doubled: run again, it makes what it would have made.

A job is a command in a folder in which its inputs lie. What it makes undisturbed is made once, and
each disturbed run has to end with it, by the same command once more, and with nothing left over.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from helpers import ROOT, prepared_dataset, small_cell

from multistep import cli
from multistep.files import read_json

STEM = "results/5way_1shot/omniglot"
OFTEN = {"log_every": 1, "validate_every": 20, "iterations": 40}
BODY = random.Random(0).randbytes(600_000)


class Slow(BaseHTTPRequestHandler):
    """An archive that takes a second."""

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(BODY) - begin))
        self.send_header("Content-Range", f"bytes {begin}-{len(BODY) - 1}/{len(BODY)}")
        self.end_headers()
        for at in range(begin, len(BODY), 20_000):
            try:
                self.wfile.write(BODY[at : at + 20_000])
            except ConnectionError:
                return
            time.sleep(0.03)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as made:
        Thread(target=made.serve_forever, daemon=True).start()
        JOBS["a download"][-1] = json.dumps(
            {"urls": [f"http://127.0.0.1:{made.server_port}/a"], "unverified": True}
        )
        yield made
        made.shutdown()


def cell(**settings: Any) -> list[str]:
    text = small_cell(**settings).json
    return ["train", "--device", "cpu", "--checkpoint-seconds", "0", "--cell", text]


TINY = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
DRAWN = {**TINY["datasets"]["drawn_first"], "images_per_class": 12}
DRAWN["archives"] = {
    name: {"drawn": {"alphabets": alphabets, "characters": 4, "drawers": 12, "seed": 0}}
    for name, alphabets in (("images_background.zip", 2), ("images_evaluation.zip", 1))
}
CURVES = {"kind": "curves", "title": "Curves", "caption": "", "panels": {"5way_1shot": ""}}
CURVES |= {"dataset": "omniglot", "methods": ["maml"]}
CONTEXT = {"scale": "paper", "datasets": {"omniglot": "Omniglot"}, "methods": {"maml": "MAML"}}
# By job: the command line, in a folder where its inputs lie.
JOBS: dict[str, list[str]] = {
    "a cell": cell(seed=1, **OFTEN),
    "a run's extension": cell(**OFTEN),
    "an evaluation": [
        "evaluate", f"{STEM}/maml/0.json", "--protocol", "all", "--out", "again",
        "--episodes", "40",
    ],
    "an extraction": ["data", "prepare", "--dataset", "drawn", "--spec", json.dumps(DRAWN)],
    "a page": [
        "report", "figure", "--name", "f", "--spec", json.dumps(CURVES), "--context",
        json.dumps(CONTEXT), "--out", "reports/figures/f", f"{STEM}/maml/0.json",
    ],
    "a download": ["data", "download", "--dataset", "d", "--archive", "a", "--spec", ""],
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that every job begins with."""
    home = tmp_path_factory.mktemp("inputs")
    prepared_dataset(home / "data/processed/omniglot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert cli.main(cell(**OFTEN | {"iterations": 20})) == 0
        for name, entry in DRAWN["archives"].items():
            line = ["--dataset", "drawn", "--archive", name, "--loader", "omniglot"]
            assert cli.main(["data", "download", *line, "--spec", json.dumps(entry)]) == 0
    return home


@pytest.fixture(scope="module")
def whole(
    inputs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[dict[str, Any], float]]:
    """What a job makes, and in how many seconds."""

    @cache
    def run(job: str) -> tuple[dict[str, Any], float]:
        home = shutil.copytree(inputs, tmp_path_factory.mktemp("undisturbed") / "home")
        began = time.monotonic()
        status, said = finished(start(home, job))
        assert status == 0, said
        return made(home), time.monotonic() - began

    return run


def start(home: Path, job: str, before: Callable[[], object] = lambda: None) -> Any:
    def first() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's `&` ignores
        before()

    command = [sys.executable, "-m", "multistep.cli", *JOBS[job]]
    return subprocess.Popen(
        command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=first,
    )  # fmt: skip


def listens(process: Any) -> bool:
    """Whether it has ended, or says in words that it was stopped."""
    found = re.search(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    caught = (
        found is None or int(found[1], 16) >> signal.SIGTERM - 1 & 1
    )  # SIGINT is from the start
    return process.poll() is not None or bool(caught)


def finished(process: Any) -> tuple[int, str]:
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def made(home: Path) -> dict[str, Any]:
    """By path all that isn't scratch, without what differs between identical runs."""
    found: dict[str, Any] = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and "scratch" not in path.parts:
            content: Any = path.read_bytes()
            if path.suffix == ".json":
                content = read_json(path)
                for key in ("timing", "environment", "seal"):
                    content.pop(key, None)
            found[str(path.relative_to(home))] = content
    return found


def told(said: str, status: int) -> str:
    """The one line of a command that failed in words."""
    assert status == 2, said
    assert "Traceback" not in said
    (line,) = [x for x in said.splitlines() if x.startswith("error: ")]
    return line


def slow(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def often(chosen: dict[str, Any], ways: tuple[Any, ...]) -> list[Any]:
    """A cell and its extension in all ways, the other jobs in two, by turns; those that aren't
    `chosen` with --faults alone.
    """
    pairs = [
        (job, how)
        for i, job in enumerate(JOBS)
        for j, how in enumerate(ways)
        if i < 2 or (i + j) % len(ways) < 2
    ]
    return [p if chosen.get(p[0]) == p[1] else slow(*p) for p in pairs]


@pytest.mark.fault(
    "each command (a cell, a run's extension, an evaluation, an extraction, a page, a download) "
    "killed or stopped at a random moment (KILL, TERM, INT, HUP)",
    "the same command goes on, to the same bits; `signal …: saved to …, stopping`",
)
@pytest.mark.parametrize(
    ("job", "how"),
    often(
        {"a run's extension": signal.SIGKILL, "an extraction": signal.SIGTERM},
        (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    ),
)
def test_it_goes_on(
    inputs: Path, whole: Any, tmp_path: Path, job: str, how: int, record_property: Any
) -> None:
    right, seconds = whole(job)
    home = shutil.copytree(inputs, tmp_path / "home")
    process = start(home, job)
    moment = random.random() * seconds
    time.sleep(moment)
    while how != signal.SIGKILL and not listens(process):  # Python itself isn't up yet
        time.sleep(0.002)
    process.send_signal(how)
    status, said = finished(process)
    assert status in (0, -how, 128 + how), (moment, said)
    assert "Traceback" not in said, (moment, said)
    before = made(inputs)
    for name, content in made(home).items():  # whole or not at all, or as it was before
        assert name not in right or content in (right[name], before.get(name)), (moment, name)
    reached = [int(n) for n in re.findall(r": iteration=(\d+) ", said)]
    status, said = finished(start(home, job))
    assert status == 0, (moment, said)
    assert made(home) == right, moment
    resumed = re.search(r"resumed at iteration (\d+)", said)
    if reached and "finished before" not in said:
        lost = max(reached) - int(resumed[1] if resumed else 0)
        record_property("iterations_lost", lost)
        assert lost <= 1


# Imported in place of the machine's own, it tells its own process to stop when a module is looked
# for. The first of numpy is asked for by its C code, which takes an exception there for a failure.
STOPPING = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which `nohup make test` would have ignored
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("STOP_AT"):
            os.kill(os.getpid(), int(os.environ["STOP_BY"]))
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.fault(
    "a command told to stop (TERM, INT, HUP) while it imports numpy, torch or pandas",
    "`stopped; the same command goes on`",
)
@pytest.mark.parametrize(
    ("job", "module", "how"),
    [
        ("an extraction", "numpy.exceptions", signal.SIGINT),
        ("a cell", "torch.cuda", signal.SIGTERM),
        ("a page", "pandas", signal.SIGHUP),
        slow("a cell", "numpy.exceptions", signal.SIGTERM),
        slow("a page", "numpy.exceptions", signal.SIGHUP),
        slow("an evaluation", "torch.cuda", signal.SIGINT),
        slow("a run's extension", "torch.cuda", signal.SIGHUP),
        slow("a page", "pandas", signal.SIGINT),
    ],
)
def test_imports_are_left_in_one_line(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, module: str, how: int
) -> None:
    home = shutil.copytree(inputs, tmp_path / "home")
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook/sitecustomize.py").write_text(STOPPING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"), prepend=os.pathsep)
    monkeypatch.setenv("STOP_AT", module)
    monkeypatch.setenv("STOP_BY", str(int(how)))
    before = made(home)
    assert finished(start(home, job)) == (128 + how, "stopped; the same command goes on\n")
    assert made(home) == before


@pytest.mark.fault(
    "the disk full, without inodes, or read-only, for each command",
    "`error: … No space left on device`, `Read-only file system`; the same command goes on",
)
@pytest.mark.parametrize(
    ("job", "how"),
    often(
        {"a cell": "full", "an extraction": "no inodes", "a download": "read-only"},
        ("full", "no inodes", "read-only"),
    ),
)
def test_a_disk_that_takes_nothing(inputs: Path, whole: Any, disk: Any, job: str, how: str) -> None:
    right, _ = whole(job)
    home = shutil.copytree(inputs, disk.path / "home")
    disk.spoil(how)
    status, said = finished(start(home, job))
    reason = "Read-only file system" if how == "read-only" else "No space left on device"
    assert reason in told(said, status)
    disk.mend()
    status, said = finished(start(home, job))
    assert status == 0, said
    assert made(home) == right


@pytest.mark.fault(
    "two of a command at once in one folder",
    "they take turns; `another process is running this cell`, and it waits",
)
@pytest.mark.parametrize("job", [j if j == "an extraction" else slow(j) for j in JOBS])
def test_two_at_once(inputs: Path, whole: Any, tmp_path: Path, job: str) -> None:
    right, _ = whole(job)
    home = shutil.copytree(inputs, tmp_path / "home")
    ends = [finished(process) for process in [start(home, job), start(home, job)]]
    assert [status for status, _ in ends] == [0, 0], ends
    assert made(home) == right


@pytest.mark.fault(
    "less memory than a cell needs", "`error: there is not enough memory; give the job more …`"
)
def test_too_little_memory_is_told_with_the_settings_to_change(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(inputs, tmp_path / "home")
    monkeypatch.setitem(JOBS, "large", cell(seed=1, network={"filters": 1024}))
    much = 1 << 30  # torch and what it imports take about a third of it
    before = made(home)
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (much, much))  # noqa: E731
    status, said = finished(start(home, "large", limit))
    line = told(said, status)
    assert "not enough memory" in line
    assert all(word in line for word in ("--cores", "mem_mb", "scheme: replay", "meta_batch"))
    assert made(home) == before


@pytest.mark.fault(
    "a worker with another torch, after a checkpoint, an outcome or a finished run of this one",
    "`is not used: it belongs to other settings, data, code, torch or machine`; kept beside",
    "the cell's",
)
def test_another_torch_begins_anew_and_says_so(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, record_property: Any
) -> None:
    import torch

    home = shutil.copytree(inputs, tmp_path / "home")
    monkeypatch.chdir(home)
    lines = [cell(**OFTEN | {"iterations": 20}), cell(**OFTEN)]  # an outcome; a state to lengthen
    for other, line in zip(("0.1", "0.2"), lines, strict=True):
        monkeypatch.setattr(torch, "__version__", other)
        monkeypatch.setattr(torch.version, "__version__", other, raising=False)
        assert cli.main(line) == 0
        assert "torch or machine; kept as" in capsys.readouterr().err
        assert read_json(home / f"{STEM}/maml/0.json")["environment"]["torch"] == other
    assert sorted(p.name for p in (home / "scratch").rglob("*.stale"))
    record_property("injected", 2)


def test_a_shell_s_nohup_is_respected(inputs: Path, tmp_path: Path) -> None:
    home = shutil.copytree(inputs, tmp_path / "home")
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = start(home, "a cell", ignore)
    state = home / "scratch" / STEM / "maml/1.pt"
    deadline = time.monotonic() + 60
    while not state.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGHUP)
    status, said = finished(process)
    assert status == 0, said
