"""Claims and verdicts: the rule, made-up results whose answer is known, the committed scales."""

import copy
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers import PARAMS, ROOT
from page_records import few_shot, few_shot_times, transfer

from multistep import cli, seal
from multistep.files import UserError, write_json
from multistep.job.record import name_of
from multistep.pages import claims, inputs, load, scales, verdicts
from multistep.pages.claims import chosen, closed_form, linear
from multistep.pages.scales import Scale
from multistep.pages.spec import parse
from multistep.plan import params
from multistep.stats import Estimate, sampled

INSIDE, OUTSIDE, OPEN = (Estimate(v, ((1.0, None),)) for v in (10.0, -10.0, 0.5))
NARROWLY_OUTSIDE = Estimate(-2.2, ((1.0, None),))  # at 95% for one, not for three at once
NO_INTERVAL = sampled([5.0], "seeds")


@pytest.mark.parametrize(
    ("joint", "estimates", "right"),
    [
        ("all", [INSIDE], "held"),
        ("all", [NO_INTERVAL], "undecided"),
        ("all", [Estimate(0.0, exact=True)], "held"),
        ("all", [None, None], "not run"),
        ("all", [INSIDE, INSIDE, OPEN], "undecided"),
        ("all", [INSIDE, INSIDE, None], "undecided"),
        ("all", [OUTSIDE, INSIDE, None], "not held"),
        ("all", [NARROWLY_OUTSIDE], "not held"),
        ("all", [NARROWLY_OUTSIDE, INSIDE, INSIDE], "undecided"),
        ("any", [INSIDE, None, OUTSIDE], "held"),
        ("any", [OUTSIDE, OPEN], "undecided"),
        ("any", [NARROWLY_OUTSIDE, OUTSIDE, OUTSIDE], "not held"),
        ("any", [OUTSIDE, None], "undecided"),
    ],
)
def test_verdicts_are_of_intervals(joint: str, estimates: list[Any], right: str) -> None:
    parts = [claims.Part("", estimate) for estimate in estimates]
    assert claims.verdict(parts, (0.0, None), joint) == right
    mirrored = [p if p.estimate is None else p._replace(estimate=_negative(p)) for p in parts]
    assert claims.verdict(mirrored, (None, 0.0), joint) == right


def _negative(part: claims.Part) -> Estimate:
    assert part.estimate is not None
    return Estimate(-part.estimate.value, part.estimate.errors, exact=part.estimate.exact)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The paper's plan, and a scale of 100 meta-iterations with two methods and what they cost."""
    shutil.copytree(ROOT / "workflow" / "report", tmp_path / "workflow" / "report")
    shutil.copy2(PARAMS, tmp_path)
    overlay = tmp_path / "workflow" / "scales" / "small.yaml"
    overlay.parent.mkdir()
    overlay.write_text(
        "scale: small\ndirectory: scales/small\nfew_shot: {iterations: 100, test_episodes: 4}\n"
        "measure: {steps: [8], rounds: 3}\n"
        "experiments: {5way_1shot: {measured: {methods: [maml, multistep4]}}}\n"
    )
    accuracies = {
        "maml": [[60, 70, 80, 90], [50, 70, 80, 80], [60, 60, 80, 90]],
        "multistep4": [[50, 70, 70, 90], [50, 60, 80, 80], [60, 60, 70, 80]],
    }
    for method, seeds in accuracies.items():
        for seed, episodes in enumerate(seeds):
            of = {"method": method, "seed": seed, "scale": "small", "iterations": 100}
            _put(tmp_path, few_shot(episodes=[float(x) for x in episodes], **of))
    rows = [("maml", 8, [4.0, 4.4, 8.0], 100), ("multistep4", 8, [1.6, 1.8, 3.0], 55)]
    _put(tmp_path, few_shot_times(rows=rows, scale="small"))
    return tmp_path


def _place(record: dict[str, Any]) -> str:
    return f"results/{'measure/' if 'rows' in record else ''}{name_of(record['cell'])}.json"


def _put(project: Path, record: dict[str, Any]) -> None:
    write_json(project / "scales/small" / _place(record), record)


def _of(entries: list[dict[str, Any]], name: str, scale: str) -> dict[str, Any]:
    return next(e for e in entries if (e["id"], e["scale"]) == (name, scale))


