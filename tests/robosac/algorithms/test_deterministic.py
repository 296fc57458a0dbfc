"""TD3 and DDPG: targets and gradients worked out beside them from the equations."""

from __future__ import annotations

import copy

import pytest
import torch

from robosac.algorithms.config import DDPGConfig, TD3Config
from robosac.algorithms.ddpg import DDPG
from robosac.algorithms.networks import DeterministicActor, LateActionCritic
from robosac.algorithms.td3 import TD3
from tests.robosac.algorithms.conftest import (
    SIZES,
    Noted,
    batch,
    changed,
    copied,
    part,
    same_noise,
)

SMALL = (16, 16)


def td3(**changes: float) -> TD3:
    """A small one whose target noise is often clipped."""
    return TD3(TD3Config(hidden=SMALL, **changes), SIZES, seed=0)  # type: ignore[arg-type]


def test_td3_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations 10, 14, 15: r + γ(1-terminated)·min Q'(s', clip(μ'(s') + clip(0.4·n, ±0.5)))."""
    learner = td3(target_noise=0.4)
    rows, noise = batch(), torch.randn((32, SIZES.action), generator=same_noise(learner))
    smoothing = (0.4 * noise).clamp(-0.5, 0.5)
    assert (smoothing.abs() == 0.5).any(), "some of the noise must be clipped"
    with torch.no_grad():
        action = (learner.target_actor.best(rows.next_obs) + smoothing).clamp(-1, 1)
        q1, q2 = learner.targets(rows.next_critic_obs, action)
    expected = rows.reward + 0.99 * (1 - rows.terminated) * torch.minimum(q1, q2)
    noted = Noted(monkeypatch, "squared_error")
    learner.update(rows)
    assert torch.allclose(noted.calls[0]["target"], expected, atol=1e-6)
    assert torch.equal(
        noted.calls[0]["target"][rows.terminated == 1], rows.reward[rows.terminated == 1]
    )


def test_td3_policy_climbs_the_first_critic() -> None:
    """Δθ = +∇ Q1(s, μ(s)): the gradient of the second critic plays no part; equation 6."""
    one, other = td3(policy_delay=1), td3(policy_delay=1)
    with torch.no_grad():
        for parameter in other.critics[1].parameters():
            parameter.mul_(-3)
    for learner in (one, other):
        learner.update(batch()._replace(terminated=torch.ones(32)))  # targets are the rewards alone
    assert not changed(part(copied(one), "actor"), part(copied(other), "actor"))


def test_td3_step_of_the_policy() -> None:
    """Adam down -mean Q1(s, μ(s)) with the critic after its own step; algorithm 1 (trap 16).

    Put back by moving the policy before the critics.
    """
    learner = td3(policy_delay=1, critic_lr=0.05)
    actor, rows = copy.deepcopy(learner.actor), batch()
    learner.update(rows)
    loss = -learner.critics(rows.critic_obs, actor.best(rows.obs))[0].mean()
    gradients = torch.autograd.grad(loss, list(actor.parameters()))
    moments = [learner.state()[f"adam.actor.mean.{index}"] for index in range(len(gradients))]
    for moment, gradient in zip(moments, gradients, strict=True):
        assert torch.allclose(moment, 0.1 * gradient, atol=1e-7)


def test_td3_policy_and_targets_are_delayed() -> None:
    """They move together at every second update, the critics at each; algorithm 1."""
    learner = td3()
    moved = []
    for number in range(4):
        before = copied(learner)
        learner.update(batch(number))
        moved.append(changed(before, copied(learner)) - {"generator", "adam"})
    late = {"critics", "actor", "targets", "target_actor"}
    assert moved == [{"critics"}, late, {"critics"}, late]


@pytest.mark.parametrize("std", [0.0, 0.1])
def test_exploration_is_scaled_inside_the_policy(std: float) -> None:
    """Unit noise moves the action by exploration_std, and never out of [-1, 1]."""
    actor = td3(exploration_std=std).actor
    obs, noise = torch.randn(64, SIZES.obs), torch.randn(64, SIZES.action)
    assert torch.allclose(actor(obs, noise), (actor.best(obs) + std * noise).clamp(-1, 1))


def test_ddpg_target_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equations 4 and 5: y = r + γ(1-terminated)·Q'(s', μ'(s')), loss mean (y - Q)²."""
    learner = DDPG(DDPGConfig(hidden=SMALL), SIZES, seed=0)
    rows = batch()
    with torch.no_grad():
        value = learner.target_critic(
            rows.next_critic_obs, learner.target_actor.best(rows.next_obs)
        )[0]
        q = learner.critic(rows.critic_obs, rows.action)[0]
    expected = rows.reward + 0.99 * (1 - rows.terminated) * value
    noted = Noted(monkeypatch, "squared_error")
    metrics = learner.update(rows)
    assert torch.allclose(noted.calls[0]["target"], expected, atol=1e-6)
    assert metrics["critic_loss"].item() == pytest.approx((expected - q).square().mean().item())


