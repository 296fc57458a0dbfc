"""Losses against numbers worked by hand; equations of Haarnoja et al. 2018, arXiv 1812.05905."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.losses import actor_loss, critic_loss, soft_target, temperature_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def tensor(*values: object) -> Tensor:
    """Shorthand for a tensor of floats."""
    return torch.tensor(values, dtype=torch.float32)


def test_soft_target_by_hand() -> None:
    """Equations 2, 3, 5: 1 + 0.5·(min(3, 4) + 0.1·1) = 2.55; 2 + 0.5·(min(5, 1) - 0.1·7) = 2.15."""
    target = soft_target(
        reward=tensor(1, 2),
        discount=tensor(0.5, 0.5),
        next_q=tensor([3, 5], [4, 1]),
        next_log_prob=tensor(-1, 7),
        alpha=torch.tensor(0.1),
    )
    assert torch.allclose(target, tensor(2.55, 2.15))


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1e6])
def test_target_of_a_terminated_row_is_its_reward(alpha: float) -> None:
    """The mask takes the entropy away together with the value, exactly."""
    target = soft_target(
        reward=tensor(-0.3, 1.7),
        discount=tensor(0, 0.99),
        next_q=tensor([123, 1], [456, 2]),
        next_log_prob=tensor(9, 9),
        alpha=torch.tensor(alpha),
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


def test_actor_loss_by_hand() -> None:
    """Equations 7 and 9: mean(0.5·(-1) - min(1, 2), 0.5·2 - min(5, 4)) = -2.25."""
    q = tensor([1, 5], [2, 4]).requires_grad_()
    log_prob = tensor(-1, 2).requires_grad_()
    loss = actor_loss(q=q, log_prob=log_prob, alpha=torch.tensor(0.5))
    assert loss.item() == -2.25
    for_q, for_log_prob = torch.autograd.grad(loss, (q, log_prob))
    assert torch.equal(for_q, tensor([-0.5, 0], [0, -0.5])), "only the smaller critic counts"
    assert torch.equal(for_log_prob, tensor(0.25, 0.25))


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


def test_temperature_loss_leaves_the_policy_alone() -> None:
    """No gradient flows from the temperature into the log density."""
    log_prob = tensor(1, 3).requires_grad_()
    logarithm = torch.tensor(0.5, requires_grad=True)
    temperature_loss(log_alpha=logarithm, log_prob=log_prob, target_entropy=-6.0).backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is None
    assert logarithm.grad is not None


TENSORS = {
    "reward": torch.zeros(4),
    "discount": torch.zeros(4),
    "next_q": torch.zeros(2, 4),
    "next_log_prob": torch.zeros(4),
    "q": torch.zeros(2, 4),
    "target": torch.zeros(4),
    "log_prob": torch.zeros(4),
}
LOSSES: list[tuple[Callable[..., Tensor], tuple[str, ...]]] = [
    (soft_target, ("reward", "discount", "next_q", "next_log_prob")),
    (critic_loss, ("q", "target")),
    (actor_loss, ("q", "log_prob")),
]


@pytest.mark.parametrize(
    ("loss", "names", "wrong"), [(loss, names, name) for loss, names in LOSSES for name in names]
)
@pytest.mark.parametrize("shape", [(4, 1), (1,), (), (2, 1), (2, 4, 1)])
def test_wrong_shapes_are_refused_by_name(
    loss: Callable[..., Tensor], names: tuple[str, ...], wrong: str, shape: tuple[int, ...]
) -> None:
    """(B, 1) - (B,) would broadcast to (B, B) and learn nonsense in silence."""
    tensors = {name: TENSORS[name] for name in names}
    if loss is not critic_loss:
        tensors["alpha"] = torch.tensor(0.1)
    assert loss(**tensors).isfinite().all()
    swapped = tensors | {wrong: torch.zeros(shape)}
    if wrong in {"q", "next_q"} and len(shape) == 2:
        # Values of other rows: then it is the rows that do not fit them.
        wrong = next(name for name in names if name != wrong)
    with pytest.raises(ValueError, match=rf"^{wrong} has shape .*expected"):
        loss(**swapped)
