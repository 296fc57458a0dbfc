"""Errors of the robot side.

RobotError
├── RobotSpecError      robot.toml is unusable: what was got, what was expected
├── UnknownRobotError   no robot of that name; carries the nearest names
├── OutOfReachError     a foot is asked to go where its leg does not reach
├── NotConnectedError   read or write before connect()
├── SafetyStopError     a guard has stopped the robot; carries the first cause
└── BusError            the bus of the servos
    ├── PortError           the serial port cannot be opened
    ├── PortBusyError       another process has it
    ├── PortLostError       it has vanished, or was closed
    ├── WriteBlockedError   it takes no bytes; some may have gone out
    ├── NoReplyError        a servo did not answer
    ├── ServoRefusedError   a servo answered with an error number
    ├── ServoSetupError     servos are not as robot.toml says; carries every difference
    ├── ServoEnableError    the torque was not switched on, or not off
    └── HardwareFaultError  a driven servo will not go on: alert, restart, lost torque, watchdog
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


class RobotError(Exception):
    """Base class of everything the robot side raises on purpose."""


class RobotSpecError(RobotError):
    """A robot folder that cannot be used as it stands."""

    def __init__(self, source: Path | str, problem: str) -> None:
        """Name the file and the problem (got, expected, what to do)."""
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem


class UnknownRobotError(RobotError):
    """No robot folder of that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Say what was asked for and offer the nearest names."""
        self.name = name
        self.known = sorted(known)
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.4) or self.known
        super().__init__(
            f"unknown robot {name!r}; expected one of {', '.join(near)}, "
            "or a folder with robot.toml and model.xml"
        )


class OutOfReachError(RobotError):
    """A place where no joint angles put the foot."""

    def __init__(self, leg: int, foot: Sequence[float] | NDArray[np.float64], reach: float) -> None:
        """Name the leg by its number in robot.toml, the place (base frame) and its reach, m."""
        place = ", ".join(f"{number:.3f}" for number in foot)
        super().__init__(
            f"leg {leg} does not reach ({place}) m; expected a place below the hip, clear of the "
            f"offset and within {reach:.3f} m"
        )
        self.leg = leg


class NotConnectedError(RobotError):
    """The robot was used before connect() or after close()."""

    def __init__(self, name: str) -> None:
        """Name the robot."""
        super().__init__(
            f"robot {name!r} is not connected; call connect() or use it in a with block"
        )


class SafetyStopError(RobotError):
    """The safety wrapper refuses to move until an operator has cleared the cause."""

    def __init__(self, state: str, cause: str) -> None:
        """Carry the state and the first cause."""
        super().__init__(f"robot is in {state} because of {cause}; clear it before enabling")
        self.state = state
        self.cause = cause


class BusError(RobotError):
    """Base class of what goes wrong on the bus of the servos."""


class PortError(BusError):
    """A serial port that cannot be opened."""

    def __init__(self, path: str, problem: str) -> None:
        """Name the port and what to do."""
        super().__init__(f"serial port {path}: {problem}")
        self.path = path
        self.problem = problem


class PortBusyError(BusError):
    """A serial port that another process has; two masters on one bus move joints at random."""

    def __init__(self, path: str, owner: str) -> None:
        """Name the port and, as far as it is known, who has it."""
        super().__init__(f"serial port {path} is in use by {owner or 'another process'}; stop that")
        self.path = path
        self.owner = owner


class PortLostError(BusError):
    """A serial port that was open and is no more; only opening it again helps."""

    def __init__(self, path: str, reason: str) -> None:
        """Name the port and how the loss showed."""
        super().__init__(f"serial port {path} is gone ({reason}); check cable and power, reopen it")
        self.path = path
        self.reason = reason


class WriteBlockedError(BusError):
    """A port that does not take what is written; servos may have received a part of it."""

    def __init__(self, path: str, *, written: int, size: int, timeout_s: float) -> None:
        """Say how many bytes went out of how many, and how long was waited."""
        super().__init__(
            f"serial port {path} took {written} of {size} bytes within {timeout_s:g} s; "
            "check the adapter"
        )
        self.written = written
        self.size = size


class NoReplyError(BusError):
    """A servo that did not answer in time, however often it was asked."""

    def __init__(self, device: int, request: str) -> None:
        """Name the servo and what it was asked."""
        super().__init__(
            f"servo {device} did not answer to {request}; check its ID, baud and power"
        )
        self.device = device
        self.request = request


class ServoRefusedError(BusError):
    """A servo that answered with an error number."""

    def __init__(self, device: int, request: str, number: int) -> None:
        """Name the servo, what it was asked, and the number of the error."""
        meaning = _SERVO_ERRORS.get(number, "unknown error")
        super().__init__(f"servo {device} refused {request}: error {number}, {meaning}")
        self.device = device
        self.request = request
        self.number = number


_SERVO_ERRORS = {
    1: "it could not do it; was the torque on, or the joint moving?",
    2: "unknown instruction; is its firmware too old?",
    3: "it received a wrong CRC; check the cable",
    4: "value outside the range, or its bus watchdog has tripped",
    5: "wrong length of the data",
    6: "value outside the limit configured in the servo",
    7: "no such register, read only, or locked while the torque is on",
}


class ServoSetupError(BusError):
    """Servos that are not as robot.toml says."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Carry every difference, each with servo, register, got and expected."""
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ServoEnableError(BusError):
    """The torque was not switched on, or it is on somewhere although it was switched off."""

    def __init__(self, problem: str) -> None:
        """Say which servo, what was got and what was expected."""
        super().__init__(problem)


class HardwareFaultError(BusError):
    """A driven servo that has given up and will not recover by waiting."""

    def __init__(self, problem: str) -> None:
        """Say which joint and servo, and which bits or registers tell so."""
        super().__init__(f"{problem}; take the torque off, see to it, then connect again")
