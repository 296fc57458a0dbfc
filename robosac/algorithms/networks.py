"""Networks: a squashed Gaussian and a deterministic policy, and ensembles of Q functions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

from robosac.algorithms.dense import Dense

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_QUARTERS = 2**16
"""Values of a quarter of a number of 64 bits."""


class Sample(NamedTuple):
    """Actions drawn from a policy."""

    action: Tensor
    """In [-1, 1], shape (B, A)."""
    log_prob: Tensor
    """Log density of the action, shape (B,)."""
    mean: Tensor
    """Mean of the policy before tanh, shape (B, A)."""
    log_std: Tensor
    """Log standard deviation of the policy before tanh, shape (B, A)."""


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
        return self.split(self.head(self.trunk(obs)))

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each (B, A), of the head's output (B, 2A)."""
        return split(output, self.log_std_bounds)

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for standard normal noise (B, A); zero noise gives the mode."""
        mean, log_std = self.distribution(obs)
        return torch.tanh(mean + log_std.exp() * noise)

    def sample(self, obs: Tensor, noise: Tensor) -> Sample:
        """Reparametrised action with its log density."""
        return draw(*self.distribution(obs), noise)

    def log_prob(self, obs: Tensor, pre: Tensor) -> Tensor:
        """Log density (B,) of the actions tanh(pre), pre (B, A) being given, as in sample()."""
        mean, log_std = self.distribution(obs)
        return _log_density((pre - mean) / log_std.exp(), log_std, pre)


def split(output: Tensor, log_std_bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation within bounds, each (B, A), of an output (B, 2A)."""
    mean, raw = output.chunk(2, dim=-1)
    low, high = log_std_bounds
    return mean, (low + high) / 2 + (high - low) / 2 * torch.tanh(raw)


def draw(mean: Tensor, log_std: Tensor, noise: Tensor) -> Sample:
    """Action tanh(mean + std·noise) with its log density; all (B, A)."""
    pre = mean + log_std.exp() * noise
    log_prob = _log_density(noise, log_std, pre)
    return Sample(torch.tanh(pre), log_prob, mean, log_std)


def _log_density(noise: Tensor, log_std: Tensor, pre: Tensor) -> Tensor:
    """Log density of tanh(pre), pre being `noise` standard deviations from the mean.

    The tanh correction log(1 - tanh²u) is computed as 2(log 2 - u + log sigmoid(2u)), which is
    exact where the textbook form saturates (arXiv 1812.05905, appendix C, eq. 21).
    """
    standard = -0.5 * noise.square() - 0.5 * math.log(2 * math.pi)
    correction = 2 * (F.logsigmoid(2 * pre) - pre + math.log(2))
    return (standard - log_std - correction).sum(-1)


def _inverse_squash(value: float, low: float, high: float) -> float:
    """What the head must give for a squashed number between low and high."""
    return math.atanh(2 * (value - low) / (high - low) - 1)


class DeterministicActor(nn.Module):
    """A policy of one action per observation, with noise only to explore."""

    def __init__(
        self, obs: int, action: int, *, hidden: Sequence[int], noise_std: float, final_bound: float
    ) -> None:
        """Build a ReLU network whose output layer starts uniform within plus and minus a bound."""
        super().__init__()
        sizes = [obs, *hidden]
        self.trunk = nn.Sequential(*(Dense(*pair, relu=True) for pair in pairwise(sizes)))
        self.head = Dense(sizes[-1], action)
        self.noise_std = noise_std
        start_within(self.head, final_bound)

    def best(self, obs: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1]."""
        return torch.tanh(self.head(self.trunk(obs)))

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] with standard normal noise (B, A), which is scaled here."""
        return torch.clamp(self.best(obs) + self.noise_std * noise, -1, 1)


