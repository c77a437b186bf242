"""Which GPU a job takes, by what the environment lists; needs none."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
def no_batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    yield
    while device._held:
        device._held.pop().close()


@pytest.mark.parametrize("listed", ["2,3", " 2, 3", "2,3,-1,4", "GPU-5f,MIG-GPU-5f/1/0"])
def test_jobs_share_no_gpu_of_a_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], listed: str
) -> None:
    names = [name.strip() for name in listed.split(",")[:2]]
    assert [claimed(monkeypatch, listed) for _ in names] == names
    monkeypatch.setattr(time, "sleep", lambda _: device._held.pop().close())  # the second one ends
    assert claimed(monkeypatch, listed) == names[1]
    assert "all 2 GPUs are taken by other runs or users" in capsys.readouterr().err


def test_lists_that_overlap_and_no_list_share_the_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claimed(monkeypatch, "1,2") == "1"
    assert claimed(monkeypatch, None) == "0"
    assert claimed(monkeypatch, "1,2") == "2"
    monkeypatch.setattr(time, "sleep", lambda _: device._held.pop(-2).close())
    assert claimed(monkeypatch, None) == "0"


def test_some_cells_share_a_gpu_and_an_exclusive_one_shares_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTISTEP_CELLS_PER_GPU", "2")
    assert [claimed(monkeypatch, None) for _ in range(3)] == ["0", "1", "0"]
    monkeypatch.delenv("MULTISTEP_CELLS_PER_GPU")
    folder = tmp_path / "multistep-gpus"
    assert device.claim_slot(folder, ["0", "1"]) is None  # they are shared
    assert device.claim_slot(folder, ["0", "1"], 2) == "1"
    assert device.claim_slot(folder, ["0", "1"], 2) is None
    assert device.claim_slot(folder, ["MIG-5f/1/0"]) == "MIG-5f/1/0"
    assert device.claim_slot(folder, ["MIG-5f/1/0"], 2) is None
    monkeypatch.setenv("MULTISTEP_CELLS_PER_GPU", "0")
    with pytest.raises(UserError, match="MULTISTEP_CELLS_PER_GPU is '0'; give a number of cells"):
        claimed(monkeypatch, None)


# A machine of two GPUs, some of which fail when they are used first; each run says what it has.
MACHINE = """
import os, sys, torch
from multistep.files import UserError
from multistep.job import device
zeros = torch.zeros
def use(*size, device=None):
    if os.environ["CUDA_VISIBLE_DEVICES"] in sys.argv[1].split(","):
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\\nmore")
    return zeros(*size)
torch.zeros, torch.cuda.is_available, torch.cuda.device_count = use, lambda: True, lambda: 2
try:
    device.prepare("cuda", 1)
    print("has", os.environ["CUDA_VISIBLE_DEVICES"])
except device.UserError as error:
    print(error)
"""


@pytest.mark.fault("a GPU fails at the start", "it is named and left for another one")
@pytest.mark.parametrize(
    ("listed", "bad", "said"),
    [
        (None, "0", ["GPU 0 of NODE fails (CUDA error: uncorrectable ECC", "it is left", "has 1"]),
        ("GPU-a,MIG-b/1", "GPU-a,MIG-b/1", ["GPU MIG-b/1 of NODE", "leave it out with CUDA_VIS"]),
        ("3", "3", ["GPU 3 of NODE fails", "slurm_extra: --exclude=NODE"]),
    ],
)  # fmt: skip
def test_a_gpu_that_fails_is_named_and_left(
    tmp_path: Path, listed: str | None, bad: str, said: list[str]
) -> None:
    (tmp_path / "machine.py").write_text(MACHINE)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if listed:
        environment["CUDA_VISIBLE_DEVICES"] = listed
    command = [sys.executable, str(tmp_path / "machine.py"), bad]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = done.stderr + done.stdout
    for part in said:
        assert part.replace("NODE", platform.node()) in told
    assert told.count("has ") == sum(part.startswith("has ") for part in said)


def test_the_commit_is_read_in_a_clone_of_another_user_or_its_absence_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    file = tmp_path / "a" / "job" / "device.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(device, "__file__", str(file))
    assert device._git() == (None, None)
    assert "no commit of the code: fatal: not a git repository" in capsys.readouterr().err
    git("init", "--quiet")
    (tmp_path / ".gitignore").write_text("a\n")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "another's")
    assert device._git() == (None, None)
    assert f"git in {tmp_path} doesn't have it" in capsys.readouterr().err
    (tmp_path / ".gitignore").unlink()
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "a")
    head = git("rev-parse", "HEAD")
    git("config", "status.showUntrackedFiles", "no")
    if os.getuid() == 0:
        os.chown(tmp_path, 12345, 12345)
        os.chown(tmp_path / ".git", 12345, 12345)
    assert device._git() == (head, False)
    (tmp_path / "a" / "inner").mkdir()
    (tmp_path / "a" / "inner" / "unroll.py").touch()  # of another folder of the package
    assert device._git() == (head, True)


def test_sharing_can_be_rehearsed_where_no_driver_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*size: int, device: str) -> None:
        raise RuntimeError("Found no NVIDIA driver on your system.")

    monkeypatch.setattr(torch, "zeros", none)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert device.prepare("cuda", 1) == torch.device("cuda")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


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
    assert device.claim_slot(tmp_path, ["0", "1"]) == "0"
    assert "no locks" in capsys.readouterr().err
