"""Checkpoints: digest, key, what is refused, one process at a time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from multistep.files import UserError
from multistep.job import accepted, checkpoint, device
from multistep.plan import provenance

CODE = provenance.cell_modules("few_shot", "multistep")

STATE = {"iteration": 3, "theta": torch.arange(4.0), "history": [{"a": 1.5}]}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cell.pt"
    checkpoint.save(path, "key", STATE)
    state = checkpoint.load(path, "key")
    assert state is not None
    assert torch.equal(state.pop("theta"), STATE["theta"])  # type: ignore[arg-type]
    assert state == {"iteration": 3, "history": [{"a": 1.5}]}
    assert checkpoint.load(tmp_path / "other.pt", "key") is None


@pytest.mark.fault("a checkpoint with a flipped bit, or cut", "set aside; the cell starts anew")
def test_a_damaged_file_is_noticed_and_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, int], None]
) -> None:
    """Bytes flipped anywhere, in the digest too, and files cut anywhere."""
    path = tmp_path / "cell.pt"
    checkpoint.save(path, "key", STATE)
    whole = path.read_bytes()
    places = range(0, len(whole), len(whole) // 100)
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    for content in [*flipped, *(whole[:i] for i in places)]:
        path.write_bytes(content)
        assert checkpoint.load(path, "key") is None
        assert not path.exists()
        assert (tmp_path / "cell.pt.damaged").read_bytes() == content
    told = capsys.readouterr().err.count("its bytes differ from its digest")
    assert told == len(flipped) + len(places)
    record_property("injected", len(flipped) + len(places))


def test_another_run_s_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "cell.pt"
    checkpoint.save(path, "key", STATE)
    assert checkpoint.load(path, "other key") is None
    assert checkpoint.load(tmp_path / "cell.pt.key.stale", "key") is not None


def test_settings_that_come_back_find_their_state(tmp_path: Path) -> None:
    """What others train in between is kept beside it."""
    path = tmp_path / "cell.pt"
    for iteration, key in enumerate(("first", "second", "third")):
        assert checkpoint.load(path, key) is None
        checkpoint.save(path, key, {"iteration": iteration})
    for iteration, key in ((0, "first"), (2, "third"), (1, "second"), (1, "second")):
        assert checkpoint.load(path, key) == {"iteration": iteration}
    names = ["cell.pt", "cell.pt.first.stale", "cell.pt.third.stale"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_the_key_covers_what_decides_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(what: object = "cell", threads: int = 1) -> str:
        return checkpoint.run_key(what, CODE, torch.device("cpu"), threads)

    keys = [key(), key("other"), key(threads=2)]
    assert key() == keys[0]
    for owner, name, value in (
        (checkpoint.provenance, "code", lambda *entries: "edited"),
        (torch, "__version__", "0.0"),
        (device, "identity", lambda where: ["another processor"]),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            keys.append(key())
    assert len(set(keys)) == 6


@pytest.mark.fault("disk full while a checkpoint is written", "the one before is intact")
def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cell.pt"
    checkpoint.save(path, "key", STATE)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"can't be written .*No space left.*one before is intact"):
        checkpoint.save(path, "key", {"iteration": 4})
    state = checkpoint.load(path, "key")
    assert state is not None
    assert state["iteration"] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cell.pt"]


def test_one_process_per_checkpoint_and_the_second_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, order = tmp_path / "cell.pt", []

    def second() -> None:
        with checkpoint.exclusive(path):
            order.append("second")

    with checkpoint.exclusive(path):
        (thread := threading.Thread(target=second, daemon=True)).start()
        thread.join(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert "another process is running this cell; waiting" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_outcomes_go_when_their_results_have_been_accepted(tmp_path: Path) -> None:
    states = {
        "scratch/results/a/b/c/0.pt": "results/a/b/c/0.json",
        "scratch/results/a/b/c/1.pt": None,  # running, or its result was lost
        "scratch/networks/n.pt": "data/networks/n/network.json",
    }
    older = tmp_path / "results/a/b/c/2.json"  # a result that is being made anew
    for path in [older, *(tmp_path / state for state in [*states, "scratch/results/a/b/c/2.pt"])]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(older, (0, 0))
    for made in filter(None, states.values()):
        (tmp_path / made).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / made).touch()
    marked = tmp_path / ".snakemake/incomplete/b64"
    marked.parent.mkdir(parents=True)
    marked.touch()
    assert accepted.forget(tmp_path) == []
    marked.unlink()
    removed = [str(path.relative_to(tmp_path)) for path in accepted.forget(tmp_path)]
    assert removed == [state for state in sorted(states) if states[state]]
    assert accepted.forget(tmp_path) == []
    assert accepted.forget(tmp_path / "elsewhere") == []


def test_a_signal_saves_and_leaves_with_its_number(tmp_path: Path) -> None:
    saver = checkpoint.Saver(tmp_path / "cell.pt", "key", seconds=1e9)
    with saver.on_signals(signal.SIGTERM):
        assert not saver.due
        signal.raise_signal(signal.SIGTERM)
        assert saver.due
        with pytest.raises(SystemExit) as stop:
            saver.now(STATE)
    assert stop.value.code == 128 + signal.SIGTERM
    assert checkpoint.load(saver.path, "key") is not None
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert checkpoint.Saver(tmp_path / "cell.pt", "key", seconds=0).due
