"""What a control loop asks of Python and the kernel so that its ticks are on time."""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIORITY = 50
"""Priority of the control thread among the real-time threads of the machine, 1 to 99."""


class Granted(msgspec.Struct, frozen=True):
    """What realtime() has got; str() is what people read."""

    priority: int | None
    """Real-time priority of this thread; None when the kernel does not allow any."""

    def __str__(self) -> str:
        """Return one line."""
        if self.priority is None:
            return (
                "no real-time priority (SCHED_FIFO is not allowed here; raise the rtprio limit or "
                "grant CAP_SYS_NICE): ticks may be milliseconds late"
            )
        return f"real-time priority {self.priority} (SCHED_FIFO)"


@contextmanager
def realtime() -> Iterator[Granted]:
    """Run what is inside without garbage collection, on a thread of real-time priority if allowed.

    A collection stops the loop for milliseconds: what exists now is set aside for good, and Loop
    collects the rest between episodes.  Threads and processes that are started inside have ordinary
    priority.
    """
    usual, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    granted = _ask()
    try:
        yield granted
    finally:
        if granted.priority is not None:
            # Only root may take the flag back; it means nothing at ordinary priority.
            os.sched_setscheduler(0, usual | os.SCHED_RESET_ON_FORK, parameters)
        gc.unfreeze()
        if collecting:
            gc.enable()


def _ask() -> Granted:
    try:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))
    except PermissionError:
        return Granted(None)
    return Granted(PRIORITY)
