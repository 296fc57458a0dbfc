"""One robot that walks on emulated servos in virtual time until something goes wrong."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING, Any, Self

import gymnasium
import numpy as np

from robosac.cli.resolve import make_task
from robosac.env import RobotEnv
from robots import JointCommand, RobotError, SafeRobot, SafetyStopError, State
from tools.hazards.rig import make_rig
from tools.hazards.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from sim.emulator.imu_faults import ImuFault
    from tools.hazards.rig import Rig

    FloatArray = NDArray[np.float32]

STRIKE_S = 4.0
"""When faults strike, s after power-on: by then the robot walks."""
_EVERY = 15
_POSITION_RAD = 0.02
_GRAVITY = 0.03
_GYRO_RAD_S = 0.1
_SAMPLE_NS = 8_000_000
_PATIENCE_TICKS = 350
_UPRIGHT = (State.ACTIVE, State.HOLD)
_DRIVEN = (State.ACTIVE, State.HOLD, State.SIT)
_AT_REST = (State.STANDBY, State.FAULT, State.ESTOP)
_LIES_MAX = 5


class Heard(logging.Handler):
    """Keeps what the packages log, with the control tick."""

    def __init__(self, tick: Callable[[], int]) -> None:
        """Listen."""
        super().__init__(logging.INFO)
        self.lines: list[tuple[int, str]] = []
        """Tick and message."""
        self._tick = tick

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append((self._tick(), record.getMessage()))

    def first(self, word: str, *, since: int = 0) -> str:
        """The first message with this word from a tick on, with its tick; empty without one."""
        found = (f"tick {tick}: {text}" for tick, text in self.lines if tick >= since)
        return next((line for line in found if word in line), "")


class Trial:
    """A robot, its environment, a gait, and everybody who watches; a context manager."""

    insist_ticks = 60
    """How long the policy goes on commanding a robot that has stopped, ticks."""

    def __init__(self, rig: Rig, *, attended: bool = False, slack_s: float = 0.0) -> None:
        """Put the robot together; slack is how inexactly the time of a goal is known, s."""
        self.rig = rig
        self.robot = SafeRobot(self.rig.robot, attended=attended)
        self.env = RobotEnv(self.robot, make_task("walk", self.rig.spec))
        self.period_s = 1 / self.env.task.control_hz
        self.witness = Witness(self.rig.spec, self.rig.bus.bench.servos, slack_s=slack_s)
        self.ticks = 0
        """Control ticks since the robot was enabled."""
        self.states: list[tuple[int, int, State]] = []
        """Every state after the one before it, with its tick and its time, ns."""
        self.lies: list[str] = []
        """Readings that were not what the joints and the body did; the first few."""
        self.strike_ns = round(1e9 * STRIKE_S)
        """When the fault strikes, ns."""
        self.strike_tick = 0
        """Number of the last tick before it."""
        self.judge_readings = True
        """Whether readings must be true; off for faults that no driver can see."""
        self.gait: Callable[[int], FloatArray] = trot
        """What the policy does: an action for every tick."""
        self.heard = Heard(lambda: self.ticks)
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Listen to the logs, and to what the wrapper is given to read."""
        for name in ("robots", "robosac"):
            logger = logging.getLogger(name)
            self._cleanup.callback(logger.setLevel, logger.level)
            self._cleanup.callback(logger.removeHandler, self.heard)
            logger.addHandler(self.heard)
            logger.setLevel(logging.INFO)
        self._cleanup.callback(self._close)
        self._watch()
        return self

    def __exit__(self, *exception: object) -> None:
        """Come to rest."""
        self._cleanup.close()

    def stand_up(self, seed: int | None = 0) -> tuple[FloatArray, dict[str, Any]]:
        """Enable the robot; raises what keeps it from standing."""
        found = self.env.reset(seed=seed)
        self._note_state()
        return found

    def walk_until_struck(self) -> None:
        """Walk until just before the fault strikes."""
        self.stand_up()
        assert self.robot.now() < self.strike_ns, "the fault struck before the robot stood"
        while self.robot.now() + 1e9 * self.period_s < self.strike_ns:
            self.tick()
        self.strike_tick = self.ticks

    def strike_now(self) -> None:
        """Take the present time for that of the fault."""
        self.strike_ns, self.strike_tick = self.robot.now(), self.ticks

    def walk(self, ticks: int) -> None:
        """Let the policy command the robot, whatever state it is in."""
        for _ in range(ticks):
            self.tick()

    def walk_on(self) -> bool:
        """Walk until the robot has come to rest by itself; whether it has."""
        for _ in range(_PATIENCE_TICKS):
            at_rest = self.robot.state in _AT_REST
            self.tick()
            if at_rest:
                return True
        return False

    def tick(self) -> None:
        """One control period, by the gait, whatever the driver raises."""
        with contextlib.suppress(RobotError, gymnasium.error.ResetNeeded):
            self.step(self.gait(self.ticks + 1))

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """One control period; raises what the environment lets through."""
        self.ticks += 1
        began_ns = self.robot.now()
        try:
            return self.env.step(action)
        except gymnasium.error.ResetNeeded:  # it has refused to stand up: command it all the same
            self.robot.write(JointCommand.towards(action, self.rig.spec))
            self.robot.read()
            raise
        finally:
            left_s = self.period_s - (self.robot.now() - began_ns) / 1e9
            if self.robot.state not in _UPRIGHT and left_s > 0:
                self.rig.sleep(left_s)  # a step that failed has not waited
            self._note_state()
            self._judge_reading()

    def stall(self, seconds: float) -> None:
        """Let time go by in which the control loop does nothing."""
        self.rig.sleep(seconds)

    def insist(self) -> list[str]:
        """Go on commanding and enabling a robot that has latched a stop; what it let happen."""
        problems = []
        stopped_ns = self.witness.drove_ns
        for number in range(self.insist_ticks):
            if number % _EVERY == 0 and (problem := self._try_to_enable()):
                problems.append(problem)
            self.tick()
        if self.witness.drove_ns != stopped_ns:
            problems.append("servos drove again although the stop was latched")
        return problems

    def command_on(self) -> list[str]:
        """Go on commanding a robot at rest that nobody enables; what it let happen."""
        stopped_ns = self.witness.drove_ns
        self.walk(self.insist_ticks)
        if self.witness.drove_ns != stopped_ns:
            return ["servos drove again although nobody had enabled them"]
        return []

    def stopped(self) -> tuple[int, int, State] | None:
        """Tick, time in ns and state in which the robot stopped walking; None when it has not."""
        later = (entry for entry in self.states if entry[0] >= self.strike_tick)
        return next((entry for entry in later if entry[2] not in _UPRIGHT), None)

    def path(self) -> str:
        """Every state since the robot walked, in words."""
        return " > ".join(state.value for _, _, state in self.states) or "never stood"

    def _watch(self) -> None:
        """Let the witness see and hear, on the robot's clock."""
        self.rig.plant.listeners.append(self.witness.look)
        self.rig.bus.listeners.append(self.witness.hear)

    def _try_to_enable(self) -> str:
        try:
            self.robot.enable()
        except SafetyStopError:
            return ""
        except RobotError:
            return ""
        return f"enable() was obeyed in {self.robot.state.value}"

    def _note_state(self) -> None:
        state = self.robot.state
        if not self.states or self.states[-1][2] is not state:
            self.states.append((self.ticks, self.robot.now(), state))

    def _judge_reading(self) -> None:
        """Hold what was read to what was true while the samples were taken."""
        reading = self.rig.robot.last
        if reading is None or not self.judge_readings or self.robot.state not in _DRIVEN:
            return
        if not reading.is_finite():
            self._lie("not finite")
            return
        joints = self._between(reading.stamp_ns, reading.joint_age_s, "position")
        self._compare("joint position", reading.position, joints, _POSITION_RAD)
        down = self._between(reading.stamp_ns, reading.imu_age_s, "gravity")
        self._compare("gravity", reading.gravity, down, _GRAVITY)
        rate = self._between(reading.stamp_ns, reading.imu_age_s, "gyro")
        self._compare("gyro", reading.gyro, rate, _GYRO_RAD_S)

    def _between(self, stamp_ns: int, age_s: float, what: str) -> NDArray[np.float64]:
        """What was true while a sample of this age at this time may have been taken."""
        first_ns, history = stamp_ns - round(1e9 * age_s) - _SAMPLE_NS, self.rig.plant.history
        if first_ns < history[0].now_ns:
            return np.empty(0)  # older than anybody knows
        moments = [one for one in history if first_ns <= one.now_ns <= stamp_ns]
        return np.array([getattr(one, what) for one in moments])

    def _compare(
        self, what: str, got: FloatArray, true: NDArray[np.float64], tolerance: float
    ) -> None:
        if not len(true):
            return
        low, high = true.min(axis=0) - tolerance, true.max(axis=0) + tolerance
        if ((got < low) | (got > high)).any():
            worst = int(np.argmax(np.maximum(low - got, got - high)))
            self._lie(
                f"{what} {worst}: {got[worst]:.3f}, was {low[worst]:.3f} to {high[worst]:.3f}"
            )

    def _lie(self, what: str) -> None:
        if len(self.lies) < _LIES_MAX:
            self.lies.append(f"tick {self.ticks}: false reading: {what}")

    def _close(self) -> None:
        with contextlib.suppress(RobotError):
            self.env.close()


class VirtualTrial(Trial):
    """A trial in virtual time: exact, and ten times as fast as it happens."""

    def __init__(
        self, *faults: str, imu_faults: Iterable[ImuFault] = (), attended: bool = False
    ) -> None:
        """Put the robot together; faults are those of the emulated bus and IMU."""
        rig = make_rig(faults, imu_faults)
        super().__init__(rig, attended=attended)
        self.line, self.imu = rig.line, rig.imu


def trot(tick: int, amplitude: float = 0.25, hertz: float = 1.5) -> FloatArray:
    """Action (12,) of a slow trot of a quadruped with legs FR, FL, RR, RL."""
    phase = 2 * math.pi * hertz * tick / 50
    action = np.zeros(12, np.float32)
    for leg, offset in enumerate((0.0, math.pi, math.pi, 0.0)):
        action[3 * leg + 1] = amplitude * math.sin(phase + offset)
        action[3 * leg + 2] = amplitude * math.cos(phase + offset)
    return action
