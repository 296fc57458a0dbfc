"""Noise that a policy explores with, as its contract asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class ExplorationNoise:
    """White noise, or an Ornstein-Uhlenbeck process that starts anew with every episode.

    The policy's graph scales it.  Uhlenbeck and Ornstein 1930, "On the theory of the Brownian
    motion"; Lillicrap et al. 2016, arXiv 1509.02971, section 7.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """Make noise for so many actions."""
        self._rng = rng
        self._noise: FloatArray = np.zeros(size, dtype=np.float32)

    def reset(self) -> None:
        """Begin an episode."""
        self._noise = np.zeros_like(self._noise)

    def draw(self, theta: float) -> FloatArray:
        """Next noise (A,): x ← (1-θ)·x + standard normal, which is white for θ = 1."""
        fresh = self._rng.standard_normal(len(self._noise), dtype=np.float32)
        self._noise = (1 - theta) * self._noise + fresh
        return self._noise
