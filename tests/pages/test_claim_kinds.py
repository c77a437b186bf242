"""Each kind of claim on made-up results: what it measures of them, and what it leaves open."""

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers import PARAMS, ROOT
from page_records import few_shot, few_shot_times, transfer, transfer_times
from torch.utils._python_dispatch import TorchDispatchMode

from multistep.pages import claims, frame, inputs, load, verdicts
from multistep.pages.claims import chosen, closed_form, linear
from multistep.pages.scales import Scale
from multistep.pages.spec import parse
from multistep.plan import params


def test_seeds_that_one_method_alone_has_count() -> None:
    """By the seed that both have it would be 10 points better; of three seeds that isn't known."""
    claim = parse("claims", {
        "kind": "accuracy", "text": "", "section": "", "place": "", "at_least": 0.0, "compare":
        [{"of": ["multistep2"], "to": ["imaml"], "cells": {"omniglot": ["5way_1shot"]}}],
    }, "")  # fmt: skip
    ours = [[90.0, 92.0], [75.0, 77.0], [79.0, 81.0]]
    records = [few_shot(method="multistep2", seed=s, episodes=e) for s, e in enumerate(ours)]
    other = few_shot(method="imaml", episodes=[80.0, 82.0])
    (part,) = claim.parts(_scale(*records, other))  # type: ignore[attr-defined]
    assert part.estimate.value == pytest.approx(np.mean(ours) - 81.0)
    assert part.estimate.n == {"seeds": 1, "seeds of the other": 3, "episodes": 2}
    assert len(part.files) == 4
    low, high = part.estimate.interval()
    half = scipy.stats.t.ppf(0.975, 2) * np.std([91.0, 76.0, 80.0], ddof=1) / 3**0.5
    assert (high - low) / 2 == pytest.approx(np.hypot(half, 2**0.5 * 1.96 / 2**0.5), rel=1e-3)
    (part,) = claim.parts(_scale(records[0], other))  # type: ignore[attr-defined]
    assert part.estimate.value == pytest.approx(10.0)
    assert part.estimate.n == {"seeds": 1, "episodes": 2}
    (part,) = claim.parts(_scale(*records[1:], other))  # type: ignore[attr-defined]
    assert part.estimate.value == pytest.approx(78.0 - 81.0)  # no seed of both, so unpaired
    assert part.estimate.n["seeds of the other"] == 2


def test_a_verdict_says_of_how_many_seeds_it_is() -> None:
    """Where one of both ran once nothing says how much it varies, however often the other ran."""
    said = {"kind": "accuracy", "text": "", "at_least": 0.0}
    said["compare"] = [{"of": ["l2t_multistep"], "to": ["l2t"], "cells": {"bird": ["sgd_224"]}}]
    claim: Any = parse("claims", said, "")
    ours = transfer("sgd_224", "bird", "l2t_multistep", test=52.0)
    theirs = [transfer("sgd_224", "bird", seed=s, test=50.0 + s) for s in range(3)]
    alike = [transfer("sgd_224", "bird", "l2t_multistep", seed=s, test=52.1 + s) for s in range(3)]
    entry = verdicts._entry("x", claim, _scale(*alike, *theirs))
    assert entry["words"] == "undecided: 2.1 points, 3 seeds, without any spread, so no interval"
    equal = [few_shot(episodes=[50.0] * 4), few_shot(method="multistep2", episodes=[52.0] * 4)]
    pair = {"of": ["multistep2"], "to": ["maml"], "cells": {"omniglot": ["5way_1shot"]}}
    other: Any = parse("claims", said | {"compare": [pair]}, "")
    told = "undecided: 2 points, 1 seed, 4 episodes, without any spread, so no interval"
    assert verdicts._entry("x", other, _scale(*equal))["words"] == told
    for number, right in (
        (3, "undecided: 1 points, 1 seed, 3 seeds of the other, so no interval"),
        (1, "undecided: 2 points, 1 seed, so no interval"),
    ):
        entry = verdicts._entry("x", claim, _scale(ours, *theirs[:number]))
        assert entry["words"] == right


def test_a_bent_line_is_no_line() -> None:
    """Times 1, 2, 3, 6 over four steps are off the line; 1, 2, 3, 4 are on it."""
    claim = linear.Spec(
        kind="linear", text="", section="", place="", at_most=0.25, at_least=-0.25,
        cells={"omniglot": ["5way_1shot"]}, methods={"maml": [1, 2, 3, 4]},
    )  # fmt: skip
    for last, right in ((4.0, "held"), (6.0, "not held")):
        times = ((t, t, 1.001 * t) for t in (1.0, 2.0, 3.0, last))
        rows = [("maml", n, list(of), 1) for n, of in enumerate(times, start=1)]
        scale = _scale(few_shot_times(rows=rows))
        assert claims.verdict(list(claim.parts(scale)), claim.range) == right


