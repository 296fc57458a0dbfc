"""Soft actor-critic with twin critics and a learned temperature.

Haarnoja et al. 2018, arXiv 1812.05905, algorithm 1.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import torch
from torch import Tensor, nn

from robosac.algorithms.losses import actor_loss, critic_loss, soft_target, temperature_loss
from robosac.algorithms.networks import Actor, Critics

if TYPE_CHECKING:
    from collections.abc import Iterator


class SACConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyperparameters of soft actor-critic."""

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of every network."""
    critics: int = 2
    """Number of Q functions; the target is their minimum."""
    layer_norm: bool = True
    """Layer normalisation in the critics."""
    gamma: float = 0.99
    """Discount per step."""
    tau: float = 0.005
    """Share of the critics that flows into their targets at every update."""
    actor_lr: float = 3e-4
    """Learning rate of the policy."""
    critic_lr: float = 3e-4
    """Learning rate of the critics."""
    alpha_lr: float = 3e-4
    """Learning rate of the log temperature."""
    initial_alpha: float = 0.1
    """Temperature at the start."""
    target_entropy_scale: float = 0.5
    """Target entropy is minus this times the number of actions."""
    log_std_min: float = -10.0
    """Lower bound of the policy's log standard deviation."""
    log_std_max: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    policy_delay: int = 1
    """Critic updates per update of policy and temperature."""


class Batch(msgspec.Struct, frozen=True):
    """Rows of replay as tensors of shape (B, …); the critics' views include their extra terms."""

    obs: Tensor
    critic_obs: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    next_obs: Tensor
    next_critic_obs: Tensor


class SAC:
    """Networks, optimisers and one update step; every tensor it owns is in `state()`."""

    def __init__(self, config: SACConfig, *, obs: int, extra: int, action: int, seed: int) -> None:
        """Build everything from one seed: `obs` numbers for the actor, `extra` more for critics."""
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.target_entropy = -config.target_entropy_scale * action
        with _seeded(seed):
            bounds = (config.log_std_min, config.log_std_max)
            self.actor = Actor(obs, action, hidden=config.hidden, log_std=bounds)
            shape = {"members": config.critics, "hidden": config.hidden}
            inputs = obs + extra + action
            self.critics = Critics(inputs, layer_norm=config.layer_norm, **shape)  # type: ignore[arg-type]
            self.targets = Critics(inputs, layer_norm=config.layer_norm, **shape)  # type: ignore[arg-type]
        self.targets.load_state_dict(self.critics.state_dict())
        self.targets.requires_grad_(requires_grad=False)
        self.log_alpha = torch.tensor(math.log(config.initial_alpha), requires_grad=True)
        self.optimisers = {
            "actor": torch.optim.Adam(self.actor.parameters(), config.actor_lr, fused=True),
            "critics": torch.optim.Adam(self.critics.parameters(), config.critic_lr, fused=True),
            "alpha": torch.optim.Adam([self.log_alpha], config.alpha_lr, fused=True),
        }
        self._critic_tensors: list[Tensor] = list(self.critics.parameters())
        self._target_tensors: list[Tensor] = list(self.targets.parameters())
        self.updates = 0

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, then policy and temperature, then targets; metrics stay tensors."""
        alpha = self.log_alpha.detach().exp()
        metrics = self._update_critics(batch, alpha)
        if self.updates % self.config.policy_delay == 0:
            metrics |= self._update_actor(batch, alpha)
        with torch.no_grad():
            torch._foreach_lerp_(self._target_tensors, self._critic_tensors, self.config.tau)
        self.updates += 1
        return metrics

    def _update_critics(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            following = self.actor.sample(batch.next_obs, self._noise(batch.action))
            target = soft_target(
                reward=batch.reward,
                discount=self.config.gamma * (1 - batch.terminated),
                next_q=self.targets(batch.next_critic_obs, following.action),
                next_log_prob=following.log_prob,
                alpha=alpha,
            )
        q = self.critics(batch.critic_obs, batch.action)
        loss = critic_loss(q, target)
        self._descend("critics", loss)
        return {"critic_loss": loss.detach(), "q": q.detach().mean()}

    def _update_actor(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        action, log_prob = self.actor.sample(batch.obs, self._noise(batch.action))
        with _frozen(self.critics):
            q = self.critics(batch.critic_obs, action)
        loss = actor_loss(q=q, log_prob=log_prob, alpha=alpha)
        self._descend("actor", loss)
        self._descend(
            "alpha",
            temperature_loss(
                log_alpha=self.log_alpha, log_prob=log_prob, target_entropy=self.target_entropy
            ),
        )
        return {"actor_loss": loss.detach(), "entropy": -log_prob.detach().mean(), "alpha": alpha}

    def _descend(self, name: str, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Build no gradients for a module's parameters; its inputs still get theirs."""
    module.requires_grad_(requires_grad=False)
    try:
        yield
    finally:
        module.requires_grad_(requires_grad=True)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from this seed and leave torch's global state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
