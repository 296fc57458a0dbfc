"""Errors of the simulators.

SimError
├── ModelError           model.xml does not fit robot.toml, or MuJoCo refuses it
├── DivergedError        the physics blew up
├── RenderingError       no OpenGL here
├── VideoError           the frames cannot become a film
├── UnknownEnvError      no environment of that id; carries the nearest ids
├── UnsupportedEnvError  an environment whose spaces or autoreset we cannot learn from
├── EnvDependencyError   the environment needs a package that is not installed
├── FaultError           a fault to inject that cannot be understood
└── EpisodeOverError     step() after the end of an episode, or before the first
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class SimError(Exception):
    """Base class of everything the simulators raise on purpose."""


class ModelError(SimError):
    """A model that cannot carry the robot it should."""

    def __init__(self, source: Path | str, problem: str) -> None:
        """Name the file and the problem."""
        super().__init__(f"{source}: {problem}")
        self.problem = problem


class DivergedError(SimError):
    """The physics produced numbers that are no longer a robot."""

    def __init__(self, name: str, time_s: float, cause: str) -> None:
        """Name the robot, the simulated time and what the engine says."""
        super().__init__(
            f"simulation of {name} diverged at {time_s:.3f} s ({' '.join(cause.split())}); "
            "lower the gains or raise sim.physics_hz in robot.toml"
        )
        self.time_s = time_s


class RenderingError(SimError):
    """Pictures cannot be drawn on this machine."""

    def __init__(self, cause: str) -> None:
        """Say why and what to try."""
        super().__init__(
            f"cannot render here ({' '.join(cause.split())}); "
            "set MUJOCO_GL=egl or osmesa and install that library"
        )


class VideoError(SimError):
    """Frames that cannot become a film."""

    def __init__(self, path: Path | str, problem: str) -> None:
        """Name the file and the problem."""
        super().__init__(f"{path}: {' '.join(problem.split())}")
        self.path = path


class UnknownEnvError(SimError):
    """No environment of that id."""

    def __init__(self, env_id: str, known: Iterable[str]) -> None:
        """Say what was asked for and offer the nearest ids."""
        self.env_id = env_id
        self.near = difflib.get_close_matches(env_id, list(known), n=3, cutoff=0.4)
        offer = f"did you mean {', '.join(self.near)}?" if self.near else "no id comes near it"
        super().__init__(f"unknown environment {env_id!r}; {offer}")


class UnsupportedEnvError(SimError):
    """An environment that exists, but not in a form SAC can learn from."""

    def __init__(self, env_id: str, problem: str) -> None:
        """Name the environment and what is wrong with it."""
        super().__init__(f"{env_id} {problem}")
        self.env_id = env_id
        self.problem = problem


class EnvDependencyError(SimError):
    """An environment whose package is not installed."""

    def __init__(self, env_id: str, cause: str) -> None:
        """Name the environment and what it misses."""
        super().__init__(f"{env_id} cannot be made: {' '.join(cause.split())}")
        self.env_id = env_id


class FaultError(SimError):
    """A fault to inject that cannot be understood."""

    def __init__(self, text: str, problem: str) -> None:
        """Quote the fault and say what is wrong with it."""
        super().__init__(f"fault {text!r}: {problem}")
        self.problem = problem


class EpisodeOverError(SimError):
    """step() was called while no episode runs."""

    def __init__(self, env_id: str) -> None:
        """Name the environment."""
        super().__init__(f"no episode of {env_id} is running; call reset() before the next step()")
