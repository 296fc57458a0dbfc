"""What is told of a session afterwards: how long, how far, what stopped it."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec


class Stop(msgspec.Struct, frozen=True):
    """One stop that somebody or something had asked for."""

    robot_s: float
    """Robot time at which it was at rest, s."""
    state: str
    """State it was left in."""
    cause: str
    """The first cause."""


class Journey:
    """Sums over every step of a session."""

    def __init__(self) -> None:
        """Start at zero."""
        self.steps = self.falls = self.episodes = 0
        self.moving_s = self.forward_m = 0.0
        self.stops: list[Stop] = []
        self.error = ""
        """What went wrong with the program or the robot's devices, if anything did."""
        self.limp = True
        """Whether the torque is known to be off at the end."""
        self._began = time.monotonic()
        self._return = self._sum = self._squares = 0.0

    @property
    def wall_s(self) -> float:
        """Time since the session began, s."""
        return time.monotonic() - self._began

    @property
    def speed_mps(self) -> float | None:
        """Mean forward speed while the policy acted, m/s; None before the first step."""
        return self.forward_m / self.moving_s if self.moving_s else None

    @property
    def return_mean(self) -> float | None:
        """Mean return of the episodes that have ended; None before the first."""
        return self._sum / self.episodes if self.episodes else None

    @property
    def return_std(self) -> float | None:
        """Standard deviation of the returns; None before the first episode has ended."""
        if self.return_mean is None:
            return None
        return math.sqrt(max(self._squares / self.episodes - self.return_mean**2, 0.0))

    def add(self, info: dict[str, Any], *, reward: float, fell: bool, ended: bool) -> None:
        """Add one step of RobotEnv; `ended` says that the episode is over."""
        self.steps += 1
        self.moving_s += info["dt"]
        self.forward_m += info["forward_mps"] * info["dt"]
        self.falls += fell
        self._return += reward
        if ended:
            self.episodes += 1
            self._sum += self._return
            self._squares += self._return**2
            self._return = 0.0

    def stopped(self, robot_ns: int, state: str, cause: str) -> None:
        """Remember a stop."""
        self.stops.append(Stop(robot_ns / 1e9, state, cause))
