"""A robot on its own: one policy from a file, and no learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.runner.link import Acting, LocalLink

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import OnnxPolicy

    FloatArray = NDArray[np.float32]


class SoloLink(LocalLink):
    """The policy it is given acts to the end; transitions are only in the flight log."""

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

    def record(self, row: FloatArray) -> None:
        """Nobody learns from it."""

    def close(self) -> None:
        """Nothing is open."""
