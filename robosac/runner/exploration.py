"""Noise that a policy explores with, as its contract asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class ExplorationNoise:
    """White noise, an Ornstein-Uhlenbeck process, or noise that is held for random times.

    The policy's graph scales it.  An episode begins without the noise of the last.
    Uhlenbeck and Ornstein 1930, "On the theory of the Brownian motion"; Lillicrap et al. 2016,
    arXiv 1509.02971, section 7; arXiv 2604.04539 for noise that is held.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        """Make noise for so many actions."""
        self._rng = rng
        self._noise: FloatArray = np.zeros(size, dtype=np.float32)
        self._left = 0
        """Steps for which the noise is still held."""

    def reset(self) -> None:
        """Begin an episode."""
        self._noise = np.zeros_like(self._noise)
        self._left = 0

    def draw(self, theta: float, hold: int = 1) -> FloatArray:
        """Next noise (A,): x ← (1-θ)·x + standard normal, which is white for θ = 1.

        With hold over 1 it then stays for k steps, k from 1 to hold and P(k) ∝ 1/k².
        """
        if self._left > 0:
            self._left -= 1
            return self._noise
        fresh = self._rng.standard_normal(len(self._noise), dtype=np.float32)
        self._noise = (1 - theta) * self._noise + fresh
        self._left = self._duration(hold) - 1
        return self._noise

    def _duration(self, longest: int) -> int:
        """Draw for how many steps noise stays; 1 takes nothing from the generator."""
        if longest == 1:
            return 1
        weights = np.arange(1, longest + 1, dtype=np.float64) ** -2
        return 1 + int(self._rng.choice(longest, p=weights / weights.sum()))