def _interval(pairs: Any, level: float) -> list[float]:
    """Of the mean of differences `[seeds, episodes]`, both of which are drawn."""
    seeds, episodes = pairs.shape
    half = np.hypot(
        pairs.mean(0).std() / episodes**0.5 * scipy.stats.norm.ppf((1 + level) / 2),
        pairs.mean(1).std(ddof=1) / seeds**0.5 * scipy.stats.t.ppf((1 + level) / 2, seeds - 1),
    )
    return [pairs.mean() - half, pairs.mean() + half]


def test_made_up_results_give_the_verdicts_that_they_must(project: Path) -> None:
    entries = verdicts.evaluate(project)
    drop = _of(entries, "small_drop_of_4", "small")
    pairs = np.array([[-10, 0, -10, 0], [0, -10, 0, 0], [0, 0, -10, -10]])
    assert drop["measured"] == pytest.approx(pairs.mean())
    assert drop["interval"] == pytest.approx(_interval(pairs, 0.95), rel=1e-6)
    assert (drop["verdict"], drop["n"]) == ("not held", {"seeds": 3, "episodes": 4})
    assert drop["reduced"].startswith("100 of 60,000 meta-iterations; 4 of 600 test episodes")
    assert "iterations 100 (paper scale: 60,000)" in drop["differs"][0]["settings"]
    assert "table4" in drop["evidence"]["pages"]
    assert len(drop["evidence"]["results"]) == 6

    faster = _of(entries, "twice_as_fast", "small")
    logs = np.log([1.6 / 4, 1.8 / 4.4, 3 / 8])
    ends = np.exp(scipy.stats.t.interval(0.95, 2, logs.mean(), scipy.stats.sem(logs)))
    assert faster["interval"] == pytest.approx(list(ends), rel=1e-6)
    assert (faster["verdict"], faster["joint"]) == ("held", "all of 1 parts, 1 of them run")
    assert _of(entries, "less_memory", "small")["interval"] == [0.55, 0.55]

    margin = _of(entries, "margin_under_0_4", "small")  # one of ten comparisons has been run
    assert margin["verdict"] == "undecided"
    assert "9 more not run" in margin["words"]
    assert {part["verdict"] for part in margin["parts"]} == {"undecided", "not run"}
    assert _of(entries, "table4_numbers", "small")["verdict"] == "not run"
    assert {e["verdict"] for e in entries if e["scale"] == "paper"} == {"not run"}


def test_a_claim_of_one_scale_alone_is_tested_there(project: Path, tmp_path: Path) -> None:
    own = project / "workflow/report/small/claims/own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "mine: {kind: accuracy, text: MAML | <b> is better, section: '5', place: notes,\n"
        "  at_least: 0.0, compare:\n"
        "    [{of: [maml], to: [multistep4], cells: {omniglot: [5way_1shot]}}]}\n"
    )
    entries = [e for e in verdicts.evaluate(project) if e["id"] in ("mine", "small_drop_of_4")]
    assert [e["scale"] for e in entries] == ["paper", "small", "small"]
    verdicts.write(tmp_path / "claims.json", entries)
    lines = (tmp_path / "claims.md").read_text().splitlines()
    assert r"| MAML \| \<b> is better | section 5, notes | – | held* |" in lines


def test_results_that_are_not_the_plans_are_refused(project: Path) -> None:
    _put(project, few_shot(scale="small", iterations=7))
    with pytest.raises(UserError, match=r"iterations is 7, but the plan says 100"):
        verdicts.evaluate(project)


