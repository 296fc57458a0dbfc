"""Drops joint samples that cannot be: no joint gets so far in the time since the one before."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from robots.safety.limits import finite
from robots.safety.sensor_watch import JUMPS_MAX

if TYPE_CHECKING:
    from robots.robot import RobotState
    from robots.spec import RobotSpec


class JumpFilter:
    """Keeps the last possible joint sample, growing old, in the place of impossible ones.

    A driver that has dropped them itself says so in joint_jumps, and there is nothing left to do.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Take the possible speed from robot.toml."""
        self._speed = spec.column("velocity_max") * np.float32(spec.safety.jump_share * 1e-9)
        self._noise = np.float32(spec.safety.jump_noise)
        self._last: RobotState | None = None
        self._jumps = 0

    def take(self, reading: RobotState) -> RobotState:
        """Return the reading, with the last possible joint sample if its own is impossible.

        After JUMPS_MAX in a row the joint is believed to be where it is measured.
        """
        last = self._last
        if np.shape(reading.position) != self._speed.shape or not finite(reading.position):
            return reading  # others judge that
        if last is None or self._jumps >= JUMPS_MAX or self._possible(last, reading):
            self._last, self._jumps = reading, 0
            return reading
        self._jumps += 1
        return dataclasses.replace(
            reading,
            position=last.position,
            velocity=last.velocity,
            effort=last.effort,
            joint_age_s=(reading.stamp_ns - last.stamp_ns) / 1e9 + last.joint_age_s,
            joint_jumps=max(self._jumps, reading.joint_jumps),
        )

    def forget(self) -> None:
        """Believe the next sample, whatever it is."""
        self._last, self._jumps = None, 0

    def _possible(self, last: RobotState, reading: RobotState) -> bool:
        """Judge by the longest time that can lie between both samples."""
        elapsed_ns = reading.stamp_ns - last.stamp_ns + last.joint_age_s * 1e9
        reach = self._speed * np.float32(max(elapsed_ns, 0.0)) + self._noise
        far = (reading.position > last.position + reach) | (
            reading.position < last.position - reach
        )
        return not far.any()
