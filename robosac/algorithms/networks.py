"""The networks of soft actor-critic: a squashed Gaussian policy and an ensemble of Q functions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

from robosac.algorithms.dense import Dense

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sample(NamedTuple):
    """Actions drawn from a policy."""

    action: Tensor
    """In [-1, 1], shape (B, A)."""
    log_prob: Tensor
    """Log density of the action, shape (B,)."""


class Actor(nn.Module):
    """Gaussian policy squashed by tanh.

    The log standard deviation is squashed into its bounds instead of clamped, so that its gradient
    never dies.  Haarnoja et al. 2018, arXiv 1812.05905, appendix C.
    """

    def __init__(
        self,
        obs: int,
        action: int,
        *,
        hidden: Sequence[int],
        log_std: tuple[float, float],
        initial_std: float,
    ) -> None:
        """Build a ReLU network whose first actions are centred, with this standard deviation."""
        super().__init__()
        sizes = [obs, *hidden]
        self.trunk = nn.Sequential(*(Dense(*pair, relu=True) for pair in pairwise(sizes)))
        self.head = Dense(sizes[-1], 2 * action)
        self.log_std_bounds = log_std
        with torch.no_grad():
            self.head.weight.mul_(0.01)
            self.head.bias.zero_()
            self.head.bias[action:] = _inverse_squash(math.log(initial_std), *log_std)

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before tanh, each (B, A)."""
        mean, raw = self.head(self.trunk(obs)).chunk(2, dim=-1)
        low, high = self.log_std_bounds
        return mean, (low + high) / 2 + (high - low) / 2 * torch.tanh(raw)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for standard normal noise (B, A); zero noise gives the mode."""
        mean, log_std = self.distribution(obs)
        return torch.tanh(mean + log_std.exp() * noise)

    def sample(self, obs: Tensor, noise: Tensor) -> Sample:
        """Reparametrised action with its log density.

        The tanh correction log(1 - tanh²u) is computed as 2(log 2 - u + log sigmoid(2u)), which is
        exact where the textbook form saturates (arXiv 1812.05905, appendix C, eq. 21).
        """
        mean, log_std = self.distribution(obs)
        pre = mean + log_std.exp() * noise
        standard = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
        correction = 2 * (F.logsigmoid(2 * pre) - pre + math.log(2))
        return Sample(torch.tanh(pre), (standard - log_std - correction).sum(-1))


def _inverse_squash(value: float, low: float, high: float) -> float:
    """What the head must give for a squashed number between low and high."""
    return math.atanh(2 * (value - low) / (high - low) - 1)


class Critics(nn.ModuleList):
    """N independent Q functions.

    They are evaluated one after another: a product of the size of one member already fills a
    processor, and torch's batched products are no faster.
    """

    def __init__(
        self, inputs: int, *, members: int, hidden: Sequence[int], layer_norm: bool
    ) -> None:
        """Build ReLU networks from `inputs` numbers to one value."""
        sizes = [inputs, *hidden]
        super().__init__(_value_network(sizes, layer_norm=layer_norm) for _ in range(members))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (N, B) of the pairs (B, O) and (B, A)."""
        pair = torch.cat((obs, action), dim=-1)
        return torch.stack([member(pair).squeeze(-1) for member in self])


def _value_network(sizes: Sequence[int], *, layer_norm: bool) -> nn.Sequential:
    """One Q function: dense layers, each normalised before its ReLU on request."""
    layers: list[nn.Module] = []
    for width, following in pairwise(sizes):
        layers.append(Dense(width, following, relu=not layer_norm))
        if layer_norm:
            layers += [nn.LayerNorm(following), nn.ReLU()]
    return nn.Sequential(*layers, Dense(sizes[-1], 1))