def test_a_candidate_that_another_choice_was_made_of_is_refused() -> None:
    _, (one,) = scales.scales(ROOT, ["miniimagenet-long"])
    path = next(
        file for file in one.files if file.endswith("lr-0.01/miniimagenet_x100/maml/0.json")
    )
    other = copy.deepcopy(one.read(path))
    other["metrics"]["best"]["validation_accuracy"] = 20.0
    one.known[path] = other
    with pytest.raises(UserError, match=r"maml/0\.json: its candidates have .*, but their results"):
        _ = one.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("small_drop_of_4: {at_least: null}", "says neither at_least nor at_most"),
        ("small_drop_of_4: {kind: acuracy}", "no kind of claims named 'acuracy'; did you mean"),
        (
            "small_drop_of_4: {compare: [{of: [multistep5], to: [maml], cells: {mars: []}}]}",
            r"(?s)no method named 'multistep5'.*no dataset named 'mars'",
        ),
        ("proposition_1: {function: proposition2}", "none named 'proposition2'"),
        ("small_drop_of_4: {at_least: 2.0, at_most: 1.0}", "no number is at least 2 and at most 1"),
        (
            "small_drop_of_4: {compare: [{of: [maml], to: [maml], cells: {omniglot: [sgd_32]}}]}",
            "compares maml with itself",
        ),
        (
            "time_linear_in_steps: {methods: {maml: [1, 8]}}",
            "a line takes three numbers of steps: of",
        ),
        ("time_linear_in_steps: {methods: {maml: [1, 2], fomaml: [3]}}", "or one of each"),
        ("a b: {}", "more.yaml: a b: the name of a claim is of letters, digits, _ and -"),
        ("6: {}", "more.yaml: 6: the name of a claim is of letters"),
        ("twice: {}", r"more.yaml: twice: workflow/.*/again.yaml: twice: has this name too"),
    ],
)
def test_a_mistake_in_a_claim_is_named(project: Path, change: str, message: str) -> None:
    file = project / "workflow" / "report" / "small" / "claims" / "more.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(change)
    file.with_name("again.yaml").write_text("twice: {}")
    file.with_name("._more.yaml").write_bytes(b"\xff")
    with pytest.raises(UserError, match=message):
        verdicts.evaluate(project)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of this project."""
    out = tmp_path_factory.mktemp("claims") / "claims.json"
    assert cli.main(["report", "claims", "--project", str(ROOT), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def committed(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(out.read_text())
    return found


def test_every_claim_has_one_sealed_verdict_at_every_scale(
    out: Path, committed: list[dict[str, Any]]
) -> None:
    ids = list(dict.fromkeys(entry["id"] for entry in committed))
    scales = {e["scale"] for e in committed} - {claims.EVERY}
    assert len(ids) > 25
    assert {"paper", "omniglot-cpu", "miniimagenet-cpu", "dogs32-cpu"} <= scales
    assert sorted((e["id"], e["scale"]) for e in committed) == sorted(
        pair
        for name in ids
        for one in [_first(committed, name)["scale"]]
        for pair in ([(name, one)] if one == claims.EVERY else [(name, s) for s in scales])
    )
    for entry in committed:
        seal.check("claims.json", entry)
        assert {"id", "text", "source", "measured", "interval", "verdict"} <= entry.keys()
        assert all((ROOT / file).is_file() for file in entry["evidence"]["results"])
        assert (entry["verdict"] == "not run") == (entry["measured"] is None)
        if entry["verdict"] in ("held", "not held"):
            assert entry["interval"]
        if entry["scale"] not in ("paper", claims.EVERY) and entry["measured"] is not None:
            assert entry["differs"]
            assert "says nothing of the paper" in entry["words"]
    first = [out.with_suffix(suffix).read_bytes() for suffix in (".json", ".md", ".csv")]
    assert first == [path.read_bytes() for path in verdicts.write(out, committed)]
    text = out.with_suffix(".md").read_text()
    assert all(f"\n## {name}\n" in text for name in ids)


def test_a_word_of_degree_is_read_as_a_number(committed: list[dict[str, Any]]) -> None:
    """What is slightly so isn't so by much, and what is greatly so isn't so by next to nothing."""
    found = {}
    for entry in committed:
        low, high = entry["claimed"]
        same = {" points": 0.0, "×": 1.0}.get(entry["unit"])
        for word in ("slightly", "greatly", "severely", "plummets", "significantly less"):
            if word in entry["text"]:
                assert entry["reading"]
                within = same is None or (low or -9) <= same <= (9 if high is None else high)
                found.setdefault(word, set()).add((within, None in (low, high)))
    assert found.pop("slightly") == {(True, False)}
    assert set(found) == {"greatly", "severely", "plummets", "significantly less"}
    assert {within for of in found.values() for within, _ in of} == {False}


def test_what_is_timed_otherwise_than_the_paper_scale_is_said() -> None:
    """A narrower network costs less: what was timed of it says nothing of the paper's setting."""
    longer = ("iterations", 2_000, 60_000)
    for keys, right in (
        ([longer, ("network.filters", 16, 64)], "otherwise in network.filters"),
        (
            [("scheme", "replay", "keep"), ("meta_batch", 8, 32)],
            "8 of 32 tasks; otherwise in scheme",
        ),
        ([("measure.tasks", 2, None), ("meta_batch", 8, 32)], "otherwise in measure.tasks"),
        ([longer, ("test_episodes", 60, 600)], ""),
    ):
        assert verdicts._reduced({"measure/5way_1shot/omniglot/maml": keys}) == right
    assert "2,000 of 60,000" in verdicts._reduced({"5way_1shot/omniglot/maml": [longer]})


