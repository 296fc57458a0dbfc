"""FlashSAC: soft actor-critic with deep normalised networks and categorical critics.

Kim et al. 2026, arXiv 2604.04539.  Three things keep deep critics stable: batches are normalised
in every block, weights keep their norm, and values are classified within a fixed range.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

from robosac.algorithms import categorical, losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Follower, Sizes, frozen
from robosac.algorithms.dense import Dense
from robosac.algorithms.inverted_residual import FoldedTrunk, ResidualTrunk, fold_head
from robosac.algorithms.networks import Sample, draw, split
from robosac.algorithms.reward_scale import RewardScale
from robosac.algorithms.unit_norm import UnitDense, normalise

if TYPE_CHECKING:
    from robosac.algorithms.config import FlashConfig


class FlashSAC(Algorithm):
    """The policy and the temperature move first, then the critics towards targets of their own."""

    reward_scale: RewardScale
    """What fits returns into the range of the critics' values."""

    def __init__(
        self, config: FlashConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        self.exploration_hold = config.noise_hold
        self.reward_scale = RewardScale(gamma=config.gamma, bound=config.value_bound)
        self.target_entropy = gaussian_entropy(config.target_std) * sizes.action
        with self.seeded():
            self.actor = ResidualActor(config, sizes)
            self.critics = CategoricalCritics(config, sum(sizes))
            self._exported = FoldedActor(config, sizes)
        for network in (self.actor, self.critics):
            normalise(network)
        self._bring(self.actor, self.critics)
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = self._learned(math.log(config.initial_alpha))
        self.modules = {"actor": self.actor, "critics": self.critics, "targets": self.targets}
        self.scalars = {"log_alpha": self.log_alpha}
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr),
            "critics": Adam(self.critics.parameters(), config.critic_lr),
            "alpha": Adam([self.log_alpha], config.alpha_lr),
        }
        self._following = Follower(self.targets, self.critics)

    @property
    def turn(self) -> bool:
        """Whether the policy moves."""
        return self.updates % self.config.policy_delay == 0

    @property
    def policy(self) -> nn.Module:
        """The actor with its running statistics folded into its layers."""
        self._exported.fold(self.actor)
        return self._exported

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of policy and temperature, then of critics, then of targets."""
        batch = batch._replace(reward=self.reward_scale.scaled(batch.reward, self.supply))
        metrics: dict[str, Tensor] = {}
        if self.turn:
            metrics |= self._update_actor(batch)
        metrics |= self._update_critics(batch)
        self._following.follow(self.config.tau)
        self.updates += 1
        return metrics

    def _update_actor(self, batch: Batch) -> dict[str, Tensor]:
        """Both observations are normalised together; the policy climbs at the first alone."""
        alpha = self.log_alpha.detach().exp()
        both = self.actor.distribution(torch.cat((batch.obs, batch.next_obs)), training=True)
        mean, log_std = (part.chunk(2)[0] for part in both)
        sample = draw(mean, log_std, self.noise(batch.action))
        with frozen(self.critics):
            value = self.critics(batch.critic_obs, sample.action).amin(0)
        loss = losses.actor_loss(value=value, log_prob=sample.log_prob, alpha=alpha)
        self.descend("actor", loss)
        normalise(self.actor)
        temperature_loss = losses.linear_temperature_loss(
            log_alpha=self.log_alpha,
            log_prob=sample.log_prob,
            target_entropy=self.target_entropy,
        )
        self.descend("alpha", temperature_loss)
        return {
            "actor_loss": loss.detach(),
            "entropy": -sample.log_prob.detach().mean(),
            "alpha": alpha,
        }

    def _update_critics(self, batch: Batch) -> dict[str, Tensor]:
        """Pairs of now and of the next state share one forward, of the targets as of the critics.

        The targets' statistics are those of their own forwards; only their weights follow.
        """
        with torch.no_grad():
            following = self.actor.sample(batch.next_obs, self.noise(batch.action))
            pairs = (
                torch.cat((batch.critic_obs, batch.next_critic_obs)),
                torch.cat((batch.action, following.action)),
            )
            _, after = self.targets.log_probability(*pairs, training=True).chunk(2, dim=1)
            target = self._target(batch, after, following.log_prob)
        now, _ = self.critics.log_probability(*pairs, training=True).chunk(2, dim=1)
        loss = categorical.cross_entropy(now, target)
        self.descend("critics", loss)
        normalise(self.critics)
        return {"critic_loss": loss.detach(), "q": self.critics.support.mean(now.detach()).mean()}

    def _target(self, batch: Batch, after: Tensor, log_prob: Tensor) -> Tensor:
        """Distribution (B, bins) of the Bellman targets of the least critic's (N, B, bins)."""
        support = self.critics.support
        values = support.values[:, None].expand(-1, len(log_prob))
        moved = losses.bellman_target(
            reward=batch.reward,
            discount=batch.discount(self.config.gamma),
            next_value=losses.soft_value(values, log_prob, alpha=self.log_alpha.exp()),
        )
        chosen = categorical.least(after, support.mean(after))
        return support.project(chosen.exp(), moved.T)


