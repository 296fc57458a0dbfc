"""The safety state machine: every state, every event, and the one table that joins them."""

from __future__ import annotations

import enum
import logging

from robots.safety.guards import Guard, in_words

_log = logging.getLogger(__name__)


class State(enum.Enum):
    """What the wrapper is doing with the joints."""

    STANDBY = "standby"
    """Torque off; nothing moves because a process started."""
    RAMP = "ramp"
    """From the measured pose to the stance, at a bounded speed."""
    ACTIVE = "active"
    """The caller's commands, guarded."""
    HOLD = "hold"
    """The last safe target, for a short time."""
    SIT = "sit"
    """A scripted crouch at a bounded speed, then STANDBY."""
    DAMP = "damp"
    """No stiffness, only damping, until the robot lies still or damp_s is over."""
    FAULT = "fault"
    """Torque off, latched until a local operator clears it."""
    ESTOP = "estop"
    """Emergency stop: torque off, or damped to the end first; latched until released and cleared.

    It beats every other state.
    """

    @property
    def words(self) -> str:
        """What an operator calls it."""
        return _WORDS[self]


_WORDS = {
    State.STANDBY: "standby",
    State.RAMP: "standing up",
    State.ACTIVE: "running",
    State.HOLD: "holding",
    State.SIT: "sitting down",
    State.DAMP: "damping",
    State.FAULT: "stopped (fault)",
    State.ESTOP: "emergency stop",
}


class Event(enum.Enum):
    """What moves the machine from one state to the next."""

    ENABLE = "operator enables"
    ARRIVED = "scripted move has arrived"
    STOP = "a controlled stop asked for, or a guard that sits down has fired"
    ESTOP = "emergency stop"
    DOUBT = "command or sensors unusable for the moment"
    RECOVERED = "command and sensors usable again"
    GIVE_UP = "unusable for too long"
    DANGER = "a guard that damps has fired"
    DAMPED = "damping is over, nothing latched"
    DAMPED_LATCHED = "damping is over, a cause is latched"
    CLEAR = "operator clears the latched causes"
    RESET = "operator clears after the emergency stop was released"
    DISARM = "torque taken off at once, nothing latched"
    DISARM_LATCHED = "torque taken off at once, a cause is latched"
    PLACE = "simulator puts the robot on its feet"


MOVING = frozenset({State.RAMP, State.ACTIVE, State.HOLD, State.SIT})
"""States in which the joints carry a stiffness."""

TORQUE_OFF = frozenset({State.STANDBY, State.FAULT, State.ESTOP})
"""States in which the joints carry nothing; the one that is in neither set is DAMP.

ESTOP comes to it by damping first where robot.toml says so.
"""

TABLE: dict[tuple[State, Event], State] = {
    (State.STANDBY, Event.ENABLE): State.RAMP,
    (State.RAMP, Event.ARRIVED): State.ACTIVE,
    (State.RAMP, Event.STOP): State.SIT,
    (State.RAMP, Event.DOUBT): State.DAMP,
    (State.RAMP, Event.DANGER): State.DAMP,
    (State.ACTIVE, Event.STOP): State.SIT,
    (State.ACTIVE, Event.DOUBT): State.HOLD,
    (State.ACTIVE, Event.DANGER): State.DAMP,
    (State.HOLD, Event.RECOVERED): State.ACTIVE,
    (State.HOLD, Event.STOP): State.SIT,
    (State.HOLD, Event.GIVE_UP): State.SIT,
    (State.HOLD, Event.DANGER): State.DAMP,
    (State.SIT, Event.ARRIVED): State.STANDBY,
    (State.SIT, Event.DANGER): State.DAMP,
    (State.DAMP, Event.DAMPED): State.STANDBY,
    (State.DAMP, Event.DAMPED_LATCHED): State.FAULT,
    (State.FAULT, Event.CLEAR): State.STANDBY,
    (State.ESTOP, Event.RESET): State.STANDBY,
    **{(state, Event.ESTOP): State.ESTOP for state in State if state is not State.ESTOP},
    **{(state, Event.DISARM): State.STANDBY for state in (*MOVING, State.DAMP)},
    (State.DAMP, Event.DISARM_LATCHED): State.FAULT,
    **{(state, Event.PLACE): State.STANDBY for state in (*MOVING, State.DAMP, State.FAULT)},
}
"""Every transition there is; an event that is not listed for a state changes nothing."""


def after(state: State, event: Event) -> State:
    """Return the state that follows; the same one when the event means nothing in it."""
    return TABLE.get((state, event), state)


class Machine:
    """Follows TABLE and remembers since when, because of what, and whether that is latched."""

    def __init__(self) -> None:
        """Start in STANDBY."""
        self.state = State.STANDBY
        self.since_ns = 0
        """Robot time at which the present state began, ns."""
        self.causes: list[Guard] = []
        """What stopped the robot since it was last enabled or cleared; the first comes first."""
        self.why = ""
        """The first cause in words."""
        self.latched = False
        """Whether only an operator's clear leads out of the stop."""

    def go(self, event: Event, now_ns: int, because: Guard = Guard.NONE, words: str = "") -> bool:
        """Follow the table; returns whether the state has changed.

        `words` say more about the cause than its name: which joint, how far.
        """
        following = after(self.state, event)
        if following is self.state:
            return False
        _log.info(
            "safety: %s -> %s at %.3f s: %s (%s)",
            *(self.state.value, following.value, now_ns / 1e9, event.value),
            in_words(because, words),
        )
        self.state, self.since_ns = following, now_ns
        if following is not State.HOLD:
            self.blame(because, words)
        return True

    def danger(self, guard: Guard, now_ns: int, words: str = "") -> None:
        """Latch a cause, and damp if the joints carry a stiffness."""
        self.latched = True
        self.blame(guard, words)
        self.go(Event.DANGER, now_ns, guard, words)

    def blame(self, guards: Guard, words: str = "") -> None:
        """Keep every cause once, in the order of their coming."""
        if guards and not self.causes:
            self.why = in_words(guards, words)
        self.causes += [guard for guard in guards if guard not in self.causes]

    def forget(self) -> None:
        """Drop the causes, latched ones too."""
        self.causes.clear()
        self.why = ""
        self.latched = False
