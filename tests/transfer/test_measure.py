"""Measurements of meta-transfer: what is timed, on which batches, and the bytes of each scheme."""

from pathlib import Path
from typing import Any

import pytest
from transfer_data import measured, small_transfer

from multistep.data import prepared
from multistep.transfer import measure
from multistep.transfer.learner import Learner

STEPS = {"l2t": (2, 1), "estimated": (2, 2), "one": (1, 1), "none": (0, 1), "three": (3, 1)}


def contenders(scheme: str = "keep") -> dict[str, dict[str, Any]]:
    methods = {
        name: small_transfer(inner_steps=steps, window=window, scheme=scheme)
        for name, (steps, window) in STEPS.items()
    }
    return methods | {"scratch": small_transfer("scratch")}


@pytest.mark.parametrize("scheme", ["keep", "replay"])
def test_every_method_has_its_rounds_and_its_bytes(tmp_path: Path, scheme: str) -> None:
    record = measured(tmp_path, contenders(scheme), 3)
    assert [row["method"] for row in record["rows"]] == [*STEPS, "scratch"]
    assert all(len(row["seconds"]) == 3 for row in record["rows"])  # the warm-up is left out
    assert record["iterations_per_epoch"] == 3.5  # 28 images in batches of 8
    assert record["unit"]["memory"] == "bytes saved for backward"
    assert record["made_from"]["network"]
    kept = {row["method"]: row["bytes"] for row in record["rows"]}
    assert 0 < kept["scratch"] < kept["none"]
    if scheme == "keep":
        assert kept["none"] < kept["one"] == kept["estimated"] < kept["l2t"] < kept["three"]
    else:
        # Two more window starts are parameters and velocities, which rule in so small a network.
        assert kept["one"] <= kept["three"] < 1.2 * kept["one"]


def test_a_method_that_does_not_fit_the_network_is_told_before_data_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "read", None)
    with pytest.raises(AssertionError):  # of the exit code
        measured(tmp_path, {"l2t": small_transfer(source_taps=[3])}, 1)
    told = (
        "error: --definition: methods.l2t.settings.source_taps: resnet32 has no tap 3; it has 0, 1"
    )
    assert told in capsys.readouterr().err


def test_methods_of_other_batches_are_not_timed_on_the_first_one_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their times would be recorded as of their own batch size."""
    with pytest.raises(AssertionError):  # of the exit code
        measured(tmp_path, {"l2t": small_transfer(), "small": small_transfer(batch_size=4)}, 1)
    told = "error: --definition: methods: l2t has batch_size 8 and small 4, but what is measured"
    assert told in capsys.readouterr().err


def test_batches_are_whole_and_the_methods_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    step = Learner.step

    def noted(self: Learner, x: Any, y: Any, lr: float) -> Any:
        seen.append((id(self), len(x)))
        return step(self, x, y, lr)

    monkeypatch.setattr(Learner, "step", noted)
    measured(tmp_path, contenders(), 3)
    assert {size for _, size in seen} == {8}  # never the last batch of 4
    count = len(STEPS) + 1
    rounds = seen[count:]  # before them one each for the bytes
    assert len(rounds) == count * (measure.WARM_UP + 3)
    turns = [owner for owner, _ in rounds[:count]]
    assert len(set(turns)) == count
    assert [owner for owner, _ in rounds] == turns * (measure.WARM_UP + 3)
