"""Errors of the IMUs.

RobotError
└── ImuError            carries the port
    ├── ImuRefusedError  the IMU is not what robot.toml says; raised by open() only
    └── ImuLostError     the port has vanished; latched until the IMU is opened again
"""

from __future__ import annotations

from robots.errors import RobotError


class ImuError(RobotError):
    """Base class of what goes wrong with an IMU."""

    def __init__(self, port: str, problem: str) -> None:
        """Name the port and the problem (got, expected, what to do)."""
        super().__init__(f"IMU on {port}: {problem}")
        self.port = port
        self.problem = problem


class ImuRefusedError(ImuError):
    """An IMU that may not be used as it is set up."""


class ImuLostError(ImuError):
    """The port went away while the IMU was in use."""

    def __init__(self, port: str, cause: str) -> None:
        """Name the port and what the operating system said."""
        super().__init__(port, f"lost ({cause}); check cable and supply, then start again")
