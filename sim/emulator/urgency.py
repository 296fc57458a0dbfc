"""Threads that answer in time although the machine is busy."""

from __future__ import annotations

import contextlib
import os

_LEAST = 1
"""Smallest real-time priority: before everything ordinary, behind whatever else is urgent."""


def hurry() -> bool:
    """Let the calling thread run before all ordinary ones; whether the system allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_LEAST))
        return True
    return False