class Critics(nn.ModuleList):
    """N independent Q functions.

    They are evaluated one after another: a product of the size of one member already fills a
    processor, and torch's batched products are no faster.
    """

    def __init__(
        self,
        inputs: int,
        *,
        members: int,
        hidden: Sequence[int],
        layer_norm: bool,
        dropout: float = 0.0,
    ) -> None:
        """Build ReLU networks from `inputs` numbers to one value."""
        sizes = [inputs, *hidden]
        super().__init__(
            _value_network(sizes, layer_norm=layer_norm, dropout=dropout) for _ in range(members)
        )

    def forward(
        self,
        obs: Tensor,
        action: Tensor,
        *,
        dropping: Callable[[int], Tensor] | None = None,
        members: Sequence[int] | None = None,
    ) -> Tensor:
        """Values (N, B) of the pairs (B, O) and (B, A), of all members or of those asked for.

        Units are dropped only with somebody to draw them, as Algorithm.quarters().
        """
        pair = torch.cat((obs, action), dim=-1)
        chosen = self if members is None else (self[number] for number in members)
        return torch.stack([_value(cast("nn.Sequential", one), pair, dropping) for one in chosen])

    def heads(self) -> list[Dense]:
        """Output layers of the members."""
        return [cast("Dense", cast("nn.Sequential", member)[-1]) for member in self]


class StateValue(nn.Module):
    """A function of the observation alone."""

    def __init__(self, obs: int, *, hidden: Sequence[int]) -> None:
        """Build a ReLU network from `obs` numbers to one value."""
        super().__init__()
        self.network = _value_network([obs, *hidden], layer_norm=False, dropout=0.0)

    def forward(self, obs: Tensor) -> Tensor:
        """Values (B,) of observations (B, O)."""
        return _value(self.network, obs, None)


class Dropout(nn.Module):
    """Drops units while there is somebody to draw them, and never otherwise.

    A quarter of a random number of 64 bits decides on a unit, which takes a fifth of the time of
    torch's bernoulli_(); so the share is rounded to a 65,536th.
    """

    def __init__(self, share: float) -> None:
        """Drop this share of the units."""
        super().__init__()
        dropped = min(round(share * _QUARTERS), _QUARTERS - 1)
        self._first_kept = dropped - _QUARTERS // 2
        self._scale = _QUARTERS / (_QUARTERS - dropped)

    def forward(self, x: Tensor, quarters: Callable[[int], Tensor] | None) -> Tensor:
        """Zero some units (B, H) and scale the others up, so that the mean stays."""
        return x if quarters is None else x * self.factors(x, quarters)

    def factors(self, x: Tensor, quarters: Callable[[int], Tensor]) -> Tensor:
        """Draw what units (B, H) are multiplied by: 0, or what keeps the mean."""
        drawn = quarters(x.numel()).view(x.shape)
        return (drawn >= self._first_kept).to(x.dtype).mul_(self._scale)


def _value(
    network: nn.Sequential, pair: Tensor, dropping: Callable[[int], Tensor] | None
) -> Tensor:
    """Values (B,) of one Q function."""
    x = pair
    for layer in network:
        x = layer(x, dropping) if isinstance(layer, Dropout) else layer(x)
    return x.squeeze(-1)


def _value_network(sizes: Sequence[int], *, layer_norm: bool, dropout: float) -> nn.Sequential:
    """One Q function: dense layers, each with dropout and normalisation before its ReLU.

    Hiraoka et al. 2022, arXiv 2110.02034, for the order.
    """
    layers: list[nn.Module] = []
    for width, following in pairwise(sizes):
        plain = not (layer_norm or dropout)
        layers.append(Dense(width, following, relu=plain))
        layers += [Dropout(dropout)] if dropout else []
        layers += [nn.LayerNorm(following)] if layer_norm else []
        layers += [] if plain else [nn.ReLU()]
    return nn.Sequential(*layers, Dense(sizes[-1], 1))


class LateActionCritic(nn.Module):
    """A Q function whose second layer is the first to see the action; arXiv 1509.02971, §7."""

    def __init__(self, obs: int, action: int, *, hidden: Sequence[int], final_bound: float) -> None:
        """Build a ReLU network of at least two hidden layers."""
        super().__init__()
        first, *following = hidden
        sizes = [first + action, *following]
        self.first = Dense(obs, first, relu=True)
        self.rest = nn.Sequential(*(Dense(*pair, relu=True) for pair in pairwise(sizes)))
        self.head = Dense(sizes[-1], 1)
        start_within(self.head, final_bound)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (1, B) of the pairs (B, O) and (B, A)."""
        features = self.rest(torch.cat((self.first(obs), action), dim=-1))
        value: Tensor = self.head(features).squeeze(-1)
        return value[None]


def start_within(layer: nn.Linear, bound: float) -> None:
    """Draw a layer's first weights and biases uniformly within plus and minus a bound."""
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.uniform_(layer.bias, -bound, bound)
