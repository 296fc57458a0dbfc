"""The moves that the wrapper makes by itself: getting up, fading in, sitting down."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from robots.robot import JointCommand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.safety.limits import Limits
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_FIRST_GAIN = 0.2
"""Share of its gain that a joint begins to get up with."""


class Script:
    """Scripted moves at ramp_speed; each call is one step from the last targets."""

    def __init__(self, spec: RobotSpec, limits: Limits, *, fade_in: bool) -> None:
        """Take the poses from robot.toml; a robot without a crouch sits in its stance."""
        self._spec, self._limits = spec, limits
        self._fade_in_s = spec.safety.fade_in_s if fade_in else 0.0
        self.stance = limits.inside(spec.column("stance"))
        crouch = np.array(spec.crouch, dtype=np.float32)
        self._crouch = limits.inside(crouch) if crouch.size else self.stance
        self._folding = self._getting_up = False

    def begin(self, measured: FloatArray) -> None:
        """Choose the way up from where the joints (J,) are, rad.

        Far from the stance the robot lies, its legs anywhere: it folds them under its body before
        it stands up.
        """
        far = np.abs(measured - self.stance) > self._spec.safety.getup_rad
        self._folding = self._getting_up = bool(far.any())

    def ramp(self, last: FloatArray, dt_s: float, *, since_s: float) -> tuple[JointCommand, bool]:
        """One step towards the stance, and whether it has arrived there.

        A robot that gets up is stiffened in the first rise_s of it.
        """
        goal = self._crouch if self._folding else self.stance
        target = self._limits.script(last, goal, dt_s)
        arrived = np.array_equal(target, goal)
        command = JointCommand.towards(target, self._spec)
        if self._getting_up and since_s < self._spec.safety.rise_s:
            risen = since_s / self._spec.safety.rise_s
            command = dataclasses.replace(
                command, kp=command.kp * np.float32(max(risen, _FIRST_GAIN))
            )
        if arrived and self._folding:
            self._folding = arrived = False
        return command, arrived

    def fade(self, command: JointCommand, *, since_s: float) -> JointCommand:
        """The command as far as it counts so long after the stance was reached: in the end, all."""
        if since_s >= self._fade_in_s:
            return command
        share = np.float32(since_s / self._fade_in_s)
        return dataclasses.replace(
            command, position=self.stance + share * (command.position - self.stance)
        )

    def sit(self, last: FloatArray, dt_s: float) -> tuple[JointCommand, bool]:
        """One step towards the crouch, and whether it has arrived there."""
        target = self._limits.script(last, self._crouch, dt_s)
        return JointCommand.towards(target, self._spec), np.array_equal(target, self._crouch)
