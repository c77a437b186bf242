"""The readable page of a benchmark's record: targets first, then every number they come from."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench import builds, methods_report, plan, transfer_report
from bench.agreement import LIMITS, TASKS
from bench.markdown import allocator, code, mb, spread, table, targets, versions
from bench.memory import model_bytes
from bench.minutes import report as minutes
from bench.timing import Times, faster, ratio
from multistep.pages.frame import device_name

EXACT = "ours, exact"
METHODS = {  # method of params.yaml → (contender, windows in 8 steps that are pulled back)
    "maml": (EXACT, 8),
    "multistep2": ("ours, multi-step(2)", 4),
    "multistep4": ("ours, multi-step(4)", 2),
    "multistep8": ("ours, multi-step(8)", 1),
    "fomaml": ("ours, first-order", 0),
}
TITLES = {
    "5way_1shot": "5-way 1-shot",
    "5way_5shot": "5-way 5-shot",
    "20way_1shot": "20-way 1-shot",
    "20way_5shot": "20-way 5-shot",
}
PEER_LIMITS = {"5way_1shot": 0.36, "20way_1shot": 0.50}
WINDOW_LIMITS = {  # contender → experiment → largest share of exact MAML's process time
    "ours, multi-step(4)": {"5way_1shot": 0.60, "20way_1shot": 0.60, "5way_5shot": 0.40},
    "ours, multi-step(8)": {"5way_1shot": 0.50, "20way_1shot": 0.50, "5way_5shot": 0.28},
}
# The other parts' pages, and their targets where they have any: `page` and `rows`.
PARTS: dict[str, Any] = {
    "bench-methods": methods_report, "bench-builds": builds, "bench-workflow": plan,
    "bench-minutes": minutes, "bench-transfer": transfer_report,
}  # fmt: skip
MEMORY_LIMIT = 0.75  # of what autograd saves for the plain network
SAMPLING_LIMIT = 0.03


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    if record["kind"] in PARTS:
        return str(PARTS[record["kind"]].page(record))
    cuda = "saved" not in record
    parts = [_head(record, cuda), *([] if cuda else [targets(_targets(record))])]
    parts += [_times(e, record, "wall" if cuda else "process") for e in record["times"]]
    parts.append(_agreement(record))
    if not cuda:
        parts += [_saved(record["saved"]), _live(record["live"]), _recompute(record["recompute"])]
        parts.append(_sampling(record))
    return "\n\n".join(parts) + "\n"


def rows(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Every target of a part with what was measured, where it has any."""
    of = getattr(PARTS.get(record["kind"]), "rows", _targets if "saved" in record else None)
    return of(record) if of else []


def _head(record: dict[str, Any], cuda: bool) -> str:
    env = record["environment"]
    clock = "synchronised wall time" if cuda else "process CPU time, wall time beside it"
    return (
        f"# Benchmark on {device_name(env)}\n\n"
        "One meta-gradient of a whole meta-batch (15 queries per class, 8 inner steps, network "
        "strided, momentum 0.9, coupled weight decay 1e-4, inner learning rate 0.4; γ and β are "
        "learned by the outer loop only). The outer Adam step and the sampling of episodes are "
        "the same for all and are not in these times. All contenders are interleaved in one "
        f"process: {record['rounds']} rounds after a warm-up, {clock}, medians (smallest–largest); "
        "ratios are taken round by round. The images are a stand-in of Omniglot's shape.\n\n"
        f"{versions(env, record['peers'])}. {allocator(record)} {code(env)}"
    )


def _targets(record: dict[str, Any]) -> list[tuple[str, float, float]]:
    times, peers = record["times"], list(record["peers"])
    rows: list[tuple[str, float, float]] = []
    for e, limit in PEER_LIMITS.items():
        best = faster(times[e], peers)
        name = f"exact MAML against {best} (the faster peer), {_setting(e, record)}"
        rows.append((name, ratio(times[e], EXACT, best), limit))
    for contender, limits in WINDOW_LIMITS.items():
        for e, limit in limits.items():
            name = f"{contender} against ours, exact, {_setting(e, record)}"
            rows.append((name, ratio(times[e], contender, EXACT), limit))
    share_saved = max(
        saved[method] / model_bytes(e, windows)
        for e, saved in record["saved"].items()
        for method, (_, windows) in METHODS.items()
    )
    rows.append(("saved bytes per task / the model's, largest", share_saved, MEMORY_LIMIT))
    kept = [r["activations"] for r in record["recompute"]]
    rows.append(
        (
            "recompute: activation bytes over T and n, change (window starts: below)",
            max(kept) / min(kept) - 1,
            0,
        )
    )
    share = ratio(record["sampling"], "sampling", "maml")
    rows.append(("sampling's share of a meta-iteration of exact MAML", share, SAMPLING_LIMIT))
    return rows


