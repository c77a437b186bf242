"""The audit of the paper: what its own numbers and text show to a careful reader.

Its words stand in workflow/report/audit.yaml; a function here of an entry's name computes the
numbers in them. No finding needs a result. All are told to understand the numbers that this
project sets its own beside, none to blame.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from multistep import seal, stats
from multistep.fewshot import algorithms as few_shot
from multistep.files import UserError, digest, write_beside, write_json
from multistep.inner.dynamics import SGD
from multistep.networks.build import build
from multistep.pages import checks, load
from multistep.pages.claims import closed_form
from multistep.plan import params
from multistep.plan.params import cell_settings
from multistep.plan.schema import Params
from multistep.transfer import algorithms as transfer
from multistep.transfer.learner import Learner
from multistep.transfer.record import rate


class Finding(NamedTuple):
    """A finding with its numbers put in; `certain` apart from what is only `inferred`."""

    id: str
    title: str
    source: str
    certain: str
    inferred: str
    quotes: list[str]
    numbers: dict[str, Any]


def findings(project: Path) -> list[Finding]:
    """All of them, from params.yaml and workflow/report of a project.

    Raises UserError: an entry has a number that nothing computes.
    """
    base = params.load(project / "params.yaml")
    report = (project / "workflow" / "report").resolve()
    by_form = load.pages(report, base)
    pages: dict[str, Any] = by_form["tables"] | by_form["figures"]
    found = []
    for name, entry in checks.audit(report).items():
        try:
            numbers = NUMBERS[name](base, pages) if name in NUMBERS else {}
            certain, inferred = (t.format(**numbers) for t in (entry.certain, entry.inferred))
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            what = "mend the text, or take the entry out"
            raise UserError(f"audit.yaml: {name}: no number for {error}; {what}") from None
        said = (name, entry.title, entry.source, certain, inferred, entry.quotes)
        found.append(Finding(*said, numbers))
    return found


def write(out: Path, of: Sequence[Finding]) -> list[Path]:
    """`out` (json, a list of sealed findings) and beside it the same for reading (md)."""
    made_from = {"findings": digest([list(f) for f in of])}
    lines = [
        "# An audit of the paper",
        "",
        "From the paper's own numbers, with thanks to its authors, who print enough of them for",
        "it. *Certain* follows from what is printed or published; *inferred* explains it best and",
        "may be wrong.",
    ]
    for f in of:
        lines += ["", f"## {f.title}", "", f"*{f.source}*"]
        lines += ["", f"**Certain.** {f.certain}".rstrip()]
        lines += ["", *(f"- {quote}" for quote in f.quotes)] if f.quotes else []
        lines += ["", f"**Inferred.** {f.inferred}"] if f.inferred else []
    path = out.with_suffix(".md")
    write_beside(path, "\n".join(lines) + "\n")
    write_json(out, [seal.seal(f._asdict(), made_from) for f in of])
    return [out, path]


def printed(table: Any) -> Iterator[tuple[str, str, float, float]]:
    """Method, column, mean and ± of the paper's own rows of a table."""
    for method, of in table.paper.values.items():
        yield from ((method, column, *number) for column, number in of.items())


def fitting_n(mean: float, half_width: float) -> float:
    """The most accuracies between 0 and 1 that can have this mean and 95% half-width, in percent
    and rounded to two decimals: n of 1.96 √(p (1 - p) / n), the widest that there is.
    """
    ends = [q for q in (mean / 100 - 5e-5, mean / 100, mean / 100 + 5e-5) if 0 <= q <= 1]
    return stats.Z95**2 * max(q * (1 - q) for q in ends) / ((half_width - 0.005) / 100) ** 2


def _intervals(_: Params, pages: Any) -> dict[str, Any]:
    paper, rows = pages["table4"].paper, list(printed(pages["table4"]))
    largest = {(m, c): fitting_n(mean, half) for m, c, mean, half in rows}
    fits = {c: paper.episodes / batch for c, batch in paper.meta_batch.items()}
    if any(n < fits[column] for (_, column), n in largest.items()):
        raise UserError("audit.yaml: intervals: a half-width doesn't fit episodes/meta-batch")
    spread = {}
    for method, column, mean, half in rows:
        queries = 15 * int(column.split("way")[0])
        independent = 100 * math.sqrt(mean / 100 * (1 - mean / 100) / queries)
        spread[method, column] = half * math.sqrt(fits[column]) / stats.Z95 / independent
    *usual, odd = sorted(spread, key=lambda key: spread[key])
    deviations = [
        half * math.sqrt(paper.episodes) / stats.Z95 for *_, half in printed(pages["table5"])
    ]
    return {
        "exceeding": sum(n < paper.episodes for n in largest.values()),
        "rows": len(rows),
        "episodes": paper.episodes,
        "most_episodes": min(largest.values()),
        "fits": ", ".join(
            f"{n:g} ({pages['table4'].columns[column]})" for column, n in fits.items()
        ),
        "deviations": [min(deviations), max(deviations)],
        "spread": [spread[usual[0]], spread[usual[-1]], spread[odd]],
        "odd": f"{_title(odd[0])} at {pages['table4'].columns[odd[1]]}",
    }


