"""The audit: each number that it tells, against the specification or worked out by hand."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import PARAMS, ROOT

from multistep import cli, seal
from multistep.files import UserError
from multistep.pages import audit
from multistep.plan import params


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "audit.json"
    assert cli.main(["report", "audit", "--project", str(ROOT), "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("intervals", {"exceeding": 6, "rows": 20, "episodes": 600, "spread": [1.4, 2.2, 4.7]}),
        ("intervals", {"deviations": [8.5, 10.4], "odd": "Multi-step (4) at 20-way 5-shot"}),
        ("float16", {"float16": 30, "of": 30, "rates": [0.205, 0.267], "probability": 3e-20}),
        ("windows", {"rate_of_8": 11.494, "rate_of_4": 3.619, "momentum_of_4": 1.176}),
        ("first_order_row", {"differ": "momentum and weight_decay", "moves": [28.74, 8.0]}),
        ("quoted_rows", {"numbers": 6, "descent": "99.16, 99.67, 94.46, 98.69"}),
        ("transfer_saving", {"saved": 0.345, "hours": 7.278, "ratio": 0.655}),
        ("transfer_saving", {"kept": 0.690, "replayed": 0.650, "released": 0.679}),
        ("twice_as_fast", {"first_order": (8 * 3 + 15 * 3) / (8 * 9 + 15 * 3)}),
        # Over the last tenth of half a turn of the cosine π²/1200 and half an epoch more: 0.0086.
        ("learning_rate", {"epochs": 200, "late": 0.0086, "early": 0.945}),
        ("no_inner_steps", {"zero": 48.91, "scratch": 42.15, "two": 66.26, "twin": "Indoor"}),
        ("no_inner_steps", {"share": 6.76 / 24.11, "others": 30}),
        ("text_and_tables", {"gap": [5.07, 5.22, 3.71], "rise": 0.15, "drops": [0.13, 0.40]}),
        (
            "text_and_tables",
            {"clear": "Multi-step (8)", "shares": "16.7% on Bird and 18.7% on Indoor"},
        ),
    ],
)
def test_findings_have_the_numbers_of_the_paper(
    out: Path, name: str, right: dict[str, Any]
) -> None:
    numbers = next(f["numbers"] for f in json.loads(out.read_text()) if f["id"] == name)
    for key, value in right.items():
        loose = isinstance(value, list | float)
        assert numbers[key] == (pytest.approx(value, rel=0.04, abs=5e-4) if loose else value), key


@pytest.mark.parametrize("steps", [2, 16])
def test_windows_are_those_of_the_paper_whatever_the_plan_has(out: Path, steps: int) -> None:
    """As of `dvc exp run -S`, whose report tells the audit, too."""
    right = next(f["numbers"] for f in json.loads(out.read_text()) if f["id"] == "windows")
    base = params.load(PARAMS)
    base = base.model_copy(update={"few_shot": base.few_shot | {"inner_steps": steps}})
    assert audit._windows(base, None) == right


def test_one_and_two_windows_are_plain_steps_and_four_are_not(out: Path) -> None:
    off = next(f["numbers"]["off"] for f in json.loads(out.read_text()) if f["id"] == "windows")
    assert off[0] < 1e-12
    assert off[1] < 1e-12
    assert off[2] > 0.1


@pytest.mark.parametrize(("percent", "is_one"), [(98.97, True), (99.10, True), (98.98, False)])
def test_float16_numbers_are_told_by_their_shortest_form(percent: float, is_one: bool) -> None:
    assert audit.is_float16(percent) == is_one


def test_the_most_episodes_that_an_interval_admits() -> None:
    # 1.96 √(0.984 · 0.016 / 600) = 1.004 points, so 1.11 needs fewer than 600 episodes.
    assert audit.fitting_n(98.40, 1.009) > 600
    assert audit.fitting_n(98.40, 1.11) == pytest.approx(497, abs=3)


def test_every_finding_is_sealed_and_tells_certain_from_inferred(out: Path) -> None:
    found = json.loads(out.read_text())
    assert {*audit.NUMBERS} < {f["id"] for f in found}
    text = out.with_suffix(".md").read_text()
    for finding in found:
        seal.check(out, finding)
        assert finding["certain"] or finding["quotes"]
        assert f"## {finding['title']}\n" in text
        assert finding["certain"] in text
        assert finding["inferred"] in text
    assert text.count("**Inferred.**") == sum(bool(f["inferred"]) for f in found)
    assert not re.search(r"[{}]", text)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("audit.yaml", "{rise:.2f}", "{climb:.2f}", "text_and_tables: no number named 'climb'"),
        ("audit.yaml", "{rise:.2f}", "{moves:.2f}", "text_and_tables: no number named 'moves'"),
        ("audit.yaml", "{rise:.2f}", "{rise[0]}", "text_and_tables: no number for .*subscript"),
        ("audit.yaml", "{rise:.2f}", "{rise.high}", "text_and_tables: no number for .*attribute"),
        (
            "tables/table3.yaml",
            "58.08, 0.26",
            "58.08, 0.27",
            "quoted_rows: these rows aren't equal",
        ),
        ("tables/table4.yaml", "98.40, 1.11", "98.40, 9.11", "intervals: a half-width doesn't fit"),
    ],
)
def test_a_text_that_no_longer_holds_is_refused(
    tmp_path: Path, file: str, old: str, new: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "workflow" / "report", tmp_path / "workflow" / "report")
    shutil.copy2(PARAMS, tmp_path)
    changed = tmp_path / "workflow" / "report" / file
    assert old in changed.read_text()
    changed.write_text(changed.read_text().replace(old, new))
    counted = {"kept": 0.69, "replayed": 0.65, "released": 0.68}
    monkeypatch.setattr(audit, "transfer_operations", lambda base: counted)
    with pytest.raises(UserError, match=message):
        audit.findings(tmp_path)


def test_a_number_that_a_plan_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first = next(iter(params.read(ROOT / "workflow/report/audit.yaml")))
    monkeypatch.setitem(audit.NUMBERS, first, lambda *_: 1 // 0)
    with pytest.raises(UserError, match=f"{first}: no number for .*; mend the text, or take"):
        audit.findings(ROOT)
