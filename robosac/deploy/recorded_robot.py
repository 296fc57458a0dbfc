"""A SafeRobot that keeps a flight log of every tick, whatever state it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robots import SafeRobot
from robots.safety.states import MOVING

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robosac.flight_log.log import FlightLog, TickValues
    from robots import Guard, JointCommand, Robot, RobotState

    FloatArray = NDArray[np.float32]


class RecordedRobot(SafeRobot):
    """Logs what was read, asked for and applied; while it stands up, sits down and damps, too.

    A tick is a reading and the command that answers it; with it stand the guards that were taken
    since the tick before, which are those of the step that led here.  Without a log it is a
    SafeRobot.
    """

    def __init__(self, robot: Robot, *, attended: int = 0, fade_in: bool = False) -> None:
        """Wrap a robot; nothing is logged before record_to()."""
        super().__init__(robot, attended=attended, fade_in=fade_in)
        self._log: FlightLog | None = None
        self._version: Callable[[], int] = _nobody
        self._stance, self._scale = robot.spec.column("stance"), robot.spec.column("action_scale")
        self.latest: RobotState | None = None
        """The last reading."""
        self._read_ns = 0
        self._tick_ns: int | None = None
        self._late_s, self._guards = 0.0, 0

    def record_to(self, log: FlightLog | None, *, version: Callable[[], int] | None = None) -> None:
        """Log from now on; `version` tells which policy acts, where that is known."""
        self._log, self._version = log, version or _nobody

    def enable(self) -> None:
        """Pass it on; what the guards did in an earlier motion is not told with this one."""
        if self.state not in MOVING:
            super().take_guards()
            self._guards = 0
        super().enable()

    def read(self) -> RobotState:
        """Read the sensors, and keep the reading for the log."""
        reading = self.latest = super().read()
        self._read_ns = self.now()
        return reading

    def tick_late(self, late_s: float) -> None:
        """Pass it on, and keep it for the log."""
        self._late_s = late_s
        super().tick_late(late_s)

    def take_guards(self) -> Guard:
        """Pass them on, and keep them for the log."""
        guards = super().take_guards()
        self._guards |= int(guards)
        return guards

    def write(self, command: JointCommand) -> JointCommand:
        """Command the joints, and log the tick; what was applied is NaN where the driver failed."""
        applied = np.full_like(self._stance, np.nan)
        try:
            sent = super().write(command)
            applied = sent.position
            return sent
        finally:
            if self._log is not None and self.latest is not None:
                self._record(self._log, self.latest, command.position, applied)

    def _record(
        self, log: FlightLog, reading: RobotState, asked: FloatArray, applied: FloatArray
    ) -> None:
        now_ns = self.now()
        values: TickValues = {
            "late_s": self._late_s,
            "act_s": (now_ns - self._read_ns) / 1e9,
            "executed": np.clip((applied - self._stance) / self._scale, -1, 1),
            "target": applied,
            "guards": self._guards,
            "policy_version": self._version(),
        }
        if self._tick_ns is not None:
            values["dt_s"] = (now_ns - self._tick_ns) / 1e9
        if np.shape(asked) == self._stance.shape:
            values["requested"] = (asked - self._stance) / self._scale
        log.tick(reading, self.state, motion=self.base_motion(), **values)
        self._tick_ns, self._late_s, self._guards = now_ns, 0.0, 0


def _nobody() -> int:
    return -1
