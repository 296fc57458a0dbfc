"""Deep deterministic policy gradient.

Lillicrap et al. 2016, arXiv 1509.02971, algorithm 1.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from robosac.algorithms import losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Follower, Sizes, frozen
from robosac.algorithms.networks import (
    Critics,
    DeterministicActor,
    LateActionCritic,
    start_within,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robosac.algorithms.config import DDPGConfig


class DDPG(Algorithm):
    """One critic learns the value of the target policy; the policy climbs the critic."""

    def __init__(
        self, config: DDPGConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        correlated = config.exploration == "ornstein_uhlenbeck"
        self.exploration_theta = config.theta if correlated else 1.0
        with self.seeded():
            self.actor = DeterministicActor(
                sizes.obs,
                sizes.action,
                hidden=config.hidden,
                noise_std=config.exploration_std,
                final_bound=config.final_bound,
            )
            self.critic = _critic(config, sizes)
        self._bring(self.actor, self.critic)
        self.target_actor = copy.deepcopy(self.actor)
        self.target_critic = copy.deepcopy(self.critic)
        self.modules = {
            "actor": self.actor,
            "critic": self.critic,
            "target_actor": self.target_actor,
            "target_critic": self.target_critic,
        }
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr),
            "critic": Adam(
                self.critic.parameters(), config.critic_lr, weight_decay=config.weight_decay
            ),
        }
        self._following = (
            Follower(self.target_actor, self.actor),
            Follower(self.target_critic, self.critic),
        )

    @property
    def policy(self) -> nn.Module:
        """The actor, with the noise that explores scaled inside."""
        return self.actor

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critic, then of the policy, then of both targets."""
        with torch.no_grad():
            following = self.target_actor.best(batch.next_obs)
            target = losses.bellman_target(
                reward=batch.reward,
                discount=batch.discount(self.config.gamma),
                next_value=self.target_critic(batch.next_critic_obs, following)[0],
            )
        q = self.critic(batch.critic_obs, batch.action)
        critic_loss = losses.squared_error(q, target)
        self.descend("critic", critic_loss)
        with frozen(self.critic):
            actor_loss = -self.critic(batch.critic_obs, self.actor.best(batch.obs)).mean()
        self.descend("actor", actor_loss)
        for pair in self._following:
            pair.follow(self.config.tau)
        self.updates += 1
        return {
            "critic_loss": critic_loss.detach(),
            "q": q.detach().mean(),
            "actor_loss": actor_loss.detach(),
        }


def _critic(config: DDPGConfig, sizes: Sizes) -> nn.Module:
    """Build a Q function that starts near zero everywhere."""
    obs = sizes.obs + sizes.extra
    if config.late_action:
        return LateActionCritic(
            obs, sizes.action, hidden=config.hidden, final_bound=config.final_bound
        )
    critics = Critics(obs + sizes.action, members=1, hidden=config.hidden, layer_norm=False)
    start_within(critics.heads()[0], config.final_bound)
    return critics
