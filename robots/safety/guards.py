"""The guards by name: causes of an intervention."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Guard(enum.IntFlag):
    """Causes of an intervention, one bit each; stored with every transition."""

    NONE = 0
    COMMAND_NOT_FINITE = 1
    COMMAND_SHAPE = 2
    POSITION_LIMIT = 4
    SLEW_LIMIT = 8
    GAIN_LIMIT = 16
    STATE_NOT_FINITE = 32
    """Readings that are no numbers, too few, or an attitude that is none, such as all zeros."""
    TILT = 64
    STALE_STATE = 128
    OPERATOR_STOP = 256
    DRIVER_ERROR = 512
    """The robot's driver raised an error."""
    HARDWARE_ERROR = 1024
    """A servo reports a fault of its own, has restarted, or has let go by itself."""
    LINK_LOST = 2048
    """A port has vanished or takes no bytes."""
    ESTOP = 4096
    OPERATOR_GONE = 8192
    """No sign of life from an operator who has to attend."""
    OVERRUN = 16384
    """The control loop does not keep its period."""
    EFFORT = 32768
    """A joint has given more torque than it bears, for a while or by far."""
    OVERSPEED = 65536
    """A joint moves faster than its drive can."""
    TEMPERATURE = 131072
    VOLTAGE = 262144
    """The supply is flat, or has dropped in an instant."""
    ENCODER_JUMP = 524288
    """A joint was measured where it cannot have come to."""
    STUCK = 1048576
    """A joint does not follow its target, or its reading does not change."""
    FROZEN_COMMAND = 2097152
    """The same command over and over while the robot moves."""


BLIND = Guard.STATE_NOT_FINITE | Guard.STALE_STATE
"""Guards after which the readings say nothing about the robot."""


class Alarm(NamedTuple):
    """A guard that a reading has fired, what more is known, and what to do about it."""

    guard: Guard
    words: str
    """Which joint, how much."""
    damp: bool
    """Whether to damp and latch; otherwise the robot sits down."""


def label(guards: Guard) -> str:
    """Names of guards as logs and reports have them: lower case, joined by a plus."""
    return "+".join(str(guard.name).lower() for guard in guards) or "no guard"


def in_words(guards: Guard, words: str) -> str:
    """Names of guards, and what else is known about them."""
    return f"{label(guards)}: {words}" if words else label(guards)
