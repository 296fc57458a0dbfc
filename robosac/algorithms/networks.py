"""The networks of soft actor-critic: a squashed Gaussian policy and an ensemble of Q functions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

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
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], 2 * action)
        self.log_std_bounds = log_std
        with torch.no_grad():
            self.head.weight.mul_(0.01)
            self.head.bias.zero_()
            self.head.bias[action:] = _inverse_squash(math.log(initial_std), *log_std)

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before tanh, each (B, A)."""
        mean, raw = self.head(self.trunk(obs)).chunk(2, dim=-1)
        low, high = self.log_std_bounds
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for standard normal noise (B, A); zero noise gives the mode."""
        mean, log_std = self.distribution(obs)
        return torch.tanh(mean + log_std.exp() * noise)

    def sample(self, obs: Tensor, noise: Tensor) -> Sample:
        """Reparametrised action with its log density.

        The tanh correction log(1 - tanh²u) is computed as 2(log 2 - u - softplus(-2u)), which is
        exact where the textbook form saturates (arXiv 1812.05905, appendix C, eq. 21).
        """
        mean, log_std = self.distribution(obs)
        pre = mean + log_std.exp() * noise
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        correction = 2 * (math.log(2) - pre - F.softplus(-2 * pre))
        return Sample(torch.tanh(pre), (gaussian - correction).sum(-1))


def _inverse_squash(value: float, low: float, high: float) -> float:
    """What the head must give for a squashed number between low and high."""
    return math.atanh(2 * (value - low) / (high - low) - 1)


class EnsembleLinear(nn.Module):
    """One linear layer of N networks at once: (N, B, in) or (B, in) to (N, B, out)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        """Draw weights as nn.Linear does."""
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Apply every member's layer to its own row of the ensemble."""
        if x.dim() == 2:  # noqa: PLR2004 -- a batch shared by all members
            x = x.expand(self.weight.shape[0], *x.shape)
        return torch.baddbmm(self.bias, x, self.weight)


class EnsembleLayerNorm(nn.Module):
    """Layer normalisation with a scale and shift per member."""

    def __init__(self, members: int, width: int) -> None:
        """Start as the identity after normalising."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(members, 1, width))
        self.bias = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of (N, B, width)."""
        return torch.addcmul(self.bias, F.layer_norm(x, x.shape[-1:]), self.weight)


class Critics(nn.Module):
    """N independent Q functions evaluated as one."""

    def __init__(
        self, inputs: int, *, members: int, hidden: Sequence[int], layer_norm: bool
    ) -> None:
        """Build ReLU networks from `inputs` numbers to one value."""
        super().__init__()
        sizes = [inputs, *hidden]
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers.append(EnsembleLinear(members, width, following))
            if layer_norm:
                layers.append(EnsembleLayerNorm(members, following))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers, EnsembleLinear(members, sizes[-1], 1))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (N, B) of the pairs (B, O) and (B, A)."""
        values: Tensor = self.layers(torch.cat((obs, action), dim=-1))
        return values.squeeze(-1)
