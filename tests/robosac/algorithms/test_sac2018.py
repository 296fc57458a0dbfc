"""The first soft actor-critic: its three losses worked out beside it; arXiv 1801.01290."""

from __future__ import annotations

import copy

import pytest
import torch

from robosac.algorithms.config import SAC2018Config
from robosac.algorithms.sac2018 import SAC2018
from tests.robosac.algorithms.conftest import (
    SIZES,
    Noted,
    batch,
    changed,
    copied,
    part,
    same_noise,
)

CONFIG = SAC2018Config(hidden=(16, 16))


def make(config: SAC2018Config = CONFIG) -> SAC2018:
    """A small one."""
    return SAC2018(config, SIZES, seed=0)


def test_value_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """V ← min(Q1, Q2) - log π of an action of the current policy; equation 5."""
    learner, rows = make(), batch()
    noise = torch.randn((32, SIZES.action), generator=same_noise(learner))
    with torch.no_grad():
        sample = learner.actor.sample(rows.obs, noise)
        q1, q2 = learner.critics(rows.critic_obs, sample.action)
    noted = Noted(monkeypatch, "value_loss")
    learner.update(rows)
    expected = torch.minimum(q1, q2) - sample.log_prob
    assert torch.allclose(noted.calls[0]["target"], expected, atol=1e-6)


def test_critics_bootstrap_from_the_target_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Q ← 5·r + γ(1-terminated)·V'(s'), the entropy being inside V'; equations 7 and 8."""
    learner, rows = make(), batch()
    with torch.no_grad():
        value = learner.target(rows.next_critic_obs)
    noted = Noted(monkeypatch, "critic_loss")
    learner.update(rows)
    expected = 5 * rows.reward + 0.99 * (1 - rows.terminated) * value
    assert torch.allclose(noted.calls[0]["target"], expected, atol=1e-5)


def test_policy_climbs_the_first_critic_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy's loss has log π - Q1, equation 12; a worse Q2 changes V and not the policy."""
    one, other = make(), make()
    with torch.no_grad():
        for parameter in other.critics[1].parameters():
            parameter.mul_(-3)
    noted = Noted(monkeypatch, "actor_loss")
    for learner in (one, other):
        learner.update(batch())
    assert torch.equal(noted.calls[0]["value"], noted.calls[1]["value"])
    assert noted.calls[0]["alpha"].item() == 1
    assert not changed(part(copied(one), "actor"), part(copied(other), "actor"))
    assert changed(part(copied(one), "value"), part(copied(other), "value"))


def test_gaussian_is_kept_in_bounds() -> None:
    """The regulariser ½·1e-3·mean(μ² + log²σ) is part of the policy's step."""
    plain = make(SAC2018Config(hidden=(16, 16), regularisation=0.0))
    heavy = make(SAC2018Config(hidden=(16, 16), regularisation=2.0))
    rows = batch()
    with torch.no_grad():
        mean, log_std = heavy.actor.distribution(rows.obs)
    difference = heavy.update(rows)["actor_loss"] - plain.update(rows)["actor_loss"]
    expected = (mean.square() + log_std.square()).mean()
    assert difference.item() == pytest.approx(expected.item(), rel=1e-4)


def test_step_of_the_policy_uses_critics_before_their_own() -> None:
    """All losses are taken at the same point, as in the paper's algorithm 1."""
    learner = make(SAC2018Config(hidden=(16, 16), regularisation=0.0))
    before, rows = copy.deepcopy(learner.actor), batch()
    noise = torch.randn((32, SIZES.action), generator=same_noise(learner))
    critics = copy.deepcopy(learner.critics)
    learner.update(rows)
    sample = before.sample(rows.obs, noise)
    loss = (sample.log_prob - critics(rows.critic_obs, sample.action)[0]).mean()
    reference = torch.optim.Adam(before.parameters(), 3e-4)
    loss.backward()
    reference.step()
    for one, other in zip(learner.actor.parameters(), before.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_only_the_value_has_a_target() -> None:
    """ψ' ← τψ + (1-τ)ψ', after the step of the value."""
    learner = make(SAC2018Config(hidden=(16, 16), tau=0.25))
    before = copied(learner)
    learner.update(batch())
    after = copied(learner)
    for name, target in part(after, "target").items():
        value = after[name.replace("target", "value", 1)]
        assert torch.allclose(target, 0.75 * before[name] + 0.25 * value, atol=1e-7)
    assert not [name for name in after if name.startswith(("targets", "target_"))]


def test_first_policy_has_deviation_one() -> None:
    """Within the paper's bounds of log σ."""
    actor = make().actor
    assert actor.log_std_bounds == (-20.0, 2.0)
    _, log_std = actor.distribution(torch.zeros(1, SIZES.obs))
    assert log_std.exp().mean().item() == pytest.approx(1.0, abs=0.1)
