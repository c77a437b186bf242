"""One thread, and the table of faults.

Threads: on small shapes more only wait for each other, and the bits depend on their number.

A test that injects faults is marked `fault(kind, outcome, lost)`; it counts as one fault, or as
many as it records as the property `injected`. `lost` says what work is lost, if any; of training
the property `iterations_lost` measures it. `pytest --faults=FILE` runs these tests alone and writes
their table: a fault is survived where its test passes. Those marked `slow` run only then.
"""

import errno
import itertools
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--faults", type=Path, metavar="FILE", help="inject faults; write their table")
    parser.addoption(
        "--fuzz", type=float, default=0, metavar="SECONDS", help="more for each reader"
    )


def pytest_configure(config):
    if config.option.faults and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Faults(config.option.faults))
    config.addinivalue_line("markers", "fault(kind, outcome, lost): injects faults of a kind")
    config.addinivalue_line("markers", "slow: runs with --faults alone, unless named by -k or ::")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.option.faults:
        items[:] = [item for item in items if item.get_closest_marker("fault")]
    elif not config.option.keyword and "::" not in "".join(config.args):
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    for item in items:
        if mark := item.get_closest_marker("fault"):
            item.user_properties.append(("fault", mark.args))
    # `pytest -n` gives whole groups to its processes, the longest first: what shares an expensive
    # fixture, else a file.
    for item in items:
        costly = [name for name in ("built", "drawn", "undisturbed") if name in item.fixturenames]
        item.add_marker(pytest.mark.xdist_group(*costly[:1] or [item.path.name]))
    items.sort(key=lambda item: not {"built", "undisturbed"} & set(item.fixturenames))


class Faults:
    """Counts in the one process that hears of all tests, and writes the table at the end."""

    def __init__(self, path):
        self.path, self.counts = path, {}

    def pytest_runtest_logreport(self, report):
        found = dict(report.user_properties)
        if report.when != "call" or report.skipped or "fault" not in found:
            return
        count = self.counts.setdefault(tuple(found["fault"]), Counter())
        count["injected"] += found.get("injected", 1)
        count["survived"] += found.get("injected", 1) if report.passed else 0
        count["measured"] += "iterations_lost" in found
        count["lost"] = max(count["lost"], found.get("iterations_lost", 0))

    def pytest_sessionfinish(self):
        lines = ["| fault | injected | survived | work lost | what happens, what is told |"]
        lines.append("|---|--:|--:|---|---|")
        for (kind, outcome, *lost), n in sorted(self.counts.items()):
            work = f"at most {n['lost']} iterations" if n["measured"] else (lost or ["none"])[0]
            lines.append(f"| {kind} | {n['injected']} | {n['survived']} | {work} | {outcome} |")
        head = "# Faults\n\nMade by `make faults`, which injects each for real into small runs.\n"
        head += "[when-things-go-wrong.md](when-things-go-wrong.md) has the command that goes on.\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


class Disk:
    """A small disk of its own, in memory, that can be filled and made read-only."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"
        self.mount("-t", "tmpfs", "-o", "size=64m,nr_inodes=2000", "tmpfs")

    def mount(self, *arguments):
        subprocess.run(["mount", *arguments, str(self.path)], check=True, capture_output=True)

    def spoil(self, how):
        """`full`, `no inodes` or `read-only`, until it is mended."""
        self.ballast.mkdir()
        try:
            if how == "read-only":
                self.mount("-o", "remount,ro")
            elif how == "full":
                with open(self.ballast / "0", "wb", buffering=0) as file:
                    while file.write(bytes(1 << 12)):
                        pass
            else:
                for number in itertools.count():
                    (self.ballast / str(number)).touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise

    def mend(self):
        self.mount("-o", "remount,rw")
        shutil.rmtree(self.ballast)


@pytest.fixture
def disk(tmp_path):
    """For those who may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        made = Disk(path)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here (it takes root)")
    yield made
    subprocess.run(["umount", "-l", str(path)], check=True)
