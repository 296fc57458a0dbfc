"""The safety state machine: every state, every event, and the one table that joins them."""

from __future__ import annotations

import enum


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
    """No stiffness, only damping, until the robot lies still."""
    FAULT = "fault"
    """Torque off, latched until a local operator clears it."""


class Event(enum.Enum):
    """What moves the machine from one state to the next."""

    ENABLE = "operator enables"
    ARRIVED = "scripted move has arrived"
    STOP = "operator stops"
    DOUBT = "command or sensors unusable for the moment"
    RECOVERED = "command and sensors usable again"
    GIVE_UP = "unusable for too long"
    DANGER = "a guard that damps has fired"
    STILL = "robot lies still, nothing latched"
    STILL_LATCHED = "robot lies still, a cause is latched"
    CLEAR = "operator clears the latched cause"


TABLE: dict[tuple[State, Event], State] = {
    (State.STANDBY, Event.ENABLE): State.RAMP,
    (State.STANDBY, Event.DANGER): State.FAULT,
    (State.RAMP, Event.ARRIVED): State.ACTIVE,
    (State.RAMP, Event.STOP): State.SIT,
    (State.RAMP, Event.DOUBT): State.DAMP,
    (State.RAMP, Event.DANGER): State.DAMP,
    (State.ACTIVE, Event.STOP): State.SIT,
    (State.ACTIVE, Event.DOUBT): State.HOLD,
    (State.ACTIVE, Event.GIVE_UP): State.SIT,
    (State.ACTIVE, Event.DANGER): State.DAMP,
    (State.HOLD, Event.RECOVERED): State.ACTIVE,
    (State.HOLD, Event.STOP): State.SIT,
    (State.HOLD, Event.GIVE_UP): State.SIT,
    (State.HOLD, Event.DANGER): State.DAMP,
    (State.SIT, Event.ARRIVED): State.STANDBY,
    (State.SIT, Event.DANGER): State.DAMP,
    (State.DAMP, Event.STILL): State.STANDBY,
    (State.DAMP, Event.STILL_LATCHED): State.FAULT,
    (State.FAULT, Event.CLEAR): State.STANDBY,
}
"""Every transition there is; an event that is not listed for a state changes nothing."""

MOVING = frozenset({State.RAMP, State.ACTIVE, State.HOLD, State.SIT})
"""States in which the joints carry a stiffness."""


def after(state: State, event: Event) -> State:
    """Return the state that follows; the same one when the event means nothing in it."""
    return TABLE.get((state, event), state)
