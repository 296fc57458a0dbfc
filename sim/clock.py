"""Simulated time, optionally tied to real time."""

from __future__ import annotations

import time

_LAG_MAX_NS = 1_000_000_000


class SimClock:
    """Nanoseconds of simulated time.

    Free-running, time stands still between two steps of physics.  With realtime it goes by on the
    wall: a control loop that is late finds that out, as it would on a real robot, and physics then
    makes up for it.  A lag beyond one second is forgotten, lest slow physics never come to an end.
    """

    def __init__(self, *, realtime: bool = False) -> None:
        """Start at zero."""
        self.now_ns = 0
        """How far physics has come, ns."""
        self._realtime = realtime
        self._origin_ns = 0

    def begin(self) -> None:
        """Tie simulated time to the wall from now on: what went by before is not late."""
        self._origin_ns = time.monotonic_ns() - self.now_ns

    def read(self) -> int:
        """Return the present time as the control loop sees it, ns."""
        if not self._realtime:
            return self.now_ns
        lag_ns = time.monotonic_ns() - self._origin_ns - self.now_ns
        if lag_ns > _LAG_MAX_NS:
            self._origin_ns += lag_ns - _LAG_MAX_NS
        return self.now_ns + min(max(lag_ns, 0), _LAG_MAX_NS)

    def pace(self, until_ns: int) -> None:
        """Sleep until the wall clock has come to this time, too; no-op when free-running.

        Physics goes by whole steps and may have stopped short of it.
        """
        if not self._realtime:
            return
        ahead_ns = self._origin_ns + until_ns - time.monotonic_ns()
        if ahead_ns > 0:
            time.sleep(ahead_ns / 1e9)
