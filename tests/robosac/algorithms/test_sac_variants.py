"""What the options of soft actor-critic change, each by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from robosac import recipe
from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.catalogue import build
from robosac.algorithms.config import SACConfig
from robosac.algorithms.crossq import CrossQ
from robosac.algorithms.flash import FlashSAC
from robosac.algorithms.networks import Critics, Dropout, draw
from robosac.algorithms.sac import SAC
from tests.robosac.algorithms.conftest import SIZES, Noted, batch, changed, copied, part

SMALL = (16, 16)


def make(**changes: object) -> SAC:
    """A small one."""
    return SAC(SACConfig(hidden=SMALL, **changes), SIZES, seed=0)  # type: ignore[arg-type]


class LogDensity(nn.Module):
    """A critic whose value is the temperature times the log density of a known policy.

    The soft-optimal policy is then that one, by equation 4: π ∝ exp(Q/α).
    """

    def __init__(self, mean: Tensor, log_std: Tensor, alpha: float) -> None:
        super().__init__()
        self._mean, self._log_std, self._alpha = mean, log_std, alpha

    def forward(self, obs: Tensor, action: Tensor, **_: object) -> Tensor:
        """Values (2, B), the same twice."""
        del obs
        pre = torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6))
        noise = (pre - self._mean) / self._log_std.exp()
        value = self._alpha * draw(self._mean, self._log_std.expand_as(pre), noise).log_prob
        return value.expand(2, -1)


@pytest.mark.parametrize(
    ("gradient", "samples", "updates"), [("reparametrised", 1, 250), ("reinforce", 8, 250)]
)
def test_both_gradients_find_the_policy_that_is_known(
    gradient: str, samples: int, updates: int
) -> None:
    """Where Q = α·log π* of a squashed Gaussian π*, improvement ends at π*; equation 4.

    Both gradients must agree, as in CS285.  Fails when the sign of either part of the reinforce
    gradient is turned, when its actions or values keep a gradient, or when the entropy is dropped.
    """
    sac = make(
        actor_gradient=gradient,
        action_samples=samples,
        actor_lr=2e-2,
        initial_alpha=0.5,
        temperature="fixed",
    )
    mean, log_std = torch.tensor([0.4, -0.5, 0.0]), torch.tensor([-0.7, -1.2, -0.3])
    sac.critics = LogDensity(mean, log_std, 0.5)  # type: ignore[assignment]
    rows = batch(rows=256)._replace(obs=torch.zeros(256, SIZES.obs))
    for _ in range(updates):
        sac._update_actor(rows, torch.tensor(0.5))  # noqa: SLF001 -- improvement alone
    found_mean, found_log_std = sac.actor.distribution(torch.zeros(1, SIZES.obs))
    assert torch.allclose(found_mean[0], mean, atol=0.15)
    assert torch.allclose(found_log_std[0], log_std, atol=0.2)


def test_reinforce_averages_over_its_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four actions per state: values and densities are (4, B), drawn without gradient."""
    sac = make(actor_gradient="reinforce", action_samples=4)
    noted = Noted(monkeypatch, "reinforce_loss")
    sac.update(batch())
    assert noted.calls[0]["value"].shape == noted.calls[0]["log_prob"].shape == (4, 32)
    assert len({tuple(row.tolist()) for row in noted.calls[0]["value"]}) == 4


@pytest.mark.parametrize(("choice", "reduce"), [("min", torch.amin), ("mean", torch.mean)])
def test_policy_climbs_what_it_was_told(
    monkeypatch: pytest.MonkeyPatch, choice: str, reduce: object
) -> None:
    """The least or the mean of the critics at the policy's action."""
    sac = make(actor_value=choice, critics=3)
    noted, rows = Noted(monkeypatch, "actor_loss"), batch()
    values: list[Tensor] = []
    forward = Critics.forward

    def spy(critics: Critics, obs: Tensor, action: Tensor, **options: object) -> Tensor:
        values.append(forward(critics, obs, action, **options))  # type: ignore[arg-type]
        return values[-1]

    monkeypatch.setattr(Critics, "forward", spy)
    sac.update(rows)
    assert torch.equal(noted.calls[0]["value"], reduce(values[-1], 0).detach())  # type: ignore[operator]


def test_hard_targets() -> None:
    """With τ = 1 every third update the targets are a copy, and stand still in between."""
    sac = make(tau=1.0, target_every=3)
    start = part(copied(sac), "targets")
    for number in range(1, 7):
        before = part(copied(sac), "targets")
        sac.update(batch(number))
        after = copied(sac)
        if number % 3:
            assert not changed(before, part(after, "targets"))
        else:
            for name, target in part(after, "targets").items():
                assert torch.equal(target, after[name.replace("targets", "critics", 1)])
    assert changed(start, part(copied(sac), "targets"))


