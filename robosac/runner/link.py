"""The seam between the control loop and whoever takes its transitions."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]


class Policy(Protocol):
    """What acts: an OnnxPolicy, or one on the way to another."""

    @property
    def contract(self) -> Contract:
        """What its numbers mean."""
        ...

    def act(self, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        """Action (A,) for one observation (O,); no noise is the deterministic policy."""
        ...

    def actions(self, obs: Sequence[FloatArray]) -> FloatArray:
        """Deterministic actions (n, A) for observations (O,)."""
        ...


class Acting(NamedTuple):
    """A checked policy and its version; swapping policies is replacing this one reference."""

    policy: Policy
    version: int


class Link(abc.ABC):
    """Called by the control loop; between the first tick and the last only pause() ever waits."""

    credit: int | None
    """Rows this run may make; None is no bound."""

    enough: bool
    """Whether the learner wants no more rows."""

    @property
    @abc.abstractmethod
    def acting(self) -> Acting:
        """The newest checked policy; the loop takes this one reference between ticks."""

    @abc.abstractmethod
    def wait_until_ready(self) -> None:
        """Wait for a policy and for leave to make rows, before the robot moves at all.

        Returns without either when the run is to stop and when no rows are wanted.  Raises
        PolicyError when the first policy is refused: there is none to fall back on.
        """

    @abc.abstractmethod
    def record(self, row: FloatArray) -> None:
        """Hand over one packed transition; the next one gets the next sequence number."""

    @abc.abstractmethod
    def report(self, episode: Episode) -> None:
        """Tell how an episode went; for display."""

    @abc.abstractmethod
    def begin(self, *, in_motion: bool) -> None:
        """Say that another episode begins, from a stand or in the middle of a motion."""

    @abc.abstractmethod
    def poll(self) -> None:
        """Take in what has arrived: policies and credit."""

    @abc.abstractmethod
    def pause(self) -> None:
        """Wait a moment for news, because a simulated robot has used up its credit."""

    @abc.abstractmethod
    def finish(self, made: int) -> None:
        """Say that no more rows come, and wait until all of them are durable."""


class LocalLink(Link):
    """A link that ends in this process: nothing arrives by itself, and nothing is waited for."""

    credit = None
    enough = False

    def wait_until_ready(self) -> None:
        """There is a policy from the start."""

    def report(self, episode: Episode) -> None:
        """Nobody displays it."""

    def begin(self, *, in_motion: bool) -> None:
        """No policy waits for it."""

    def poll(self) -> None:
        """Nothing arrives."""

    def pause(self) -> None:
        """Never called: there is no bound on credit."""

    def finish(self, made: int) -> None:
        """Nothing is under way."""
