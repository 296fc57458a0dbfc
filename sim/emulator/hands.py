"""Invisible hands: whoever stands beside a robot that learns, and puts it back on its feet."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from robots.dynamixel.control_table import Register

if TYPE_CHECKING:
    from sim.emulator.bench import Bench
    from sim.emulator.motion import Array
    from sim.emulator.mujoco_motion import MujocoJoints

LIMP_S = 0.8
"""How long the torque must be off before they take hold, s: they touch nothing that moves."""
PAUSE_S = 2.0
"""Shortest time from one grip to the next, s."""
GRIP_S = 0.6
"""How long they take to fold the legs, s."""
TILT_RAD = math.radians(10.0)
"""Tilt from which a robot counts as lying: one that leans on a leg under it falls when it rises."""
SPREAD_RAD = 0.5
"""Distance of a joint from its crouch from which a robot counts as sunk."""


class Hands:
    """Put a limp robot that lies or has sunk into its crouch; the bench calls step() all the time.

    They move its joints no faster than a person does, so that encoders show no jumps.
    """

    def __init__(self, plant: MujocoJoints) -> None:
        """Watch over this robot."""
        self._plant = plant
        self._limp_ns: int | None = None
        self._gripped_ns: int | None = None
        self._from: Array | None = None
        self.diary: deque[str] = deque(maxlen=100)
        """What they have done and nobody has read yet, a line each."""

    def step(self, bench: Bench) -> None:
        """See whether help is needed, or go on helping."""
        now_ns = bench.now_ns
        if any(servo.memory.get(Register.TORQUE_ENABLE) for servo in bench.servos):
            self._limp_ns = self._from = None
            self._plant.let_go()
            return
        if self._from is not None:
            self._fold(self._from, now_ns)
            return
        if self._limp_ns is None:
            self._limp_ns = now_ns
        rested = now_ns - self._limp_ns >= LIMP_S * 1e9
        gripped_ns = self._gripped_ns
        if rested and (gripped_ns is None or now_ns - gripped_ns >= PAUSE_S * 1e9):
            self._grip(now_ns)

    def _grip(self, now_ns: int) -> None:
        """Take hold if it lies or has sunk."""
        plant = self._plant
        if plant.tilt <= TILT_RAD and plant.spread <= SPREAD_RAD:
            return
        self.diary.append(
            f"hands put the robot back: it lay {math.degrees(plant.tilt):.0f} degrees over, its "
            f"legs {plant.spread:.1f} rad from the crouch"
        )
        self._gripped_ns, self._from = now_ns, plant.position.copy()

    def _fold(self, begun: Array, now_ns: int) -> None:
        """Bring the legs towards the crouch, and let go when they are there."""
        share = min((now_ns - (self._gripped_ns or 0)) / (GRIP_S * 1e9), 1.0)
        self._plant.hold(begun + share * (self._plant.crouch - begun))
        if share >= 1:
            self._plant.let_go()
            self._from = None
