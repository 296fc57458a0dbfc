"""CrossQ: soft actor-critic with batch renormalisation and without target networks.

Bhatt et al. 2024, arXiv 1902.05605, algorithm 1.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from robosac.algorithms import losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Sizes, frozen
from robosac.algorithms.batch_renorm import BatchRenorm, fold
from robosac.algorithms.dense import Dense
from robosac.algorithms.networks import Actor, Sample, draw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from robosac.algorithms.config import CrossQConfig


class CrossQ(Algorithm):
    """Pairs of now and of the next state share one forward, so that they share its statistics."""

    def __init__(
        self, config: CrossQConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        self.target_entropy = -config.target_entropy_scale * sizes.action
        with self.seeded():
            self.actor = NormalisedActor(config, sizes)
            self.critics = NormalisedCritics(config, sizes)
            self._exported = Actor(
                sizes.obs,
                sizes.action,
                hidden=config.hidden,
                log_std=self.actor.log_std_bounds,
                initial_std=config.initial_std,
            )
        self._bring(self.actor, self.critics)
        self.log_alpha = self._learned(math.log(config.initial_alpha))
        self.modules = {"actor": self.actor, "critics": self.critics}
        self.scalars = {"log_alpha": self.log_alpha}
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr, beta1=config.beta1),
            "critics": Adam(self.critics.parameters(), config.critic_lr, beta1=config.beta1),
            "alpha": Adam([self.log_alpha], config.alpha_lr),  # the authors' has the usual beta1
        }

    @property
    def turn(self) -> bool:
        """Whether the policy moves."""
        return self.updates % self.config.policy_delay == 0

    @property
    def policy(self) -> nn.Module:
        """The actor with its running statistics folded into its layers."""
        self.actor.fold_into(self._exported)
        return self._exported

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, then policy and temperature."""
        alpha = self.log_alpha.detach().exp()
        metrics = self._update_critics(batch, alpha)
        if self.turn:
            metrics |= self._update_actor(batch, alpha)
        self.updates += 1
        return metrics

    def _update_critics(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            following = self.actor.sample(batch.next_obs, self.noise(batch.action))
        both = self.critics(
            torch.cat((batch.critic_obs, batch.next_critic_obs)),
            torch.cat((batch.action, following.action)),
            training=True,
        )
        q, next_q = both.chunk(2, dim=1)
        next_value = losses.soft_value(next_q.detach().amin(0), following.log_prob, alpha=alpha)
        target = losses.bellman_target(
            reward=batch.reward,
            discount=batch.discount(self.config.gamma),
            next_value=next_value,
        )
        loss = losses.critic_loss(q, target)
        self.descend("critics", loss)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def _update_actor(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        sample = self.actor.sample(batch.obs, self.noise(batch.action), training=True)
        with frozen(self.critics):
            value = self.critics(batch.critic_obs, sample.action).amin(0)
        loss = losses.actor_loss(value=value, log_prob=sample.log_prob, alpha=alpha)
        self.descend("actor", loss)
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


class NormalisedActor(Actor):
    """A squashed Gaussian policy, every layer of which is behind a normalisation of its inputs."""

    def __init__(self, config: CrossQConfig, sizes: Sizes) -> None:
        """Build the layers of a plain policy, and a normalisation before each."""
        super().__init__(
            sizes.obs,
            sizes.action,
            hidden=config.hidden,
            log_std=(config.log_std_min, config.log_std_max),
            initial_std=config.initial_std,
        )
        self.norms = _norms([sizes.obs, *config.hidden], config)

    def distribution(self, obs: Tensor, *, training: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before tanh, each (B, A)."""
        return self.split(_through(self.norms, _layers(self), obs, training=training))

    def sample(self, obs: Tensor, noise: Tensor, *, training: bool = False) -> Sample:
        """Reparametrised action with its log density."""
        return draw(*self.distribution(obs, training=training), noise)

    def fold_into(self, plain: Actor) -> None:
        """Make a plain policy of the same sizes act as this one does outside training."""
        for norm, layer, into in zip(self.norms, _layers(self), _layers(plain), strict=True):
            fold(cast("BatchRenorm", norm), layer, into)


class NormalisedCritics(nn.ModuleList):
    """N independent Q functions, every layer of which is behind a normalisation of its inputs."""

    def __init__(self, config: CrossQConfig, sizes: Sizes) -> None:
        """Build them from observation, extra terms and action to one value."""
        super().__init__(_NormalisedValue(config, sum(sizes)) for _ in range(config.critics))

    def forward(self, obs: Tensor, action: Tensor, *, training: bool = False) -> Tensor:
        """Values (N, B) of the pairs (B, O) and (B, A)."""
        pair = torch.cat((obs, action), dim=-1)
        return torch.stack([member(pair, training=training) for member in self])


class _NormalisedValue(nn.Module):
    """One Q function."""

    def __init__(self, config: CrossQConfig, inputs: int) -> None:
        super().__init__()
        widths = [inputs, *config.critic_hidden]
        hidden = [Dense(*pair, relu=True) for pair in pairwise(widths)]
        self.layers = nn.ModuleList([*hidden, Dense(widths[-1], 1)])
        self.norms = _norms(widths, config)

    def forward(self, pair: Tensor, *, training: bool) -> Tensor:
        return _through(self.norms, self.layers, pair, training=training).squeeze(-1)


def _norms(widths: Iterable[int], config: CrossQConfig) -> nn.ModuleList:
    return nn.ModuleList(
        BatchRenorm(width, momentum=config.momentum, warm_up=config.warm_up) for width in widths
    )


def _layers(actor: Actor) -> list[Dense]:
    """Every layer of a policy, in order."""
    return [cast("Dense", layer) for layer in (*actor.trunk, actor.head)]


def _through(
    norms: Iterable[nn.Module], layers: Iterable[nn.Module], x: Tensor, *, training: bool
) -> Tensor:
    """Outputs (B, out) of layers, each behind its normalisation, for inputs (B, in)."""
    for norm, layer in zip(norms, layers, strict=True):
        x = layer(norm(x, training=training))
    return x