class ResidualActor(nn.Module):
    """A Gaussian policy squashed by tanh, on a residual trunk."""

    def __init__(self, config: FlashConfig, sizes: Sizes) -> None:
        """Build trunk and head."""
        super().__init__()
        self.trunk = ResidualTrunk(
            sizes.obs, config.hidden, expansion=config.expansion, momentum=config.momentum
        )
        self.head = UnitDense(config.hidden[-1], 2 * sizes.action, bias=True)
        self.log_std_bounds = config.log_std_min, config.log_std_max

    def distribution(self, obs: Tensor, *, training: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before tanh, each (B, A)."""
        return split(self.head(self.trunk(obs, training=training)), self.log_std_bounds)

    def sample(self, obs: Tensor, noise: Tensor) -> Sample:
        """Reparametrised action with its log density."""
        return draw(*self.distribution(obs), noise)


class FoldedActor(nn.Module):
    """The policy as it is exported."""

    def __init__(self, config: FlashConfig, sizes: Sizes) -> None:
        """Build plain layers of the same sizes."""
        super().__init__()
        self.trunk = FoldedTrunk(sizes.obs, config.hidden, expansion=config.expansion)
        self.head = Dense(config.hidden[-1], 2 * sizes.action)
        self.log_std_bounds = config.log_std_min, config.log_std_max

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Action (B, A) in [-1, 1] for standard normal noise (B, A); zero noise gives the mode."""
        mean, log_std = split(self.head(self.trunk(obs)), self.log_std_bounds)
        return torch.tanh(mean + log_std.exp() * noise)

    def fold(self, actor: ResidualActor) -> None:
        """Act as a policy does outside training."""
        self.trunk.fold(actor.trunk)
        fold_head(actor.head, actor.trunk, self.head)


class CategoricalCritics(nn.Module):
    """N independent distributions of Q over one support."""

    def __init__(self, config: FlashConfig, inputs: int) -> None:
        """Build them from observation, extra terms and action."""
        super().__init__()
        self.members = nn.ModuleList(_Distribution(config, inputs) for _ in range(config.critics))
        self.support = categorical.Support(bound=config.value_bound, bins=config.bins)

    def log_probability(self, obs: Tensor, action: Tensor, *, training: bool) -> Tensor:
        """Log probabilities (N, B, bins) of the values of the pairs (B, O) and (B, A)."""
        pair = torch.cat((obs, action), dim=-1)
        return torch.stack([member(pair, training=training) for member in self.members])

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (N, B) of the pairs, outside training."""
        return self.support.mean(self.log_probability(obs, action, training=False))


class _Distribution(nn.Module):
    """One of them."""

    def __init__(self, config: FlashConfig, inputs: int) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(
            inputs, config.critic_hidden, expansion=config.expansion, momentum=config.momentum
        )
        self.head = UnitDense(config.critic_hidden[-1], config.bins, bias=True)

    def forward(self, pair: Tensor, *, training: bool) -> Tensor:
        return F.log_softmax(self.head(self.trunk(pair, training=training)), dim=-1)


def gaussian_entropy(std: float) -> float:
    """Entropy of a normal distribution of one number, in nats."""
    return 0.5 * math.log(2 * math.pi * math.e * std**2)
