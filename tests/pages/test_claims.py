"""Claims and verdicts: the rule, made-up results whose answer is known, the committed scales."""

import copy
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers import PARAMS, ROOT
from page_records import as_written, few_shot, few_shot_times

from multistep import cli, seal
from multistep.files import UserError, write_json
from multistep.pages import claims, frame, inputs, scales, verdicts
from multistep.pages.claims import closed_form
from multistep.plan import params
from multistep.stats import Estimate, sampled

INSIDE, OUTSIDE, OPEN = (Estimate(v, ((1.0, None),)) for v in (10.0, -10.0, 0.5))
NARROWLY_OUTSIDE = Estimate(-2.2, ((1.0, None),))  # at 95% for one, not for three at once
NO_INTERVAL, EQUAL = sampled([5.0], "seeds"), sampled([5.0] * 3, "seeds")


@pytest.mark.parametrize(
    ("joint", "estimates", "right"),
    [
        ("all", [INSIDE], "held"),
        ("all", [NO_INTERVAL], "undecided"),
        ("all", [EQUAL], "undecided"),
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


def test_the_part_without_an_interval_is_the_deciding_one() -> None:
    parts = [claims.Part(name, found) for name, found in (("a", INSIDE), ("b", NO_INTERVAL))]
    for joint, right in (("all", "b"), ("any", "a")):
        claim: Any = SimpleNamespace(range=(0.0, None), joint=joint)
        shown = verdicts._decisive(parts, claim)
        assert shown is not None
        assert shown.name == right


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
    shutil.copy2(ROOT / "workflow/scales/finn2017.yaml", overlay.parent)  # which a claim names
    overlay.write_text(
        "scale: small\ndirectory: scales/small\nfew_shot: {iterations: 100, test_episodes: 4}\n"
        "measure: {steps: [8], rounds: 3}\n"
        "experiments: {5way_1shot: {settings: {queries: 10}, "
        "measured: {methods: [maml, multistep4]}}}\n"
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


def _put(project: Path, record: dict[str, Any], **settings: Any) -> None:
    """As the plan has it, but for some settings."""
    overlay = project / "workflow/scales/small.yaml"
    plan = inputs.Plan.of(params.load(project / "params.yaml", overlay))
    file = frame.place(record)
    cell = json.loads(plan.cells[file].json) if file in plan.cells else plan.measurements[file]
    if settings:
        cell["settings"] |= settings
    write_json(project / "scales/small" / file, as_written(record, cell))


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
        "ours: {kind: accuracy, text: Also better, at_least: 0.0, compare:\n"
        "    [{of: [maml], to: [multistep4], cells: {omniglot: [5way_1shot]}}]}\n"
    )
    wanted = ("mine", "ours", "small_drop_of_4")
    entries = [e for e in verdicts.evaluate(project) if e["id"] in wanted]
    assert [e["scale"] for e in entries] == ["paper", "small", "small", "small"]
    verdicts.write(tmp_path / "claims.json", entries)
    lines = (tmp_path / "claims.md").read_text().splitlines()
    assert r"| MAML \| \<b> is better | section 5, notes | – | held* |" in lines
    assert "| Also better | not in the paper | – | held* |" in lines


def test_results_that_are_not_the_plans_are_refused(project: Path) -> None:
    _put(project, few_shot(scale="small"), iterations=7)
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


def test_a_claim_that_a_scale_says_otherwise_isnt_shown_as_the_papers(
    project: Path, tmp_path: Path
) -> None:
    own = project / "workflow/report/small/claims/own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("small_drop_of_4: {text: No worse than 20 points, at_least: -20.0}\n")
    entries = [e for e in verdicts.evaluate(project) if e["id"] == "small_drop_of_4"]
    verdicts.write(tmp_path / "claims.json", entries)
    text = (tmp_path / "claims.md").read_text()
    assert "| not run | held*† |" in text
    assert "† of a claim with other words or another range, which stand below." in text
    assert "*Said here:* No worse than 20 points *Claimed here:* at least -20 points." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("small_drop_of_4: {at_least: null}", "says neither at_least nor at_most"),
        ("small_drop_of_4: {kind: acuracy}", "no kind of claims named 'acuracy'; did you mean"),
        (
            "small_drop_of_4: {compare: [{of: [multistep5], to: [maml], cells: {mars: [sgd_32]}}]}",
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
        for method in ("multistep2", "fomaml")
    ]
    for key, level in (("interval", 0.95), ("interval_of_all", 1 - 0.05 / 4)):
        assert entry[key] == pytest.approx(_interval(np.subtract(*of), level), rel=1e-6)
    assert entry["interval"][1] < 0 < entry["interval_of_all"][1]
    assert entry["verdict"] == "undecided"
    assert "0.2036] at 98.75%, as due for one of 4)" in entry["words"]
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
