"""One update of soft actor-critic: who is changed by what, and that nothing else matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.config import SACConfig
from robosac.algorithms.sac import SAC
from tests.robosac.algorithms.conftest import SIZES, batch, changed, copied, equal, part

if TYPE_CHECKING:
    from torch import Tensor

SMALL = SACConfig(hidden=(16, 16))


def make(config: SACConfig = SMALL, *, seed: int = 0) -> SAC:
    """Build a small learner."""
    return SAC(config, SIZES, seed=seed)


def with_rates(*, actor: float = 3e-4, critic: float = 3e-4, alpha: float = 3e-4) -> SAC:
    """A learner after one update at these learning rates."""
    sac = make(SACConfig(hidden=(16, 16), actor_lr=actor, critic_lr=critic, alpha_lr=alpha))
    sac.update(batch())
    return sac


def test_an_update_changes_every_part() -> None:
    """Nothing is forgotten: three networks, the temperature, the noise, all moments."""
    sac = make()
    before = copied(sac)
    sac.update(batch())
    parts = {"actor", "critics", "targets", "log_alpha", "generator", "adam"}
    assert changed(before, copied(sac)) == parts
    unchanged = [name for name, tensor in sac.state().items() if torch.equal(tensor, before[name])]
    assert not unchanged
    assert sac.updates == 1


def test_policy_and_temperature_leave_the_critics_alone() -> None:
    """The first step of the critics is the same whatever the other two learning rates are."""
    one, other = with_rates(), with_rates(actor=1.0, alpha=1.0)
    assert equal(part(one.state(), "critics"), part(other.state(), "critics"))
    assert not equal(part(one.state(), "actor"), part(other.state(), "actor"))


def test_temperature_leaves_the_policy_alone() -> None:
    """The first step of the policy is the same whatever the temperature's rate is (trap 6).

    Put back by moving the temperature before the policy.
    """
    one, other = with_rates(), with_rates(alpha=1.0)
    assert equal(part(one.state(), "actor"), part(other.state(), "actor"))
    assert not torch.equal(one.log_alpha, other.log_alpha)


def test_no_gradient_is_left_anywhere() -> None:
    """The policy's loss builds none for critics; requires_grad is afterwards what it was before."""
    sac = make()
    sac.update(batch())
    networks = (sac.actor, sac.critics, sac.targets)
    assert all(one.grad is None for network in networks for one in network.parameters())
    assert sac.log_alpha.grad is None
    assert [{one.requires_grad for one in network.parameters()} for network in networks] == [
        {True},
        {True},
        {False},
    ]


