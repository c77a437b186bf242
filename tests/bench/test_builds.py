"""The builds part: a worker answers for its checkout, and the page names every target."""

from typing import Any

import pytest
from records import MACHINE

from bench import builds, plan, report
from bench.problem import ROOT
from multistep.files import UserError


def test_a_worker_repeats_its_meta_iterations_and_counts_a_tasks_bytes() -> None:
    found = []
    for _ in range(2):
        build = builds.Build(ROOT, 1, 1, ["5way_1shot"])
        first, second = (build.run("5way_1shot", "fomaml") for _ in range(2))
        build.close()
        assert first["bytes"] > 1e6
        assert "bytes" not in second
        assert all(run[clock] > 0 for run in (first, second) for clock in ("process", "wall"))
        found.append([run["means"] for run in (first, second)])
    assert found[0] == found[1]  # in another process too
    assert found[0][0] != found[0][1]


def test_a_worker_repeats_mini_batches_of_transfer() -> None:
    build = builds.Build(ROOT, 1, 2, ["sgd_32"])
    first, second = (build.run("sgd_32", "l2t_multistep/keep") for _ in range(2))
    build.close()
    assert first["bytes"] > 1e7
    assert first["means"] != second["means"]
    assert second["process"] > 0


def test_a_worker_that_stops_is_one_line() -> None:
    with pytest.raises(UserError, match="worker stopped at 'ready'"):
        builds.Build(ROOT, 1, 1, ["no_such_experiment"])


def test_the_page_compares_round_by_round() -> None:
    def method(share: float, *names: str) -> dict[str, Any]:
        times = {
            name: {clock: [2.0 * part, 1.0 * part, 4.0 * part] for clock in ("process", "wall")}
            for name, part in zip((builds.OLD, builds.NEW, *names), (1, share, 0.3), strict=False)
        }
        kept = {builds.OLD: 10**7, builds.NEW: 6 * 10**6}
        return {"times": times, "bytes": kept, "losses": {}, "same": True}

    others = {m: method(0.8) for m in builds.OTHERS}
    experiments = {e: {builds.EXACT: method(0.6, builds.TWO)} for e in builds.LIMITS}
    experiments["5way_1shot"] |= others
    about = {"kind": "bench-builds", "commit": builds.COMMIT, "tasks": 8, "rounds": 3}
    about |= {"bound": dict.fromkeys(builds.LIMITS, 60.0), "rates": {"product": 100, "copy": 20}}
    methods = {"l2t": 0.7, "l2t_multistep": 0.5}
    transfer = {f"{m}/{scheme}": method(t) for scheme in builds.SCHEMES for m, t in methods.items()}
    transfer["l2t/replay"] = method(0.95)
    about["transfer"] = dict.fromkeys(builds.TRANSFER, transfer)
    about["again"] = [transfer | {"l2t_multistep/keep": method(0.49)}, transfer]
    record = {**MACHINE, **about, "experiments": experiments}
    page = report.page(record)
    assert "| exact MAML, 5-way 1-shot: time | 0.65 | 0.600 | yes |" in page
    assert "| iMAML, 5-way 1-shot: time | 0.75 | 0.800 | **no** |" in page
    assert "wall time of two threads / one | 0.60 | 0.500 | yes |" in page
    assert "| 5-way 1-shot | 60.0 | 0.600 | 1.200 | 0.50 |" in page
    assert "| bytes kept per task, largest of all methods | 1.00 | 0.600 | yes |" in page
    assert "Adam: time, kept and replayed the larger | 0.85 | 0.950 | **no** |" in page
    largest = "multi-step / L2T-ww, the largest of 3 runs | 0.70"
    assert f"Adam, kept: {largest} | 0.714 | **no** |" in page
    assert f"Adam, replayed: {largest} | 0.526 | yes |" in page


def test_the_workflow_is_measured_and_named_with_its_targets() -> None:
    run = plan.dry_run(1)  # with one seed
    assert 200 < run["cells"] < 500
    assert 1 < run["process"] < 100
    assert 100 < run["memory"] < 350
    plans = [run | {"size": size} for size in plan.SIZES]
    record = {**MACHINE, "kind": "bench-workflow", "plans": plans, "demo": {"wall": 300.0}}
    page = report.page(record)
    assert "cells, MB | 350.00 |" in page
    assert "| demo on two cores, seconds | 270.00 | 300.000 | **no** |" in page
    assert len(report.rows(record)) == 5
