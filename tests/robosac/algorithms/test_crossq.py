"""CrossQ: one forward for both pairs, no targets, and a policy without normalisation to export."""

from __future__ import annotations

import copy

import msgspec
import pytest
import torch

from robosac.algorithms.config import CrossQConfig
from robosac.algorithms.crossq import CrossQ
from tests.robosac.algorithms.conftest import (
    SIZES,
    Noted,
    batch,
    changed,
    check_temperature,
    copied,
    part,
    same_noise,
)

CONFIG = CrossQConfig(hidden=(16, 16), critic_hidden=(24, 24), warm_up=2)


def lived(updates: int = 6) -> CrossQ:
    """A small one after some updates, past its warm-up."""
    learner = CrossQ(CONFIG, SIZES, seed=0)
    for number in range(updates):
        learner.update(batch(number))
    return learner


def test_target_comes_from_the_joint_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q and Q' are halves of one batch of 2B pairs in training mode, Q' without gradient.

    Put back by two forwards: the statistics of each half differ, and so do the values.
    """
    learner, rows = lived(), batch(9)
    with torch.no_grad():
        noise = torch.randn((32, SIZES.action), generator=same_noise(learner))
        following = learner.actor.sample(rows.next_obs, noise)
        obs = torch.cat((rows.critic_obs, rows.next_critic_obs))
        action = torch.cat((rows.action, following.action))
        joint = copy.deepcopy(learner.critics)(obs, action, training=True)
        apart = copy.deepcopy(learner.critics)(obs[32:], action[32:], training=True)
    alpha = learner.log_alpha.detach().exp()
    soft = joint[:, 32:].amin(0) - alpha * following.log_prob
    expected = rows.reward + 0.99 * (1 - rows.terminated) * soft
    noted = Noted(monkeypatch, "critic_loss")
    learner.update(rows)
    assert torch.allclose(noted.calls[0]["q"], joint[:, :32], atol=1e-6)
    assert torch.allclose(noted.calls[0]["target"], expected, atol=1e-5)
    assert not torch.allclose(apart, joint[:, 32:], atol=1e-2)


def test_there_are_no_targets() -> None:
    """Nothing but the critics themselves is kept."""
    assert set(lived().modules) == {"actor", "critics"}


def test_statistics_move_where_they_should() -> None:
    """The critics' at every update, the policy's when it is updated, none by asking (trap 17)."""
    learner = lived()
    assert learner.updates % 3 == 0
    moved = []
    for number in range(3):
        before = copied(learner)
        learner.update(batch(number))
        names = {
            name for name, value in copied(learner).items() if not torch.equal(value, before[name])
        }
        moved.append({name.split(".")[0] for name in names if "running_mean" in name})
    assert moved == [{"actor", "critics"}, {"critics"}, {"critics"}]
    before = copied(learner)
    _ = learner.policy
    assert not changed(before, copied(learner))


def test_warm_up_counts_batches_and_is_resumed() -> None:
    """The number of batches is part of the state, so a resumed run does not warm up again."""
    learner = lived()
    counts = {
        int(value)
        for name, value in copied(learner).items()
        if "critics" in name and "batches" in name
    }
    assert counts == {6}
    assert {
        int(one) for name, one in part(copied(learner), "actor").items() if "batches" in name
    } == {2}


@pytest.mark.parametrize("updates", [0, 6])
def test_exported_policy_is_the_policy(updates: int) -> None:
    """Folded into plain layers it acts the same, on ordinary and extreme observations."""
    learner = lived(updates)
    scale = torch.logspace(-2, 2, 64)[:, None]
    obs, noise = scale * torch.randn(64, SIZES.obs), torch.randn(64, SIZES.action)
    with torch.no_grad():
        expected = learner.actor(obs, noise)
        assert torch.allclose(learner.policy(obs, noise), expected, atol=1e-5)
    assert not any("norm" in name for name, _ in learner.policy.named_parameters())


def test_temperature_is_learned_on_alpha() -> None:
    """Its gradient is -α·(mean log π + target), and the policy moves before it (trap 6).

    Put back by the loss on log α, or by letting the temperature move first.
    """
    check_temperature(
        lambda **changes: CrossQ(msgspec.structs.replace(CONFIG, **changes), SIZES, seed=0),
        beta1=0.9,
    )


def test_adam_forgets_faster() -> None:
    """β1 = 0.5 for networks, 0.9 for the temperature; the second moments' step is the usual one."""
    learner = CrossQ(CONFIG, SIZES, seed=0)
    before = copied(learner)
    learner.update(batch())
    for name, gradient_share in (("actor", 0.5), ("critics", 0.5), ("alpha", 0.1)):
        mean = learner.state()[f"adam.{name}.mean.0"]
        square = learner.state()[f"adam.{name}.square.0"]
        assert torch.equal(before[f"adam.{name}.mean.0"], torch.zeros_like(mean))
        gradient = mean / gradient_share
        assert torch.allclose(square, 0.001 * gradient.square(), rtol=1e-4)
