"""Who takes the operator's place where the robot is emulated and nobody can be hurt."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from robosac.operator import Operator, Request
from robots import RobotError, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from robots import SafeRobot

_UPRIGHT = 0.9
"""Share of gravity along the body's axis from which a robot can get up."""


class StandIn(Operator):
    """Lets an emulated robot go whenever it can, and clears its faults when it is upright again.

    Never for a machine that exists: there, this is what a person is for.
    """

    def __init__(self, robot: SafeRobot, *, stopped: Callable[[], bool]) -> None:
        """Stand in until `stopped`."""
        super().__init__(robot)
        self._safe, self._over = robot, stopped
        self._never = threading.Event()

    @property
    def quitting(self) -> bool:
        """Whether the end was asked for."""
        return self._over()

    def take(self) -> frozenset[Request]:
        """Return what brings the robot back to its task."""
        if self.quitting:
            return frozenset({Request.QUIT})
        try:
            upright = -float(self._safe.read().gravity[2]) > _UPRIGHT
        except RobotError:
            return frozenset({Request.CLEAR})  # whatever it is, clear opens it anew
        if not upright:
            return frozenset()
        return frozenset({Request.GO if self._safe.state is State.STANDBY else Request.CLEAR})

    def wait(self, timeout_s: float) -> bool:
        """Wait in vain: nothing is asked for, it is found."""
        return self._never.wait(timeout_s)
