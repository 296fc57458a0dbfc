"""SafeRobot: the only writer to a robot, in simulation, on an emulator and on hardware alike."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import numpy as np

from robots.errors import NotConnectedError, RobotError, SafetyStopError
from robots.robot import JointCommand, Robot, RobotState
from robots.safety.account import Account
from robots.safety.driver_errors import guard_of
from robots.safety.guards import Guard, label
from robots.safety.judge import Judge
from robots.safety.orders import Orders
from robots.safety.sensor_watch import StillWatch
from robots.safety.states import MOVING, TORQUE_OFF, Event, Machine, State
from robots.safety.targets import Targets

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robots.robot import BaseMotion
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)

_REST_PERIOD_NS = 20_000_000
"""Control period while rest() drives the robot by itself."""

_DISARM_PERIOD_NS = 500_000_000
"""How often the torque is taken off again while there should be none."""


class SafeRobot(Robot):
    """Wraps any Robot with guards and a state machine; the interface stays the same.

    It starts in STANDBY with the torque off.  enable() ramps to the stance, then commands pass,
    guarded.  The caller reads and writes once a tick: readings, also old ones, are judged at every
    read() and write(), and timers run there.  An error of the driver is a cause to damp like any
    other; it is latched and raised.

    What a guard did is reported by take_guards() for the transition it belongs to, and counted in
    `interventions` by name: a limit or a refusal once per command, any other guard once each time
    it begins to hold, damp or stop the robot.

    stop(), estop(), release_estop() and alive() may be called from any thread or signal handler;
    the next read() or write() acts on them.
    """

    def __init__(self, robot: Robot, *, attended: int = 0, fade_in: bool = False) -> None:
        """Wrap a robot; limits come from its spec.

        One that is attended by so many moves only as long as each of them calls alive() at least
        every deadman_s.  With
        `fade_in` commands count little by little after standing up; not for a policy that learns,
        which would take for the effect of its actions what they had no part in.
        """
        spec = robot.spec
        self._robot = robot
        self._orders, self._attended = Orders(), attended
        self._judge, self._targets = Judge(spec), Targets(spec, fade_in=fade_in)
        self._machine, self._still = Machine(), StillWatch(spec)
        self._account = Account()
        self._connected = self._damped_estop = self._owed = False
        self._disarmed_ns: int | None = None
        self._reading: RobotState | None = None

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
    def limp(self) -> bool:
        """Whether the present state leaves the joints without any torque; see torque_owed."""
        return self.state in TORQUE_OFF and not self._damped_estop

    @property
    def torque_owed(self) -> bool:
        """Whether the torque should be off, and nothing has confirmed yet that it is.

        It is taken off again at every read() and write().
        """
        return self.limp and self._owed

    @property
    def interventions(self) -> Counter[str]:
        """How often each guard has intervened, by name."""
        return self._account.interventions

    @property
    def causes(self) -> tuple[Guard, ...]:
        """What stopped the robot since it was last enabled or cleared; the first comes first."""
        return tuple(self._machine.causes)

    @property
    def why(self) -> str:
        """The first cause in words."""
        return self._machine.why or "a robot that is not at rest yet"

    def connect(self) -> None:
        """Connect the robot; it stays in STANDBY."""
        self._robot.connect()
        self._connected = True

    def enable(self) -> None:
        """Ramp to the stance from a fresh reading; ignored while moving.

        Raises SafetyStopError when a latched cause has not been cleared, the robot is still being
        damped, or the reading is not fresh, finite, upright and within mechanical limits.
        """
        if self.state in MOVING:
            _log.info("safety: enable ignored in %s", self.state.value)
            return
        reading = self.read()
        if self.state is not State.STANDBY:
            raise SafetyStopError(self.state.value, self.why)
        unfit = self._judge.unfit(reading)
        if self._operator_gone():
            unfit |= Guard.OPERATOR_GONE
        if not (self._judge.blind or self._targets.possible(reading.position)):
            unfit |= Guard.POSITION_LIMIT
        if unfit:
            raise SafetyStopError(self.state.value, label(unfit))
        self._forget()
        self._targets.stand_up(reading.position, self._robot.now())
        self._go(Event.ENABLE)

    def stop(self) -> None:
        """Sit down in a controlled way, then take the torque off."""
        self._orders.stop()

    def estop(self) -> None:
        """Emergency stop: torque off at once, or damped first, as robot.toml says; it latches.

        It is no substitute for a switch that cuts the power.
        """
        self._orders.estop()

    def release_estop(self) -> None:
        """Say that the emergency stop is no longer pressed; clear() is allowed then."""
        self._orders.release_estop()

    def alive(self, source: str = "") -> None:
        """Give a sign of life of one who attends this robot; sources tell several apart."""
        self._orders.alive_ns[source] = self._robot.now()

    def tick_late(self, late_s: float) -> None:
        """Say, once for every tick of the control loop, how late it began, s; 0.0 when on time.

        A loop that does not keep its period sits the robot down, or damps it when it cannot be
        trusted to sit.
        """
        if self.state in MOVING:
            self._judge.tick(late_s)

    def clear(self) -> None:
        """Forget the causes of a stop, as a local operator does once the torque is off.

        After an emergency stop only when it has been released, and when it was there before the
        clear.  Never starts motion; enable() judges a fresh reading before it does.
        """
        known = self.state
        self._take_orders()
        if self.state is not known:
            _log.info("safety: clear ignored in %s, which it came too early for", self.state.value)
            return
        held = self.state is State.ESTOP and self._orders.estop_held
        if held or not self.limp:
            reason = "release the emergency stop first" if held else "the torque is still on"
            _log.info("safety: clear ignored in %s: %s", self.state.value, reason)
            return
        self._forget()
        self._go(Event.RESET if self.state is State.ESTOP else Event.CLEAR)

    def read(self) -> RobotState:
        """Read the sensors and let the state guards judge them.

        A joint sample that is impossible after the one before is replaced by that one.
        """
        with self._latching_errors():
            self._take_orders()
            try:
                reading = self._judge.sift(self._robot.read(), limp=self.limp)
                self._take_orders()
                self._sense(reading)
                self._reading = reading
                self._examine(reading)
            finally:
                if self.torque_owed:
                    self._stay_limp()
        return reading

    def write(self, command: JointCommand) -> JointCommand:
        """Apply what the present state allows and return it.

        ACTIVE: the command, limited.  RAMP, HOLD, SIT, DAMP: their own targets.  STANDBY, FAULT,
        ESTOP: no torque.
        """
        if not self._connected:
            raise NotConnectedError(self.spec.name)
        with self._latching_errors():
            self._take_orders()
            if self._reading is not None and not self.limp:
                self._sense(self._reading)
            if self.active:
                self._hear(command)
            allowed = self._allowed(command)
            if allowed is not None:
                applied = self._robot.write(self._targets.send(allowed, self._robot.now()))
                self._targets.sent(self._robot.now())
                return applied
            self._stay_limp()
        return _no_torque(self._measured().copy())

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
        self._damped_estop, confirmed = False, False
        try:
            with self._latching_errors():
                self._robot.disarm(reason)
            confirmed = self._connected
        finally:
            latched = self._machine.latched
            if self._go(Event.DISARM_LATCHED if latched else Event.DISARM, Guard.OPERATOR_STOP):
                self._account.mark(Guard.OPERATOR_STOP)
            self._owed = self._owed and not confirmed

    def rest(self) -> None:
        """Sit down, or damp to the end, whatever is under way, and take the torque off.

        Sensors that fail meanwhile turn sitting into damping, which needs none to come to its end.
        """
        self._go(Event.STOP)
        stance = JointCommand.towards(self._targets.stance, self.spec)
        while not self.limp:
            started_ns = self.now()
            self.write(stance)
            self.wait_until(started_ns + _REST_PERIOD_NS)
            with contextlib.suppress(RobotError):  # latched
                self.read()
            if self.now() <= started_ns:
                break
        self.disarm("rest")

    def close(self) -> None:
        """Come to rest, disarm and close; each is tried whatever happens to the one before."""
        with contextlib.ExitStack() as steps:
            steps.callback(self._disconnect)
            steps.callback(self.disarm, "close")
            self._try_to_rest()

    def _disconnect(self) -> None:
        self._connected = False
        self._robot.close()

    def base_motion(self) -> BaseMotion | None:
        """How the base moves, if the robot knows."""
        return self._robot.base_motion()

    def place(self, rng: np.random.Generator) -> bool:
        """Let a simulator put the robot back on its feet, which counts as the operator's clear.

        Not of an emergency stop: False then.
        """
        self._take_orders()
        placed = self.state is not State.ESTOP and self._robot.place(rng)
        if placed:
            self._forget()
            self._go(Event.PLACE)
        return placed

    def upright(self, reading: RobotState) -> bool:
        """Whether a robot with this reading stands as upright as it must to move; NaN is no."""
        return self._judge.upright(reading)

    def take_guards(self) -> Guard:
        """Return the guards that fired since the last call, and forget them."""
        return self._account.take()

    def _sense(self, reading: RobotState) -> None:
        """Let the state guards judge a reading as of now; then the machine's own timers.

        In STANDBY no reading latches anything: the robot may be carried upside down, enable() asks.
        """
        now_ns, judge = self._robot.now(), self._judge
        known_dangers, known_doubt = judge.dangers, judge.sensor_doubt
        danger, doubt = judge.sense(reading, now_ns)
        if danger and self.state is not State.STANDBY:
            self._account.mark(danger, known=known_dangers)
            for guard in danger:
                self._machine.danger(guard, now_ns)
        self._account.mark(doubt, known=known_doubt)
        self._weigh()
        if not self.limp and self.state not in MOVING:
            self._end_damping(reading)

    def _examine(self, reading: RobotState) -> None:
        """Let the guards act that see every reading once: of joints, supply and control loop."""
        moving = self.state in MOVING
        target = self._targets.last(self._measured()).position if moving else None
        for guard, words, damp in self._judge.examine(reading, target):
            if damp:
                self._damp(guard, words)
            else:
                self._sit(guard, words)

    def _hear(self, command: JointCommand) -> None:
        """Refuse what cannot be limited, and whoever has ceased to react."""
        self._account.mark(self._judge.hear(command))
        self._weigh()
        now_ns = self._robot.now()
        if self.state is State.ACTIVE and self._judge.frozen(command, self._measured(), now_ns):
            self._sit(Guard.FROZEN_COMMAND, "the same command over and over while joints move")

    def _weigh(self) -> None:
        """Hold while command or sensors are in doubt, recover with them, give up after a while."""
        doubt = self._judge.doubt
        self._go(Event.DOUBT if doubt else Event.RECOVERED, doubt)
        held_ns = self._robot.now() - self._machine.since_ns
        if self.state is State.HOLD and (
            self._judge.refused > 1 or held_ns >= self.spec.safety.hold_s * 1e9
        ):
            self._go(Event.GIVE_UP, doubt)

    def _end_damping(self, reading: RobotState) -> None:
        """Take the torque off when the robot lies still, or when damping has lasted damp_s."""
        now_ns = self._robot.now()
        if self._judge.blind:
            self._still.forget()
        still = not self._judge.blind and self._still.fired(reading, now_ns)
        if still or now_ns - self._machine.since_ns >= self.spec.safety.damp_s * 1e9:
            self._damped_estop = False
            self._go(Event.DAMPED_LATCHED if self._machine.latched else Event.DAMPED)

    def _allowed(self, command: JointCommand) -> JointCommand | None:
        """What the present state sends to the joints; None is no torque."""
        measured, now_ns = self._measured(), self._robot.now()
        if self.state is State.ACTIVE:
            speed = self._judge.speed
            limited = self._targets.limited(command, measured, now_ns, speed=speed)
            self._account.mark(limited.guards)
            return limited.command
        if self.state is State.HOLD:
            return self._targets.last(measured)
        if self.state in (State.RAMP, State.SIT):
            move = self._targets.ramp if self.state is State.RAMP else self._targets.sit
            scripted, arrived = move(measured, now_ns)
            if arrived:
                self._go(Event.ARRIVED)
            return scripted
        return None if self.limp else self._targets.damping(measured)

    def _stay_limp(self) -> None:
        """Take the torque off when it should have gone, and again every now and then."""
        now_ns = self._robot.now()
        if self._disarmed_ns is None or now_ns - self._disarmed_ns >= _DISARM_PERIOD_NS:
            self._robot.disarm(self.state.words)
            self._disarmed_ns = now_ns
            self._owed = self._owed and not self._connected

    def _measured(self) -> FloatArray:
        """The last measured joint positions; the stance when they are unknown."""
        if self._reading is None or self._judge.dangers & Guard.STATE_NOT_FINITE:
            return self._targets.stance
        return self._reading.position

    def _take_orders(self) -> None:
        """Act on what the operator has asked for since the last time."""
        if self._orders.take_estop():
            self._emergency_stop()
        if self._orders.take_stop():
            self._sit(Guard.OPERATOR_STOP)
        if self.state in MOVING and self._operator_gone():
            self._sit(Guard.OPERATOR_GONE, f"no sign of life for {self.spec.safety.deadman_s} s")

    def _emergency_stop(self) -> None:
        carried = not self.limp
        if not self._go(Event.ESTOP, Guard.ESTOP):
            return
        self._account.mark(Guard.ESTOP)
        self._machine.latched = True
        self._damped_estop = carried and self.spec.safety.estop == "damp"
        if not self._damped_estop:
            self._stay_limp()

    def _operator_gone(self) -> bool:
        patience_s = self.spec.safety.deadman_s
        gone = self._orders.gone(self._robot.now(), patience_s, self._attended)
        return bool(self._attended) and gone

    def _sit(self, guard: Guard, words: str = "") -> None:
        """Sit down for a reason, which counts if it makes the robot do so."""
        if self._go(Event.STOP, guard, words):
            self._account.mark(guard)

    def _damp(self, guard: Guard, words: str) -> None:
        """Damp and latch for a reason, if the robot moves."""
        if self.state in MOVING:
            self._account.mark(guard)
            self._machine.danger(guard, self._robot.now(), words)
            self._still.forget()

    def _go(self, event: Event, because: Guard = Guard.NONE, words: str = "") -> bool:
        carried = not self.limp
        changed = self._machine.go(event, self._robot.now(), because, words)
        if changed:
            self._still.forget()
            self._disarmed_ns = None
            self._owed = carried or self._owed
        return changed

    def _forget(self) -> None:
        """Start anew: no causes, no doubts, and the next move starts at the measured pose."""
        self._machine.forget()
        self._judge.forget()
        self._targets.forget()

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
        except Exception as error:
            if self.state is not State.STANDBY:
                guard = guard_of(error)
                self._account.mark(guard)
                self._machine.danger(guard, self._robot.now(), str(error))
            raise


def _no_torque(position: FloatArray) -> JointCommand:
    """What is really applied while the torque is off."""
    zero = np.zeros_like(position)
    return JointCommand(position=position, kp=zero, kd=zero, torque=zero)
