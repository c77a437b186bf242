"""One thread, and the table of faults.

Threads: on small shapes more only wait for each other, and the bits depend on their number.

A test that injects faults is marked `fault(kind, outcome)`; it counts as one fault, or as many as
it records as the property `injected`. `pytest --faults=FILE` runs these tests alone and writes
their table: a fault is lost where its test fails.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

FAULTS = pytest.StashKey[dict[tuple[str, str], Counter[str]]]()


def pytest_addoption(parser):
    parser.addoption("--faults", type=Path, metavar="FILE", help="inject faults; write their table")


def pytest_configure(config):
    config.stash[FAULTS] = {}
    config.addinivalue_line("markers", "fault(kind, outcome): injects faults of a kind")


def pytest_collection_modifyitems(config, items):
    if config.option.faults:
        items[:] = [item for item in items if item.get_closest_marker("fault")]
    # `pytest -n` gives whole groups to its processes, the longest first: what shares an expensive
    # fixture, else a file.
    for item in items:
        costly = [name for name in ("built", "drawn", "undisturbed") if name in item.fixturenames]
        item.add_marker(pytest.mark.xdist_group(*costly[:1] or [item.path.name]))
    items.sort(key=lambda item: not {"built", "undisturbed"} & set(item.fixturenames))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    mark = item.get_closest_marker("fault")
    if mark and report.when == "call" and not report.skipped:
        count = item.config.stash[FAULTS].setdefault(mark.args, Counter())
        injected = dict(report.user_properties).get("injected", 1)
        count["injected"] += injected
        count["survived"] += injected if report.passed else 0
    return report


def pytest_sessionfinish(session):
    if path := session.config.option.faults:
        lines = ["| fault | what happens | injected | survived | lost |", "|---|---|--:|--:|--:|"]
        for (kind, outcome), n in sorted(session.config.stash[FAULTS].items()):
            lost = n["injected"] - n["survived"]
            lines.append(f"| {kind} | {outcome} | {n['injected']} | {n['survived']} | {lost} |")
        head = "# Faults\n\nMade by `make faults`, which injects each for real into small runs.\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
