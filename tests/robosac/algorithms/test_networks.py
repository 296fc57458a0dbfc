"""The policy's density and the independence of the critics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robosac.algorithms.networks import Actor, Critics

BOUNDS = (-5.0, 2.0)


class Wide(Actor):
    """A policy of one action whose mean is the observation and whose log std is given."""

    def __init__(self, log_std: float) -> None:
        super().__init__(1, 1, hidden=(2,), log_std=BOUNDS, initial_std=0.5)
        self._log_std = log_std

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return obs, torch.full_like(obs, self._log_std)


def small_actor(*, actions: int = 3, seed: int = 0) -> Actor:
    """Build an untrained policy of 4 observations."""
    torch.manual_seed(seed)
    return Actor(4, actions, hidden=(32, 32), log_std=BOUNDS, initial_std=0.5)


def test_log_density_where_the_textbook_form_saturates() -> None:
    """Equation 21 against float64 for pre-tanh values up to ±40 (trap 4).

    Put back by log(1 - tanh²u + 1e-6), which is -13.8 per action whatever the network does.
    """
    pre = np.concatenate([np.linspace(-40, 40, 161), [-1e-3, 1e-3, 8.3, -8.3]])
    exact = 0.5 - (math.log(4) - 2 * abs(pre) - 2 * np.log1p(np.exp(-2 * abs(pre))))
    exact -= 0.5 + 0.5 * math.log(2 * math.pi)
    obs = torch.tensor(pre, dtype=torch.float32)[:, None].requires_grad_()
    log_prob = Wide(0.0).sample(obs, torch.zeros_like(obs)).log_prob
    assert np.abs(log_prob.detach().numpy() - exact).max() < 1e-5
    (gradient,) = torch.autograd.grad(log_prob.sum(), obs)
    expected = 2 * np.tanh(pre)[:, None]
    assert np.abs(gradient.numpy() - expected).max() < 1e-5
    assert (gradient[obs != 0] != 0).all()


def test_density_of_given_actions_where_they_saturate() -> None:
    """That of actions drawn before, with a gradient at ±40 as well (trap 4).

    Put back by recovering tanh's argument from the action: atanh(±1) is infinite.
    """
    mean, pre = torch.zeros(4, 1, requires_grad=True), torch.tensor([-40.0, -9.0, 9.0, 40.0])
    policy = Wide(0.0)
    log_prob = policy.log_prob(mean, pre[:, None])
    assert torch.allclose(log_prob, policy.sample(mean, pre[:, None]).log_prob)
    (gradient,) = torch.autograd.grad(log_prob.sum(), mean)
    assert torch.equal(gradient[:, 0], pre), "(u - mean)/std² of the Gaussian before tanh"


@pytest.mark.parametrize("log_std", [-1.0, 0.0, 0.7])
@pytest.mark.parametrize("mean", [0.0, -1.5])
def test_density_integrates_to_one(log_std: float, mean: float) -> None:
    """The log density is that of the action after tanh, not of the Gaussian before it."""
    noise = torch.linspace(-9, 9, 20_001)[:, None]
    sample = Wide(log_std).sample(torch.full_like(noise, mean), noise)
    mass = torch.trapezoid(sample.log_prob.double().exp(), sample.action[:, 0].double())
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_actions_are_independent() -> None:
    """The log density of several actions is the sum over them."""
    actor = small_actor()
    obs, noise = torch.randn(5, 4), torch.randn(5, 3)
    mean, log_std = actor.distribution(obs)
    normal = torch.distributions.Normal(mean, log_std.exp())
    pre = mean + log_std.exp() * noise
    density: Tensor = normal.log_prob(pre)  # type: ignore[no-untyped-call]
    expected = (density - torch.log(1 - torch.tanh(pre) ** 2)).sum(-1)
    assert torch.allclose(actor.sample(obs, noise).log_prob, expected, atol=1e-4)


@pytest.mark.parametrize("std", [0.2, 0.87, 2.0, 7.0])
def test_entropy_stays_under_its_bound(std: float) -> None:
    """No density on [-1, 1]^d has more entropy than d·log 2 (trap 27).

    Put back by leaving tanh's correction out: that of the Gaussian grows without bound.
    """
    generator = torch.Generator().manual_seed(0)
    actor = Actor(4, 3, hidden=(8,), log_std=BOUNDS, initial_std=std)
    noise = torch.randn((40_000, 3), generator=generator)
    log_prob = actor.sample(torch.zeros(1, 4).expand(40_000, 4), noise).log_prob
    entropy = -log_prob.mean().item()
    assert entropy < 3 * math.log(2) + 0.02
    if std == 0.87:
        assert entropy > 3 * math.log(2) - 0.2, "nearly uniform, so close to the bound"


@pytest.mark.parametrize("raw", [-6.0, -3.0, 3.0])
def test_log_std_keeps_a_gradient_outside_the_usual_range(raw: float) -> None:
    """A clamp would have none, and the policy could never come back (trap 5).

    Put back by clamping what the network gives into the bounds, here outside ±2.
    """
    actor = small_actor()
    with torch.no_grad():
        actor.head.bias[3:] = raw
    _, log_std = actor.distribution(torch.zeros(1, 4))
    (gradient,) = torch.autograd.grad(log_std.sum(), actor.head.bias)
    assert (gradient[3:] > 1e-5).all()


@pytest.mark.parametrize("raw", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_log_std_never_leaves_its_bounds(raw: float) -> None:
    """Whatever the network gives (trap 5); put back by using it as it comes."""
    actor = small_actor()
    with torch.no_grad():
        actor.head.bias[3:] = raw
    _, log_std = actor.distribution(torch.randn(16, 4))
    assert (log_std >= BOUNDS[0]).all()
    assert (log_std <= BOUNDS[1]).all()


@pytest.mark.parametrize("seed", range(3))
def test_first_actions_are_centred_with_the_configured_spread(seed: int) -> None:
    """Over 1,000 observations the mean action is near zero, sigma is initial_std (trap 24).

    Put back by leaving the head's weights as torch draws them.
    """
    actor = small_actor(seed=seed)
    obs = torch.randn(1000, 4)
    mean, log_std = actor.distribution(obs)
    assert mean.tanh().abs().max() < 0.1
    assert mean.abs().max() > 0, "the head must not be dead"
    assert (log_std.exp() - 0.5).abs().max() < 0.05


def test_noise_makes_the_action() -> None:
    """No noise is the mode; the same noise gives the same action with and without density."""
    actor = small_actor()
    obs, noise = torch.randn(6, 4), torch.randn(6, 3)
    mean, log_std = actor.distribution(obs)
    assert torch.equal(actor(obs, torch.zeros_like(noise)), mean.tanh())
    assert torch.equal(actor(obs, noise), actor.sample(obs, noise).action)
    assert torch.equal(actor(obs, noise), torch.tanh(mean + log_std.exp() * noise))
    assert actor(obs, 1e6 * noise).abs().max() == 1


def separate(critics: Critics, member: int, *, layer_norm: bool) -> nn.Sequential:
    """Build one critic from torch's own layers, with the weights of a member."""
    layers: list[nn.Module] = []
    for width, following in ((5, 16), (16, 8)):
        layers.append(nn.Linear(width, following))
        layers += [nn.LayerNorm(following)] if layer_norm else []
        layers.append(nn.ReLU())
    network = nn.Sequential(*layers, nn.Linear(8, 1))
    weights = list(critics[member].parameters())
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.data.copy_(weight)
    return network