def _times(experiment: str, record: dict[str, Any], clock: str) -> str:
    times: Times = record["times"][experiment]
    peers = [name for name in record["peers"] if name in times]
    best = faster(times, peers, clock) if peers else None
    header = ["contender", "process s", "wall s", "/ ours, exact"]
    header += [f"/ {best}"] if best else []
    rows = []
    for name, clocks in times.items():
        row = [name, spread(clocks["process"]), spread(clocks["wall"])]
        row += [f"{ratio(times, name, other, clock):.3f}" for other in (EXACT, best) if other]
        rows.append(row)
    return f"## {_setting(experiment, record)}\n\n" + table(header, rows)


def _agreement(record: dict[str, Any]) -> str:
    rows = [
        [TITLES[e], precision, name, f"{of_tasks['median']:.1e}", f"{of_tasks['largest']:.1e}"]
        for e, found in record["agreement"].items()
        for precision, distances in found.items()
        for name, of_tasks in distances.items()
    ]
    text = (
        "## Agreement of the exact meta-gradients\n\nRelative distance from the first contender, "
        f"by all of θ, task by task: {TASKS['float32']} tasks in float32, {TASKS['float64']} in "
        f"float64. The run stops if a median in float32 exceeds {LIMITS['float32']:.0e} or a "
        f"largest one in float64 {LIMITS['float64']:.0e}. Single tasks are further apart in "
        "float32: an activation within rounding of ReLU's kink has another sign in another order "
        "of summation, and eight steep steps make that visible, in every contender alike.\n\n"
    )
    return text + table(["setting", "precision", "contender", "median", "largest"], rows)


def _saved(saved: dict[str, dict[str, int]]) -> str:
    rows = []
    for e, found in saved.items():
        for name, size in found.items():
            contender, windows = METHODS.get(name, (name, 8))
            model = model_bytes(e, windows)
            rows.append([TITLES[e], contender, mb(size), mb(model), f"{size / model:.3f}"])
    text = (
        "## Saved for the way back, MB per task\n\nDistinct storages kept for a later derivative "
        "at the peak, the episode's images not counted. Model: q + K·s for K windows (first "
        "order: q), what autograd saves for the plain network.\n\n"
    )
    return text + table(["setting", "contender", "saved", "model", "ratio"], rows)


def _live(live: dict[str, dict[str, int]]) -> str:
    names = next(iter(live.values()))
    rows = [[name, *(mb(found[name]) for found in live.values())] for name in names]
    text = (
        "## Alive at the peak of a meta-iteration, MB\n\nAll storages that operations make. The "
        "peers hold one task at a time, ours and the reference a chunk of tasks.\n\n"
    )
    return text + table(["contender", *(TITLES[e] for e in live)], rows)


def _recompute(rows: list[dict[str, int]]) -> str:
    lines = [[r["steps"], r["window"], mb(r["activations"]), mb(r["starts"])] for r in rows]
    text = (
        "## Recompute mode over steps and windows, MB per task (5-way 1-shot)\n\nActivations are "
        "those of the query or of one window, whichever is larger. What grows with the number of "
        "windows T/n is φ at each window's start: parameters, not activations.\n\n"
    )
    return text + table(["T", "n", "activations", "window starts"], lines)


def _sampling(record: dict[str, Any]) -> str:
    times: Times = record["sampling"]
    rows = [
        [METHODS[m][0], spread(times[m]["process"]), f"{ratio(times, 'sampling', m):.2%}"]
        for m in METHODS
    ]
    text = (
        "## Sampling of episodes (5-way 1-shot)\n\nDrawing, gathering and rotating a meta-batch "
        f"from 24,000 images: {median(times['sampling']['process']) * 1000:.1f} ms. Reading all "
        f"images from disk, once per cell: {record['loading'] * 1000:.0f} ms.\n\n"
    )
    header = ["whole meta-iteration, Adam included", "process s", "sampling's share"]
    return text + table(header, rows)


def _setting(experiment: str, record: dict[str, Any]) -> str:
    size = record["sizes"][experiment]
    return f"{TITLES[experiment]}, {size['tasks']} tasks ({size['chunk']} at a time in ours)"
