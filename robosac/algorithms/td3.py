"""Twin delayed deep deterministic policy gradient.

Fujimoto et al. 2018, arXiv 1802.09477, algorithm 1.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from robosac.algorithms import losses
from robosac.algorithms.adam import Adam
from robosac.algorithms.algorithm import CPU, Algorithm, Batch, Follower, Sizes, frozen
from robosac.algorithms.networks import Critics, DeterministicActor

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robosac.algorithms.config import TD3Config

FINAL_BOUND = 3e-3
"""First weights of the policy's output layer, so that its first actions are near zero."""


class TD3(Algorithm):
    """Two critics learn from a smoothed target policy; policy and targets follow more slowly."""

    def __init__(
        self, config: TD3Config, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, seed=seed, device=device)
        self.config = config
        with self.seeded():
            self.actor = DeterministicActor(
                sizes.obs,
                sizes.action,
                hidden=config.hidden,
                noise_std=config.exploration_std,
                final_bound=FINAL_BOUND,
            )
            self.critics = Critics(sum(sizes), members=2, hidden=config.hidden, layer_norm=False)
        self._bring(self.actor, self.critics)
        self.target_actor = copy.deepcopy(self.actor)
        self.targets = copy.deepcopy(self.critics)
        self.modules = {
            "actor": self.actor,
            "critics": self.critics,
            "target_actor": self.target_actor,
            "targets": self.targets,
        }
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr),
            "critics": Adam(self.critics.parameters(), config.critic_lr),
        }
        self._following = (
            Follower(self.target_actor, self.actor),
            Follower(self.targets, self.critics),
        )

    @property
    def turn(self) -> bool:
        """Whether policy and targets move."""
        return (self.updates + 1) % self.config.policy_delay == 0

    @property
    def policy(self) -> nn.Module:
        """The actor, with the noise that explores scaled inside."""
        return self.actor

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the critics; every policy_delay-th also of policy and targets."""
        metrics = self._update_critics(batch)
        if self.turn:
            metrics |= self._update_actor(batch)
            for target in self._following:
                target.follow(self.config.tau)
        self.updates += 1
        return metrics

    def _update_critics(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            target = losses.bellman_target(
                reward=batch.reward,
                discount=batch.discount(self.config.gamma),
                next_value=self.targets(batch.next_critic_obs, self._smoothed(batch)).amin(0),
            )
        q = self.critics(batch.critic_obs, batch.action)
        loss = losses.squared_error(q, target)
        self.descend("critics", loss)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def _smoothed(self, batch: Batch) -> Tensor:
        """Actions of the target policy with clipped noise; equations 14 and 15."""
        clip = self.config.target_noise_clip
        noise = (self.config.target_noise * self.noise(batch.action)).clamp(-clip, clip)
        return (self.target_actor.best(batch.next_obs) + noise).clamp(-1, 1)

    def _update_actor(self, batch: Batch) -> dict[str, Tensor]:
        with frozen(self.critics):
            q = self.critics(batch.critic_obs, self.actor.best(batch.obs), members=(0,))
        loss = -q.mean()
        self.descend("actor", loss)
        return {"actor_loss": loss.detach()}