def test_every_time_has_to_lie_on_the_line() -> None:
    """The one that is furthest off is known well, another isn't: that isn't enough to hold."""
    claim = linear.Spec(
        kind="linear", text="", at_most=0.25, at_least=-0.25,
        cells={"omniglot": ["5way_1shot"]}, methods={"maml": [1, 2, 3, 4]},
    )  # fmt: skip
    times = [[1.0, 1.0, 1.001], [2.1, 2.1, 2.101], [3.0, 3.0, 3.001], [2.0, 4.0, 6.0]]
    rows = [("maml", n, of, 1) for n, of in enumerate(times, start=1)]
    parts = list(claim.parts(_scale(few_shot_times(rows=rows))))
    off = [part.estimate.value for part in parts if part.estimate]
    slope, start = np.polyfit([1, 2, 3, 4], np.mean(times, 1), 1)
    assert off == pytest.approx((np.mean(times, 1) - start) / slope - [1, 2, 3, 4])
    assert np.argmax(np.abs(off)) == 1
    assert [claims.verdict([part], claim.range) for part in parts] == ["held"] * 3 + ["undecided"]
    assert claims.verdict(parts, claim.range) == "undecided"
    assert [part.missing for part in claim.parts(_scale())] == ["not measured"] * 4


def test_a_lone_candidate_is_compared_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "_tried", lambda *_: ("inner_lr", [0.01]))
    claim = chosen.Spec(
        kind="chosen", text="", section="", place="", dataset="miniimagenet",
        chosen={"mini_5way_1shot": {"maml": 0.01}},
    )  # fmt: skip
    (part,) = claim.parts(_scale(_candidate(0.01, 48.0)))
    assert part.missing == "no other value is tried"


def test_derivatives_are_counted_on_the_network_with_its_batch_norm() -> None:
    """Whose maps a Hessian-vector product keeps, too."""
    seen = Counter[str]()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen[f.overloadpacket.__name__] += 1
            return f(*args, **(kwargs or {}))

    with Watch():
        closed_form.omniglot_derivatives(2, second=False)
    assert seen["convolution"] == sum("batch_norm" in name for name in seen.elements()) / 2 == 4


def test_each_other_candidate_is_a_comparison_of_its_own() -> None:
    """One of three is above by chance sooner than one alone: 3.1 ± 2.8 points aren't enough."""
    claim = chosen.Spec(
        kind="chosen", text="", dataset="miniimagenet",
        chosen={"mini_5way_1shot": {"maml": 0.004}},
    )  # fmt: skip
    tried = {0.1: 40.0, 0.04: 44.0, 0.01: 48.0, 0.004: 44.9}
    parts = list(claim.parts(_scale(*(_candidate(*each) for each in tried.items()))))
    off = [part.estimate.value for part in parts if part.estimate]
    assert off == pytest.approx([4.9, 0.9, -3.1])
    assert [claims.verdict([part], claim.range) for part in parts[1:]] == ["undecided", "not held"]
    assert claims.verdict(parts, claim.range) == "undecided"
    some = list(claim.parts(_scale(_candidate(0.004, 44.9), _candidate(0.1, 40.0))))
    assert [part.missing for part in some] == ["not every candidate has been run"] * 3


@cache
def _paper() -> tuple[inputs.Plan, dict[str, Any]]:
    base = params.load(PARAMS)
    forms = load.pages(ROOT / "workflow" / "report", base)
    return inputs.Plan.of(base), {n: spec for form in forms.values() for n, spec in form.items()}


def _scale(*records: dict[str, Any]) -> Scale:
    """The paper's scale with these results, as if they had been run as the paper says."""
    plan, pages = _paper()
    by_path = {frame.place(record): record for record in records}
    return Scale(plan, plan, {"tables": pages}, list(by_path), known=by_path)


def _candidate(value: float, accuracy: float | None) -> dict[str, Any]:
    record = few_shot(experiment=f"mini_5way_1shot-inner_lr-{value:g}", dataset="miniimagenet")
    best = accuracy and {"validation_accuracy": accuracy, "validation_ci95": 1.96}
    record["metrics"] = {"best": best, "diverged": None if accuracy else "iteration 3"}
    record["cell"]["settings"]["validation_episodes"] = 600
    return record


def _timed(device: str) -> dict[str, Any]:
    seconds = {"l2t": [5.0, 5.2, 4.8], "l2t_multistep": [3.0, 3.1, 2.9]}
    record = transfer_times("sgd_224", "bird", seconds=seconds, iterations=78)
    return record | {"environment": record["environment"] | {"device": device}}


