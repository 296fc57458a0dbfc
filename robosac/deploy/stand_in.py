"""Who takes the operator's place where the robot is emulated and nobody can be hurt."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from robosac.operator import Operator, Request
from robots import RobotError, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from robots import SafeRobot

_UPRIGHT = math.cos(math.radians(12.0))
"""Share of gravity along the body's axis from which a robot gets up; one that leans on a leg under
it does not, and is left to the hands that put it straight."""
PATIENCE_S = 1.5
"""How long it has to lie before it may go again, s: hands that help take about as long."""


class StandIn(Operator):
    """Lets an emulated robot go whenever it can, and clears its faults when it is upright again.

    Never for a machine that exists: there, this is what a person is for.
    """

    def __init__(
        self,
        robot: SafeRobot,
        *,
        stopped: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stand in until `stopped`; the clock counts seconds."""
        super().__init__(robot, clock=clock)
        self._safe, self._over = robot, stopped
        self._never = threading.Event()
        self._lies_since: float | None = None

    @property
    def quitting(self) -> bool:
        """Whether the end was asked for."""
        return self._over()

    def take(self) -> frozenset[Request]:
        """Return what brings the robot back to its task."""
        if self.quitting:
            return frozenset({Request.QUIT})
        if self._lies_since is None:
            self._lies_since = self._clock()
        try:
            upright = -float(self._safe.read().gravity[2]) > _UPRIGHT
        except RobotError:
            return frozenset({Request.CLEAR})  # whatever it is, clear opens it anew
        if not upright or self._clock() - self._lies_since < PATIENCE_S:
            return frozenset()
        return frozenset({Request.GO if self._safe.state is State.STANDBY else Request.CLEAR})

    def forget(self) -> None:
        """Motion has begun."""
        super().forget()
        self._lies_since = None

    def wait(self, timeout_s: float) -> bool:
        """Wait in vain: nothing is asked for, it is found."""
        return self._never.wait(timeout_s)
