"""Watches the emulated servos themselves: what they are told, and whether they drive."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from robots.dynamixel.control_table import RAD_PER_COUNT, WATCHDOG_TRIPPED, Register
from robots.dynamixel.protocol import Instruction
from robots.dynamixel.setup import to_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots import RobotSpec
    from robots.dynamixel.protocol import Frame
    from sim.emulator.servo import Servo

_HEAD = 4
_VALUE = 4
_ROUNDING_COUNTS = 2.0
_PROBLEMS_MAX = 5


class Witness:
    """Holds every goal to the limits, and remembers when the servos last drove.

    A servo drives when its torque is on, its pulse width is not held to zero, and its watchdog has
    not stopped it where it is.
    """

    def __init__(self, spec: RobotSpec, servos: Sequence[Servo], *, slack_s: float = 0.0) -> None:
        """Watch the servos of a bus; slack is how inexactly the time of a goal is known, s."""
        assert spec.bus is not None
        bus = spec.bus.in_order(spec.joint_names)
        self._servos = {servo.id: servo for servo in servos}
        self._slack_s = slack_s
        self._longest_s = spec.safety.stale_damp_s
        self._reach = {
            servo.id: joint.velocity_max / RAD_PER_COUNT
            for servo, joint in zip(bus.servos, spec.joints, strict=True)
        }
        self._limits = {
            servo.id: sorted(to_counts(servo, limit) for limit in (joint.lower, joint.upper))
            for servo, joint in zip(bus.servos, spec.joints, strict=True)
        }
        self._last: dict[int, tuple[int, int]] = {}
        self.problems: list[str] = []
        """What servos were told, or did, and must never have been; the first few."""
        self.drove_ns = 0
        """When a servo last drove, ns."""
        self.densest_s = math.inf
        """Shortest time in which three instructions set goals, s."""
        self._told_ns = deque[int](maxlen=3)

    @property
    def driving(self) -> bool:
        """Whether a servo drives now."""
        return any(_drives(servo) for servo in self._servos.values())

    def look(self, now_ns: int) -> None:
        """Look at every servo, after a step of the physics."""
        for device, servo in self._servos.items():
            if _drives(servo):
                self.drove_ns = now_ns
                self._check_limits(device, servo.memory.get(Register.GOAL_POSITION), now_ns)
            else:
                self._last.pop(device, None)

    def hear(self, frame: Frame, now_ns: int) -> None:
        """Judge the goals that an instruction carries."""
        address = int.from_bytes(frame.parameters[:2], "little")
        if frame.instruction != Instruction.SYNC_WRITE or address != Register.GOAL_POSITION.address:
            return
        self._told_ns.append(now_ns)
        if len(self._told_ns) == self._told_ns.maxlen:
            self.densest_s = min(self.densest_s, (now_ns - self._told_ns[0]) / 1e9)
        values = frame.parameters[_HEAD:]
        for start in range(0, len(values), 1 + _VALUE):
            goal = np.frombuffer(values, "<i4", 1, start + 1)[0]
            self._judge(values[start], int(goal), now_ns)

    def _judge(self, device: int, goal: int, now_ns: int) -> None:
        """Hold one goal to the limits and to the one before it."""
        self._check_limits(device, goal, now_ns)
        held = self._servos[device].memory.get(Register.GOAL_POSITION)
        before_ns, before = self._last.get(device, (now_ns - round(1e9 * self._longest_s), held))
        self._last[device] = now_ns, goal
        elapsed_s = min((now_ns - before_ns) / 1e9 + self._slack_s, self._longest_s)
        if abs(goal - before) > self._reach[device] * elapsed_s + _ROUNDING_COUNTS:
            self._note(f"servo {device}: goal {before} -> {goal} in {elapsed_s:.3f} s", now_ns)

    def _check_limits(self, device: int, goal: int, now_ns: int) -> None:
        low, high = self._limits[device]
        if not low - _ROUNDING_COUNTS <= goal <= high + _ROUNDING_COUNTS:
            self._note(f"servo {device}: goal {goal} outside {low:.0f} to {high:.0f}", now_ns)

    def _note(self, problem: str, now_ns: int) -> None:
        if len(self.problems) < _PROBLEMS_MAX:
            self.problems.append(f"{problem} at {now_ns / 1e9:.3f} s")


def _drives(servo: Servo) -> bool:
    memory = servo.memory
    stopped = memory.get(Register.GOAL_PWM) == 0 or (
        memory.get(Register.BUS_WATCHDOG) == WATCHDOG_TRIPPED
    )
    return bool(memory.get(Register.TORQUE_ENABLE)) and not stopped
