"""Soft actor-critic with an ensemble of critics and a learned temperature.

Haarnoja et al. 2018, arXiv 1812.05905, algorithm 1.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from robosac.algorithms import losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Follower, Sizes, frozen
from robosac.algorithms.backups import ACTOR_VALUES, BACKUPS
from robosac.algorithms.networks import Actor, Critics, Sample

if TYPE_CHECKING:
    from collections.abc import Hashable

    from torch import Tensor, nn

    from robosac.algorithms.config import SACConfig

_TEMPERATURE_LOSSES = {
    "log_alpha": losses.temperature_loss,
    "alpha": losses.linear_temperature_loss,
}


class SAC(Algorithm):
    """Critics learn the soft Q of the policy, the policy climbs it, the temperature adapts."""

    def __init__(
        self, config: SACConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        self.target_entropy = -config.target_entropy_scale * sizes.action
        with self.seeded():
            self.actor = Actor(
                sizes.obs,
                sizes.action,
                hidden=config.hidden,
                log_std=(config.log_std_min, config.log_std_max),
                initial_std=config.initial_std,
            )
            self.critics = Critics(
                sum(sizes),
                members=config.critics,
                hidden=config.hidden,
                layer_norm=config.layer_norm,
                dropout=config.dropout,
            )
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
        self._dropping = self.quarters if config.dropout else None
        self._actor_loss = {
            "reparametrised": self._reparametrised_loss,
            "reinforce": self._reinforce_loss,
        }[config.actor_gradient]

    @property
    def turn(self) -> Hashable | None:
        """Whether policy and targets move; like no other where targets are drawn."""
        if self.config.backup == "subset":
            return None
        return self._policy_moves, self._targets_follow

    @property
    def _policy_moves(self) -> bool:
        return self.updates % self.config.policy_delay == 0

    @property
    def _targets_follow(self) -> bool:
        return (self.updates + 1) % self.config.target_every == 0

    @property
    def policy(self) -> nn.Module:
        """The actor."""
        return self.actor

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, then policy and temperature, then targets."""
        alpha = self.log_alpha.detach().exp()
        metrics = self._update_critics(batch, alpha)
        if self._policy_moves:
            metrics |= self._update_actor(batch, alpha)
        if self._targets_follow:
            self._following.follow(self.config.tau)
        self.updates += 1
        return metrics

    def _update_critics(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            target = self._target(batch, alpha)
        q = self.critics(batch.critic_obs, batch.action, dropping=self._dropping)
        loss = losses.critic_loss(q, target)
        self.descend("critics", loss)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def _target(self, batch: Batch, alpha: Tensor) -> Tensor:
        """Bellman target: (B,), or (N, B) where every critic has its own."""
        return losses.bellman_target(
            reward=batch.reward,
            discount=batch.discount(self.config.gamma),
            next_value=self._next_value(batch, alpha),
        )

    def _next_value(self, batch: Batch, alpha: Tensor) -> Tensor:
        """Soft value of the next state, in the shape of the target."""
        following = self._sample(batch.next_obs, self.noise(batch.action))
        next_q = self._target_values(batch.next_critic_obs, following.action)
        value = BACKUPS[self.config.backup](next_q)
        if not self.config.entropy_backup:
            return value
        return losses.soft_value(value, following.log_prob, alpha=alpha)

    def _sample(self, obs: Tensor, noise: Tensor) -> Sample:
        """Actions of the policy."""
        return self.actor.sample(obs, noise)

    def _target_values(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (N, B) by the targets that this update looks at."""
        members = self._drawn_targets()
        q: Tensor = self.targets(obs, action, dropping=self._dropping, members=members)
        return q

    def _drawn_targets(self) -> list[int] | None:
        """Which targets this update looks at; None is all of them."""
        if self.config.backup != "subset":
            return None
        order = torch.randperm(self.config.critics, generator=self.generator)
        return order[: self.config.subset].tolist()

    def _update_actor(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        sample = self.actor.sample(batch.obs, self.noise(batch.action))
        loss = self._actor_loss(batch, sample, alpha)
        self.descend("actor", loss)
        self._update_temperature(sample.log_prob)
        return {
            "actor_loss": loss.detach(),
            "entropy": -sample.log_prob.detach().mean(),
            "alpha": alpha,
        }

    @torch.enable_grad()
    def _update_temperature(self, log_prob: Tensor) -> None:
        if self.config.temperature == "fixed":
            return
        loss = _TEMPERATURE_LOSSES[self.config.temperature](
            log_alpha=self.log_alpha, log_prob=log_prob, target_entropy=self.target_entropy
        )
        self.descend("alpha", loss)

    def _reparametrised_loss(self, batch: Batch, sample: Sample, alpha: Tensor) -> Tensor:
        """Through the action into the critics."""
        with frozen(self.critics):
            value = self._actor_value(batch.critic_obs, sample.action)
        return losses.actor_loss(value=value, log_prob=sample.log_prob, alpha=alpha)

    def _reinforce_loss(self, batch: Batch, sample: Sample, alpha: Tensor) -> Tensor:
        """By the score function over actions of their own; the entropy's part is reparametrised."""
        value, log_prob = [], []
        for _ in range(self.config.action_samples):
            with torch.no_grad():
                mean, log_std = self.actor.distribution(batch.obs)
                pre = mean + log_std.exp() * self.noise(batch.action)
                value.append(self._actor_value(batch.critic_obs, pre.tanh()))
            log_prob.append(self.actor.log_prob(batch.obs, pre))
        climbing = losses.reinforce_loss(value=torch.stack(value), log_prob=torch.stack(log_prob))
        return climbing + alpha * sample.log_prob.mean()

    def _actor_value(self, critic_obs: Tensor, action: Tensor) -> Tensor:
        q = self.critics(critic_obs, action, dropping=self._dropping)
        return ACTOR_VALUES[self.config.actor_value](q)
