"""What simulated robots share: time, delayed commands, placing; the physics is the engine's."""

from __future__ import annotations

import abc
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from robots import NotConnectedError, Robot
from sim.clock import SimClock

if TYPE_CHECKING:
    import mujoco
    from numpy.typing import NDArray

    from robots import BaseMotion, JointCommand, RobotFolder, RobotSpec, RobotState

    FloatArray = NDArray[np.float32]

STANCE_CLEARANCE_M = 0.002
"""Gap between the lowest foot and the ground when a robot is placed, m."""
_PLACE_NOISE_RAD = 0.03


class SimulatedRobot(Robot):
    """A robot whose physics advances in wait_until(); commands reach its servos after a delay."""

    model: mujoco.MjModel
    data: mujoco.MjData

    def __init__(self, folder: RobotFolder, *, timestep_s: float, realtime: bool) -> None:
        """Start the clock; with realtime it never runs ahead of the wall."""
        self._folder = folder
        self._clock = SimClock(realtime=realtime)
        self._step_ns = round(1e9 * timestep_s)
        self._delay_ns = round(1e6 * folder.spec.sim.action_delay_ms)
        self._pending: deque[tuple[int, JointCommand]] = deque()
        self._connected = False

    @property
    def spec(self) -> RobotSpec:
        """The robot's description."""
        return self._folder.spec

    def connect(self) -> None:
        """Stand in the stance with no torque on the joints."""
        if not self._connected:
            self._connected = True
            self._place(self.spec.column("stance"), yaw=0.0)

    def read(self) -> RobotState:
        """Return the present state; nothing in it is older than a step of physics.

        Raises DivergedError: physics makes up for a control loop that is late.
        """
        self._check_connected()
        self._advance(self._clock.read())
        return self._sense(self._clock.now_ns)

    def write(self, command: JointCommand) -> JointCommand:
        """Queue the command, as far as the servos can follow it, and return it."""
        self._check_connected()
        applied = self._possible(command)
        self._pending.append((self._clock.read() + self._delay_ns, applied))
        return applied

    def wait_until(self, deadline_ns: int) -> None:
        """Advance physics until the deadline; raises DivergedError when it blows up."""
        self._check_connected()
        self._advance(deadline_ns)
        self._clock.pace(deadline_ns)

    def now(self) -> int:
        """Simulated time, ns."""
        return self._clock.read()

    def disarm(self, reason: str) -> None:
        """Take all torque off the joints."""
        del reason
        self._pending.clear()
        self._let_go()

    def close(self) -> None:
        """Disarm; the model stays readable."""
        self.disarm("close")
        self._connected = False

    def place(self, rng: np.random.Generator) -> bool:
        """Stand at the origin, a little off the stance, facing anywhere, with no torque."""
        self._check_connected()
        noise = rng.uniform(-_PLACE_NOISE_RAD, _PLACE_NOISE_RAD, len(self.spec.joints))
        lower, upper = self.spec.soft_limits()
        stance = np.clip(self.spec.column("stance") + noise, lower, upper)
        self._place(stance, yaw=rng.uniform(-np.pi, np.pi))
        return True

    @abc.abstractmethod
    def base_motion(self) -> BaseMotion:
        """The true motion of the base."""

    def _advance(self, until_ns: int) -> None:
        """Take the steps of physics that fit in until then."""
        clock = self._clock
        if clock.now_ns + self._step_ns > until_ns:
            return
        while clock.now_ns + self._step_ns <= until_ns:
            while self._pending and self._pending[0][0] <= clock.now_ns:
                self._drive(self._pending.popleft()[1])
            self._step()
            clock.now_ns += self._step_ns
        self._finish_steps()

    def _place(self, joints: NDArray[np.floating], *, yaw: float) -> None:
        self.disarm("placed")
        self._clock.begin()
        self._stand(joints, yaw=yaw)

    def _possible(self, command: JointCommand) -> JointCommand:
        """What the servos can follow of a command; all of it unless an engine says otherwise."""
        return command

    @abc.abstractmethod
    def _sense(self, stamp_ns: int) -> RobotState:
        """Read every sensor."""

    @abc.abstractmethod
    def _drive(self, command: JointCommand) -> None:
        """Hand the servos a new command."""

    @abc.abstractmethod
    def _step(self) -> None:
        """Advance servos and physics by one step."""

    @abc.abstractmethod
    def _finish_steps(self) -> None:
        """Bring sensors up to date after the last step; raises DivergedError."""

    @abc.abstractmethod
    def _let_go(self) -> None:
        """Take the torque off at once."""

    @abc.abstractmethod
    def _stand(self, joints: NDArray[np.floating], *, yaw: float) -> None:
        """Put the robot at the origin in this pose (J,), rad, the lowest foot above the ground."""

    def _check_connected(self) -> None:
        if not self._connected:
            raise NotConnectedError(self.spec.name)