def test_words_say_what_was_drawn_and_how_a_scale_reads_a_claim(
    out: Path, committed: list[dict[str, Any]]
) -> None:
    boosts, time, falls = (
        _of(committed, name, scale)["words"]
        for name, scale in (
            ("transfer_boosts", "dogs32-long"),
            ("transfer_time", "dogs32-cpu"),
            ("gradient_difference_falls", "dogs32-cpu"),
        )
    )
    assert ", 3 seeds, of these test images and no others (" in boosts
    assert ", 20 mini-batches (" in time
    assert "test images" not in falls
    memory = _of(committed, "less_memory", "omniglot-cpu")["parts"][0]["name"]
    assert memory.startswith("bytes saved for backward per task of Multi-step (4) / MAML (ours), ")
    assert verdicts._ONE.sub("", "mini-batches") == "mini-batch"
    text = out.with_suffix(".md").read_text()
    section = text[text.index("## transfer_competitive_sgd") :].split("\n## ")[0]
    assert "*Read as:* At most 1.15 points below" in section
    assert section.count("*Read here as:* One dataset that the paper doesn't have") == 2


def _first(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["id"] == name)


def test_formulas_hold_and_need_no_results(committed: list[dict[str, Any]]) -> None:
    formulas = [entry for entry in committed if entry["scale"] == claims.EVERY]
    assert len(formulas) == len(closed_form.FUNCTIONS)
    assert {entry["verdict"] for entry in formulas} == {"held"}


def test_numbers_of_the_committed_scales_are_those_of_their_files(
    committed: list[dict[str, Any]],
) -> None:
    def result(name: str) -> Any:
        return json.loads((ROOT / "scales" / f"{name}.json").read_text())

    entry = _of(committed, "small_drop_of_4", "omniglot-cpu")
    place = "omniglot-cpu/results/5way_1shot/omniglot"
    of = [
        [result(f"{place}/{method}/{seed}")["metrics"]["test_accuracy"] for seed in range(3)]
        for method in ("multistep4", "maml")
    ]
    assert entry["measured"] == pytest.approx(np.subtract(*of).mean())
    # Clear of 0 for one comparison, but not for the worst of four.
    entry = _of(committed, "miniimagenet_2_best_of_ours", "miniimagenet-cpu")
    place = "miniimagenet-cpu/results/mini_5way_5shot/miniimagenet_x100"
    of = [
        [result(f"{place}/{method}/{seed}")["metrics"]["episode_accuracies"] for seed in range(3)]
        for method in ("multistep2", "maml")
    ]
    for key, level in (("interval", 0.95), ("interval_of_all", 1 - 0.05 / 4)):
        assert entry[key] == pytest.approx(_interval(np.subtract(*of), level), rel=1e-6)
    assert entry["interval"][1] < 0 < entry["interval_of_all"][1]
    assert entry["verdict"] == "undecided"
    assert "0.3767] at 98.75%, as due for one of 4)" in entry["words"]
    # What isn't the paper's is said of the results alone that it rests on: 20-way was not run.
    entry = _of(committed, "above_reptile_omniglot", "omniglot-cpu")
    told = {cell for group in entry["differs"] for cell in group["cells"]}
    files = {f.partition("/results/")[2].rpartition("/")[0] for f in entry["evidence"]["results"]}
    assert told == files
    entry = _of(committed, "transfer_time", "dogs32-cpu")
    rows = {
        r["method"]: r["seconds"]
        for r in result("dogs32-cpu/results/measure/sgd_32/dogs32")["rows"]
    }
    ratios = np.divide(rows["l2t_multistep"], rows["l2t"])
    assert entry["measured"] == pytest.approx(scipy.stats.gmean(ratios))
    entry = _of(committed, "gradient_difference_to_zero", "dogs32-cpu")
    ends = []
    for seed in range(3):
        history = result(f"dogs32-cpu/results/sgd_32/dogs32/l2t/{seed}")["history"]
        drift = [point for epoch in history for point in epoch["drift"]]
        ends.append(np.mean([p[1] for p in drift if p[0] > 0.9 * drift[-1][0]]))
    assert entry["measured"] == pytest.approx(np.mean(ends))


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
    assert part.estimate.n == {"seeds": 1, "episodes": 2}
    assert len(part.files) == 4
    low, high = part.estimate.interval()
    half = scipy.stats.t.ppf(0.975, 2) * np.std([91.0, 76.0, 80.0], ddof=1) / 3**0.5
    assert (high - low) / 2 == pytest.approx(np.hypot(half, 2**0.5 * 1.96 / 2**0.5), rel=1e-3)
    records = [records[0], other]
    (part,) = claim.parts(_scale(*records))  # type: ignore[attr-defined]
    assert part.estimate.value == pytest.approx(10.0)


