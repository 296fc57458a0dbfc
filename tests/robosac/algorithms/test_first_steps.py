"""A policy that acts at random until it is told not to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from robosac.algorithms.first_steps import RandomFirst


class Obs(nn.Module):
    """Acts as it observes."""

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Half the noise is added."""
        return obs + 0.5 * noise


def test_random_actions_are_uniform() -> None:
    """Normal noise becomes uniform on [-1, 1], independent of the observation."""
    noise = torch.randn((20_000, 1), generator=torch.Generator().manual_seed(0))
    policy = RandomFirst(Obs(), random=True)
    actions = policy(torch.full_like(noise, 0.9), noise).detach()
    assert torch.allclose(actions, policy(torch.zeros_like(noise), noise), atol=1e-6)
    counts, _ = np.histogram(actions.numpy(), bins=10, range=(-1, 1))
    assert counts.sum() == 20_000
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)


def test_no_noise_is_the_middle() -> None:
    """So a robot that is evaluated before it has learned stands still."""
    policy = RandomFirst(Obs(), random=True)
    assert policy(torch.ones(3, 1), torch.zeros(3, 1)).abs().max() == 0


def test_afterwards_it_is_the_policy_to_the_bit() -> None:
    """Nothing of the random actions is left."""
    obs, noise = torch.rand(64, 3) - 0.5, torch.rand(64, 3)
    assert torch.equal(RandomFirst(Obs(), random=False)(obs, noise), Obs()(obs, noise))


def test_the_switch_is_a_weight_and_nothing_to_learn() -> None:
    """It is published like the weights of the policy, and has no gradient."""
    parameters = dict(RandomFirst(nn.Linear(2, 2), random=True).named_parameters())
    assert sorted(parameters) == ["policy.bias", "policy.weight", "random"]
    assert not parameters["random"].requires_grad
