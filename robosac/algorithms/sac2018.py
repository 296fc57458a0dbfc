"""The first soft actor-critic: a state value beside two Q functions, and a fixed temperature.

Haarnoja et al. 2018, arXiv 1801.01290, algorithm 1.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from robosac.algorithms import losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Follower, Sizes, frozen
from robosac.algorithms.networks import Actor, Critics, Sample, StateValue

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robosac.algorithms.config import SAC2018Config

_ALPHA = torch.tensor(1.0)
"""The temperature: how much the entropy counts is said by the scale of the rewards."""


class SAC2018(Algorithm):
    """V learns the soft value, two Q functions bootstrap from its target, the policy climbs Q1."""

    def __init__(
        self, config: SAC2018Config, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        with self.seeded():
            self.actor = Actor(
                sizes.obs,
                sizes.action,
                hidden=config.hidden,
                log_std=(config.log_std_min, config.log_std_max),
                initial_std=config.initial_std,
            )
            self.critics = Critics(sum(sizes), members=2, hidden=config.hidden, layer_norm=False)
            self.value = StateValue(sizes.obs + sizes.extra, hidden=config.hidden)
        self._bring(self.actor, self.critics, self.value)
        self.target = copy.deepcopy(self.value)
        self.modules = {
            "actor": self.actor,
            "critics": self.critics,
            "value": self.value,
            "target": self.target,
        }
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr),
            "critics": Adam(self.critics.parameters(), config.critic_lr),
            "value": Adam(self.value.parameters(), config.value_lr),
        }
        self._following = Follower(self.target, self.value)

    @property
    def policy(self) -> nn.Module:
        """The actor."""
        return self.actor

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of value, critics and policy, each before any has moved; then the target."""
        sample = self.actor.sample(batch.obs, self.noise(batch.action))
        with frozen(self.critics):
            q_of_policy = self.critics(batch.critic_obs, sample.action)
        value_loss = losses.value_loss(
            self.value(batch.critic_obs),
            losses.soft_value(q_of_policy.detach().amin(0), sample.log_prob.detach(), alpha=_ALPHA),
        )
        q = self.critics(batch.critic_obs, batch.action)
        with torch.no_grad():
            target = losses.bellman_target(
                reward=self.config.reward_scale * batch.reward,
                discount=batch.discount(self.config.gamma),
                next_value=self.target(batch.next_critic_obs),
            )
        critic_loss = losses.critic_loss(q, target)
        actor_loss = losses.actor_loss(
            value=q_of_policy[0], log_prob=sample.log_prob, alpha=_ALPHA
        ) + self._regulariser(sample)
        self.descend("value", value_loss)
        self.descend("critics", critic_loss)
        self.descend("actor", actor_loss)
        self._following.follow(self.config.tau)
        self.updates += 1
        return {
            "value_loss": value_loss.detach(),
            "critic_loss": critic_loss.detach(),
            "q": q.detach().mean(),
            "actor_loss": actor_loss.detach(),
            "entropy": -sample.log_prob.detach().mean(),
        }

    def _regulariser(self, sample: Sample) -> Tensor:
        """Keep the Gaussian from drifting to where tanh has no slope."""
        size = (sample.mean.square() + sample.log_std.square()).mean()
        return 0.5 * self.config.regularisation * size
