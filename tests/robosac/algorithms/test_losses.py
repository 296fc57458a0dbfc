"""Losses against numbers worked by hand; equations of Haarnoja et al. 2018, arXiv 1812.05905."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.backups import clipped
from robosac.algorithms.losses import (
    actor_loss,
    bellman_target,
    critic_loss,
    linear_temperature_loss,
    reinforce_loss,
    soft_value,
    squared_error,
    temperature_loss,
    value_loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def tensor(*values: object) -> Tensor:
    """Shorthand for a tensor of floats."""
    return torch.tensor(values, dtype=torch.float32)


def test_soft_target_by_hand() -> None:
    """Equations 2, 3, 5: 1 + 0.5·(min(3, 4) + 0.1·1) = 2.55; 2 + 0.5·(min(5, 1) - 0.1·7) = 2.15."""
    next_q = tensor([3, 5], [4, 1])
    target = bellman_target(
        reward=tensor(1, 2),
        discount=tensor(0.5, 0.5),
        next_value=soft_value(clipped(next_q), tensor(-1, 7), alpha=torch.tensor(0.1)),
    )
    assert torch.allclose(target, tensor(2.55, 2.15))


def test_critics_with_targets_of_their_own() -> None:
    """(N, B): 1 + 0.5·(3 - 0.1·2) = 2.4 for one critic, 1 + 0.5·(4 - 0.1·2) = 2.9 for the other."""
    value = soft_value(tensor([3], [4]), tensor(2), alpha=torch.tensor(0.1))
    target = bellman_target(reward=tensor(1), discount=tensor(0.5), next_value=value)
    assert torch.allclose(target, tensor([2.4], [2.9]))
    assert critic_loss(tensor([2.4], [1.9]), target).item() == pytest.approx(0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1e6])
def test_target_of_a_terminated_row_is_its_reward(alpha: float) -> None:
    """The mask takes the entropy away together with the value, exactly (trap 11).

    Put back by adding -discount-free α·log π to the target: the first row is then not its reward.
    """
    target = bellman_target(
        reward=tensor(-0.3, 1.7),
        discount=tensor(0, 0.99),
        next_value=soft_value(tensor(123, 1), tensor(9, 9), alpha=torch.tensor(alpha)),
    )
    assert target[0] == torch.tensor(-0.3)
    assert target[1] != torch.tensor(1.7)


def test_critic_loss_by_hand() -> None:
    """Equation 5: ½·(mean(1², 2²) + mean(2², 1²)) = 2.5; its gradient is (q - target) / B."""
    q = tensor([1, 3], [2, 2]).requires_grad_()
    loss = critic_loss(q, tensor(0, 1))
    assert loss.item() == 2.5
    (gradient,) = torch.autograd.grad(loss, q)
    assert torch.equal(gradient, tensor([0.5, 1], [1, 0.5]))


def test_squared_error_by_hand() -> None:
    """Equation 4 of arXiv 1509.02971: mean(1², 2²) + mean(2², 1²) = 5, twice the loss of SAC."""
    assert squared_error(tensor([1, 3], [2, 2]), tensor(0, 1)).item() == 5


def test_value_loss_by_hand() -> None:
    """Equation 5 of arXiv 1801.01290: ½·mean(1², 3²) = 2.5; its gradient is (V - target) / B."""
    value = tensor(1, 4).requires_grad_()
    loss = value_loss(value, tensor(0, 1))
    assert loss.item() == 2.5
    assert torch.equal(torch.autograd.grad(loss, value)[0], tensor(0.5, 1.5))


def test_actor_loss_by_hand() -> None:
    """Equations 7 and 9: mean(0.5·(-1) - min(1, 2), 0.5·2 - min(5, 4)) = -2.25."""
    q = tensor([1, 5], [2, 4]).requires_grad_()
    log_prob = tensor(-1, 2).requires_grad_()
    loss = actor_loss(value=clipped(q), log_prob=log_prob, alpha=torch.tensor(0.5))
    assert loss.item() == -2.25
    for_q, for_log_prob = torch.autograd.grad(loss, (q, log_prob))
    assert torch.equal(for_q, tensor([-0.5, 0], [0, -0.5])), "only the smaller critic counts"
    assert torch.equal(for_log_prob, tensor(0.25, 0.25))


def test_reinforce_loss_by_hand() -> None:
    """Two actions of two states: -mean(1·2, 0·3, -1·4, 2·1) = 0; no gradient reaches Q."""
    log_prob = tensor([1, 0], [-1, 2]).requires_grad_()
    value = tensor([2, 3], [4, 1]).requires_grad_()
    loss = reinforce_loss(value=value, log_prob=log_prob)
    assert loss.item() == 0
    for_log_prob, for_value = torch.autograd.grad(loss, (log_prob, value), allow_unused=True)
    assert torch.equal(for_log_prob, -value.detach() / 4)
    assert for_value is None


@pytest.mark.parametrize(
    ("log_prob", "gradient"),
    [
        (
            tensor(8, 8),
            -2.0,
        ),  # entropy -8 is under the target -6: descending raises the temperature
        (tensor(1, 3), 4.0),  # entropy -2 is above it: descending lowers the temperature
        (tensor(5, 7), 0.0),  # entropy -6 is the fixed point
    ],
)
@pytest.mark.parametrize("log_alpha", [0.0, -5.0])
def test_temperature_follows_the_entropy(
    log_prob: Tensor, gradient: float, log_alpha: float
) -> None:
    """Equation 18 on log α: the gradient is -(mean log π + target), whatever α is."""
    logarithm = torch.tensor(log_alpha, requires_grad=True)
    loss = temperature_loss(log_alpha=logarithm, log_prob=log_prob, target_entropy=-6.0)
    assert loss.item() == pytest.approx(gradient * log_alpha)
    assert torch.autograd.grad(loss, logarithm)[0].item() == gradient


@pytest.mark.parametrize("log_alpha", [0.0, -5.0])
def test_temperature_loss_on_alpha_has_the_same_fixed_point(log_alpha: float) -> None:
    """Written on α the step is proportional to α, written on log α it is not (trap 6)."""
    logarithm = torch.tensor(log_alpha, requires_grad=True)
    for log_prob, factor in ((tensor(8, 8), -2.0), (tensor(1, 3), 4.0), (tensor(5, 7), 0.0)):
        loss = linear_temperature_loss(log_alpha=logarithm, log_prob=log_prob, target_entropy=-6.0)
        (gradient,) = torch.autograd.grad(loss, logarithm)
        assert gradient.item() == pytest.approx(factor * math.exp(log_alpha), rel=1e-6)


@pytest.mark.parametrize("written", [temperature_loss, linear_temperature_loss])
def test_temperature_loss_leaves_the_policy_alone(written: Callable[..., Tensor]) -> None:
    """No gradient flows from the temperature into the log density (trap 6).

    Put back by dropping the detach().
    """
    log_prob = tensor(1, 3).requires_grad_()
    logarithm = torch.tensor(0.5, requires_grad=True)
    written(log_alpha=logarithm, log_prob=log_prob, target_entropy=-6.0).backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is None
    assert logarithm.grad is not None


ROWS, BOTH = (4,), (2, 4)
ALPHA = torch.tensor(0.1)
LOSSES: list[tuple[Callable[..., Tensor], dict[str, tuple[int, ...]]]] = [
    (bellman_target, {"reward": ROWS, "discount": ROWS, "next_value": ROWS}),
    (bellman_target, {"reward": ROWS, "discount": ROWS, "next_value": BOTH}),
    (partial(soft_value, alpha=ALPHA), {"q": ROWS, "log_prob": ROWS}),
    (partial(soft_value, alpha=ALPHA), {"q": BOTH, "log_prob": ROWS}),
    (critic_loss, {"q": BOTH, "target": ROWS}),
    (critic_loss, {"q": BOTH, "target": BOTH}),
    (squared_error, {"q": BOTH, "target": ROWS}),
    (value_loss, {"value": ROWS, "target": ROWS}),
    (partial(actor_loss, alpha=ALPHA), {"value": ROWS, "log_prob": ROWS}),
    (reinforce_loss, {"value": BOTH, "log_prob": BOTH}),
]
WRONG = [(4, 1), (1,), (), (2, 1), (2, 4, 1), (3, 4)]


@pytest.mark.parametrize(
    ("loss", "shapes", "wrong"),
    [(loss, shapes, name) for loss, shapes in LOSSES for name in shapes],
)
@pytest.mark.parametrize("shape", WRONG)
def test_wrong_shapes_are_refused_by_name(
    loss: Callable[..., Tensor],
    shapes: dict[str, tuple[int, ...]],
    wrong: str,
    shape: tuple[int, ...],
) -> None:
    """(B, 1) - (B,) would broadcast to (B, B) and learn nonsense in silence (trap 12).

    Put back by dropping the check of a loss.
    """
    tensors = {name: torch.zeros(size) for name, size in shapes.items()}
    assert loss(**tensors).isfinite().all()
    if len(shape) == 2 and shape[1] == 4 and wrong in {"next_value", "q"}:
        return  # three critics are as good as two
    with pytest.raises(ValueError, match=r"^\w+ has shape .*expected"):
        loss(**tensors | {wrong: torch.zeros(shape)})
