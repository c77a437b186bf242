"""The readable page of the transfer part: targets first, then every number they come from."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.markdown import allocator, code, mb, spread, table, targets, versions
from bench.timing import Times, ratio
from multistep.pages.frame import device_name

TITLES = {
    "scratch": "scratch",
    "l2t_0": "T = 0",
    "l2t_1": "T = 1",
    "l2t": "baseline, T = 2",
    "l2t_multistep": "multi-step, T = 2 in one window",
    "l2t_3": "T = 3",
    "l2t_3_est": "3-step Est., T = 3 in one window",
}
SETTINGS = {
    "sgd_32": "ResNet-32 → VGG-9 at 32 × 32, SGD",
    "adam_32": "ResNet-32 → VGG-9 at 32 × 32, Adam",
    "sgd_224": "ResNet-34 → ResNet-18 at 224 × 224, SGD",
    "adam_224": "ResNet-34 → ResNet-18 at 224 × 224, Adam",
}
WAYS = {  # scheme / where the source's features are computed
    "keep/batch": "keep",
    "replay/batch": "replay",
    "keep/step": "keep, features at every use",
    "replay/step": "replay, features at every use",
}
MULTI_STEP_LIMITS = {"keep/batch": 0.72, "replay/batch": 0.70}
EARLIER, EARLIER_LIMIT = "l2t/replay/step", 0.75  # the way of the earlier work's code
LOADING_LIMIT = 1.05


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    parts = [_head(record), targets(rows(record))]
    parts += [_setting(e, record) for e in record["settings"]]
    parts += [_loading(record), _agreement(record)]
    return "\n\n".join(parts) + "\n"


def _head(record: dict[str, Any]) -> str:
    env, load = record["environment"], record["load"]
    clock = {"events": "CUDA events", "process": "process CPU time, wall time beside it"}
    memory = (
        "saved for the way back at the peak, every storage once, parameters included"
        if _clock(record) == "process"
        else "the peak of what the device allocates during the mini-batch"
    )
    busy = (
        f"It was busy with other work: load {load['before']:.1f} before and {load['after']:.1f} "
        f"after, this process included in the latter, on {load['cores']} cores."
        if load["before"] > 0.5
        else f"Nothing else ran on its {load['cores']} cores (load {load['before']:.1f} before)."
    )
    return (
        f"# Benchmark of meta-transfer on {device_name(env)}\n\n"
        "One mini-batch of training: the ordinary update, the inner loop and the meta-update, with "
        "the settings of the paper's cells but noise for images, random weights in the source "
        "network and rates a hundred times smaller; loading and evaluation are left out. All "
        "contenders of a table are interleaved in one process: "
        f"{record['rounds']} rounds after a warm-up, {clock[_clock(record)]}, medians "
        f"(smallest–largest); ratios are taken round by round. {busy}\n\n"
        "Keep and replay are the two schemes: the graphs of the inner loop are kept, or each "
        "window is evaluated again on the way back. / baseline: relative to T = 2 computed in the "
        "same way. Earlier way: that of the code of L2T-ww, windows replayed and the source's "
        "features computed at every use; elsewhere they are computed once for a mini-batch. "
        f"Operations: those of convolutions and matrix products. MB: {memory}.\n\n"
        f"{versions(env)}. {allocator(record)} {code(env)}"
    )


def _clock(record: dict[str, Any]) -> str:
    return "process" if record["environment"]["device"] == "cpu" else "events"


def rows(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Every target with what was measured."""
    clock = _clock(record)
    rows: list[tuple[str, float, float]] = []
    for e, found in record["settings"].items():
        for way, limit in MULTI_STEP_LIMITS.items():
            name = f"multi-step against baseline, {WAYS[way]}: {_title(e, found)}"
            measured = ratio(found["times"], f"l2t_multistep/{way}", f"l2t/{way}", clock)
            rows.append((name, measured, limit))
    for e, found in record["settings"].items():
        name = f"baseline, keep, against the earlier work's way: {_title(e, found)}"
        rows.append((name, ratio(found["times"], "l2t/keep/batch", EARLIER, clock), EARLIER_LIMIT))
    times = record["loading"]["times"]
    both = ("l2t_multistep/loading", "l2t_multistep/resident")
    name = f"loading against a batch that is there, {TITLES['l2t_multistep']}"
    rows.append((name, ratio(times, *both, clock), LOADING_LIMIT))
    return rows


