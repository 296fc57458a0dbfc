"""The guards as plain functions: what is allowed to reach the joints, and what a reading means."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.robot import JointCommand, RobotState
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]


class Guard(enum.IntFlag):
    """Causes of an intervention, one bit each; stored with every transition."""

    NONE = 0
    COMMAND_NOT_FINITE = 1
    COMMAND_SHAPE = 2
    POSITION_LIMIT = 4
    SLEW_LIMIT = 8
    GAIN_LIMIT = 16
    STATE_NOT_FINITE = 32
    TILT = 64
    STALE_STATE = 128
    OPERATOR_STOP = 256


LATCHING = Guard.STATE_NOT_FINITE | Guard.TILT | Guard.STALE_STATE
"""Causes that keep the robot off until a local operator clears them."""


def unusable(command: JointCommand, joints: int) -> Guard:
    """Say why a command must be refused; NONE when it may be limited and used.

    Non-finite numbers are refused, never clamped: a clamp built from minimum and maximum turns NaN
    into a limit.
    """
    parts = (command.position, command.kp, command.kd, command.torque)
    if any(np.shape(part) != (joints,) for part in parts):
        return Guard.COMMAND_SHAPE
    if not all(np.isfinite(part).all() for part in parts):
        return Guard.COMMAND_NOT_FINITE
    return Guard.NONE


class Limited(NamedTuple):
    """A value after a limit, and which guard changed it."""

    value: FloatArray
    guard: Guard


class Limits:
    """Position, slew and gain limits of one robot, computed once."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take every bound from robot.toml."""
        self.lower, self.upper = spec.soft_limits()
        self._velocity_max = spec.column("velocity_max")
        self._kp_max, self._kd_max = spec.column("kp"), spec.column("kd")
        self._effort_max = spec.column("effort_max")

    def position(self, target: FloatArray) -> Limited:
        """Hold targets (J,), rad, inside the soft limits."""
        return _marked(np.clip(target, self.lower, self.upper), target, Guard.POSITION_LIMIT)

    def slew(self, target: FloatArray, previous: FloatArray, dt_s: float) -> Limited:
        """Hold the step from the previous command, not from the measurement, to velocity_max·dt."""
        reach = self._velocity_max * np.float32(max(dt_s, 0.0))
        return _marked(
            np.clip(target, previous - reach, previous + reach), target, Guard.SLEW_LIMIT
        )

    def gains(self, kp: FloatArray, kd: FloatArray) -> tuple[FloatArray, FloatArray, Guard]:
        """Hold gains between zero and those of robot.toml."""
        held_kp, held_kd = np.clip(kp, 0, self._kp_max), np.clip(kd, 0, self._kd_max)
        same = np.array_equal(held_kp, kp) and np.array_equal(held_kd, kd)
        return held_kp, held_kd, Guard.NONE if same else Guard.GAIN_LIMIT

    def torque(self, torque: FloatArray) -> Limited:
        """Hold feed-forward torques (J,), N·m, to the stall torque."""
        return _marked(
            np.clip(torque, -self._effort_max, self._effort_max), torque, Guard.GAIN_LIMIT
        )


def _marked(held: FloatArray, asked: FloatArray, guard: Guard) -> Limited:
    """Pair the held value with the guard, if it did anything."""
    return Limited(held, Guard.NONE if np.array_equal(held, asked) else guard)


class TiltWatch:
    """Fires when the body has been tilted too far for too long."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take angle and time from robot.toml."""
        self._cosine = math.cos(math.radians(spec.safety.tilt_deg))
        self._patience_ns = round(spec.safety.tilt_s * 1e9)
        self._since_ns: int | None = None

    def fired(self, state: RobotState) -> bool:
        """Judge one reading by projected gravity, which has no singularity as Euler angles have."""
        if -float(state.gravity[2]) >= self._cosine:
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = state.stamp_ns
        return state.stamp_ns - self._since_ns >= self._patience_ns

    def forget(self) -> None:
        """Start anew."""
        self._since_ns = None


class StillWatch:
    """Tells when a damped robot has come to rest."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take thresholds and time from robot.toml."""
        self._limits = spec.safety
        self._since_ns: int | None = None

    def fired(self, state: RobotState) -> bool:
        """Judge one reading; it must be finite and slow for still_s in a row."""
        gyro = float(np.linalg.norm(state.gyro))
        joints = float(np.abs(state.velocity).max(initial=0.0))
        if not (gyro < self._limits.still_gyro and joints < self._limits.still_velocity):
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = state.stamp_ns
        return state.stamp_ns - self._since_ns >= self._limits.still_s * 1e9

    def forget(self) -> None:
        """Start anew."""
        self._since_ns = None
