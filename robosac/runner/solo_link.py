"""A robot on its own: one policy from a file, and no learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.runner.link import Acting, Link

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import OnnxPolicy
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]


class SoloLink(Link):
    """The policy it is given acts to the end; transitions are only in the flight log."""

    credit = None
    enough = False
    link_state = "no learner"
    dropped: int | None = None
    """Rows that are given up: there are none to lose."""

    def __init__(self, policy: OnnxPolicy) -> None:
        """Act by this policy, as version 0."""
        self._acting = Acting(policy, 0)

    @property
    def acting(self) -> Acting:
        """The policy."""
        return self._acting

    def wait_until_ready(self) -> None:
        """It is ready."""

    def record(self, row: FloatArray) -> None:
        """Nobody learns from it."""

    def report(self, episode: Episode) -> None:
        """Nobody displays it."""

    def poll(self) -> None:
        """Nothing arrives."""

    def pause(self) -> None:
        """Never called: there is no bound on credit."""

    def finish(self, made: int) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""
