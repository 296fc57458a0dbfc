"""What is told of a session afterwards: how long, how far, what stopped it."""

from __future__ import annotations

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
        self.steps = self.falls = 0
        self.moving_s = self.forward_m = 0.0
        self.stops: list[Stop] = []

    @property
    def speed_mps(self) -> float | None:
        """Mean forward speed while the policy acted, m/s; None before the first step."""
        return self.forward_m / self.moving_s if self.moving_s else None

    def add(self, info: dict[str, Any], *, fell: bool) -> None:
        """Add one step of RobotEnv."""
        self.steps += 1
        self.moving_s += info["dt"]
        self.forward_m += info["forward_mps"] * info["dt"]
        self.falls += fell

    def stopped(self, robot_ns: int, state: str, cause: str) -> None:
        """Remember a stop."""
        self.stops.append(Stop(robot_ns / 1e9, state, cause))
