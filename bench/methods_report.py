"""The readable page of the methods part: two tables for each experiment."""

from __future__ import annotations

from typing import Any

from bench.markdown import allocator, code, mb, spread, table, versions
from bench.timing import Times, ratio
from multistep.pages.frame import device_name

BASELINE = "maml"
TITLES = {
    "5way_1shot": "5-way 1-shot, grey images of 28 × 28 pixels as Omniglot's",
    "5way_5shot": "5-way 5-shot, grey images of 28 × 28 pixels as Omniglot's",
    "mini_5way_1shot": "5-way 1-shot, colour images of 84 × 84 pixels as miniImageNet's",
}


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    parts = [_head(record)]
    for experiment, found in record["experiments"].items():
        parts.append(_experiment(TITLES[experiment], found, record))
    return "\n\n".join(parts) + "\n"


def _head(record: dict[str, Any]) -> str:
    env, load = record["environment"], record["load"]
    cuda = env["device"] != "cpu"
    clock = (
        "seconds between CUDA events around the captured meta-iteration"
        if cuda
        else "seconds of process CPU time"
    )
    memory = (
        "the peak of what one meta-iteration allocates, written as it is and not captured"
        if cuda
        else "what one task keeps for the way back at the peak, the query's activations included"
    )
    return (
        f"# Benchmark of the few-shot methods on {device_name(env)}\n\n"
        "One meta-iteration of training: a meta-batch of episodes that are already drawn is "
        "gathered, turned and scaled, its meta-gradient computed, and θ updated. Settings are "
        "those of params.yaml, except that all methods of a table have the same number of tasks; "
        "images are drawn. All methods, at both numbers of inner steps, are interleaved in one "
        f"process: {record['rounds']} rounds after a warm-up, {clock}, medians "
        f"(smallest–largest); ratios are taken round by round. Load of its {load['cores']} cores: "
        f"{load['before']:.1f} before, {load['after']:.1f} after, this process included.\n\n"
        "T: inner steps in training. Window: inner steps that share one gradient. CG: steps of "
        "conjugate gradients at most. "
        f"MB: {memory}. / exact: relative to {_exact(record)}, which is exact MAML "
        f"with its graph kept, at its own T in the first table of a setting and at "
        f"T = {record['steps']} in the second.\n\n"
        "The methods don't do the same work. Reptile trains on mini-batches of its own and takes "
        "no gradient on queries. ANIL and the memory-reduced method adapt the head alone, on "
        "features computed once for a task where the name doesn't say otherwise.\n\n"
        f"{versions(env)}. {allocator(record)} {code(env)}"
    )


def _exact(record: dict[str, Any]) -> str:
    first = next(iter(record["experiments"].values()))
    return str(first["methods"][BASELINE]["title"])


def _experiment(title: str, found: dict[str, Any], record: dict[str, Any]) -> str:
    own = {method: about["steps"] for method, about in found["methods"].items()}
    same = dict.fromkeys(own, record["steps"])
    return (
        f"## {title}\n\n{found['tasks']} tasks in a meta-batch, {found['queries']} queries per "
        f"class, network {found['network']} with {found['filters']} filters.\n\n"
        f"Each method at its own number of inner steps:\n\n{_table(found, own)}\n\n"
        f"All at T = {record['steps']}, where the window divides it:\n\n{_table(found, same)}"
    )


def _table(found: dict[str, Any], steps: dict[str, int]) -> str:
    """One row for each method that was measured with these numbers of inner steps."""
    rows = {r["method"]: r for r in found["rows"] if r["steps"] == steps[r["method"]]}
    times: Times = {method: {"process": r["seconds"]} for method, r in rows.items()}
    lines = []
    for method, row in rows.items():
        about = found["methods"][method]
        lines.append(
            [
                about["title"],
                row["steps"],
                about["window"],
                about["cg_steps"] or "",
                spread(row["seconds"]),
                f"{ratio(times, method, BASELINE):.3f}",
                mb(row["bytes"]),
                f"{row['bytes'] / rows[BASELINE]['bytes']:.3f}",
            ]
        )
    unit = found["unit"]
    clock = "process s" if unit["time"] == "process seconds" else "CUDA-event s"
    memory = "peak MB" if unit["memory"] == "peak allocated bytes" else "MB saved per task"
    header = ["method", "T", "window", "CG", clock, "/ exact", memory, "/ exact"]
    return table(header, lines)