def _setting(experiment: str, record: dict[str, Any]) -> str:
    found, clock = record["settings"][experiment], _clock(record)
    times: Times = found["times"]
    operations = {name: counted["operations"] for name, counted in found["counted"].items()}
    header = ["contender", f"{clock} s", "wall s", "/ baseline", "operations / baseline"]
    header += ["/ earlier way", "/ scratch", "GFLOP per image", "MB"]
    rows = []
    for name in times:
        baseline = "/".join(["l2t", *name.split("/")[1:]])
        pair = ["", ""]
        if baseline in times:
            pair[0] = f"{ratio(times, name, baseline, clock):.3f}"
            pair[1] = f"{operations[name] / operations[baseline]:.3f}"
        rows.append(
            [
                _name(name),
                spread(times[name][clock]),
                spread(times[name]["wall"]),
                *pair,
                f"{ratio(times, name, EARLIER, clock):.3f}",
                f"{ratio(times, name, 'scratch', clock):.2f}",
                f"{operations[name] / found['batch'] / 1e9:.2f}",
                mb(found["counted"][name]["bytes"]),
            ]
        )
    keep = ("l2t/keep/batch", "l2t/keep/step")
    once = (
        f"The baseline with features once for a mini-batch takes {ratio(times, *keep, clock):.3f} "
        "of its time with features at every use where graphs are kept "
        f"({operations[keep[0]] / operations[keep[1]]:.3f} of the operations), "
        f"{ratio(times, keep[0], EARLIER, clock):.3f} of the earlier way's "
        f"({operations[keep[0]] / operations[EARLIER]:.3f})."
    )
    return f"## {_title(experiment, found)}\n\n" + table(header, rows) + f"\n\n{once}"


def _loading(record: dict[str, Any]) -> str:
    loading, clock = record["loading"], _clock(record)
    times: Times = loading["times"]
    rows = []
    for method in [n.removesuffix("/loading") for n in times if n.endswith("/loading")]:
        one, other = f"{method}/loading", f"{method}/resident"
        row = [TITLES[method], *(spread(times[n][clock]) for n in (one, other))]
        rows.append([*row, *(f"{ratio(times, one, other, c):.3f}" for c in (clock, "wall"))])
    rates = [
        f"{loading['images'] / median(times['loader'][c]):.0f} by {c} time"
        for c in ("process", "wall")
    ]
    count, batch = loading["batches"], loading["batch"]
    return (
        "## Loading\n\nPhotographs of about 500 × 375 pixels, all of different sizes, in a memory "
        "map that the page cache holds; one loader thread cuts a random part of each and resizes "
        f"it to 224 × 224. {SETTINGS['sgd_224']}, {count} mini-batches of {batch} images, waiting "
        "for the first one included. The loader alone, images per second: "
        f"{' and '.join(rates)}.\n\n"
    ) + table(["method", f"loading, {clock} s", f"resident, {clock} s", "ratio", "by wall"], rows)


def _agreement(record: dict[str, Any]) -> str:
    rows = [
        [SETTINGS[e], _name(name), f"{distance:.1e}"]
        for e, found in record["agreement"].items()
        for name, distance in found.items()
        if not name.endswith("keep/batch")
    ]
    return (
        "## Agreement of the meta-gradients\n\nRelative distance in float64 from the same method "
        "with kept graphs and features once for a mini-batch, at the first step; the run stops if "
        "they differ.\n\n"
    ) + table(["setting", "contender", "distance"], rows)


def _title(experiment: str, found: dict[str, Any]) -> str:
    return f"{SETTINGS[experiment]}, {found['batch']} images"


def _name(contender: str) -> str:
    method, _, way = contender.partition("/")
    return f"{TITLES[method]}, {WAYS[way]}" if way else TITLES[method]
