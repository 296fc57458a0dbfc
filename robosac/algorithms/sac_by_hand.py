"""Soft actor-critic with gradients written by hand: the numbers of sac.py in less time.

sac.py says what is computed; tests hold this to it, update for update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from robosac.algorithms import losses
from robosac.algorithms.algorithm import CPU
from robosac.algorithms.backups import ACTOR_VALUES
from robosac.algorithms.by_hand import Network
from robosac.algorithms.networks import Sample, draw
from robosac.algorithms.sac import SAC

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from robosac.algorithms.algorithm import Batch, Sizes
    from robosac.algorithms.by_hand import Kept
    from robosac.algorithms.config import SACConfig

_SHARES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "min": lambda q, value: (q == value).to(q.dtype),
    "mean": lambda q, _: torch.ones_like(q),
    "first": lambda q, _: torch.cat((torch.ones_like(q[:1]), torch.zeros_like(q[1:]))),
}
"""What moves what the policy climbs: weights of the critics' values (N, B), up to a factor."""


class SACByHand(SAC):
    """Soft actor-critic for the options that suits() names."""

    def __init__(
        self, config: SACConfig, sizes: Sizes, *, seed: int, device: torch.device = CPU
    ) -> None:
        """Build everything from one seed."""
        super().__init__(config, sizes, seed=seed, device=device)
        dtype = {"float32": None, "bfloat16": torch.bfloat16}[config.precision]
        self._actor = Network([*self.actor.trunk, self.actor.head], hidden_dtype=dtype)
        self._critics, self._targets = (
            [
                Network(cast("nn.Sequential", one), hidden_dtype=dtype, dropping=self._dropping)
                for one in members
            ]
            for members in (self.critics, self.targets)
        )

    @staticmethod
    def suits(config: SACConfig) -> bool:
        """Whether gradients were written for these options."""
        return config.actor_gradient == "reparametrised"

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, then policy and temperature, then targets."""
        with torch.autocast("cpu", enabled=False):  # types are chosen here
            return super().update(batch)

    def _sample(self, obs: Tensor, noise: Tensor) -> Sample:
        output = self._actor.evaluate(obs.contiguous())
        return draw(*self.actor.split(output), noise)

    def _target_values(self, obs: Tensor, action: Tensor) -> Tensor:
        pair, drawn = torch.cat((obs, action), dim=-1), self._drawn_targets()
        numbers = range(len(self._targets)) if drawn is None else drawn
        return torch.cat([self._targets[number].evaluate(pair) for number in numbers], 1).t()

    @torch.no_grad()
    def _update_critics(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        target = self._target(batch, alpha)
        pair = torch.cat((batch.critic_obs, batch.action), dim=-1)
        values, gradients = [], []
        for number, critic in enumerate(self._critics):
            kept: list[Kept] = []
            value = critic.evaluate(pair, kept)
            own = target if target.dim() == 1 else target[number]
            error = value - own[:, None]
            gradients += critic.parameter_gradients(error.div_(len(error)), kept)
            values.append(value)
        self.step("critics", gradients)
        q = torch.cat(values, 1).t()
        return {"critic_loss": losses.critic_loss(q, target), "q": q.mean()}

    @torch.no_grad()
    def _update_actor(self, batch: Batch, alpha: Tensor) -> dict[str, Tensor]:
        kept: list[Kept] = []
        noise = self.noise(batch.action)
        mean, log_std = self.actor.split(self._actor.evaluate(batch.obs.contiguous(), kept))
        sample = draw(mean, log_std, noise)
        value, of_action = self._climb(batch.critic_obs, sample.action)
        of_output = self._of_output(sample, noise, of_action, alpha / len(noise))
        self.step("actor", self._actor.parameter_gradients(of_output, kept))
        loss = losses.actor_loss(value=value, log_prob=sample.log_prob, alpha=alpha)
        self._update_temperature(sample.log_prob)
        return {"actor_loss": loss, "entropy": -sample.log_prob.mean(), "alpha": alpha}

    def _update_temperature(self, log_prob: Tensor) -> None:
        of_log_alpha = -(log_prob.mean() + self.target_entropy)
        if self.config.temperature == "alpha":
            of_log_alpha *= self.log_alpha.exp()
        if self.config.temperature != "fixed":
            self.step("alpha", [of_log_alpha])

    def _climb(self, critic_obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Values (B,) of actions, and the gradient (B, A) of minus their mean."""
        pair = torch.cat((critic_obs, action), dim=-1)
        traces: list[list[Kept]] = [[] for _ in self._critics]
        values = [one.evaluate(pair, kept) for one, kept in zip(self._critics, traces, strict=True)]
        q = torch.cat(values, 1).t()
        value = ACTOR_VALUES[self.config.actor_value](q)
        share = _SHARES[self.config.actor_value](q, value)
        of_q = share / (-share.sum(0) * len(value))
        columns = slice(critic_obs.shape[1], None)
        of_action = torch.zeros_like(action)
        for of_one, critic, kept in zip(of_q, self._critics, traces, strict=True):
            of_action += critic.input_gradient(of_one[:, None].contiguous(), kept, columns)
        return value, of_action

    def _of_output(
        self, sample: Sample, noise: Tensor, of_action: Tensor, of_log_prob: Tensor
    ) -> Tensor:
        """Gradient (B, 2A) of the actor's output by those of its actions and of log π.

        With the noise given, log π rises by 2·tanh(u) with what is squashed, u, and falls by 1 with
        log std; tanh squashes both the action and log std.
        """
        action, log_std = sample.action, sample.log_std
        low, high = self.actor.log_std_bounds
        of_pre = of_action * (1 - action.square()) + 2 * of_log_prob * action
        of_log_std = of_pre * log_std.exp() * noise - of_log_prob
        squashed = (log_std - (low + high) / 2) / ((high - low) / 2)
        of_raw = of_log_std * ((high - low) / 2) * (1 - squashed.square())
        return torch.cat((of_pre, of_raw), dim=1)
