"""Find the moments at which a whole machine stood still, which no program on it can help.

A virtual machine is stopped by its host now and then, for tens of milliseconds, and nothing inside
is told.  One process per core wakes up every two milliseconds at the highest real-time priority;
when all of them are late at once, it was not for anything that ran here.

    with Stalls() as stalls:
        ...
    print(stalls.found)
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import NamedTuple, Self

_PERIOD_S = 0.002
_LATE_S = 0.004
_PRIORITY = 98


class Stall(NamedTuple):
    """When all cores stood still, on the monotonic clock, s."""

    begin_s: float
    end_s: float


class Stalls:
    """Watches every core while the context is open."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._watchers: list[subprocess.Popen[str]] = []
        self.found: list[Stall] | None = None
        """Stalls of the whole machine, after the context; None where no real-time priority is."""

    def __enter__(self) -> Self:
        """Start a watcher on every core."""
        for core in sorted(os.sched_getaffinity(0)):
            self._watchers.append(
                subprocess.Popen(
                    [sys.executable, __file__, str(core)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them, and keep what all of them saw; raises RuntimeError when one ended before."""
        if any(watcher.poll() is not None for watcher in self._watchers):
            message = "a watcher of the machine's stalls ended early"
            raise RuntimeError(message)
        seen = [json.loads(watcher.communicate()[0]) for watcher in self._watchers]
        if all(one is not None for one in seen):
            self.found = common([[Stall(*gap) for gap in one] for one in seen])

    def explains(self, since_s: float, until_s: float) -> bool:
        """Whether the machine stood still at some time between these two."""
        return any(one.begin_s < until_s and one.end_s > since_s for one in self.found or ())


def common(seen: list[list[Stall]]) -> list[Stall]:
    """What is in a gap of every core."""
    first, *others = seen
    for other in others:
        first = [
            Stall(max(a.begin_s, b.begin_s), min(a.end_s, b.end_s))
            for a in first
            for b in other
            if a.begin_s < b.end_s and b.begin_s < a.end_s
        ]
    return first


def watch(core: int) -> None:
    """Note gaps on one core until standard input ends, then print them as JSON."""
    os.sched_setaffinity(0, {core})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    except PermissionError:
        sys.stdin.read()
        print("null")
        return
    gaps, last = [], time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        time.sleep(_PERIOD_S)
        now = time.monotonic()
        if now - last > _PERIOD_S + _LATE_S:
            gaps.append((last + _PERIOD_S, now))
        last = now
    print(json.dumps(gaps))


if __name__ == "__main__":
    watch(int(sys.argv[1]))