def test_ddpg_step_of_the_policy() -> None:
    """Adam down -mean Q(s, μ(s)) with the critic after its own step; equation 6."""
    learner = DDPG(DDPGConfig(hidden=SMALL), SIZES, seed=0)
    actor = copy.deepcopy(learner.actor)
    rows = batch()
    learner.update(rows)
    loss = -learner.critic(rows.critic_obs, actor.best(rows.obs)).mean()
    gradients = torch.autograd.grad(loss, list(actor.parameters()))
    reference = torch.optim.Adam(actor.parameters(), 1e-4)
    for parameter, gradient in zip(actor.parameters(), gradients, strict=True):
        parameter.grad = gradient
    reference.step()
    for one, other in zip(learner.actor.parameters(), actor.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7)


def test_ddpg_critic_decays() -> None:
    """With nothing to learn the weights shrink by the decay; without decay they stay."""
    sizes = []
    for decay in (0.0, 1e-2):
        learner = DDPG(DDPGConfig(hidden=SMALL, weight_decay=decay), SIZES, seed=0)
        with torch.no_grad():
            learner.critic.get_parameter("head.weight").zero_()
            learner.critic.get_parameter("head.bias").zero_()
        rows = batch()._replace(reward=torch.zeros(32), terminated=torch.ones(32))
        before = learner.critic.get_parameter("first.weight").norm()
        for _ in range(20):
            learner.update(rows)
        sizes.append((learner.critic.get_parameter("first.weight").norm() / before).item())
    assert sizes[0] == 1
    assert sizes[1] < 0.99


def test_late_action_enters_the_second_layer() -> None:
    """The first layer sees the observation alone, the second its features and the action."""
    critic = LateActionCritic(5, 3, hidden=(400, 300), final_bound=3e-3)
    assert critic.first.weight.shape == (400, 5)
    obs, action = torch.randn(7, 5), torch.randn(7, 3)
    features = torch.relu(obs @ critic.first.weight.T + critic.first.bias)
    weight, bias = critic.rest.parameters()
    assert weight.shape == (300, 403)
    hidden = torch.relu(torch.cat((features, action), 1) @ weight.T + bias)
    expected = hidden @ critic.head.weight.T + critic.head.bias
    assert torch.allclose(critic(obs, action), expected.T, atol=1e-5)


def test_output_layers_start_near_zero() -> None:
    """Weights and biases within ±3e-3, and not all of them in the middle."""
    actor = DeterministicActor(5, 3, hidden=SMALL, noise_std=0.1, final_bound=3e-3)
    critic = LateActionCritic(5, 3, hidden=SMALL, final_bound=3e-3)
    early = DDPG(DDPGConfig(hidden=SMALL, late_action=False), SIZES, seed=0)
    for layer in (actor.head, critic.head, early.critic[0][-1]):  # type: ignore[index]
        assert layer.weight.abs().max() <= 3e-3
        assert layer.bias.abs().max() <= 3e-3
        assert layer.weight.abs().max() > 1.5e-3


@pytest.mark.parametrize(("kind", "theta"), [("ornstein_uhlenbeck", 0.15), ("gaussian", 1.0)])
def test_ddpg_says_how_it_explores(kind: str, theta: float) -> None:
    """Correlated noise is made by the robot, white noise forgets everything."""
    learner = DDPG(DDPGConfig(hidden=SMALL, exploration=kind), SIZES, seed=0)  # type: ignore[arg-type]
    assert learner.exploration_theta == theta
