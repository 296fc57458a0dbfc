"""Rewards scaled so that returns fit a range, by running statistics of what comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from robosac.algorithms.supply import Supply

    FloatArray = NDArray[np.float32]

_SMALLEST = 1e-8
"""Variance that is added, so that rewards which are always zero can be divided."""


class RewardScale:
    """Divides rewards by the deviation of returns, or by more where the largest would not fit.

    A return is the discounted sum of what an episode has given so far, G ← γ·G + r.  The divisor
    is max(deviation of G, largest |G| / bound); that largest is never forgotten.  Replay keeps raw
    rewards, and replay alone restores the statistics, in whatever chunks rows come.
    """

    def __init__(self, *, gamma: float, bound: float) -> None:
        """Know nothing yet: rewards stay as they are."""
        self._gamma, self._bound = gamma, bound
        self._count = 0
        self._sums = np.zeros(2)
        self._largest = 0.0
        self._running: dict[object, float] = {}
        """Return of the episode that every run is in."""
        self.divisor = 1.0
        """What rewards are divided by now."""

    def take(self, reward: FloatArray, ended: FloatArray, *, run: object) -> None:
        """Take in rewards (n,) of one run in order, and where episodes ended for any reason."""
        if not len(reward):
            return
        returns = np.array(self._returns(reward.tolist(), ended.tolist(), run))
        added = np.stack((returns, returns**2), axis=1)
        self._sums = np.add.accumulate(np.concatenate((self._sums[None], added)))[-1]
        self._count += len(returns)
        self._largest = max(self._largest, float(np.abs(returns).max()))
        mean, square = self._sums / self._count
        deviation = float(np.sqrt(max(square - mean**2, 0.0) + _SMALLEST))
        self.divisor = max(deviation, self._largest / self._bound)

    def scaled(self, reward: Tensor, supply: Supply) -> Tensor:
        """Rewards (B,) as critics see them; the given ones stay raw."""
        return reward / supply.bring(lambda: torch.tensor(self.divisor))

    def _returns(self, reward: list[float], ended: list[float], run: object) -> list[float]:
        """Return after every step; the next episode begins with none."""
        returns, value = [], self._running.get(run, 0.0)
        for one, end in zip(reward, ended, strict=True):
            value = self._gamma * value + one
            returns.append(value)
            value = 0.0 if end else value
        self._running[run] = value
        return returns
