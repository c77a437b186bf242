"""Pages are drawn in several processes: what comes back, in which order, and what goes wrong."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from multistep.files import UserError
from multistep.pages import apart

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there processes are forked")


@pytest.fixture(autouse=True)
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_cores", lambda: 3)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_what_is_made_comes_back_in_order_from_other_processes(count: int) -> None:
    here = list(range(count))  # a fork has what isn't handed on
    made = list(apart.each(lambda i: (here[i], os.getpid()), here)())
    assert [number for number, _ in made] == here
    processes = {process for _, process in made}
    assert len(processes) == min(count, 3)
    assert (os.getpid() in processes) == (count == 1)  # one is drawn here


def test_an_error_says_where_it_was_raised() -> None:
    def work(item: int) -> int:
        if item == 4:
            raise UserError("a result was edited")
        return item

    with pytest.raises(UserError, match="a result was edited") as raised:
        list(apart.each(work, range(6))())
    assert "test_apart.py" in raised.value.__notes__[0]


def test_a_process_that_is_stopped_from_outside_is_told() -> None:
    ended = apart.each(lambda i: os.kill(os.getpid(), signal.SIGKILL), [1, 2])
    with pytest.raises(UserError, match=r"was stopped \(-9\); OMP_NUM_THREADS=1 draws"):
        list(ended())


def test_as_many_as_cores_or_threads_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cores = len(os.sched_getaffinity(0))
    for asked, right in (("1", 1), ("", cores), ("0", cores), ("4,2", cores), ("999", cores)):
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert apart._cores() == right
