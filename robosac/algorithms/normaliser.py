"""Observations centred and scaled by running statistics, which travel with the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robosac.algorithms.algorithm import Batch
    from robosac.algorithms.supply import Supply

    FloatArray = NDArray[np.float32]

_CLIP = 10.0
"""Largest normalised observation, in deviations."""
_SMALLEST = 1e-3
"""Smallest deviation that is divided by: a constant must not become noise."""


class ObservationNormaliser:
    """Mean and deviation of every observed number, over all rows ever taken in.

    Sampling does not move them.  Rows are added one after another, so that the same rows in other
    chunks, as after a restart, give the same bits: replay alone restores the statistics.
    """

    def __init__(self, width: int) -> None:
        """Know nothing yet: mean 0 and deviation 1 of so many numbers."""
        self._count = 0
        self._sums = np.zeros(2 * width)
        self.mean = torch.zeros(width)
        self.scale = torch.ones(width)
        """One over the deviation."""

    def take(self, rows: FloatArray) -> None:
        """Take in observations (n, width)."""
        if not len(rows):
            return
        exact = rows.astype(np.float64)
        added = np.concatenate((exact, exact**2), axis=1)
        self._sums = np.add.accumulate(np.concatenate((self._sums[None], added)))[-1]
        self._count += len(rows)
        mean, square = np.split(self._sums / self._count, 2)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        self.mean = torch.from_numpy(mean.astype(np.float32))
        scale = 1 / np.maximum(deviation, _SMALLEST)
        self.scale = torch.from_numpy(scale.astype(np.float32))

    def normalised(self, batch: Batch, supply: Supply) -> Batch:
        """Return rows with observations as networks see them; the given ones stay raw."""
        mean, scale = supply.bring(lambda: self.mean), supply.bring(lambda: self.scale)
        critic_obs = _normalise(batch.critic_obs, mean, scale)
        next_critic_obs = _normalise(batch.next_critic_obs, mean, scale)
        actor = batch.obs.shape[1]
        return batch._replace(
            obs=critic_obs[:, :actor],
            critic_obs=critic_obs,
            next_obs=next_critic_obs[:, :actor],
            next_critic_obs=next_critic_obs,
        )

    def before(self, policy: nn.Module, *, obs: int) -> nn.Module:
        """Return a policy of raw observations (B, obs), with the statistics of now."""
        return NormalisedPolicy(policy, self.mean[:obs], self.scale[:obs])


class NormalisedPolicy(nn.Module):
    """A policy behind fixed statistics, which are published like its weights."""

    def __init__(self, policy: nn.Module, mean: Tensor, scale: Tensor) -> None:
        """Put them before a policy."""
        super().__init__()
        self.policy = policy
        self.mean = nn.Parameter(mean, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for raw observations (B, O) and noise (B, A)."""
        action: Tensor = self.policy(_normalise(obs, self.mean, self.scale), noise)
        return action


def _normalise(obs: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    return ((obs - mean) * scale).clamp(-_CLIP, _CLIP)