def _drift(seed: int, last: float) -> dict[str, Any]:
    of = transfer("sgd_224", "bird", seed=seed)
    points = [(i, 1.0 if i <= 50 else last, 0.5) for i in range(1, 101)]
    return of | {"history": [{"drift": points}]}


HOURS = {"epochs": 200, "device": "TITAN Xp", "at_least": 7.0}
HOURS["compare"] = [{"of": ["l2t_multistep"], "to": ["l2t"], "cells": {"bird": ["sgd_224"]}}]


@pytest.mark.parametrize(
    ("kind", "values", "records", "measured", "right"),
    [
        # Printed ± 0.77 is that of 600/32 episodes: the interval is ours and 0.77/√32 in squares.
        ("printed", {"page": "table4", "spread": "episodes", "at_least": -0.5, "at_most": 0.5},
         [few_shot(episodes=[99.0, 99.2] * 300)], 0.0, "undecided"),
        ("printed", {"page": "table4", "spread": "episodes", "at_least": -0.1},
         [few_shot(episodes=[89.0, 89.2] * 300)], -10.0, "not held"),
        ("sizes", {"page": "table6"}, [transfer("sgd_224", "bird")], None, "not held"),
        ("level", {"scale": "paper", "method": "maml", "cells": {"omniglot": ["20way_1shot"]},
                   "at_most": 95.5},
         [few_shot("20way_1shot", episodes=[90.0, 92.0] * 300)], 91.0, "held"),
        ("level", {"scale": "finn2017", "method": "maml", "cells": {"omniglot": ["20way_1shot"]},
                   "at_most": 95.5},
         [few_shot("20way_1shot")], None, "not run"),
        ("chosen", {"dataset": "miniimagenet", "chosen": {"mini_5way_1shot": {"maml": 0.01}}},
         [_candidate(v, a) for v, a in ((0.1, 40.0), (0.04, 44.0), (0.01, 48.0), (0.004, None))],
         8.0, "held"),
        ("chosen", {"dataset": "miniimagenet", "chosen": {"mini_5way_1shot": {"maml": 0.004}}},
         [_candidate(v, a) for v, a in ((0.1, 40.0), (0.04, 44.0), (0.01, 48.0), (0.004, 47.0))],
         7.0, "undecided"),
        ("chosen", {"dataset": "miniimagenet", "chosen": {"mini_5way_1shot": {"maml": 0.01}}},
         [_candidate(v, 48.0 if v == 0.01 else None) for v in (0.1, 0.04, 0.01, 0.004)],
         48.0, "held"),  # all others diverged, which is exact
        ("hours", HOURS, [_timed("NVIDIA TITAN Xp")], 78 * 200 * 2.0 / 3600, "held"),
        ("hours", HOURS, [_timed("another GPU")], None, "not run"),
        ("drift", {"method": "l2t", "cells": {"bird": ["sgd_224"]}, "during": [0.5, 1.0],
                   "relative_to": [0.0, 0.5], "at_most": 0.5},
         [_drift(seed, last) for seed, last in enumerate((0.2, 0.21, 0.22))],
         (0.2 * 0.21 * 0.22) ** (1 / 3), "held"),
        ("drift", {"method": "l2t", "cells": {"bird": ["sgd_224"]}, "during": [0.5, 1.0],
                   "relative_to": [0.0, 0.005], "at_most": 0.5},  # a hundred points have none there
         [_drift(0, 0.2)], None, "not run"),
    ],
)  # fmt: skip
def test_each_kind_tests_what_it_says(
    kind: str, values: dict[str, Any], records: list[Any], measured: float | None, right: str
) -> None:
    scale = _scale(*records)
    said = {"kind": kind, "text": "", "section": "", "place": "", **values}
    claim = parse("claims", said, "").settled(scale.by_name)  # type: ignore[attr-defined]
    parts = [part for part in claim.parts(scale) if part.estimate is not None]
    assert claims.verdict(list(claim.parts(scale)), claim.range) == right
    if measured is not None:
        assert parts[0].estimate.shown == pytest.approx(measured)
    if kind == "printed":
        ours, theirs = 1.96 * 0.1 / 600**0.5, 0.77 / 32**0.5
        low, high = parts[0].estimate.interval()
        assert (high - low) / 2 == pytest.approx(np.hypot(ours, theirs), rel=1e-3)
        # Over episodes, too, so the words don't say "of these test images and no others".
        assert parts[0].estimate.n == {"seeds": 1, "episodes": 600}
        assert len(list(claim.parts(scale))) == 20
