"""Simulated time, optionally held back to the pace of real time."""

from __future__ import annotations

import time


class SimClock:
    """Nanoseconds of simulated time; with realtime they never run ahead of the wall clock."""

    def __init__(self, *, realtime: bool = False) -> None:
        """Start at zero; realtime makes pace() sleep."""
        self.now_ns = 0
        self._realtime = realtime
        self._origin_ns: int | None = None

    def pace(self) -> None:
        """Sleep until the wall clock has caught up with simulated time; no-op when free-running."""
        if not self._realtime:
            return
        if self._origin_ns is None:
            self._origin_ns = time.monotonic_ns() - self.now_ns
        ahead_ns = self._origin_ns + self.now_ns - time.monotonic_ns()
        if ahead_ns > 0:
            time.sleep(ahead_ns / 1e9)
        else:
            # Time lost once stays lost: catching up would squeeze later periods.
            self._origin_ns -= ahead_ns
