"""SafeRobot: the only writer to a robot, in simulation, on an emulator and on hardware alike."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from robots.errors import SafetyStopError
from robots.robot import JointCommand, Robot, RobotState
from robots.safety.guards import LATCHING, Guard, Limits, StillWatch, TiltWatch, unusable
from robots.safety.states import Event, State, after

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.robot import BaseMotion
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)


class SafeRobot(Robot):
    """Wraps any Robot with guards and a state machine; the interface stays the same.

    It starts in STANDBY with the torque off.  enable() ramps to the stance, then commands pass,
    guarded.  Every intervention is counted in `interventions`, logged once with its cause, and
    reported by take_guards() for the transition it belongs to.
    """

    def __init__(self, robot: Robot) -> None:
        """Wrap a robot; limits come from its spec."""
        self._robot = robot
        self._limits = Limits(robot.spec)
        self._tilt, self._still = TiltWatch(robot.spec), StillWatch(robot.spec)
        self.state = State.STANDBY
        self.causes: list[Guard] = []
        self.interventions: Counter[str] = Counter()
        self._seen = Guard.NONE
        self._reading: RobotState | None = None
        self._applied: JointCommand | None = None
        self._written_ns = 0
        self._held_since_ns = 0
        self._refused = 0

    @property
    def spec(self) -> RobotSpec:
        """The wrapped robot's description."""
        return self._robot.spec

    @property
    def active(self) -> bool:
        """Whether the caller's commands reach the joints (HOLD counts: it is expected to pass)."""
        return self.state in (State.ACTIVE, State.HOLD)

    def connect(self) -> None:
        """Connect the robot; it stays in STANDBY."""
        self._robot.connect()

    def enable(self) -> None:
        """Ramp to the stance from a fresh reading; ignored while moving.

        Raises SafetyStopError when a latched cause has not been cleared or the reading is unsafe.
        """
        if self.state is State.STANDBY:
            self.read()
        if self.state in (State.FAULT, State.DAMP):
            raise SafetyStopError(self.state.value, self._first_cause())
        if self.state is State.STANDBY:
            self._applied = None
            self._go(Event.ENABLE)

    def stop(self) -> None:
        """Sit down in a controlled way, then take the torque off."""
        self._note(Guard.OPERATOR_STOP)
        self._go(Event.STOP)

    def clear(self) -> None:
        """Forget the latched causes, as a local operator does; never starts motion."""
        if self.state is State.FAULT:
            self._forget()
            self._go(Event.CLEAR)

    def read(self) -> RobotState:
        """Read the sensors and let the state guards judge them."""
        state = self._robot.read()
        self._judge(state)
        self._reading = state
        return state

    def write(self, command: JointCommand) -> JointCommand:
        """Apply what the present state allows and return it.

        ACTIVE: the command, limited.  RAMP, HOLD, SIT, DAMP: their own targets.  STANDBY, FAULT:
        no torque.
        """
        if self.active:
            applied = self._guarded(command)
        if self.state is State.RAMP:
            applied = self._scripted(self.spec.column("stance"))
        elif self.state is State.SIT:
            crouch = np.array(self.spec.crouch, dtype=np.float32)
            applied = self._scripted(crouch if crouch.size else self.spec.column("stance"))
        elif self.state is State.DAMP:
            applied = JointCommand.damping(self._measured(), self.spec)
        elif self.state in (State.STANDBY, State.FAULT):
            self._robot.disarm(self.state.value)
            return _no_torque(self._measured())
        self._written_ns = self._robot.now()
        self._applied = self._robot.write(applied)
        return self._applied

    def wait_until(self, deadline_ns: int) -> None:
        """Let time pass."""
        self._robot.wait_until(deadline_ns)

    def now(self) -> int:
        """Robot time, ns."""
        return self._robot.now()

    def disarm(self, reason: str) -> None:
        """Take the torque off at once and go to STANDBY; a latched cause stays latched."""
        self._robot.disarm(reason)
        if self.state is not State.FAULT:
            self.state = State.FAULT if self._latched() else State.STANDBY

    def close(self) -> None:
        """Disarm and close."""
        self.disarm("close")
        self._robot.close()

    def base_motion(self) -> BaseMotion | None:
        """How the base moves, if the robot knows."""
        return self._robot.base_motion()

    def place(self, rng: np.random.Generator) -> bool:
        """Let a simulator put the robot back on its feet, which counts as the operator's clear."""
        placed = self._robot.place(rng)
        if placed:
            self._forget()
            self.state = State.STANDBY
        return placed

    def take_guards(self) -> Guard:
        """Return the guards that fired since the last call, and forget them."""
        seen, self._seen = self._seen, Guard.NONE
        return seen

    def _judge(self, state: RobotState) -> None:
        """State guards, worst first; then the machine's own timers."""
        limits = self.spec.safety
        age = max(state.joint_age_s, state.imu_age_s)
        if not state.is_finite():
            self._danger(Guard.STATE_NOT_FINITE)
        elif not age < limits.stale_damp_s:
            self._danger(Guard.STALE_STATE)
        elif self._tilt.fired(state):
            self._danger(Guard.TILT)
        elif age >= limits.stale_hold_s:
            self._doubt(Guard.STALE_STATE)
        elif self.state is State.HOLD and not self._refused:
            self._go(Event.RECOVERED)
        if (
            self.state is State.HOLD
            and self._robot.now() - self._held_since_ns > limits.hold_s * 1e9
        ):
            self._go(Event.GIVE_UP)
        if self.state is State.DAMP and self._still.fired(state):
            self._go(Event.STILL_LATCHED if self._latched() else Event.STILL)

    def _guarded(self, command: JointCommand) -> JointCommand:
        """Refuse or limit the caller's command; HOLD keeps the last safe one."""
        reason = unusable(command, len(self.spec.joints))
        if reason:
            self._refused += 1
            self._doubt(reason)
            if self._refused > 1:
                self._go(Event.GIVE_UP)
            return self._last_safe()
        self._refused = 0
        if self.state is State.HOLD:
            return self._last_safe()
        return self._limited(command)

    def _limited(self, command: JointCommand) -> JointCommand:
        """Slew, then position, so that the position limit has the last word; gains and torque."""
        # A long silence must not buy a long jump.
        dt_s = min((self._robot.now() - self._written_ns) / 1e9, self.spec.safety.stale_damp_s)
        slewed = self._limits.slew(command.position, self._last_safe().position, dt_s)
        held = self._limits.position(slewed.value)
        kp, kd, gains = self._limits.gains(command.kp, command.kd)
        torque = self._limits.torque(command.torque)
        for guard in (slewed.guard, held.guard, gains, torque.guard):
            self._note(guard)
        return JointCommand(position=held.value, kp=kp, kd=kd, torque=torque.value)

    def _scripted(self, goal: FloatArray) -> JointCommand:
        """One bounded step from the last target towards the goal; arrival is an event."""
        start = self._last_safe().position
        dt_s = (self._robot.now() - self._written_ns) / 1e9 if self._applied is not None else 0.0
        reach = np.float32(self.spec.safety.ramp_speed * dt_s)
        target = self._limits.position(np.clip(goal, start - reach, start + reach)).value
        if np.abs(goal - target).max() <= 1e-6:  # noqa: PLR2004 -- float32 rounding, in rad
            self._go(Event.ARRIVED)
        return JointCommand.towards(target, self.spec)

    def _last_safe(self) -> JointCommand:
        """The last applied command; from the measured pose when there is none yet."""
        return self._applied or JointCommand.towards(self._measured(), self.spec)

    def _measured(self) -> FloatArray:
        """The last measured joint positions; the stance when none is finite."""
        if self._reading is None or not np.isfinite(self._reading.position).all():
            return self.spec.column("stance")
        return self._reading.position

    def _danger(self, guard: Guard) -> None:
        self._note(guard)
        if guard in LATCHING and guard not in self.causes:
            self.causes.append(guard)
        self._go(Event.DANGER)

    def _doubt(self, guard: Guard) -> None:
        self._note(guard)
        if self.state is not State.HOLD:
            self._held_since_ns = self._robot.now()
        self._go(Event.DOUBT)

    def _note(self, guard: Guard) -> None:
        """Count an intervention."""
        if guard:
            self._seen |= guard
            self.interventions[str(guard.name).lower()] += 1

    def _go(self, event: Event) -> None:
        """Follow the table, and log what changed and why."""
        following = after(self.state, event)
        if following is not self.state:
            _log.info("safety: %s -> %s because %s", self.state.value, following.value, event.value)
            self.state = following
            self._still.forget()

    def _latched(self) -> bool:
        return bool(self.causes)

    def _first_cause(self) -> str:
        return str(self.causes[0].name).lower() if self.causes else "a robot that is not still yet"

    def _forget(self) -> None:
        self.causes.clear()
        self._tilt.forget()
        self._still.forget()
        self._applied = None
        self._refused = 0


def _no_torque(position: FloatArray) -> JointCommand:
    """What is really applied while the torque is off."""
    zero = np.zeros_like(position)
    return JointCommand(position=position, kp=zero, kd=zero, torque=zero)
