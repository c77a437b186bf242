"""Progress in a log: what is done, of how much, and the time left."""

from __future__ import annotations

import pytest

from multistep import progress


def test_a_log_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 4.0, 20.0, 25.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    with progress.progress("maml/0", 1_000, "iterations", done=100) as advance:
        advance(50)  # too soon for a line
        advance(50)
        advance(50)
    assert capsys.readouterr().err.splitlines() == [
        "maml/0: 200 of 1,000 iterations, 0:02:40 left",  # 100 in 20 s, 800 to go
        "maml/0: 250 of 1,000 iterations",
    ]