def test_policy_step_needs_no_gradient_of_the_critics(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the policy's action is valued, the critics' weights are frozen."""
    sac = make()
    seen: list[tuple[bool, bool]] = []
    forward = type(sac.critics).forward

    def spy(critics: torch.nn.Module, obs: Tensor, action: Tensor, **options: object) -> Tensor:
        frozen = not any(one.requires_grad for one in critics.parameters())
        seen.append((action.requires_grad, frozen))
        return forward(critics, obs, action, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(type(sac.critics), "forward", spy)
    sac.update(batch())
    assert seen == [(False, True), (False, False), (True, True)]  # targets, critics, policy


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_targets_follow_the_critics(tau: float) -> None:
    """Target ← (1-τ)·target + τ·critic, with the critic after its step."""
    sac = make(SACConfig(hidden=(16, 16), tau=tau))
    before = copied(sac)
    assert equal(
        {name.removeprefix("targets."): one for name, one in part(before, "targets").items()},
        {name.removeprefix("critics."): one for name, one in part(before, "critics").items()},
    )
    sac.update(batch())
    after = sac.state()
    for name, target in part(after, "targets").items():
        critic = after[name.replace("targets", "critics")]
        assert torch.allclose(target, (1 - tau) * before[name] + tau * critic, atol=1e-7)


def test_policy_delay() -> None:
    """With a delay of 2, policy and temperature move at the first and third of three updates."""
    sac = make(SACConfig(hidden=(16, 16), policy_delay=2))
    moved = []
    for number in range(3):
        before = copied(sac)
        metrics = sac.update(batch(number))
        moved.append("actor" in changed(before, copied(sac)))
        assert ("actor_loss" in metrics) == ("log_alpha" in changed(before, copied(sac)))
        assert "critics" in changed(before, copied(sac))
    assert moved == [True, False, True]


@pytest.mark.parametrize(("scale", "actions", "target"), [(1.0, 6, -6.0), (0.5, 12, -6.0)])
def test_target_entropy_counts_the_actions(scale: float, actions: int, target: float) -> None:
    """Minus so much per action."""
    config = SACConfig(hidden=(8,), target_entropy_scale=scale)
    sac = SAC(config, Sizes(3, 0, actions), seed=0)
    assert sac.target_entropy == target


def test_only_critics_see_the_extra_terms() -> None:
    """Other extra terms give other values, and the same policy and entropy."""
    one, other = make(), make()
    metrics, others = one.update(batch(extra=1.0)), other.update(batch(extra=5.0))
    assert torch.equal(metrics["entropy"], others["entropy"])
    assert not torch.equal(metrics["q"], others["q"])
    assert one.state()["actor.trunk.0.weight"].shape == (16, SIZES.obs)


def test_same_seed_same_bits() -> None:
    """Whatever torch's global generator holds; and the global generator is left alone."""
    torch.manual_seed(1)
    one = make()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = make()
    for number in range(3):
        one.update(batch(number))
        other.update(batch(number))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal(copied(one), copied(other))
    assert not equal(part(copied(one), "actor"), part(copied(make(seed=1)), "actor"))


def test_noise_has_a_generator_of_its_own() -> None:
    """Another stream of noise changes no initial weight, only what is drawn from then on."""
    one, other = make(), make()
    other.generator.manual_seed(12345)
    assert changed(copied(one), copied(other)) == {"generator"}
    one.update(batch())
    other.update(batch())
    assert not equal(part(one.state(), "actor"), part(other.state(), "actor"))


def test_first_noise_is_not_the_stream_that_drew_the_weights() -> None:
    """Weights and noise have seeds of their own."""
    sac = make()
    torch.manual_seed(sac.generator.initial_seed())
    assert not torch.equal(
        torch.nn.Linear(SIZES.obs, 16).weight, sac.state()["actor.trunk.0.weight"]
    )


def test_state_continues_to_the_bit() -> None:
    """3 updates, save, 3 more, equals restore and 3 more; also into a learner that has lived."""
    sac = make()
    for number in range(3):
        sac.update(batch(number))
    saved = copied(sac)
    fresh, used = make(seed=7), make(seed=8)
    used.update(batch(9))
    for other in (fresh, used):
        other.load_state(saved, updates=3)
        assert equal(copied(other), saved)
    for learner in (sac, fresh, used):
        for number in range(3, 6):
            learner.update(batch(number))
        assert learner.updates == 6
    assert equal(copied(sac), copied(fresh))
    assert equal(copied(sac), copied(used))


def test_loaded_state_is_a_copy() -> None:
    """Learning on does not change the tensors that were loaded."""
    saved = copied(make())
    sac = make(seed=1)
    sac.load_state(saved, updates=0)
    sac.update(batch())
    assert equal(saved, copied(make()))


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("log_alpha", None, "no tensor log_alpha"),
        ("adam.actor.mean.3", None, r"no tensor adam\.actor\.mean\.3"),
        ("generator", None, "no tensor generator"),
        ("critics.7.weight", torch.zeros(2), r"unknown tensor critics\.7\.weight"),
        ("targets.0.0.weight", torch.zeros(3, 3), r"targets\.0\.0\.weight is \(3, 3\).*expected"),
        ("log_alpha", torch.zeros((), dtype=torch.float64), "log_alpha is .*float64, expected"),
        ("generator", torch.zeros(3, dtype=torch.uint8), "generator is .*expected"),
    ],
)
def test_state_that_does_not_fit_is_refused_whole(
    name: str, value: Tensor | None, problem: str
) -> None:
    """Missing, unknown, mis-shaped: the error names the tensor, and nothing has changed."""
    tensors = copied(make(seed=1))
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    sac = make()
    before = copied(sac)
    with pytest.raises(ValueError, match=problem):
        sac.load_state(tensors, updates=5)
    assert equal(copied(sac), before)
    assert sac.updates == 0
