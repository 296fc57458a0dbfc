"""FlashSAC: what moves in which order, what keeps its norm, and what is exported."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch

from robosac import recipe
from robosac.algorithms import categorical
from robosac.algorithms.config import FlashConfig
from robosac.algorithms.flash import FlashSAC, gaussian_entropy
from robosac.algorithms.schedules import Schedule
from robosac.algorithms.unit_norm import UnitBatchNorm, UnitDense, UnitRMSNorm
from tests.robosac.algorithms.conftest import (
    ROWS,
    SIZES,
    Noted,
    batch,
    changed,
    check_temperature,
    copied,
    equal,
    same_noise,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robosac.algorithms.algorithm import Batch

CONFIG = FlashConfig(hidden=(16, 16), critic_hidden=(24, 24), bins=21, momentum=0.9)


def lived(updates: int = 6, **changes: float) -> FlashSAC:
    """A small one after some updates; the next one moves the policy too."""
    learner = FlashSAC(msgspec.structs.replace(CONFIG, **changes), SIZES, seed=0)
    for number in range(updates):
        learner.update(batch(number))
    return learner


def buffers(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the running statistics of a network."""
    return {name: one.clone() for name, one in network.named_buffers() if "running" in name}


def pairs(rows: Batch, following: Tensor) -> tuple[Tensor, Tensor]:
    """What critics and targets see at once: pairs of now, then pairs of the next state."""
    obs = torch.cat((rows.critic_obs, rows.next_critic_obs))
    return obs, torch.cat((rows.action, following))


