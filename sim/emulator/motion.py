"""What the servos turn: simple joints, and the interface to physics that is more than that."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sim.emulator.motors import Drive

    Array = NDArray[np.float64]


class Plant(abc.ABC):
    """The mechanics behind N servos; the bench steps it."""

    timestep_s: float
    """Length of one step, s."""
    position: Array
    """Joint positions (N,), rad."""
    velocity: Array
    """Joint velocities (N,), rad/s."""

    @abc.abstractmethod
    def step(self, drives: Sequence[Drive]) -> None:
        """Go one step on with these drives, one per joint."""


class SimpleJoints(Plant):
    """Joints that know nothing of each other: inertia, dry friction, a load."""

    def __init__(
        self,
        joints: int,
        *,
        inertia: float = 0.01,
        friction: float = 0.02,
        load: float = 0.0,
        timestep_s: float = 0.001,
    ) -> None:
        """Rest at zero.  Inertia in kg·m², friction and load in N·m."""
        if min(inertia, timestep_s) <= 0 or friction < 0:
            raise ValueError(
                f"inertia {inertia}, timestep_s {timestep_s}, friction {friction}; "
                "expected positive, positive, zero or more"
            )
        self.timestep_s = timestep_s
        self.position = np.zeros(joints)
        self.velocity = np.zeros(joints)
        self.load = np.full(joints, load)
        """Torque against positive motion (N,), N·m; may be changed at any time."""
        self._inertia, self._friction = inertia, friction

    def step(self, drives: Sequence[Drive]) -> None:
        """Go one step on; damping and friction are implicit, so any size of them is stable."""
        dt = self.timestep_s / self._inertia
        torque = np.array([drive.torque for drive in drives]) - self.load
        damping = np.array([drive.damping for drive in drives])
        velocity = (self.velocity + dt * torque) / (1 + dt * damping)
        lost = dt * self._friction / (1 + dt * damping)
        self.velocity = np.sign(velocity) * np.maximum(np.abs(velocity) - lost, 0.0)
        self.position = self.position + self.timestep_s * self.velocity
