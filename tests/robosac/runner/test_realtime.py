"""What a control loop gets of Python and the kernel, and gives back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from robosac.runner.realtime import PRIORITY, Granted, realtime

if TYPE_CHECKING:
    from collections.abc import Iterator

_POLICY = ~os.SCHED_RESET_ON_FORK


@pytest.fixture(autouse=True)
def _collecting() -> Iterator[None]:
    """Whatever a test does, the next one has a garbage collector."""
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_inside() -> None:
    """What exists is set aside; afterwards all is as it was."""
    before = gc.get_freeze_count()
    with realtime():
        assert not gc.isenabled()
        assert gc.get_freeze_count() > before
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_an_error_inside_gives_everything_back() -> None:
    """Also when the loop ends with one."""
    usual = os.sched_getscheduler(0)
    with pytest.raises(ValueError, match="in the loop"), realtime():
        raise ValueError("in the loop")
    assert gc.isenabled()
    assert os.sched_getscheduler(0) & _POLICY == usual & _POLICY


def test_the_thread_has_the_priority_that_was_granted_and_nobody_else() -> None:
    """Threads and processes that are started inside are ordinary ones."""
    seen: list[int] = []
    with realtime() as granted:
        mine = os.sched_getscheduler(0) & _POLICY
        thread = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
        thread.start()
        thread.join()
        command = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
        seen.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
        if granted.priority is not None:
            assert os.sched_getparam(0).sched_priority == PRIORITY
    assert (mine == os.SCHED_FIFO) == (granted.priority is not None)
    assert [one & _POLICY for one in seen] == [os.SCHED_OTHER] * 2
    assert os.sched_getscheduler(0) & _POLICY == os.SCHED_OTHER


def test_what_is_not_allowed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop runs all the same; a user without rights learns what to ask for."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with realtime() as granted:
        assert granted == Granted(None)
        assert "raise the rtprio limit or grant CAP_SYS_NICE" in str(granted)
    assert str(Granted(50)) == "real-time priority 50 (SCHED_FIFO)"
