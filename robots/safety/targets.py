"""What every state sends to the joints, each step counted from what was sent before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.robot import JointCommand
from robots.safety.limits import Limited, Limits, finite
from robots.safety.script import Script

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]


class Targets:
    """Makes commands from the last one, the measured pose and the robot's time."""

    def __init__(self, spec: RobotSpec, *, fade_in: bool) -> None:
        """Take limits and poses from robot.toml; fade commands in or take them whole."""
        self._spec = spec
        self._limits = Limits(spec)
        self._script = Script(spec, self._limits, fade_in=fade_in)
        self._sent: JointCommand | None = None
        self._sent_ns = self._ramp_ns = self._stood_ns = 0

    @property
    def stance(self) -> FloatArray:
        """Where the robot stands, inside its soft limits (J,), rad."""
        return self._script.stance

    def possible(self, position: FloatArray) -> bool:
        """Whether joints can be at these positions (J,), rad, stops that give way included."""
        return bool((self._limits.possible(position) == position).all())

    def forget(self) -> None:
        """Nothing has been sent: the next move starts at the measured pose."""
        self._sent = None

    def stand_up(self, measured: FloatArray, now_ns: int) -> None:
        """Begin to stand up from the measured positions (J,), rad."""
        self._script.begin(measured)
        self._ramp_ns = now_ns

    def last(self, measured: FloatArray) -> JointCommand:
        """The last command that was sent; where a move begins, the measured positions (J,), rad."""
        if self._sent is not None:
            return self._sent
        return JointCommand.towards(self._limits.possible(measured), self._spec)

    def ramp(self, measured: FloatArray, now_ns: int) -> tuple[JointCommand, bool]:
        """One step towards the stance, and whether the robot stands."""
        self._stood_ns = now_ns
        return self._script.ramp(
            self.last(measured).position,
            self._elapsed_s(now_ns),
            since_s=(now_ns - self._ramp_ns) / 1e9,
        )

    def sit(self, measured: FloatArray, now_ns: int) -> tuple[JointCommand, bool]:
        """One step towards the crouch, and whether the robot sits."""
        return self._script.sit(self.last(measured).position, self._elapsed_s(now_ns))

    def limited(
        self, command: JointCommand, measured: FloatArray, now_ns: int, *, speed: float
    ) -> Limited:
        """A usable command, faded in and held to every limit; its targets at a share of speed."""
        return self._limits.apply(
            self._script.fade(command, since_s=(now_ns - self._stood_ns) / 1e9),
            previous=self.last(measured).position,
            measured=measured,
            dt_s=self._elapsed_s(now_ns),
            speed=speed,
        )

    def damping(self, measured: FloatArray) -> JointCommand:
        """No stiffness; the targets stay where they were."""
        return JointCommand.damping(self.last(measured).position, self._spec)

    def send(self, command: JointCommand, now_ns: int) -> JointCommand:
        """Keep a command as the last one, unchangeable, because limits count from it.

        Raises ValueError for one with numbers that are none, which only a bug in here can make.
        """
        for part in (command.position, command.kp, command.kd, command.torque):
            if not finite(part):
                raise ValueError(f"a command of {part} for the joints; expected finite numbers")
            part.setflags(write=False)
        self._sent, self._sent_ns = command, now_ns
        return command

    def sent(self, now_ns: int) -> None:
        """Say when the last command was out; the first one waits for the torque to come on."""
        self._sent_ns = now_ns

    def _elapsed_s(self, now_ns: int) -> float:
        """Time since the last command, s; a long silence must not buy a long jump."""
        if self._sent is None:
            return 0.0
        return min((now_ns - self._sent_ns) / 1e9, self._spec.safety.stale_damp_s)
