"""Random first actions: a policy that can be told to act at random, in the exported graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class RandomFirst(nn.Module):
    """Another policy, or uniform actions in its place; a parameter says which.

    The graph gets normal noise like any other: the error function turns it into uniform noise, and
    no noise is the middle of the range.
    """

    def __init__(self, policy: nn.Module, *, random: bool) -> None:
        """Act at random or as `policy`."""
        super().__init__()
        self.policy = policy
        self.random = nn.Parameter(torch.full((1,), float(random)), requires_grad=False)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for standard normal noise (B, A)."""
        uniform = torch.erf(noise / math.sqrt(2))
        action: Tensor = self.policy(obs, noise)
        # Written so that the exporter cannot fold the parameter into a constant, as it would 1 - p.
        return torch.clamp(action + self.random * (uniform - action), -1, 1)