def test_a_bent_line_is_no_line() -> None:
    """Times 1, 2, 3, 6 over four steps are off the line; 1, 2, 3, 4 are on it."""
    claim = linear.Spec(
        kind="linear", text="", section="", place="", at_most=0.25, at_least=-0.25,
        cells={"omniglot": ["5way_1shot"]}, methods={"maml": [1, 2, 3, 4]},
    )  # fmt: skip
    for last, right in ((4.0, "held"), (6.0, "not held")):
        rows = [("maml", n, [t, t, t], 1) for n, t in enumerate((1.0, 2.0, 3.0, last), start=1)]
        scale = _scale(few_shot_times(rows=rows))
        assert claims.verdict(list(claim.parts(scale)), claim.range) == right


def test_a_lone_candidate_is_compared_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "_tried", lambda *_: ("inner_lr", [0.01]))
    claim = chosen.Spec(
        kind="chosen", text="", section="", place="", dataset="miniimagenet",
        chosen={"mini_5way_1shot": {"maml": 0.01}},
    )  # fmt: skip
    (part,) = claim.parts(_scale(_candidate(0.01, 48.0)))
    assert part.missing == "no other value is tried"


@cache
def _paper() -> tuple[inputs.Plan, dict[str, Any]]:
    base = params.load(PARAMS)
    forms = load.pages(ROOT / "workflow" / "report", base)
    return inputs.Plan.of(base), {n: spec for form in forms.values() for n, spec in form.items()}


def _scale(*records: dict[str, Any]) -> Scale:
    """The paper's scale with these results, as if they had been run as the paper says."""
    plan, pages = _paper()
    by_path = {_place(record): record for record in records}
    return Scale(plan, plan, {"tables": pages}, list(by_path), known=by_path)


def _candidate(value: float, accuracy: float | None) -> dict[str, Any]:
    record = few_shot(experiment=f"mini_5way_1shot-inner_lr-{value:g}", dataset="miniimagenet")
    best = accuracy and {"validation_accuracy": accuracy, "validation_ci95": 1.96}
    record["metrics"] = {"best": best, "diverged": None if accuracy else "iteration 3"}
    record["cell"]["settings"]["validation_episodes"] = 600
    return record


def _timed(device: str) -> dict[str, Any]:
    return {
        "cell": {"experiment": "sgd_224", "dataset": "bird"},
        "environment": {"device": device},
        "iterations_per_epoch": 78.0,
        "rows": [{"method": "l2t", "seconds": [5.0, 5.1, 4.9]},
                 {"method": "l2t_multistep", "seconds": [3.0, 3.1, 2.9]}],
    }  # fmt: skip


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
        ("level", {"scale": "finn2017", "method": "maml", "cells": {"omniglot": ["20way_1shot"]}},
         [few_shot("20way_1shot")], None, "not run"),
        ("chosen", {"dataset": "miniimagenet", "chosen": {"mini_5way_1shot": {"maml": 0.01}}},
         [_candidate(v, a) for v, a in ((0.1, 40.0), (0.04, 44.0), (0.01, 48.0), (0.004, None))],
         4.0, "held"),
        ("chosen", {"dataset": "miniimagenet", "chosen": {"mini_5way_1shot": {"maml": 0.004}}},
         [_candidate(v, a) for v, a in ((0.1, 40.0), (0.04, 44.0), (0.01, 48.0), (0.004, 47.0))],
         -1.0, "undecided"),
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
        assert len(list(claim.parts(scale))) == 20