def following(learner: FlashSAC, rows: Batch, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Next actions and their log densities of a policy outside training."""
    torch.randn(rows.action.shape, generator=noise)  # the policy's own step came first
    with torch.no_grad():
        sample = learner.actor.sample(
            rows.next_obs, torch.randn(rows.action.shape, generator=noise)
        )
    return sample.action, sample.log_prob


def projected(probability: Tensor, moved: Tensor, values: Tensor) -> Tensor:
    """One row's distribution, bin by bin, in double precision."""
    spacing = float(values[1] - values[0])
    found = torch.zeros(len(values), dtype=torch.float64)
    for mass, at in zip(probability.tolist(), moved.tolist(), strict=True):
        clamped = min(max(at, float(values[0])), float(values[-1]))
        for index, value in enumerate(values.tolist()):
            found[index] += mass * max(0.0, 1 - abs(clamped - value) / spacing)
    return found


def seen_by_loss(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """Log probabilities of the critics, and what they are drawn to, as they come."""
    seen: list[tuple[Tensor, Tensor]] = []
    entropy = categorical.cross_entropy

    def noted(log_probability: Tensor, target: Tensor) -> Tensor:
        seen.append((log_probability.detach(), target))
        return entropy(log_probability, target)

    monkeypatch.setattr(categorical, "cross_entropy", noted)
    return seen


def test_target_against_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policy and the temperature have moved already; targets are asked in training mode.

    Put back by updating the critics first, by the temperature of before, by targets in evaluation
    mode or by a forward for each half (trap 16): probabilities differ by more than 0.001.
    """
    learner, rows = lived(alpha_lr=0.5), batch(9)
    learner.reward_scale.divisor = 2.0
    noise, targets = same_noise(learner), copy.deepcopy(learner.targets)
    alpha = learner.log_alpha.detach().exp()
    seen = seen_by_loss(monkeypatch)
    learner.update(rows)
    action, log_prob = following(learner, rows, noise)
    with torch.no_grad():
        after = targets.log_probability(*pairs(rows, action), training=True)[:, ROWS:].exp()
    values = learner.critics.support.values
    least = (after * values).sum(-1).argmin(0)
    bonus = learner.log_alpha.detach().exp() * log_prob
    assert (bonus - alpha * log_prob).abs().max() > 1e-3, "the temperature of before would be seen"
    for row in range(ROWS):
        discount = 0.99 * (1 - rows.terminated[row])
        moved = rows.reward[row] / 2 + discount * (values - bonus[row])
        expected = projected(after[least[row], row], moved, values)
        assert seen[0][1][row].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    assert len(set(least.tolist())) == 2, "each critic is the least somewhere"


def test_terminated_rows_have_their_reward_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All mass around r, whatever the temperature (traps 1 and 11)."""
    learner, rows = lived(), batch(9)._replace(terminated=torch.ones(ROWS))
    with torch.no_grad():
        learner.log_alpha.fill_(3.0)
    seen = seen_by_loss(monkeypatch)
    learner.update(rows)
    _, target = seen[0]
    mean = target @ learner.critics.support.values
    assert torch.allclose(mean, rows.reward.clamp(-5, 5), atol=1e-5)
    assert ((target > 1e-6).sum(-1) <= 2).all()


def test_targets_follow_by_weights_and_not_by_statistics() -> None:
    """Weights go τ of the way; statistics are those of the targets' own forward (trap 16).

    Put back by copying buffers from the critics, or by asking targets outside training.
    """
    learner, rows = lived(), batch(9)
    noise, targets = same_noise(learner), copy.deepcopy(learner.targets)
    learner.update(rows)
    action, _ = following(learner, rows, noise)
    with torch.no_grad():
        targets.log_probability(*pairs(rows, action), training=True)
    mine, theirs = buffers(learner.targets), buffers(targets)
    assert all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in mine)
    assert not all(
        torch.allclose(mine[name], one) for name, one in buffers(learner.critics).items()
    )
    trios = zip(
        targets.parameters(),
        learner.critics.parameters(),
        learner.targets.parameters(),
        strict=True,
    )
    for old, critic, new in trios:
        assert torch.allclose(new, 0.99 * old + 0.01 * critic, atol=1e-6)


def test_both_observations_are_normalised_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics, and what critics say, are those of one forward of 2B rows in training mode.

    Put back by the observations of now alone, or by critics that train while the policy climbs.
    """
    learner, rows = lived(), batch(9)
    seen = seen_by_loss(monkeypatch)
    noise = same_noise(learner)
    actor, critics = copy.deepcopy(learner.actor), copy.deepcopy(learner.critics)
    learner.update(rows)
    action, _ = following(learner, rows, noise)
    with torch.no_grad():
        actor.distribution(torch.cat((rows.obs, rows.next_obs)), training=True)
        said = critics.log_probability(*pairs(rows, action), training=True)
    assert torch.allclose(seen[0][0], said[:, :ROWS], atol=1e-5)
    for one, other in ((learner.actor, actor), (learner.critics, critics)):
        mine, theirs = buffers(one), buffers(other)
        assert len(mine) >= 10
        assert all(torch.allclose(mine[name], theirs[name], atol=1e-6) for name in mine)


def test_policy_climbs_at_the_observations_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least critic's mean, critics being asked outside training; the first half alone.

    Put back by the second half, or by the mean of the critics.
    """
    learner, rows = lived(), batch(9)
    noise = torch.randn(rows.action.shape, generator=same_noise(learner))
    with torch.no_grad():
        both = torch.cat((rows.obs, rows.next_obs))
        mean, log_std = copy.deepcopy(learner.actor).distribution(both, training=True)
        action = torch.tanh(mean[:ROWS] + log_std[:ROWS].exp() * noise)
        expected = learner.critics(rows.critic_obs, action).amin(0)
    noted = Noted(monkeypatch, "actor_loss")
    alpha = learner.log_alpha.detach().exp()
    learner.update(rows)
    assert torch.allclose(noted.calls[0]["value"], expected, atol=1e-5)
    assert noted.calls[0]["alpha"] == alpha


def test_policy_and_temperature_move_every_second_time() -> None:
    """And first of all; critics and targets always."""
    learner, moved = FlashSAC(CONFIG, SIZES, seed=0), []
    for number in range(3):
        before = copied(learner)
        learner.update(batch(number))
        moved.append(changed(before, copied(learner)) - {"adam", "generator"})
    assert moved == [
        {"actor", "critics", "targets", "log_alpha"},
        {"critics", "targets"},
        {"actor", "critics", "targets", "log_alpha"},
    ]


def test_temperature_is_learned_on_alpha() -> None:
    """Its gradient is -α·(mean log π + target), and the policy moves before it (trap 6).

    Put back by the loss on log α, or by letting the temperature move first.
    """
    check_temperature(
        lambda **changes: FlashSAC(msgspec.structs.replace(CONFIG, **changes), SIZES, seed=0),
        beta1=0.9,
    )


def test_every_step_restores_the_norms() -> None:
    """Rows 1, scales and shifts √width, from the first on; with rates that would move them far.

    Put back by normalising once at the start.
    """
    config = FlashConfig(hidden=(16,), critic_hidden=(24,), actor_lr=0.05, critic_lr=0.05)
    learner = FlashSAC(config, SIZES, seed=0)
    for number in range(4):
        for network in (learner.actor, learner.critics):
            assert_normal(network)
        before = copied(learner)
        learner.update(batch(number))
        assert {"actor", "critics"} <= changed(before, copied(learner)) or number % 2
    biases = [one for name, one in learner.critics.named_parameters() if name.endswith("head.bias")]
    assert min(one.abs().max() for one in biases) > 0.05, "biases are free"


def assert_normal(network: nn.Module) -> None:
    """Every layer that has a norm has it."""
    kinds = set()
    for layer in network.modules():
        if isinstance(layer, UnitDense):
            norms = layer.weight.norm(dim=-1)
            assert torch.allclose(norms, torch.ones(len(norms)), atol=1e-5)
        elif isinstance(layer, UnitBatchNorm):
            both = torch.cat((layer.weight, layer.bias))
            assert both.norm().item() == pytest.approx(len(layer.weight) ** 0.5, rel=1e-5)
        elif isinstance(layer, UnitRMSNorm):
            width = len(layer.weight)
            assert layer.weight.norm().item() == pytest.approx(width**0.5, rel=1e-5)
        kinds.add(type(layer))
    assert {UnitDense, UnitBatchNorm, UnitRMSNorm} <= kinds


@pytest.mark.parametrize("updates", [0, 6])
def test_exported_policy_is_the_policy(updates: int) -> None:
    """Folded into plain layers it acts the same, on ordinary and extreme observations."""
    learner = lived(updates)
    scale = torch.logspace(-2, 2, 64)[:, None]
    obs, noise = scale * torch.randn(64, SIZES.obs), torch.randn(64, SIZES.action)
    before = copied(learner)
    with torch.no_grad():
        expected = learner.actor.sample(obs, noise).action
        assert torch.allclose(learner.policy(obs, noise), expected, atol=1e-5)
    assert equal(copied(learner), before), "asking moves no statistics (trap 17)"


def test_rates_of_the_recipe() -> None:
    """Critics end at 1.5e-4; policy and temperature, at half the steps, at 2.25e-4.

    That shares go by an optimiser's own steps is shown in test_schedules.py (trap 28).
    """
    config = recipe.find("flash").algorithm
    schedule = Schedule(config.schedule, config.schedule_steps, config.final_lr)
    learner = FlashSAC(CONFIG, SIZES, seed=0)
    for number in range(4):
        learner.update(batch(number))
    steps = {name: one.steps for name, one in learner.optimisers.items()}
    assert steps == {"critics": 4, "actor": 2, "alpha": 2}
    share = {name: schedule.share(250_000 * made) for name, made in steps.items()}
    assert config.critic_lr * share["critics"] == pytest.approx(1.5e-4)
    assert config.actor_lr * share["actor"] == pytest.approx(2.25e-4)


def test_target_entropy() -> None:
    """½·ln(2πe·0.15²) = -0.478 for every action, from the number of actions alone (trap 7)."""
    assert gaussian_entropy(0.15) == pytest.approx(-0.478, abs=5e-4)
    assert gaussian_entropy(1.0) == pytest.approx(0.5 * (1 + math.log(2 * math.pi)))
    assert lived(0).target_entropy == pytest.approx(3 * gaussian_entropy(0.15))


def test_noise_is_held_as_the_recipe_says() -> None:
    """Up to 16 steps; the robot does it, told by the contract."""
    assert lived(0).exploration_hold == 16


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden": (128, 64)}, "flash.hidden is [128, 64]; expected the same width for every"),
        ({"critic_hidden": (8, 9, 8)}, "flash.critic_hidden is [8, 9, 8]; expected the same"),
        ({"bins": 1}, "flash.bins is 1; expected at least 2"),
        ({"value_bound": 0.0}, "flash.value_bound is 0.0; expected a positive number"),
        ({"expansion": 0}, "flash.expansion is 0; expected a positive number"),
        ({"target_std": -1.0}, "flash.target_std is -1.0; expected a positive number"),
        ({"noise_hold": 0}, "flash.noise_hold is 0; expected a number from 1 to 1000"),
        ({"log_std_min": 3.0}, "flash.log_std_min is 3.0, not below log_std_max 2.0"),
    ],
)
def test_numbers_that_make_no_sense(changes: dict[str, object], reason: str) -> None:
    """Each in its own words, and one line."""
    (problem,) = FlashConfig(**changes).problems()  # type: ignore[arg-type]
    assert problem.startswith(reason)