def _title(method: str) -> str:
    return f"Multi-step ({method.removeprefix('multistep')})"


def is_float16(percent: float) -> bool:
    """Whether the fraction, as printed, is the shortest decimal form of a float16 number."""
    return float(str(np.float16(percent / 100))) == round(percent / 100, 6)


def _float16(_: Params, pages: Any) -> dict[str, Any]:
    rates, chance, means = [], 1.0, []
    for name, (low, high) in {"table4": (90, 100), "table5": (44, 64)}.items():
        own = [mean for _, _, mean, _ in printed(pages[name])]
        rates.append(np.mean([is_float16(n / 100) for n in range(100 * low, 100 * high)]).item())
        chance *= rates[-1] ** len(own)
        means += own
    exact = sum(map(is_float16, means))
    return {"float16": exact, "of": len(means), "rates": rates, "probability": chance}


def _windows(base: Params, _: Any) -> dict[str, Any]:
    s = cell_settings(base, "5way_1shot", "multistep4")
    sgd = SGD(s.inner_lr, s.momentum, s.weight_decay)
    steps = cell_settings(base, "5way_1shot", "multistep8").window  # T, whatever the plan has
    one, two = (sgd.coefficients(n) for n in (steps, steps // 2))
    return {
        "rate": s.inner_lr,
        "momentum": s.momentum,
        "decay": s.weight_decay,
        "steps": steps,
        "rate_of_8": -one.b_phi,
        "rate_of_4": -two.b_phi,
        "momentum_of_4": two.d_phi * two.b_v / two.b_phi,
        "tried": (tried := 0.05),  # a rate at which the test loss is descended
        "off": [closed_form.realised_windows(steps // k, k, rate=tried) for k in (1, 2, 4)],
    }


def _first_order_row(base: Params, pages: Any) -> dict[str, Any]:
    maml, first = (cell_settings(base, "5way_1shot", m) for m in ("maml", "fomaml"))
    other = first.model_dump()
    moves = [
        -SGD(1.0, s.momentum, s.weight_decay).coefficients(s.inner_steps).b_phi
        for s in (maml, first)
    ]
    rates = pages["table5"].paper.inner_lr
    return {
        "differ": " and ".join(k for k, v in maml.model_dump().items() if v != other[k]),
        "steps": maml.inner_steps,
        "moves": moves,
        "rates": [rates[method]["mini_5way_1shot"] for method in ("maml", "fomaml")],
    }


def _quoted_rows(_: Params, pages: Any) -> dict[str, Any]:
    second, third = (
        pages[name].literature["scratch_literature"].values for name in ("table2", "table3")
    )
    free: dict[str, Any] = {}
    descent: dict[str, Any] = {}
    for name in ("extended_omniglot_5way", "extended_omniglot_20way"):
        free |= pages[name].literature["imaml_hessian_free"].values
        descent |= pages[name].literature["imaml_gradient_descent"].values
    if second != third or free != pages["table4"].literature["imaml_literature"].values:
        raise UserError("audit.yaml: quoted_rows: these rows aren't equal; mend the text")
    return {"numbers": len(second), "descent": ", ".join(f"{v[0]:g}" for v in descent.values())}


def _transfer_saving(base: Params, pages: Any) -> dict[str, Any]:
    seconds = pages["table1"].paper.seconds
    before, after = (seconds[method][0] for method in ("l2t", "l2t_multistep"))
    hours = pages["table1"].epochs * (before - after) / 3600
    saved = {"ratio": after / before, "saved": 1 - after / before, "hours": hours}
    return saved | transfer_operations(base)


def transfer_operations(base: Params) -> dict[str, float]:
    """Floating-point operations of a mini-batch of Table 1, Multi-step over Baseline, by scheme.

    Counted on images of 64 pixels: all but a thousandth is convolutions, whose operations grow with
    the area alike.
    """
    size = 64
    images = torch.linspace(-1, 1, 6 * size**2).view(2, 3, size, size)
    labels, place = torch.zeros(2, dtype=torch.long), torch.device("cpu")

    def count(method: str, scheme: str, features: str) -> tuple[int, int]:
        """Of a mini-batch, and of its features alone."""
        changes = {"scheme": scheme, "source_features": features}
        settings = cell_settings(base, "sgd_224", method).model_copy(update=changes)
        network = base.source_networks[settings.source]
        generator = torch.Generator().manual_seed(0)
        source = build(network.architecture, network.classes, generator)
        target = build(settings.target, base.datasets["bird"].classes, generator)
        algorithm = transfer.create(base.methods[method].algorithm, settings.model_dump())
        learner = Learner(source, target, algorithm, 0, place)
        with FlopCounterMode(display=False) as whole:
            learner.step(images, labels, settings.lr)
        with FlopCounterMode(display=False) as alone, torch.no_grad():
            source(images)
        return whole.get_total_flops(), alone.get_total_flops()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of counting; more only wait for each other
    try:
        pair = ("l2t_multistep", "l2t")
        (kept, _), (of, _) = (count(method, "keep", "batch") for method in pair)
        (replayed, source), (whole, _) = (count(method, "replay", "step") for method in pair)
    finally:
        torch.set_num_threads(threads)
    # A second window takes two passes of the source network and 3 + 9 of the target network. The
    # released code takes the 9 for the first one too, whose mixed derivative alone needs 5.
    more = (9 - 5) * (whole - replayed - 2 * source) / 12
    released = (replayed + more) / (whole + more)
    return {"kept": kept / of, "replayed": replayed / whole, "released": released}


def _twice_as_fast(base: Params, _: Any) -> dict[str, Any]:
    def ratio(method: str, shots: int, queries: int) -> float:
        costs = []
        for name in (method, "maml"):
            settings = cell_settings(base, f"5way_{shots}shot", name)
            kind = few_shot.get(base.methods[name].algorithm)
            costs.append(kind(settings.model_copy(update={"queries": queries})).cost())
        return costs[0] / costs[1]

    of_maml = {(shots, q): ratio("multistep4", shots, q) for shots in (1, 5) for q in (15, 5, 1)}
    return {
        "of_maml": ", ".join(f"{v:.2f} ({shots}, {q})" for (shots, q), v in of_maml.items()),
        "first_order": ratio("fomaml", 1, 15),
        "steps": cell_settings(base, "5way_1shot", "maml").inner_steps,
    }


def _no_inner_steps(_: Params, pages: Any) -> dict[str, Any]:
    """`chance`: how often a number of the range of Tables 2 and 3 is one of their accuracies."""
    bars, table = pages["figure4"], pages["table3"]
    zero, two = (bars.paper.accuracy[method][0] for method in ("l2t_0", "l2t"))
    scratch = table.literature["scratch_literature"].values
    without = scratch[bars.dataset][0]
    others = {q.value for name in ("table2", "table3") for q in pages[name].quotations()}
    return {
        "zero": zero,
        "scratch": without,
        "two": two,
        "share": (zero - without) / (two - without),
        "twin": ", ".join(table.columns[name] for name, of in scratch.items() if of[0] == zero),
        "others": len(others),
        "chance": len(others) / (100 * (max(others) - min(others)) + 1),
    }


def _learning_rate(_: Params, pages: Any) -> dict[str, Any]:
    epochs = pages["table2"].paper.epochs
    rates = [rate(1.0, 0, epochs, epoch) for epoch in range(epochs)]
    tenth = epochs // 10
    return {
        "epochs": epochs,
        "early": np.mean(rates[tenth : 2 * tenth]).item(),
        "late": np.mean(rates[-tenth:]).item(),
    }


def _text_and_tables(_: Params, pages: Any) -> dict[str, Any]:
    paper = pages["table4"].paper
    at = {method: of["20way_1shot"] for method, of in paper.values.items()}
    methods = ("multistep2", "multistep4", "multistep8")
    root = math.sqrt(paper.meta_batch["20way_1shot"])
    clear = [
        method
        for method in methods
        if at["maml"][0] - at[method][0] > math.hypot(at["maml"][1], at[method][1]) / root
    ]
    drops = [
        paper.values["maml"]["5way_1shot"][0] - paper.values[method]["5way_1shot"][0]
        for method in ("multistep4", "multistep8")
    ]
    sizes = pages["table6"].paper.values
    shares = {
        pages["table6"].rows[name]: of["validation"] / (of["train"] + of["validation"])
        for name, of in sizes.items()
    }
    return {
        "gap": [at[method][0] - at["fomaml"][0] for method in methods],
        "rise": at["multistep4"][0] - at["multistep2"][0],
        "drops": drops,
        "shares": " and ".join(
            f"{100 * share:.1f}% on {name}" for name, share in shares.items() if share > 0.101
        ),
        "clear": ", ".join(map(_title, clear)),
    }


NUMBERS: dict[str, Callable[[Params, Any], dict[str, Any]]] = {
    f.__name__.removeprefix("_"): f
    for f in (
        _intervals,
        _float16,
        _windows,
        _first_order_row,
        _quoted_rows,
        _transfer_saving,
        _twice_as_fast,
        _learning_rate,
        _no_inner_steps,
        _text_and_tables,
    )
}
