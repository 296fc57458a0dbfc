"""SafeRobot: the only writer to a robot, in simulation, on an emulator and on hardware alike."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from robots.errors import NotConnectedError, SafetyStopError
from robots.robot import JointCommand, Robot, RobotState
from robots.safety.guards import BLIND, Guard, Limits, SensorWatch, StillWatch, unusable
from robots.safety.states import TORQUE_OFF, Event, Machine, State, label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robots.robot import BaseMotion
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)

_REST_PERIOD_NS = 20_000_000
"""Control period while rest() drives the robot by itself."""


class SafeRobot(Robot):
    """Wraps any Robot with guards and a state machine; the interface stays the same.

    It starts in STANDBY with the torque off.  enable() ramps to the stance, then commands pass,
    guarded.  The caller reads and writes once a tick: readings, also old ones, are judged at every
    read() and write(), and timers run there.  An error of the driver is a cause to damp like any
    other; it is latched and raised.

    What a guard did is reported by take_guards() for the transition it belongs to, and counted in
    `interventions` by name: a limit or a refusal once per command, any other guard once each time
    it begins to hold, damp or stop the robot.
    """

    def __init__(self, robot: Robot) -> None:
        """Wrap a robot; limits come from its spec."""
        spec = robot.spec
        self._robot = robot
        self._limits = Limits(spec)
        self._sensors, self._still = SensorWatch(spec), StillWatch(spec)
        self._stance = self._limits.inside(spec.column("stance"))
        crouch = np.array(spec.crouch, dtype=np.float32)
        self._crouch = self._limits.inside(crouch) if crouch.size else self._stance
        self._machine = Machine()
        self.interventions: Counter[str] = Counter()
        self._seen = Guard.NONE
        self._connected = self._stop_asked = False
        self._reading: RobotState | None = None
        self._sent: JointCommand | None = None
        self._sent_ns = 0
        self._dangers = self._sensor_doubt = self._command_doubt = Guard.NONE
        self._refused = 0

    @property
    def spec(self) -> RobotSpec:
        """The wrapped robot's description."""
        return self._robot.spec

    @property
    def state(self) -> State:
        """The state of the machine."""
        return self._machine.state

    @property
    def active(self) -> bool:
        """Whether the caller's commands reach the joints (HOLD counts: it is expected to pass)."""
        return self.state in (State.ACTIVE, State.HOLD)

    @property
    def causes(self) -> tuple[Guard, ...]:
        """What stopped the robot since it was last enabled or cleared; the first comes first."""
        return tuple(self._machine.causes)

    @property
    def why(self) -> str:
        """The first cause in words."""
        causes = self._machine.causes
        return label(causes[0]) if causes else "a robot that is not at rest yet"

    def connect(self) -> None:
        """Connect the robot; it stays in STANDBY."""
        self._robot.connect()
        self._connected = True

    def enable(self) -> None:
        """Ramp to the stance from a fresh reading; ignored while moving.

        Raises SafetyStopError when a latched cause has not been cleared, the robot is still being
        damped, or the reading is not fresh, finite, upright and within mechanical limits.
        """
        if self.state not in (State.STANDBY, State.DAMP, State.FAULT):
            _log.info("safety: enable ignored in %s", self.state.value)
            return
        reading = self.read()
        if self.state is not State.STANDBY:
            raise SafetyStopError(self.state.value, self.why)
        unfit = self._unfit(reading)
        if unfit:
            raise SafetyStopError(self.state.value, label(unfit))
        self._forget()
        self._go(Event.ENABLE)

    def stop(self) -> None:
        """Sit down in a controlled way, then take the torque off.

        May be called from any thread or signal handler; the next read() or write() acts on it.
        """
        self._stop_asked = True

    def clear(self) -> None:
        """Forget the causes of a stop, as a local operator does once the torque is off.

        Never starts motion; enable() judges a fresh reading before it does.
        """
        if self.state not in TORQUE_OFF:
            _log.info("safety: clear ignored in %s", self.state.value)
            return
        self._forget()
        self._go(Event.CLEAR)

    def read(self) -> RobotState:
        """Read the sensors and let the state guards judge them."""
        with self._latching_errors():
            reading = self._robot.read()
            self._take_stop()
            self._judge(reading)
            self._reading = reading
        return reading

    def write(self, command: JointCommand) -> JointCommand:
        """Apply what the present state allows and return it.

        ACTIVE: the command, limited.  RAMP, HOLD, SIT, DAMP: their own targets.  STANDBY, FAULT:
        no torque.
        """
        if not self._connected:
            raise NotConnectedError(self.spec.name)
        with self._latching_errors():
            self._take_stop()
            if self._reading is not None and self.state not in TORQUE_OFF:
                self._judge(self._reading)
            if self.active:
                self._judge_command(command)
            allowed = self._allowed(command)
            if allowed is not None:
                self._sent, self._sent_ns = _sealed(allowed), self._robot.now()
                return self._robot.write(self._sent)
            self._robot.disarm(self.state.value)
        return _no_torque(self._measured())

    def wait_until(self, deadline_ns: int) -> None:
        """Let time pass."""
        with self._latching_errors():
            self._robot.wait_until(deadline_ns)

    def now(self) -> int:
        """Robot time, ns."""
        return self._robot.now()

    def disarm(self, reason: str) -> None:
        """Take the torque off at once, which counts as an operator's stop if there was any.

        A latched cause stays latched.
        """
        try:
            with self._latching_errors():
                self._robot.disarm(reason)
        finally:
            latched = self._machine.latched
            if self._go(Event.DISARM_LATCHED if latched else Event.DISARM, Guard.OPERATOR_STOP):
                self._mark(Guard.OPERATOR_STOP)

    def rest(self) -> None:
        """Sit down, or damp to the end, whatever is under way, and take the torque off."""
        self._go(Event.STOP)
        stance = JointCommand.towards(self._stance, self.spec)
        while self.state not in TORQUE_OFF:
            started_ns = self.now()
            self.write(stance)
            self.wait_until(started_ns + _REST_PERIOD_NS)
            self.read()
            if self.now() <= started_ns:
                break
        self.disarm("rest")

    def close(self) -> None:
        """Come to rest, disarm and close; each is tried whatever happens to the one before."""
        with contextlib.ExitStack() as steps:
            steps.callback(self._robot.close)
            steps.callback(self.disarm, "close")
            self._try_to_rest()
            self._connected = False

    def base_motion(self) -> BaseMotion | None:
        """How the base moves, if the robot knows."""
        return self._robot.base_motion()

    def place(self, rng: np.random.Generator) -> bool:
        """Let a simulator put the robot back on its feet, which counts as the operator's clear."""
        placed = self._robot.place(rng)
        if placed:
            self._forget()
            self._go(Event.PLACE)
        return placed

    def take_guards(self) -> Guard:
        """Return the guards that fired since the last call, and forget them."""
        seen, self._seen = self._seen, Guard.NONE
        return seen

    def _unfit(self, reading: RobotState) -> Guard:
        """What speaks against enabling now, without the patience that motion gets."""
        unfit = self._sensor_doubt
        if not self._sensors.upright(reading):
            unfit |= Guard.TILT
        if not np.array_equal(self._limits.possible(reading.position), reading.position):
            unfit |= Guard.POSITION_LIMIT
        return unfit

    def _judge(self, reading: RobotState) -> None:
        """Let the state guards judge a reading as of now; then the machine's own timers."""
        now_ns = self._robot.now()
        danger, doubt = self._sensors.judge(reading, now_ns)
        self._mark(danger, known=self._dangers)
        self._mark(doubt, known=self._sensor_doubt)
        self._dangers, self._sensor_doubt = danger, doubt
        for guard in danger:
            self._machine.danger(guard, now_ns)
        self._weigh()
        if self.state is State.DAMP:
            self._end_damping(reading, blind=bool(danger & BLIND))

    def _judge_command(self, command: JointCommand) -> None:
        """Refuse what cannot be limited."""
        self._command_doubt = unusable(command, len(self.spec.joints))
        self._mark(self._command_doubt)
        self._refused = self._refused + 1 if self._command_doubt else 0
        self._weigh()

    def _weigh(self) -> None:
        """Hold while command or sensors are in doubt, recover with them, give up after a while."""
        doubt = self._sensor_doubt | self._command_doubt
        self._go(Event.DOUBT if doubt else Event.RECOVERED, doubt)
        held_ns = self._robot.now() - self._machine.since_ns
        if self.state is State.HOLD and (
            self._refused > 1 or held_ns >= self.spec.safety.hold_s * 1e9
        ):
            self._go(Event.GIVE_UP, doubt)

    def _end_damping(self, reading: RobotState, *, blind: bool) -> None:
        """Take the torque off when the robot lies still, or when damping has lasted damp_s."""
        now_ns = self._robot.now()
        if blind:
            self._still.forget()
        still = not blind and self._still.fired(reading, now_ns)
        if still or now_ns - self._machine.since_ns >= self.spec.safety.damp_s * 1e9:
            self._go(Event.DAMPED_LATCHED if self._machine.latched else Event.DAMPED)

    def _allowed(self, command: JointCommand) -> JointCommand | None:
        """What the present state sends to the joints; None is no torque."""
        if self.state is State.ACTIVE:
            limited = self._limits.apply(command, self._last().position, self._elapsed_s())
            self._mark(limited.guards)
            return limited.command
        if self.state is State.HOLD:
            return self._last()
        if self.state is State.RAMP:
            return self._scripted(self._stance)
        if self.state is State.SIT:
            return self._scripted(self._crouch)
        if self.state is State.DAMP:
            return JointCommand.damping(self._last().position, self.spec)
        return None

    def _scripted(self, goal: FloatArray) -> JointCommand:
        """One bounded step from the last target towards the goal; arrival is an event."""
        target = self._limits.script(self._last().position, goal, self._elapsed_s())
        if np.array_equal(target, goal):
            self._go(Event.ARRIVED)
        return JointCommand.towards(target, self.spec)

    def _last(self) -> JointCommand:
        """The last command sent; none is sent yet where RAMP begins, at the measured pose."""
        if self._sent is not None:
            return self._sent
        return JointCommand.towards(self._limits.possible(self._measured()), self.spec)

    def _elapsed_s(self) -> float:
        """Time since the last command, s; a long silence must not buy a long jump."""
        if self._sent is None:
            return 0.0
        elapsed_s = (self._robot.now() - self._sent_ns) / 1e9
        return min(elapsed_s, self.spec.safety.stale_damp_s)

    def _measured(self) -> FloatArray:
        """The last measured joint positions; the stance when they are unknown."""
        if self._reading is None or Guard.STATE_NOT_FINITE in self._dangers:
            return self._stance.copy()
        return self._reading.position.copy()

    def _take_stop(self) -> None:
        """Act on a stop that was asked for since the last tick."""
        if self._stop_asked:
            self._stop_asked = False
            if self._go(Event.STOP, Guard.OPERATOR_STOP):
                self._mark(Guard.OPERATOR_STOP)

    def _mark(self, guards: Guard, *, known: Guard = Guard.NONE) -> None:
        """Report guards for this transition, and count those that were not known before."""
        self._seen |= guards
        for guard in guards & ~known:
            self.interventions[label(guard)] += 1

    def _go(self, event: Event, because: Guard = Guard.NONE) -> bool:
        changed = self._machine.go(event, self._robot.now(), because)
        if changed:
            self._still.forget()
        return changed

    def _forget(self) -> None:
        """Start anew: no causes, no doubts, and the next move starts at the measured pose."""
        self._machine.forget()
        self._sensor_doubt = self._command_doubt = Guard.NONE
        self._sent = None
        self._refused = 0

    def _try_to_rest(self) -> None:
        try:
            self.rest()
        except Exception:  # noqa: BLE001 - logged; close() goes on to take the torque off
            _log.exception("safety: could not come to rest; torque off")

    @contextlib.contextmanager
    def _latching_errors(self) -> Iterator[None]:
        """Let no error leave the machine in a state that moves; with no torque it changes nothing.

        An error of this module counts as one of the driver.
        """
        try:
            yield
        except Exception:
            if self.state is not State.STANDBY:
                self._mark(Guard.DRIVER_ERROR)
                self._machine.danger(Guard.DRIVER_ERROR, self._robot.now())
            raise


def _sealed(command: JointCommand) -> JointCommand:
    """Make a command unchangeable, because limits count from it after others have seen it."""
    for part in (command.position, command.kp, command.kd, command.torque):
        part.setflags(write=False)
    return command


def _no_torque(position: FloatArray) -> JointCommand:
    """What is really applied while the torque is off."""
    zero = np.zeros_like(position)
    return JointCommand(position=position, kp=zero, kd=zero, torque=zero)
