"""What a reading says about the robot: are these numbers, are they fresh, is it upright, still."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robots.safety.guards import Guard
from robots.safety.limits import finite

if TYPE_CHECKING:
    from robots.robot import RobotState
    from robots.spec import RobotSpec

_ATTITUDE_TOLERANCE = 0.1
"""Largest distance of an attitude quaternion's norm from 1."""

JUMPS_MAX = 3
"""How many impossible joint samples in a row make an encoder broken."""


def unreadable(state: RobotState, joints: int) -> bool:
    """Whether a reading cannot be what the sensors measured.

    An attitude of all zeros, which sensors send before they are ready, would read as upright.
    """
    servos = [state.position, state.velocity, state.effort]
    if state.temperature is not None:
        servos.append(state.temperature)
    if any(np.shape(part) != (joints,) for part in servos):
        return True
    imu = (state.quaternion, state.gyro, state.accelerometer)
    if not all(finite(part) for part in (*servos, *imu)):
        return True
    if state.voltage is not None and not math.isfinite(state.voltage):
        return True
    return abs(math.hypot(*state.quaternion.tolist()) - 1.0) > _ATTITUDE_TOLERANCE


def age_s(state: RobotState, now_ns: int) -> float:
    """Age of the oldest sensor sample at this time, s; infinite when the driver reports no number.

    The time since the reading counts as well, so a caller that dawdled after it is found out.
    """
    joints, imu = state.joint_age_s, state.imu_age_s
    if not (math.isfinite(joints) and math.isfinite(imu)):
        return math.inf
    return max(joints, imu, 0.0) + max(now_ns - state.stamp_ns, 0) / 1e9


class Verdict(NamedTuple):
    """What a reading says: what to damp for, and what to hold for until it passes."""

    danger: Guard
    doubt: Guard


class SensorWatch:
    """Judges readings: are they numbers, are they fresh, is the robot upright."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take thresholds and times from robot.toml."""
        self._limits = spec.safety
        self._joints = len(spec.joints)
        self._cosine = math.cos(math.radians(spec.safety.tilt_deg))
        self._tilted_since_ns: int | None = None
        self._judged: RobotState | None = None
        self._unreadable = self._upright = False

    def judge(self, state: RobotState, now_ns: int) -> Verdict:
        """Judge a reading at this robot time; only doubts pass by themselves.

        A reading may be judged again at a later time, which costs less.
        """
        if state is not self._judged:
            self._unreadable = unreadable(state, self._joints)
            self._upright = not self._unreadable and self.upright(state)
            self._judged = state
        danger = doubt = Guard.NONE
        if self._unreadable:
            danger = Guard.STATE_NOT_FINITE
        elif self._tilted_too_long(now_ns):
            danger = Guard.TILT
        age = age_s(state, now_ns)
        if state.joint_jumps >= JUMPS_MAX:
            danger |= Guard.ENCODER_JUMP
        elif age >= self._limits.stale_damp_s:
            danger |= Guard.ENCODER_JUMP if state.joint_jumps else Guard.STALE_STATE
        elif age >= self._limits.stale_hold_s:
            doubt = Guard.STALE_STATE
        return Verdict(danger, doubt)

    def upright(self, state: RobotState) -> bool:
        """Judge by projected gravity, which has no singularity as Euler angles have."""
        _, x, y, _ = state.quaternion.tolist()
        return bool(1.0 - 2.0 * (x * x + y * y) >= self._cosine)

    def _tilted_too_long(self, now_ns: int) -> bool:
        if self._upright:
            self._tilted_since_ns = None
            return False
        if self._tilted_since_ns is None:
            self._tilted_since_ns = now_ns
        return now_ns - self._tilted_since_ns >= self._limits.tilt_s * 1e9


class StillWatch:
    """Tells when a damped robot has come to rest."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take thresholds and time from robot.toml."""
        self._limits = spec.safety
        self._since_ns: int | None = None

    def fired(self, state: RobotState, now_ns: int) -> bool:
        """Judge one reading; it must be finite and slow for still_s in a row."""
        gyro = math.hypot(*state.gyro)
        joints = float(np.abs(state.velocity).max(initial=0.0))
        if not (gyro < self._limits.still_gyro and joints < self._limits.still_velocity):
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        return now_ns - self._since_ns >= self._limits.still_s * 1e9

    def forget(self) -> None:
        """Start anew."""
        self._since_ns = None