@pytest.mark.parametrize("layer_norm", [False, True])
def test_critics_are_separate_networks(*, layer_norm: bool) -> None:
    """Values (N, B) are those of N networks of linear layers, normalisation before each ReLU."""
    critics = Critics(5, members=3, hidden=(16, 8), layer_norm=layer_norm)
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.add_(
                0.3 * torch.randn_like(parameter)
            )  # so that no scale or shift is trivial
    obs, action = torch.randn(9, 3), torch.randn(9, 2)
    values = critics(obs, action)
    assert values.shape == (3, 9)
    for member in range(3):
        network = separate(critics, member, layer_norm=layer_norm)
        expected = network(torch.cat((obs, action), -1)).squeeze(-1)
        assert torch.allclose(values[member], expected, atol=1e-5)


def test_critics_share_nothing() -> None:
    """They start different, and the loss of one reaches no other."""
    critics = Critics(5, members=2, hidden=(16,), layer_norm=True)
    values = critics(torch.randn(9, 3), torch.randn(9, 2))
    assert not torch.allclose(values[0], values[1])
    values[0].sum().backward()
    assert all(parameter.grad is not None for parameter in critics[0].parameters())
    others = [parameter.grad for parameter in critics[1].parameters()]
    assert not any(grad.any() for grad in others if grad is not None)
