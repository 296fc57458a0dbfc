"""What may reach the joints: refuse what is no command, hold the rest to every limit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robots.robot import JointCommand
from robots.safety.guards import Guard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]


def finite(numbers: NDArray[np.generic]) -> bool:
    """Whether all numbers of a small array are finite; much faster than numpy for so few."""
    return all(map(math.isfinite, numbers.tolist()))


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
    if not all(finite(part) for part in parts):
        return Guard.COMMAND_NOT_FINITE
    return Guard.NONE


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
        self._limit_gain = spec.safety.limit_gain
        effort, zeros = spec.column("effort_max"), np.zeros_like(self.lower)
        self._others_lower = np.concatenate((zeros, zeros, -effort))
        self._others_upper = np.concatenate((spec.column("kp"), spec.column("kd"), effort))

    def apply(
        self,
        command: JointCommand,
        *,
        previous: FloatArray,
        measured: FloatArray,
        dt_s: float,
        speed: float = 1.0,
    ) -> Limited:
        """Hold a usable command to every limit.

        The slew counts from the previous targets (J,), not from the measurement: at most
        speed·velocity_max·dt, and towards a limit at most limit_gain·distance·dt.  The position
        limit comes after it and has the last word.  Gains lie between zero and those of robot.toml,
        feed-forward torques within the stall torque, and a joint measured (J,) at or beyond its
        limit gets none that pushes it outwards.
        """
        position, guards = self._position(command.position, previous, dt_s, speed)
        others = np.concatenate((command.kp, command.kd, command.torque))
        held = np.minimum(np.maximum(others, self._others_lower), self._others_upper)
        held = held.astype(np.float32, copy=False)
        if (held != others).any():
            guards |= Guard.GAIN_LIMIT
        kp, kd, torque = held.reshape(3, -1)
        if torque.any():
            inwards = np.where(measured >= self.upper, np.minimum(torque, 0), torque)
            inwards = np.where(measured <= self.lower, np.maximum(inwards, 0), inwards)
            if (inwards != torque).any():
                guards |= Guard.POSITION_LIMIT
                torque = inwards
        return Limited(JointCommand(position=position, kp=kp, kd=kd, torque=torque), guards)

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

    def _position(
        self, asked: FloatArray, previous: FloatArray, dt_s: float, speed: float
    ) -> tuple[FloatArray, Guard]:
        """Targets within slew and limits, and which of the two changed them."""
        dt_s = max(dt_s, 0.0)
        reach = self._velocity_max * np.float32(dt_s * speed)
        share = np.float32(min(self._limit_gain * dt_s, 1.0))
        slewed = np.minimum(np.maximum(asked, previous - reach), previous + reach)
        lower = np.maximum(self.lower, previous + share * (self.lower - previous))
        upper = np.minimum(self.upper, previous + share * (self.upper - previous))
        position = np.minimum(np.maximum(slewed, lower), upper)
        guards = Guard.NONE
        if (position != asked).any():
            guards |= Guard.SLEW_LIMIT if (slewed != asked).any() else Guard.NONE
            guards |= Guard.POSITION_LIMIT if (position != slewed).any() else Guard.NONE
        return position.astype(np.float32, copy=False), guards
