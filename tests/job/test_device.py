"""Which GPU a job takes, by what the environment lists; needs none."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch

from multistep.files import UserError
from multistep.job import device


def claimed(monkeypatch: pytest.MonkeyPatch, listed: str | None) -> str | None:
    """CUDA_VISIBLE_DEVICES of one more job: locks last until the process ends, so jobs add up."""
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    device._claim_gpu()
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.fixture(autouse=True)
def no_batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("listed", ["2,3", " 2, 3", "2,3,-1,4", "GPU-5f,MIG-GPU-5f/1/0"])
def test_jobs_share_no_gpu_of_a_list(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    names = [name.strip() for name in listed.split(",")[:2]]
    assert [claimed(monkeypatch, listed) for _ in names] == names
    with pytest.raises(UserError, match=r"all 2 GPUs are taken .* gpu=2 at most"):
        claimed(monkeypatch, listed)


def test_lists_that_overlap_and_no_list_share_the_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claimed(monkeypatch, "1,2") == "1"
    assert claimed(monkeypatch, None) == "0"
    assert claimed(monkeypatch, "1,2") == "2"
    with pytest.raises(UserError, match="all 2 GPUs are taken"):
        claimed(monkeypatch, None)


@pytest.mark.parametrize("listed", ["", "3", "GPU-5f", "-1", "3,-1"])
def test_a_single_gpu_and_none_are_left_alone(monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    assert [claimed(monkeypatch, listed) for _ in range(2)] == [listed, listed]


def test_slurm_s_choice_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert [claimed(monkeypatch, "2,3") for _ in range(2)] == ["2,3", "2,3"]


def test_where_a_file_system_has_no_locks_a_gpu_is_taken_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsupported(handle: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    assert device.claim_slot(tmp_path, 2) == "0"
    assert "no locks" in capsys.readouterr().err
