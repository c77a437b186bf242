"""The readable page of the script's record."""

from __future__ import annotations

from typing import Any

from bench.markdown import code, table, versions
from multistep.pages.frame import device_name

RATE = 200.0  # exact meta-iterations a second, 5-way 1-shot, on an H200
BUSY = 0.98  # of the rate of the device alone: nothing is lost to waiting
EXACT = "5way_1shot/maml"


def page(record: dict[str, Any]) -> str:
    """Markdown."""
    parts = [_head(record), _targets(record), _checks(record["parts"].get("checks", {}))]
    parts += [_rates(record["parts"]), _transfer(record["parts"].get("transfer", {}))]
    parts += [_kernels(record["parts"].get("kernels", {})), _cells(record)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(record: dict[str, Any]) -> str:
    env = record["environment"]
    spent = ", ".join(f"{seconds / 60:.1f}" for seconds in record.get("spent", []))
    small = "" if env["device"] != "cpu" else (
        " On a CPU the script is tried, at sizes that say nothing of anything."
    )  # fmt: skip
    return (
        f"# Minutes on {device_name(env)}\n\nEvery path of the device against the CPU and the "
        "reference, rates, and the paper's cells on Omniglot (60,000 meta-iterations), by `python "
        f"-m bench --minutes`.{small} Minutes so far, one number for each call: "
        f"{spent or 'not over'}.\n\n{versions(env)}, {env['threads']} threads. {code(env)}"
    )


def _targets(record: dict[str, Any]) -> str:
    found = record["parts"].get("rates", {}).get(f"{EXACT}/captured", {})
    if "per_second" not in found:
        return ""
    rate, alone = found["per_second"], found["alone"]
    rows = [
        ("exact meta-iterations a second, 5-way 1-shot (an H200)", RATE, rate),
        ("their rate / that of the device alone", BUSY, rate / alone),
    ]
    lines = [
        (name, f"{least:.4g}", f"{value:.4g}", "yes" if value >= least else "**no**")
        for name, least, value in rows
    ]
    return "## Targets\n\n" + table(["target", "at least", "measured", "met"], lines)


def _checks(checks: dict[str, Any]) -> str:
    if not checks:
        return ""
    wrong = {n: f for n, f in checks.items() if "error" in f or f.get("ok") is False}
    good = sum(f.get("ok") is True for f in checks.values())
    rows = [
        [name, _number(f, "distance"), _number(f, "limit"), _verdict(f)]
        for name, f in sorted(checks.items(), key=lambda each: each[0] not in wrong)
    ]
    told = f"**{len(wrong)} failed: {', '.join(wrong)}.** " if wrong else ""
    return (
        f"## Checks\n\n{told}{good} of {len(checks)} hold. Relative distances: `float64` of the "
        "meta-gradient from the reference (autograd through the definition, or the same on the "
        "CPU); `float32` from the CPU's, median over tasks (transfer: from float64 on the "
        "device); `captured` of θ from an eager run's, `resumed` from an undisturbed one's, as "
        "parts of the way; `evaluated` in points of accuracy.\n\n"
        + table(["check", "distance", "at most", "holds"], rows)
    )


def _verdict(found: dict[str, Any]) -> str:
    if "ok" in found:
        return "yes" if found["ok"] else f"**no**{_said(found)}"
    return f"**no**: {found['error']}" if "error" in found else _why(found)


def _said(found: dict[str, Any]) -> str:
    return f": {found['said']}" if "said" in found else ""


def _why(found: dict[str, Any]) -> str:
    """Why there is no number."""
    if "left_out" in found:
        return f"left out: {found['left_out']}"
    return found.get("error") or f"stopped {found['stopped']}"


def _number(found: dict[str, Any], key: str) -> str:
    return f"{found[key]:.1e}" if found.get(key) is not None else ""


def _rates(parts: dict[str, Any]) -> str:
    rates, peers = parts.get("rates", {}), parts.get("peers", {})
    if not rates:
        return ""
    rows = []
    for name in dict.fromkeys(name.rpartition("/")[0] for name in rates):
        captured, eager = (rates.get(f"{name}/{kind}", {}) for kind in ("captured", "eager"))
        first = captured or eager
        row = [name, first.get("tasks", ""), first.get("steps", "")]
        row += [_rate(captured), _rate(captured, "alone"), _rate(eager), _mb(captured)]
        rows.append(row)
    text = "## Meta-iterations a second\n\n" + table(
        ["method", "tasks", "T", "captured", "device alone", "eager", "peak MB"], rows
    )
    lines = [f"{name.rpartition('/')[2]} {_peer(found)}" for name, found in peers.items()]
    return text + ("\n\nExact MAML by other libraries: " + "; ".join(lines) + "." if lines else "")


def _peer(found: dict[str, Any]) -> str:
    if "per_second" not in found:
        return found.get("absent") or _verdict(found)
    theirs, ours = found["per_second"], found["ours"]
    return (
        f"{found['version']}, {theirs:.4g} meta-gradients a second, ours, eager, {ours:.4g} "
        f"({ours / theirs:.1f} times)"
    )


def _rate(found: dict[str, Any], key: str = "per_second") -> str:
    if key in found:
        return f"{found[key]:.4g}"
    return "" if not found or key == "alone" else _why(found)


def _mb(found: dict[str, Any]) -> str:
    return f"{found['bytes'] / 1e6:.0f}" if found.get("bytes") else ""


def _transfer(transfer: dict[str, Any]) -> str:
    if not transfer:
        return ""
    rows = []
    for name, found in transfer.items():
        experiment, _, way = name.partition("/")
        method, _, rest = way.partition("/")
        other = transfer.get(f"{experiment}/l2t/{rest}", {}) if method == "l2t_multistep" else {}
        both = "per_second" in found and "per_second" in other
        share = f"{other['per_second'] / found['per_second']:.3f}" if both else ""
        rows.append([name, found.get("batch", ""), _rate(found), share, _mb(found)])
    header = ["mini-batch", "images", "a second", "time / L2T-ww's", "peak MB"]
    return "## Transfer: mini-batches a second\n\n" + table(header, rows)


def _kernels(kernels: dict[str, Any]) -> str:
    if not kernels:
        return ""
    rows = [
        [n, f"{f['count']:.0f}", f"{f['per_second']:.4g}", f"{f['busy']:.0%}"]
        if "busy" in f
        else [n, "", _why(f), ""]
        for n, f in kernels.items()
    ]
    text = (
        "## Kernels\n\nOf one meta-iteration or mini-batch; the share of its time that they fill, "
        "timed without the profiler.\n\n" + table(["", "kernels", "a second", "busy"], rows)
    )
    for name, found in kernels.items():
        if "busy" in found:
            largest = [[f"`{k}`", f"{share:.1%}", f"{n:.0f}"] for k, share, n in found["largest"]]
            text += f"\n\n{name}:\n\n" + table(["kernel", "of all", "times"], largest)
    return text


def _cells(record: dict[str, Any]) -> str:
    rows = [
        [
            path, f"{found['expected']:.0f}", f"{found['iteration']:,}",
            f"{found['accuracy']:.2f} ± {found['ci95']:.2f}" if "accuracy" in found else "",
            f"{found['train_seconds']:.0f}" if "train_seconds" in found else _why(found),
        ]
        for path, found in record["cells"].items()
    ]  # fmt: skip
    note = f"\n\n{record['note']}." if record.get("note") else ""
    if not rows:
        return f"## Cells{note}" if note else ""
    header = ["cell", "expected s", "meta-iterations", "test accuracy, %", "train s"]
    return f"## Cells{note}\n\n" + table(header, rows)
