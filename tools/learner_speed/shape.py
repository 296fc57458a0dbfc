"""The learning problem that is timed: HalfCheetah's numbers."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """Sizes of the observation, the action and the hidden layers."""

    obs: int = 17
    action: int = 6
    hidden: tuple[int, ...] = (256, 256)