def test_fixed_temperature_stays() -> None:
    """It acts in every loss and is learned in none."""
    sac = make(temperature="fixed", initial_alpha=0.3)
    for number in range(3):
        metrics = sac.update(batch(number))
    assert metrics["alpha"].item() == pytest.approx(0.3)
    assert sac.log_alpha.item() == pytest.approx(math.log(0.3))


@pytest.mark.parametrize("loss", ["log_alpha", "alpha"])
def test_learned_temperature_rises_while_the_policy_is_too_certain(loss: str) -> None:
    """Its optimiser was made after it, and moves it (trap 10).

    Put back by exchanging log_alpha for another tensor after the optimisers were built.
    """
    sac = make(temperature=loss, target_entropy_scale=-10.0, alpha_lr=0.01)
    for number in range(5):
        sac.update(batch(number))
    assert sac.log_alpha.item() == pytest.approx(math.log(0.1) + 0.05, abs=1e-3)


def test_temperature_is_learned_on_what_the_recipe_says() -> None:
    """The first gradient on α is α times that on log α, here 0.2 (trap 6).

    Put back by exchanging the two: Adam hides it at the first step, and not for long.
    """
    learners = {loss: make(temperature=loss, initial_alpha=0.2) for loss in ("alpha", "log_alpha")}
    gradient = {}
    for loss, sac in learners.items():
        sac.update(batch())
        gradient[loss] = sac.state()["adam.alpha.mean.0"].item()
    assert gradient["alpha"] == pytest.approx(0.2 * gradient["log_alpha"])


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    """A fifth of the units is zero, the others are 1/0.8 as large; none if nobody draws."""
    layer, x = Dropout(0.2), torch.ones(100, 400)
    assert layer(x, None) is x
    dropped = layer(x, make().quarters)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert dropped.max().item() == pytest.approx(1.25, rel=1e-5)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)


def test_dropout_comes_before_normalisation() -> None:
    """Dense, dropout, layer normalisation, ReLU; arXiv 2110.02034, figure 1."""
    critics = Critics(5, members=1, hidden=(8,), layer_norm=True, dropout=0.1)
    names = [type(layer).__name__ for layer in critics[0].children()]
    assert names == ["Dense", "Dropout", "LayerNorm", "ReLU", "Dense"]


def test_droq_drops_units_in_all_three_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets, critics and the policy's critics: each is asked with the algorithm's numbers."""
    sac = make(dropout=0.1)
    seen: list[object] = []
    forward = Critics.forward

    def spy(critics: Critics, obs: Tensor, action: Tensor, **options: object) -> Tensor:
        seen.append(options["dropping"])
        return forward(critics, obs, action, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Critics, "forward", spy)
    sac.update(batch())
    assert seen == [sac.quarters] * 3


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("sac", -12.0),
        ("layernorm", -6.0),
        ("realtime", -6.0),
        ("droq", -6.0),
        ("redq", -6.0),
        ("crossq", -12.0),
        ("flash", 12 * -0.478),
    ],
)
def test_target_entropy_of_the_recipes(name: str, target: float) -> None:
    """Of a robot with twelve joints, from the number of actions alone (trap 7).

    Put back by counting anything else, such as an axis of the batch, or by another recipe's scale.
    """
    algorithm = build(recipe.find(name).algorithm, Sizes(obs=3, extra=1, action=12), seed=0)
    assert isinstance(algorithm, SAC | CrossQ | FlashSAC)
    assert algorithm.target_entropy == pytest.approx(target, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("sac", "log_alpha"),
        ("layernorm", "log_alpha"),
        ("realtime", "log_alpha"),
        ("droq", "alpha"),
        ("redq", "log_alpha"),
    ],
)
def test_temperature_losses_of_the_recipes(name: str, loss: str) -> None:
    """As published: on log α, and for DroQ on α (trap 6)."""
    config = recipe.find(name).algorithm
    assert isinstance(config, SACConfig)
    assert config.temperature == loss


def test_rates_of_the_recipes() -> None:
    """One step of the policy per step of the robot at twenty updates each, as published."""
    for name in ("droq", "redq"):
        found = recipe.find(name)
        assert isinstance(found.algorithm, SACConfig)
        assert found.learner.utd == found.algorithm.policy_delay == 20
