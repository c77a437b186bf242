"""Locks: one holder, the others wait or are told; and where the file system has none."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from multistep import lock
from multistep.files import UserError

# Holds the lock argv[1] until it is killed, or for argv[2] seconds, and says when it has it.
HOLDER = """
import sys, time
from pathlib import Path
from multistep import lock
with lock.exclusive(Path(sys.argv[1]), "busy", wait=True):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
    return holder


def test_it_leaves_no_folder_in_which_nothing_came_to_be(tmp_path):
    for made in ([], ["a"], []):
        with lock.exclusive(tmp_path / "new/deeper/lock", "busy", wait=False):
            for name in made:
                (tmp_path / "new" / name).touch()
        assert [p.name for p in tmp_path.rglob("*")] == (["new", *made] if made else [])
        shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_a_second_one_is_told_or_waits(tmp_path, capsys):
    path = tmp_path / "new" / "lock"
    holder = hold(path, 1)
    with (
        pytest.raises(UserError, match="somebody is here; wait for it or stop it first"),
        lock.exclusive(path, "somebody is here", wait=False),
    ):
        pass
    with lock.exclusive(path, "somebody is here", wait=True):
        assert holder.wait() == 0
    assert capsys.readouterr().err == "somebody is here; waiting\n"
    assert not list(path.parent.iterdir())


@pytest.mark.fault("a process killed that holds a lock", "the next one gets it")
def test_a_killed_holder_holds_nothing(tmp_path):
    holder = hold(tmp_path / "lock", 100)
    holder.kill()
    holder.wait()
    with lock.exclusive(tmp_path / "lock", "busy", wait=False):
        pass


def test_many_in_a_row_never_meet(tmp_path):
    """Each removes the lock file at the end, while others wait for it."""
    inside = tmp_path / "inside"
    code = f"""
import os
from pathlib import Path
from multistep import lock
for _ in range(40):
    with lock.exclusive(Path({str(tmp_path / "lock")!r}), "busy", wait=True):
        os.close(os.open({str(inside)!r}, os.O_CREAT | os.O_EXCL))
        os.unlink({str(inside)!r})
"""
    command = [sys.executable, "-c", code]
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_and_stops_nothing(tmp_path, monkeypatch, capsys, code):
    def refuse(*_):
        raise OSError(code, "not here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.exclusive(tmp_path / "lock", "busy", wait=False):
        assert "lock: this file system has no locks (not here)" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_another_error_is_none_of_these(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="broken"), lock.exclusive(tmp_path / "l", "b", wait=True):
        time.sleep(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root, to be another user")
def test_another_user_s_lock_in_a_shared_folder_holds_too(tmp_path):
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # which others may enter, unlike `tmp_path`
    folder.chmod(0o1777)
    holder = hold(folder / "lock", 100)
    os.seteuid(65534)
    try:
        with pytest.raises(UserError), lock.exclusive(folder / "lock", "busy", wait=False):
            pass
        os.seteuid(0)
        holder.kill()
        holder.wait()
        os.seteuid(65534)
        with lock.exclusive(folder / "lock", "busy", wait=False):
            pass  # which can't remove it
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)
