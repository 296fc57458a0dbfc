"""Where an emulated robot really is, which its own sensors do not tell."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from sim.emulator.bench import Bench
    from sim.emulator.mujoco_motion import MujocoJoints

_PERIOD_NS = 50_000_000
_KEPT = 10_000


class Whereabouts(msgspec.Struct, frozen=True):
    """Where the base is at one moment."""

    t: float
    """Time since the emulator began, s."""
    x: float
    """Position in the world, m."""
    y: float
    z: float
    yaw: float
    """Heading, rad."""
    tilt: float
    """Angle of the body's up axis and the vertical, rad."""


class Track:
    """Notes twenty times a second where the robot is; the bench calls step() all the time."""

    def __init__(self, plant: MujocoJoints) -> None:
        """Follow this robot."""
        self._plant = plant
        self._due_ns = 0
        self.notes: deque[Whereabouts] = deque(maxlen=_KEPT)
        """What nobody has fetched yet."""

    def step(self, bench: Bench) -> None:
        """Note where it is, if it is time."""
        if bench.now_ns < self._due_ns:
            return
        self._due_ns = bench.now_ns + _PERIOD_NS
        x, y, z, yaw = self._plant.pose
        self.notes.append(Whereabouts(bench.now_ns / 1e9, x, y, z, yaw, self._plant.tilt))
