"""Tells people how a robot does while it moves, off the control thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import numpy as np

from robosac.deploy.recorded_robot import RecordedRobot

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from robosac.deploy.journey import Journey
    from robosac.env import RobotEnv

_SHOW_S = 1.0


class Watch:
    """Tells every second how a robot runs; at rest, the session tells what to do.

    A context manager.
    """

    def __init__(
        self,
        env: RobotEnv,
        journey: Journey,
        *,
        remarks: Callable[[], str],
        tell: Callable[[str], None],
    ) -> None:
        """Watch this robot; `remarks` say how learner and log are."""
        self._env, self._journey, self._remarks, self._tell = env, journey, remarks, tell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_SHOW_S):
            if self._env.robot.active:
                self._tell(self._status())

    def _status(self) -> str:
        """One line about a robot that runs."""
        robot, journey = self._env.robot, self._journey
        speed = "-" if journey.speed_mps is None else f"{journey.speed_mps:.2f} m/s"
        parts = [
            f"{robot.state.words} {journey.moving_s:5.0f} s",
            f"speed {speed}",
            f"falls {journey.falls}",
            f"missed ticks {self._env.overruns}",
        ]
        reading = robot.latest if isinstance(robot, RecordedRobot) else None
        if reading is not None and reading.temperature is not None:
            hottest = int(np.argmax(reading.temperature))
            name = robot.spec.joint_names[hottest]
            parts.append(f"hottest {reading.temperature[hottest]:.0f} °C {name}")
        if reading is not None and reading.voltage is not None:
            parts.append(f"supply {reading.voltage:.1f} V")
        parts.append(self._remarks())
        return "  ".join(parts)
