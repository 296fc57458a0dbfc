"""A robot whose sensors, clock and failures the test controls, and a bench that drives it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from robots import (
    JointCommand,
    JointSpec,
    Robot,
    RobotSpec,
    RobotState,
    SafeRobot,
    SafetyStopError,
    State,
)
from robots.safety import Event

if TYPE_CHECKING:
    from collections.abc import Callable

PERIOD_NS = 20_000_000

HIP = JointSpec(
    name="hip",
    lower=-1.0,
    upper=1.0,
    stance=0.2,
    action_scale=0.3,
    effort_max=10.0,
    velocity_max=6.0,
    kp=20.0,
    kd=0.5,
)
KNEE = JointSpec(
    name="knee",
    lower=-2.5,
    upper=-0.5,
    stance=-1.4,
    action_scale=0.4,
    effort_max=15.0,
    velocity_max=0.5,  # slower than ramp_speed
    kp=30.0,
    kd=1.0,
)
SPEC = RobotSpec(name="scripted", joints=(HIP, KNEE), crouch=(0.5, -2.5))


def fine() -> dict[str, Any]:
    """What the sensors say when all is well: upright, near the stance, at rest."""
    return {
        "position": np.array([0.1, -1.5], np.float32),
        "velocity": np.zeros(2, np.float32),
        "effort": np.zeros(2, np.float32),
        "quaternion": np.array([1, 0, 0, 0], np.float32),
        "gyro": np.zeros(3, np.float32),
        "accelerometer": np.array([0, 0, 9.81], np.float32),
    }


@dataclass
class ScriptedRobot(Robot):
    """Returns the readings it is told to, keeps what it is sent, raises what it is told to."""

    description: RobotSpec = SPEC
    clock_ns: int = 0
    sensors: dict[str, Any] = field(default_factory=fine)
    stamp_lag_ns: int = 0
    simulated: bool = False
    frozen: bool = False
    """Whether velocities repeat bit for bit, which those of a real joint never do."""
    fails: dict[str, Exception] = field(default_factory=dict)
    """Errors by the name of the method that raises them."""
    calls: list[str] = field(default_factory=list)
    written: list[tuple[int, JointCommand]] = field(default_factory=list)
    """When and what."""
    reads: int = 0
    limp: bool = True
    """Whether the joints carry no torque."""
    limp_before: set[int] = field(default_factory=set)
    """Which of what was written found the joints without torque."""

    @property
    def spec(self) -> RobotSpec:
        return self.description

    def connect(self) -> None:
        self._call("connect")

    def read(self) -> RobotState:
        self._call("read")
        sensors = self.sensors
        if not self.frozen:
            self.reads += 1
            noise = np.float32(1e-4 if self.reads % 2 else 2e-4)
            sensors = sensors | {"velocity": sensors["velocity"] + noise}
        return RobotState(stamp_ns=self.clock_ns - self.stamp_lag_ns, **sensors)

    def write(self, command: JointCommand) -> JointCommand:
        self._call("write")
        if self.limp:
            self.limp_before.add(len(self.written))
        self.limp = False
        self.written.append((self.clock_ns, command))
        return command

    def wait_until(self, deadline_ns: int) -> None:
        self._call("wait_until")
        self.clock_ns = max(self.clock_ns, deadline_ns)

    def now(self) -> int:
        return self.clock_ns

    def disarm(self, reason: str) -> None:
        self._call("disarm")
        self.limp = True

    def close(self) -> None:
        self._call("close")

    def place(self, rng: np.random.Generator) -> bool:
        self.limp = self.limp or self.simulated
        return self.simulated

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]


class Bench:
    """A SafeRobot on a scripted robot, driven as the control loop drives it."""

    def __init__(
        self,
        spec: RobotSpec = SPEC,
        period_ns: int = PERIOD_NS,
        *,
        attended: bool = False,
        fade_in: bool = False,
    ) -> None:
        """Connect; the state is STANDBY."""
        self.robot = ScriptedRobot(spec)
        self.safe = SafeRobot(self.robot, attended=attended, fade_in=fade_in)
        self.period_ns = period_ns
        self.stance = spec.column("stance")
        self.crouch = np.array([0.5, -2.45], np.float32)
        """The knee's crouch in the spec lies outside the soft limits; it is sat down to them."""
        self.safe.connect()

    @property
    def state(self) -> State:
        """The state of the wrapper."""
        return self.safe.state

    @property
    def last(self) -> JointCommand:
        """The last command that reached the robot."""
        return self.robot.written[-1][1]

    def command(self, position: object = None, **parts: object) -> JointCommand:
        """A command to the stance with the robot's gains, or to elsewhere with other parts."""
        whole = JointCommand.towards(self.stance, self.robot.spec)
        usual: dict[str, Any] = {name: getattr(whole, name) for name in ("kp", "kd", "torque")}
        return JointCommand(
            **(usual | {"position": self.stance if position is None else position} | parts)
        )

    def nan(self) -> JointCommand:
        """A command with one number that is none."""
        return self.command(np.array([0.2, np.nan], np.float32))

    def say(self, **sensors: object) -> None:
        """Let the sensors say this from now on, and that all is well otherwise."""
        self.robot.sensors = fine() | sensors

    def tilt(self, degrees: float) -> None:
        """Lay the robot over to its right by an angle."""
        half = np.radians(degrees) / 2
        self.say(quaternion=np.array([np.cos(half), np.sin(half), 0, 0], np.float32))

    def read(self) -> RobotState:
        """Read once."""
        return self.safe.read()

    def tick(self, command: JointCommand | None = None) -> JointCommand:
        """One control period: write, wait, read."""
        applied = self.safe.write(command or self.command())
        self.safe.wait_until(self.safe.now() + self.period_ns)
        self.safe.read()
        return applied

    def ticks_until(self, wanted: State, command: JointCommand | None = None) -> int:
        """Tick until a state is reached and say how many ticks it took."""
        for count in range(1000):
            if self.state is wanted:
                return count
            self.tick(command)
        pytest.fail(f"never {wanted}, but {self.state} after 1000 ticks")

    def to(self, wanted: State, *, latched: bool = True) -> Bench:
        """Bring the wrapper into a state as an operator and events would; DAMP latched or not."""
        if wanted is State.FAULT:
            self.safe.enable()
            self.fire(Event.DANGER)
            self.fire(Event.DAMPED_LATCHED)
            self.robot.written.clear()
        elif wanted is State.ESTOP:
            self.fire(Event.ESTOP)
        elif wanted is not State.STANDBY:
            self.safe.enable()
            if wanted is State.DAMP and not latched:
                self.fire(Event.DOUBT)
                self.say()
            elif wanted is not State.RAMP:
                self.ticks_until(State.ACTIVE)
                reach = {
                    State.HOLD: Event.DOUBT,
                    State.SIT: Event.STOP,
                    State.DAMP: Event.DANGER,
                }
                if wanted in reach:
                    self.fire(reach[wanted])
        assert self.state is wanted
        return self

    def fire(self, event: Event) -> None:
        """Make an event happen, through the public interface alone."""
        {
            Event.ENABLE: self._enable,
            Event.ARRIVED: lambda: self._pass_time(3.0),
            Event.STOP: self._stop,
            Event.DOUBT: lambda: self._sense(joint_age_s=0.05),
            Event.RECOVERED: self._sense,
            Event.GIVE_UP: self._refuse_twice,
            Event.DANGER: lambda: self._sense(gyro=np.array([0, np.nan, 0], np.float32)),
            Event.DAMPED: self._lie_still,
            Event.DAMPED_LATCHED: self._lie_still,
            Event.CLEAR: self.safe.clear,
            Event.ESTOP: self._press,
            Event.RESET: self._release_and_clear,
            Event.DISARM: lambda: self.safe.disarm("test"),
            Event.DISARM_LATCHED: lambda: self.safe.disarm("test"),
            Event.PLACE: self._place,
        }[event]()

    def _enable(self) -> None:
        with contextlib.suppress(SafetyStopError):
            self.safe.enable()

    def _stop(self) -> None:
        self.safe.stop()
        self.safe.read()

    def _press(self) -> None:
        self.safe.estop()
        self.safe.read()

    def _release_and_clear(self) -> None:
        self.safe.release_estop()
        self.safe.clear()

    def _sense(self, **sensors: object) -> None:
        self.say(**sensors)
        self.safe.read()

    def _refuse_twice(self) -> None:
        self.safe.write(self.nan())
        self.safe.write(self.nan())

    def _pass_time(self, seconds: float) -> None:
        state = self.state
        for _ in range(round(seconds * 1e9 / self.period_ns)):
            if self.state is state:
                self.tick()

    def _lie_still(self) -> None:
        self.say()
        self._pass_time(1.1)

    def _place(self) -> None:
        self.robot.simulated = True
        self.safe.place(np.random.default_rng(0))
        self.robot.simulated = False


@pytest.fixture(scope="session")
def new_bench() -> Callable[..., Bench]:
    """Builds benches: of the usual robot at 50 Hz, or of another spec at another rate."""
    return Bench


@pytest.fixture
def bench() -> Bench:
    """A connected robot in STANDBY, upright, all well."""
    return Bench()
