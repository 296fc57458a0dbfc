"""Errors of the simulators.

SimError
├── ModelError        model.xml does not fit robot.toml, or MuJoCo refuses it
├── RenderingError    no OpenGL here
└── UnknownEnvError   no environment of that id
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SimError(Exception):
    """Base class of everything the simulators raise on purpose."""


class ModelError(SimError):
    """A model that cannot carry the robot it should."""

    def __init__(self, source: Path | str, problem: str) -> None:
        """Name the file and the problem."""
        super().__init__(f"{source}: {problem}")
        self.problem = problem


class RenderingError(SimError):
    """Pictures cannot be drawn on this machine."""

    def __init__(self, cause: str) -> None:
        """Say why and what to try."""
        super().__init__(
            f"cannot render here ({cause}); set MUJOCO_GL=egl or osmesa and install that library"
        )


class UnknownEnvError(SimError):
    """No environment of that id."""
