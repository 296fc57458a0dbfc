"""From goals to duty cycle: the control loops and the profile generator inside a servo.

The shape of the position loop is the vendor's; that it counts in units of the PWM register, and
the time base of its integral and derivative parts, are unverified.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from robots.dynamixel.control_table import RAD_PER_COUNT, RAD_PER_S_PER_COUNT, Register

if TYPE_CHECKING:
    from sim.emulator.memory import Memory

FULL_PWM = 885
"""Value of the PWM registers at full duty."""
CURRENT_MODE, VELOCITY_MODE, POSITION_MODE = 0, 1, 3
EXTENDED_MODE, CURRENT_POSITION_MODE, PWM_MODE = 4, 5, 16

_COUNTS_PER_S = RAD_PER_S_PER_COUNT / RAD_PER_COUNT
"""Position counts per second in one count of a velocity."""
_ACCELERATION = 214.577 / 3600 * 2 * math.pi / RAD_PER_COUNT
"""Position counts per second squared in one count of Profile Acceleration."""
_MS_PER_S = 1000.0
_P, _I, _D = 128.0, 65536.0, 16.0


class Controller:
    """State of the loops of one servo; positions in counts, speeds in counts per second."""

    def __init__(self, memory: Memory) -> None:
        """Read goals and gains from the control table at every step."""
        self._memory = memory
        self.reference = 0.0
        """Where the profile is on its way to the goal, counts."""
        self.reference_speed = 0.0
        """How fast it is, counts/s."""
        self._integral = 0.0
        self._error: float | None = None

    def reset(self, position: float) -> None:
        """Start at rest from this position, with empty integrals."""
        self.reference, self.reference_speed = position, 0.0
        self._integral, self._error = 0.0, None

    def position_duty(self, goal: float, position: float, dt: float) -> float:
        """Duty in [-1, 1] towards a position, along the profile; dt in s."""
        self._follow_profile(goal, dt)
        error = self.reference - position
        gains = (Register.POSITION_P, Register.POSITION_I, Register.POSITION_D)
        return self._pid(error, gains, dt)

    def velocity_duty(self, goal: float, speed: float, dt: float) -> float:
        """Duty in [-1, 1] towards a speed, both in counts/s; dt in s."""
        error = (goal - speed) / _COUNTS_PER_S
        return self._pid(error, (Register.VELOCITY_P, Register.VELOCITY_I, None), dt)

    def _pid(
        self, error: float, gains: tuple[Register, Register, Register | None], dt: float
    ) -> float:
        """Proportional, integral and derivative part, held to Goal PWM without winding up."""
        memory = self._memory
        limit = abs(memory.get(Register.GOAL_PWM))
        change = 0.0 if self._error is None else (error - self._error) / (dt * _MS_PER_S)
        self._error = error
        p, i = memory.get(gains[0]) / _P, memory.get(gains[1]) / _I
        d = 0.0 if gains[2] is None else memory.get(gains[2]) / _D
        summed = self._integral + error * dt * _MS_PER_S
        output = p * error + i * summed + d * change
        if abs(output) <= limit or abs(summed) < abs(self._integral):
            self._integral = summed
        return max(-limit, min(limit, output)) / FULL_PWM

    def _follow_profile(self, goal: float, dt: float) -> None:
        """Move the reference on: at once without a profile, else as fast as it allows."""
        top = self._memory.get(Register.PROFILE_VELOCITY) * _COUNTS_PER_S
        if not top:
            self.reference, self.reference_speed = goal, 0.0
            return
        rest = goal - self.reference
        rate = self._memory.get(Register.PROFILE_ACCELERATION) * _ACCELERATION
        speed = math.copysign(top, rest)
        if rate:
            stopping = math.copysign(min(math.sqrt(2 * rate * abs(rest)), top), rest)
            room = rate * dt
            speed = min(max(stopping, self.reference_speed - room), self.reference_speed + room)
        if abs(speed * dt) >= abs(rest) and speed * rest >= 0:
            self.reference, self.reference_speed = goal, 0.0
        else:
            self.reference += speed * dt
            self.reference_speed = speed
