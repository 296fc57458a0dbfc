"""Soft actor-critic written once more, straight from the paper on torch's own optimiser."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from robosac.algorithms.sac_by_hand import SACByHand
from tests.robosac.algorithms.conftest import SIZES, batch, same_noise

if TYPE_CHECKING:
    from torch import Tensor

    from robosac.algorithms.algorithm import Batch

GAMMA, TAU, RATE = 0.97, 0.1, 1e-2


class Reference:
    """Algorithm 1 of arXiv 1812.05905: critics, policy, temperature, targets, in this order."""

    def __init__(self, sac: SAC) -> None:
        self.actor, self.critics = copy.deepcopy(sac.actor), copy.deepcopy(sac.critics)
        self.targets = copy.deepcopy(sac.targets)
        self.log_alpha = sac.log_alpha.detach().clone().requires_grad_()
        self.generator = same_noise(sac)
        self.optimisers = [
            torch.optim.Adam(parameters, RATE)
            for parameters in (
                self.critics.parameters(),
                self.actor.parameters(),
                [self.log_alpha],
            )
        ]

    def update(self, rows: Batch) -> None:
        """One update."""
        alpha = self.log_alpha.exp().detach()
        with torch.no_grad():
            action, log_prob = self.draw(rows.next_obs)
            next_q = torch.minimum(*self.targets(rows.next_critic_obs, action))
            target = rows.reward + GAMMA * (1 - rows.terminated) * (next_q - alpha * log_prob)
        q1, q2 = self.critics(rows.critic_obs, rows.action)
        self.step(0, ((q1 - target) ** 2).mean() / 2 + ((q2 - target) ** 2).mean() / 2)
        action, log_prob = self.draw(rows.obs)
        q = torch.minimum(*self.critics(rows.critic_obs, action))
        self.step(1, (alpha * log_prob - q).mean())
        self.step(2, -self.log_alpha * (log_prob.detach() - 1.5).mean())
        for target_weight, weight in zip(
            self.targets.parameters(), self.critics.parameters(), strict=True
        ):
            target_weight.data = (1 - TAU) * target_weight.data + TAU * weight.data

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Action and log density by torch's distributions."""
        mean, log_std = self.actor.distribution(obs)
        pre = mean + log_std.exp() * torch.randn(mean.shape, generator=self.generator)
        squashed = TransformedDistribution(
            Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)]
        )
        action = squashed.transforms[0](pre)
        return action, squashed.log_prob(action).sum(-1)  # type: ignore[no-untyped-call]

    def step(self, number: int, loss: Tensor) -> None:
        """Zero all gradients but those of one optimiser's own loss."""
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[number].step()


def test_three_updates_are_those_of_the_paper() -> None:
    """Every weight, target and the temperature agree with the straight-line version (trap 16).

    Fails when policy, critics or targets move in another order, or see another temperature.
    """
    config = SACConfig(
        hidden=(16, 16),
        gamma=GAMMA,
        tau=TAU,
        actor_lr=RATE,
        critic_lr=RATE,
        alpha_lr=RATE,
    )
    sac = SAC(config, SIZES, seed=0)
    reference = Reference(sac)
    for number in range(3):
        sac.update(batch(number))
        reference.update(batch(number))
    for ours, theirs in (
        (sac.critics, reference.critics),
        (sac.actor, reference.actor),
        (sac.targets, reference.targets),
    ):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(one, other, atol=2e-5)
    assert sac.log_alpha.item() == pytest.approx(reference.log_alpha.item(), abs=1e-6)
    assert sac.log_alpha.item() != pytest.approx(math.log(0.1), abs=1e-3)


BY_HAND: list[dict[str, object]] = [
    {},
    {"layer_norm": False},
    {"actor_value": "mean", "backup": "mean"},
    {"actor_value": "first", "backup": "double", "temperature": "alpha"},
    {"critics": 3, "backup": "subset", "entropy_backup": False},
    {"critics": 1, "backup": "single", "temperature": "fixed", "policy_delay": 2},
    {"dropout": 0.1, "actor_value": "mean", "policy_delay": 4},
    {"dropout": 0.1, "layer_norm": False, "critics": 3, "backup": "subset"},
]


@pytest.mark.parametrize("options", BY_HAND, ids=str)
def test_a_hundred_updates_by_hand_are_those_of_autograd(options: dict[str, object]) -> None:
    """Every metric agrees to 1e-5, from the same seed and the same batches.

    Fails when a gradient that is written by hand is another one than autograd's.
    """
    config = SACConfig(hidden=(32, 32), **options)  # type: ignore[arg-type]
    assert SACByHand.suits(config)
    by_hand, autograd = SACByHand(config, SIZES, seed=0), SAC(config, SIZES, seed=0)
    for number in range(100):
        found, expected = by_hand.update(batch(number)), autograd.update(batch(number))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("bias", [-3.0, 3.0])
def test_log_std_by_hand_keeps_a_gradient_near_its_bounds(bias: float) -> None:
    """It is autograd's where tanh is almost flat, and not nothing (trap 5).

    Put back by clamping, or by leaving the gradient out where the squashing is steep.
    """
    config = SACConfig(hidden=(32, 32))
    both = [SACByHand(config, SIZES, seed=0), SAC(config, SIZES, seed=0)]
    for one in both:
        with torch.no_grad():
            one.actor.head.bias[SIZES.action :] = bias
        one.update(batch())
    last = len(both[0].optimisers["actor"].parameters) - 1
    found, expected = (one.state()[f"adam.actor.mean.{last}"] for one in both)
    assert torch.allclose(found, expected, rtol=1e-3)
    assert (expected[SIZES.action :].abs() > 0).all()
