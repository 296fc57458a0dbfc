"""Soft actor-critic with twin critics and a learned temperature.

Haarnoja et al. 2018, arXiv 1812.05905, algorithm 1.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

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
        self.generator = torch.Generator().manual_seed(seed)
        self.target_entropy = -config.target_entropy_scale * action
        with _seeded(seed):
            bounds = (config.log_std_min, config.log_std_max)
            self.actor = Actor(
                obs, action, hidden=config.hidden, log_std=bounds, initial_std=config.initial_std
            )
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

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next update depends on, by name; not copies."""
        tensors = {"log_alpha": self.log_alpha.detach(), "generator": self.generator.get_state()}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for index, moments in optimiser.state_dict()["state"].items():
                tensors |= {f"adam.{name}.{index}.{key}": value for key, value in moments.items()}
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor], *, updates: int) -> None:
        """Restore what state() returned; raises KeyError when anything is missing or left over."""
        rest = dict(tensors)
        with torch.no_grad():
            self.log_alpha.copy_(rest.pop("log_alpha"))
        self.generator.set_state(rest.pop("generator"))
        for name, module in self._modules().items():
            module.load_state_dict({key: rest.pop(f"{name}.{key}") for key in module.state_dict()})
        for name, optimiser in self.optimisers.items():
            self._load_optimiser(optimiser, _take(rest, f"adam.{name}."))
        if rest:
            raise KeyError(f"unknown tensors {sorted(rest)}")
        self.updates = updates

    @staticmethod
    def _load_optimiser(optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
        """Adam's moments come as "index.key"; an optimiser that never stepped has none."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in moments.items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value.clone()
        groups = optimiser.state_dict()["param_groups"]
        parameters = sum(len(group["params"]) for group in groups)
        if state and sorted(state) != list(range(parameters)):
            raise KeyError(f"moments of {sorted(state)}; expected those of {parameters} parameters")
        optimiser.load_state_dict({"state": state, "param_groups": groups})

    def _modules(self) -> dict[str, nn.Module]:
        return {"actor": self.actor, "critics": self.critics, "targets": self.targets}

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


def _take(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Remove and return the entries of a prefix, without it."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}
