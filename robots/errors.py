"""Errors of the robot side.

RobotError
├── RobotSpecError      robot.toml is unusable: what was got, what was expected
├── UnknownRobotError   no robot of that name; carries the nearest names
├── NotConnectedError   read or write before connect()
└── SafetyStopError     a guard has stopped the robot; carries the first cause
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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
