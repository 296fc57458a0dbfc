"""Watches whether the control loop keeps its period."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robots.spec import SafetyLimits

_WINDOW = 50
"""Number of ticks that late ones are counted in."""


class TickWatch:
    """Tells when ticks begin late too often, in a row or in all, or one of them by far.

    Old commands act for as long as a tick is late: the robot is then driven by nobody.
    """

    def __init__(self, limits: SafetyLimits) -> None:
        """Take the numbers from robot.toml."""
        self._limits = limits
        self._late: deque[bool] = deque(maxlen=_WINDOW)
        self._in_a_row = self._in_window = 0

    def add(self, late_s: float) -> str:
        """Take a tick and how late it began, s; returns what is wrong, empty when nothing is."""
        late = late_s > self._limits.late_s
        if len(self._late) == _WINDOW:
            self._in_window -= self._late[0]
        self._late.append(late)
        self._in_window += late
        self._in_a_row = self._in_a_row + 1 if late else 0
        if not late_s <= self._limits.late_stop_s:
            return f"a tick began {late_s * 1e3:.0f} ms late"
        if self._in_a_row >= self._limits.late_in_a_row:
            return f"{self._in_a_row} ticks in a row began late, the last {late_s * 1e3:.0f} ms"
        if self._in_window >= self._limits.late_in_50:
            return f"{self._in_window} of {len(self._late)} ticks began late"
        return ""

    def forget(self) -> None:
        """Start anew."""
        self._late.clear()
        self._in_a_row = self._in_window = 0
