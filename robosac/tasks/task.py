"""The seam between a robot and what it should learn."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from robosac.tasks.observation import Term
    from robots import BaseMotion, RobotSpec, RobotState

    FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What is known at the end of one control step."""

    state: RobotState
    """Sensor readings."""
    motion: BaseMotion | None
    """Motion of the base, if anything measures or knows it."""
    action: FloatArray
    """The action the robot really executed (J,), in [-1, 1]."""
    dt_s: float
    """Length of the step, s."""


class Task(abc.ABC):
    """What is observed, rewarded, and when an episode ends; called by RobotEnv.

    The actor's terms come only from sensors, the command and the last actions, so the same object
    runs on hardware.  The critic's terms may use what only a simulator knows.
    """

    name: ClassVar[str]
    control_hz: float
    episode_s: float

    @abc.abstractmethod
    def numbers(self) -> dict[str, float]:
        """Every number of the task, for the policy's contract."""

    @abc.abstractmethod
    def actor_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        """What the policy sees."""

    @abc.abstractmethod
    def critic_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        """What the critics see besides; may be empty."""

    @abc.abstractmethod
    def commands(self) -> dict[str, tuple[float, float]]:
        """Range of every command the policy is trained for."""

    @abc.abstractmethod
    def begin(self, tick: Tick, rng: np.random.Generator) -> None:
        """Start an episode."""

    @abc.abstractmethod
    def readings(self, tick: Tick) -> Mapping[str, FloatArray]:
        """Every observation term by name, in its unit."""

    @abc.abstractmethod
    def rewards(self, before: Tick, after: Tick) -> dict[str, float]:
        """Every reward term by name; the reward is their sum."""

    @abc.abstractmethod
    def fallen(self, tick: Tick) -> bool:
        """Whether the episode ends here for good."""
