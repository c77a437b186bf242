"""Temporary copies of the project in which the real Snakemake and DVC run on a tiny plan."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from multistep.plan import params

ROOT = Path(__file__).resolve().parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
PAGE = Path(__file__).with_name("curves_second.yaml")
PARTS = ("Snakefile", "params.yaml", "dvc.yaml", "workflow", "profiles", "src", ".dvc/config")
PARTS += ("CITATION.cff", ".dvc/.gitignore", ".dvcignore", ".gitignore", "requirements.lock")


def create(folder: Path) -> Path:
    """A copy of the project's sources with the tiny plan in its params.yaml, committed to git."""
    for part in PARTS:
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / part, target, ignore=ignore)
        else:
            shutil.copy2(ROOT / part, target)
    shutil.copy2(PAGE, folder / "workflow" / "report" / "figures")
    change(folder, without_report, "dvc.yaml")
    change(folder, lambda p: p.update(params.merge(p, yaml.safe_load(TINY.read_text()))))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "sources")
    return folder


def without_report(pipeline: dict[str, Any]) -> None:
    """Take out what draws the results of other scales: here there are none."""
    del pipeline["stages"]["report"], pipeline["metrics"], pipeline["plots"]


def restore(folder: Path) -> None:
    """The paper's plan and pages in the place of the tiny ones."""
    shutil.copy2(ROOT / "params.yaml", folder)
    (folder / "workflow" / "report" / "figures" / PAGE.name).unlink()


def change(
    folder: Path, edit: Callable[[dict[str, Any]], object], file: str = "params.yaml"
) -> None:
    """Edit the plan of a copy, or another YAML file."""
    path = folder / file
    content = yaml.safe_load(path.read_text())
    edit(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def append(folder: Path, module: str, line: str = "_edited = True") -> None:
    """Add a line to a source file: a statement that changes what is run, but no number."""
    with open(folder / "src" / "multistep" / module, "a") as file:
        file.write(f"\n{line}\n")


def add_setting(folder: Path, module: str, name: str) -> None:
    """Give a class of settings one more, with a default."""
    path = folder / "src" / "multistep" / module
    lines = path.read_text().splitlines(keepends=True)
    found = next(n for n in ast.parse("".join(lines)).body if getattr(n, "name", None) == name)
    lines.insert(found.end_lineno or 0, "    label_smoothing: float = 0.0\n")
    path.write_text("".join(lines))


def environment(folder: Path) -> dict[str, str]:
    """Tools of this Python first; nothing of the user's own git and DVC settings and caches."""
    private = folder.parent / "private"
    names = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME",)}
    names |= {f"GIT_{who}_EMAIL": "test@localhost" for who in ("AUTHOR", "COMMITTER")}
    return {
        **os.environ,
        **names,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder / "src"),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(private / "cache"),
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(private / "dvc"),
        "DVC_SYSTEM_CONFIG_DIR": str(private / "dvc"),
        "DVC_SITE_CACHE_DIR": str(private / "site"),
    }


def run(folder: Path, *command: str, status: int | None = 0) -> str:
    """Output of a command in a copy; `status` is the exit code that it must have (None: any)."""
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert status is None or done.returncode == status, f"{command}:\n{done.stdout}"
    return done.stdout


started: list[subprocess.Popen[str]] = []  # by the present test


def start(folder: Path, *command: str, **options: Any) -> subprocess.Popen[str]:
    """A command in a copy, begun in a session of its own, which a test may kill as a whole."""
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, **options}
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, text=True,
        start_new_session=True, **options,
    )  # fmt: skip
    started.append(process)
    return process


def stop() -> None:
    """Kill what `start` began and a failed test left running."""
    while started:
        process = started.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def until(what: Callable[[], Any], seconds: float = 120, said: Callable[[], str] = str) -> Any:
    """The first true value of `what()`; AssertionError with what was said if it takes longer."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)
    return found


def text(path: Path) -> str:
    """What a file says that another process may delete and make again at any moment."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def read(folder: Path, path: str) -> Any:
    """A JSON file of a copy."""
    return json.loads((folder / path).read_text())


def git(folder: Path, *arguments: str) -> str:
    """Run git in a copy."""
    return run(folder, "git", *arguments)


def snakemake(folder: Path, *arguments: str, status: int | None = 0) -> str:
    """Run Snakemake in a copy."""
    return run(folder, sys.executable, "-m", "snakemake", *arguments, status=status)


def dvc(folder: Path, *arguments: str, status: int | None = 0) -> str:
    """Run DVC in a copy."""
    return run(folder, sys.executable, "-m", "dvc", *arguments, status=status)


def jobs(output: str) -> dict[str, int]:
    """Jobs by rule, from the table that Snakemake prints first; the target `all` is left out."""
    if "Nothing to be done" in output:
        return {}
    assert "Job stats:" in output, output
    table = output.partition("Job stats:")[2].partition("\ntotal ")[0]
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
    counts.pop("all", None)
    return counts


def pending(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs that Snakemake would run."""
    return jobs(snakemake(folder, "-n", *arguments))
