"""The guards as plain functions: what is allowed to reach the joints, and what a reading means."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robots.robot import JointCommand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.robot import RobotState
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_ATTITUDE_TOLERANCE = 0.1
"""Largest distance of an attitude quaternion's norm from 1."""


class Guard(enum.IntFlag):
    """Causes of an intervention, one bit each; stored with every transition."""

    NONE = 0
    COMMAND_NOT_FINITE = 1
    COMMAND_SHAPE = 2
    POSITION_LIMIT = 4
    SLEW_LIMIT = 8
    GAIN_LIMIT = 16
    STATE_NOT_FINITE = 32
    """Readings that are no numbers, too few, or an attitude that is none, such as all zeros."""
    TILT = 64
    STALE_STATE = 128
    OPERATOR_STOP = 256
    DRIVER_ERROR = 512
    """The robot's driver raised an error."""
    HARDWARE_ERROR = 1024
    """A servo reports a fault of its own, has restarted, or has let go by itself."""
    LINK_LOST = 2048
    """A port has vanished or takes no bytes."""
    ESTOP = 4096
    OPERATOR_GONE = 8192
    """No sign of life from an operator who has to attend."""
    OVERRUN = 16384
    """The control loop does not keep its period."""
    EFFORT = 32768
    """A joint has given more torque than it bears, for a while or by far."""
    OVERSPEED = 65536
    """A joint moves faster than its drive can."""
    TEMPERATURE = 131072
    VOLTAGE = 262144
    """The supply is flat, or has dropped in an instant."""
    ENCODER_JUMP = 524288
    """A joint was measured where it cannot have come to."""
    STUCK = 1048576
    """A joint does not follow its target, or its reading does not change."""
    FROZEN_COMMAND = 2097152
    """The same command over and over while the robot moves."""


BLIND = Guard.STATE_NOT_FINITE | Guard.STALE_STATE
"""Guards after which the readings say nothing about the robot."""


def unusable(command: JointCommand, joints: int) -> Guard:
    """Say why a command must be refused; NONE when it may be limited and used.

    Non-finite numbers are refused, never clamped: a clamp built from minimum and maximum turns NaN
    into a limit.
    """
    parts = [
        np.asarray(part) for part in (command.position, command.kp, command.kd, command.torque)
    ]
    if any(part.shape != (joints,) or part.dtype.kind not in "fiu" for part in parts):
        return Guard.COMMAND_SHAPE
    if not all(np.isfinite(part).all() for part in parts):
        return Guard.COMMAND_NOT_FINITE
    return Guard.NONE


def unreadable(state: RobotState, joints: int) -> bool:
    """Whether a reading cannot be what the sensors measured.

    An attitude of all zeros, which sensors send before they are ready, would read as upright.
    """
    if any(np.shape(part) != (joints,) for part in (state.position, state.velocity, state.effort)):
        return True
    if not state.is_finite():
        return True
    return abs(math.hypot(*state.quaternion) - 1.0) > _ATTITUDE_TOLERANCE


def age_s(state: RobotState, now_ns: int) -> float:
    """Age of the oldest sensor sample at this time, s; infinite when the driver reports no number.

    The time since the reading counts as well, so a caller that dawdled after it is found out.
    """
    ages = (state.joint_age_s, state.imu_age_s)
    if not all(math.isfinite(age) for age in ages):
        return math.inf
    return max(*ages, 0.0) + max(now_ns - state.stamp_ns, 0) / 1e9


class Limited(NamedTuple):
    """A command after the limits, and which of them changed it."""

    command: JointCommand
    guards: Guard


class Limits:
    """Position, slew, gain and torque limits of one robot, computed once."""

    def __init__(self, spec: RobotSpec) -> None:
        """Take every bound from robot.toml."""
        self.lower, self.upper = spec.soft_limits()
        self._lowest = 2 * spec.column("lower") - self.lower
        self._highest = 2 * spec.column("upper") - self.upper
        self._velocity_max = spec.column("velocity_max")
        self._script_speed = np.minimum(self._velocity_max, np.float32(spec.safety.ramp_speed))
        self._kp_max, self._kd_max = spec.column("kp"), spec.column("kd")
        self._effort_max = spec.column("effort_max")

    def apply(self, command: JointCommand, previous: FloatArray, dt_s: float) -> Limited:
        """Hold a usable command to every limit.

        The slew counts from the previous targets (J,), not from the measurement: at most
        velocity_max·dt.  The position limit comes after it and has the last word.  Gains lie
        between zero and those of robot.toml, feed-forward torques within the stall torque.
        """
        reach = self._velocity_max * np.float32(max(dt_s, 0.0))
        slewed, slew = _clip(
            command.position, previous - reach, previous + reach, guard=Guard.SLEW_LIMIT
        )
        position, limit = _clip(slewed, self.lower, self.upper, guard=Guard.POSITION_LIMIT)
        zero, effort = np.zeros_like(reach), self._effort_max
        kp, kp_guard = _clip(command.kp, zero, self._kp_max, guard=Guard.GAIN_LIMIT)
        kd, kd_guard = _clip(command.kd, zero, self._kd_max, guard=Guard.GAIN_LIMIT)
        torque, torque_guard = _clip(command.torque, -effort, effort, guard=Guard.GAIN_LIMIT)
        return Limited(
            JointCommand(position=position, kp=kp, kd=kd, torque=torque),
            slew | limit | kp_guard | kd_guard | torque_guard,
        )

    def inside(self, position: FloatArray) -> FloatArray:
        """The nearest positions (J,), rad, inside the soft limits."""
        return np.clip(position, self.lower, self.upper)

    def possible(self, position: FloatArray) -> FloatArray:
        """The nearest positions (J,), rad, that joints can have.

        Stops give way and sensors are not exact: as much beyond the mechanical limits as the soft
        limits lie within them.
        """
        return np.clip(position, self._lowest, self._highest)

    def script(self, start: FloatArray, goal: FloatArray, dt_s: float) -> FloatArray:
        """One step of a scripted move towards a goal inside the soft limits, at ramp_speed.

        A start outside the limits, where a robot may well lie, is left inwards at that speed: to
        clamp it would be the jump that the ramp is there to avoid.
        """
        reach = self._script_speed * np.float32(max(dt_s, 0.0))
        return np.clip(goal, start - reach, start + reach)


def _clip(
    asked: FloatArray, lower: FloatArray, upper: FloatArray, *, guard: Guard
) -> tuple[FloatArray, Guard]:
    """Clip to float32, and name the guard if that changed anything."""
    held = np.clip(asked, lower, upper)
    return held.astype(np.float32), Guard.NONE if np.array_equal(held, asked) else guard


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

    def judge(self, state: RobotState, now_ns: int) -> Verdict:
        """Judge a reading at this robot time; only doubts pass by themselves."""
        danger = doubt = Guard.NONE
        if unreadable(state, self._joints):
            danger |= Guard.STATE_NOT_FINITE
        elif self._tilted_too_long(state, now_ns):
            danger |= Guard.TILT
        age = age_s(state, now_ns)
        if age >= self._limits.stale_damp_s:
            danger |= Guard.STALE_STATE
        elif age >= self._limits.stale_hold_s:
            doubt = Guard.STALE_STATE
        return Verdict(danger, doubt)

    def upright(self, state: RobotState) -> bool:
        """Judge by projected gravity, which has no singularity as Euler angles have."""
        return -float(state.gravity[2]) >= self._cosine

    def _tilted_too_long(self, state: RobotState, now_ns: int) -> bool:
        if self.upright(state):
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
