"""Soft actor-critic with an ensemble of critics and a learned temperature.

Haarnoja et al. 2018, arXiv 1812.05905, algorithm 1.
"""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from robosac.algorithms.adam import Adam
from robosac.algorithms.losses import actor_loss, critic_loss, soft_target, temperature_loss
from robosac.algorithms.networks import Actor, Critics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from robosac.algorithms.config import SACConfig


class Batch(NamedTuple):
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
        weights, noise = (int(child) for child in np.random.SeedSequence(seed).generate_state(2))
        self.generator = torch.Generator().manual_seed(noise)
        self.target_entropy = -config.target_entropy_scale * action
        with _seeded(weights):
            self.actor = Actor(
                obs,
                action,
                hidden=config.hidden,
                log_std=(config.log_std_min, config.log_std_max),
                initial_std=config.initial_std,
            )
            self.critics = Critics(
                obs + extra + action,
                members=config.critics,
                hidden=config.hidden,
                layer_norm=config.layer_norm,
            )
        self.targets = copy.deepcopy(self.critics).requires_grad_(requires_grad=False)
        self.log_alpha = torch.tensor(math.log(config.initial_alpha), requires_grad=True)
        self.optimisers = {
            "actor": Adam(self.actor.parameters(), config.actor_lr),
            "critics": Adam(self.critics.parameters(), config.critic_lr),
            "alpha": Adam([self.log_alpha], config.alpha_lr),
        }
        self._target_tensors: list[Tensor] = list(self.targets.parameters())
        self.updates = 0

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, then policy and temperature, then targets; metrics stay tensors."""
        alpha = self.log_alpha.detach().exp()
        metrics = self._update_critics(batch, alpha)
        if self.updates % self.config.policy_delay == 0:
            metrics |= self._update_actor(batch, alpha)
        with torch.no_grad():
            critics = self.optimisers["critics"].parameters
            torch._foreach_lerp_(self._target_tensors, critics, self.config.tau)
        self.updates += 1
        return metrics

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next update depends on, by name; not copies."""
        tensors = {"generator": self.generator.get_state(), "log_alpha": self.log_alpha.detach()}
        modules = {"actor": self.actor, "critics": self.critics, "targets": self.targets}
        for name, module in modules.items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            tensors |= {f"adam.{name}.{key}": value for key, value in optimiser.state().items()}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor], *, updates: int) -> None:
        """Restore what state() returned; all of it or, with ValueError, nothing."""
        ours = self.state()
        problems = _misfits(tensors, ours)
        if problems:
            raise ValueError("; ".join(problems))
        self.generator.set_state(tensors["generator"])
        for name, value in ours.items():
            value.copy_(tensors[name])
        self.updates = updates

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
        optimiser.step(torch.autograd.grad(loss, optimiser.parameters))

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


def _misfits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being copied onto others of the same names."""
    found = [f"no tensor {name}" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"unknown tensor {name}" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        got, expected = (f"{tuple(one[name].shape)} {one[name].dtype}" for one in (theirs, ours))
        if got != expected:
            found.append(f"tensor {name} is {got}, expected {expected}")
    return found
