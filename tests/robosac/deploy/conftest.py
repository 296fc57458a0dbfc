"""A simulated pup that nobody can place, so that it is treated as a machine, and its operator."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import pytest

import robots
from robosac.deploy.journey import Journey
from robosac.deploy.recorded_robot import RecordedRobot
from robosac.deploy.session import Session
from robosac.env import RobotEnv
from robosac.operator import Operator
from robosac.tasks import Walk, WalkConfig
from sim.mujoco_robot import MujocoRobot
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from robots import JointCommand, RobotState, SafeRobot, State

    FloatArray = NDArray[np.float32]

    Deed = Callable[[], object]

ZERO = np.zeros(12, np.float32)
UPSIDE_DOWN = {"quaternion": np.array([0, 1, 0, 0], np.float32)}


class Machine(MujocoRobot):
    """A pup in simulated time whose sensors and cable the test holds in its hands."""

    def __init__(self, *, estop: Literal["off", "damp"] = "off") -> None:
        folder = robots.find("pup")
        safety = msgspec.structs.replace(folder.spec.safety, estop=estop)
        spec = msgspec.structs.replace(folder.spec, safety=safety)
        super().__init__(dataclasses.replace(folder, spec=spec))
        self.stiff = 0
        """Commands that carried a stiffness."""
        self.error: Exception | None = None
        """What every exchange with it raises from now on."""
        self.unconfirmed: Exception | None = None
        """What taking its torque off raises from now on."""
        self.measured: dict[str, Any] = {
            "temperature": np.full(12, 30, np.float32),
            "voltage": 11.1,
        }
        """What only servos know, and no simulator."""
        self.sensors: dict[str, Any] = {}
        """What its sensors say otherwise than the truth."""
        self.on_write: Deed = _nothing
        self.on_read: Deed = _nothing
        self.opened = 0

    def connect(self) -> None:
        self._try()
        if not self._connected:
            self.opened += 1
            super().connect()
            self._place(np.array(self.spec.crouch, np.float32), yaw=0.0)

    def place(self, rng: np.random.Generator) -> bool:
        return False

    def read(self) -> RobotState:
        self.on_read()
        self._try()
        reading = dataclasses.replace(super().read(), **self.sensors)
        return dataclasses.replace(reading, **self.measured)

    def write(self, command: JointCommand) -> JointCommand:
        self.on_write()
        self._try()
        self.stiff += bool(command.kp.any())
        return super().write(command)

    def disarm(self, reason: str) -> None:
        self._try()
        if self._connected and self.unconfirmed is not None:
            raise self.unconfirmed
        super().disarm(reason)

    def _try(self) -> None:
        if self.error is not None:
            raise self.error


class Script(Operator):
    """An operator who does the next thing each time somebody waits for them, at once."""

    def __init__(self, robot: SafeRobot) -> None:
        super().__init__(robot, clock=Clock())
        self.deeds: deque[Deed] = deque()

    def then(self, *deeds: Deed) -> None:
        """Do these things next, one a wait."""
        self.deeds.extend(deeds)

    def wait(self, timeout_s: float) -> bool:
        """Do one thing."""
        assert self.deeds, "the session waits, and the operator has nothing to do"
        self.deeds.popleft()()
        return True


class Rig:
    """A session on that machine."""

    def __init__(
        self,
        *,
        episode_s: float = 20.0,
        attended: bool = False,
        estop: Literal["off", "damp"] = "off",
    ) -> None:
        self.machine = Machine(estop=estop)
        self.robot = RecordedRobot(self.machine, attended=attended)
        config = WalkConfig(control_hz=50.0, episode_s=episode_s, forward_mps=0.25)
        self.env = RobotEnv(self.robot, Walk(config))
        self.operator = Script(self.robot)
        self.journey = Journey()
        self.told: list[str] = []
        self.on_told: Deed = _nothing
        self.idled = 0
        self.session = Session(
            self.env,
            self.operator,
            journey=self.journey,
            idle=self._idle,
            tell=self._tell,
        )

    @property
    def state(self) -> State:
        """State of the wrapper."""
        return self.robot.state

    def go(self) -> None:
        """Let it stand up."""
        self.operator.then(self.operator.go)
        self.session.reset()

    def step(self, times: int = 1) -> bool:
        """Step towards the stance; returns whether the last step has ended the episode."""
        ended = False
        for _ in range(times):
            _, _, terminated, truncated, _ = self.session.step(ZERO)
            ended = terminated or truncated
        return ended

    def say(self, **sensors: object) -> None:
        """Let the sensors say this from now on."""
        self.machine.sensors = sensors

    def has_told(self, words: str) -> bool:
        """Whether a line has these words."""
        return any(words in line for line in self.told)

    def _idle(self) -> None:
        self.idled += 1

    def _tell(self, words: str) -> None:
        self.told.append(words)
        self.on_told()


def _nothing() -> None:
    """Nothing is to be done."""


@pytest.fixture
def rig() -> Rig:
    """A machine at rest, its session not begun."""
    return Rig()


def times(deed: Deed, wanted: int) -> Deed:
    """Do something at the call of this number, from 1 on."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == wanted:
            deed()

    return count


def severities(findings: Sequence[Any]) -> dict[str, str]:
    """How bad each finding is, by what it is about."""
    return {finding.what: finding.severity for finding in findings}


def decoded(content: bytes) -> dict[str, Any]:
    """A JSON object."""
    found: dict[str, Any] = msgspec.json.decode(content)
    return found
