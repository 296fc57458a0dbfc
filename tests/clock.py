"""A clock for tests."""

from __future__ import annotations


class Clock:
    """Time that stands still unless a test moves `now`, s; in the place of a clock or of `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Now."""
        return self.now

    monotonic = __call__
