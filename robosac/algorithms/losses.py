"""The losses of soft actor-critic, one function each.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def soft_target(
    *, reward: Tensor, discount: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor
) -> Tensor:
    """Soft Bellman target with clipped double Q: r + γ(1-terminated)·(min Q' - α·log π').

    Shapes: reward, discount, next_log_prob (B,); next_q (N, B); alpha ().  Returns (B,).
    The discount masks the entropy together with the value: a terminated row's target is its reward.
    Raises ValueError on other shapes.  Equations 2, 3 and 5.
    """
    _check_values(next_q=next_q)
    _check_rows(next_q, reward=reward, discount=discount, next_log_prob=next_log_prob)
    return reward + discount * (next_q.amin(0) - alpha * next_log_prob)


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Half mean squared Bellman error, summed over the critics; equation 5.

    Shapes: q (N, B); target (B,).  Raises ValueError on others.
    """
    _check_values(q=q)
    _check_rows(q, target=target)
    return 0.5 * (q - target).square().mean(1).sum()


def actor_loss(*, q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """Mean of α·log π - min Q over a batch; equations 7 and 9.

    Shapes: q (N, B); log_prob (B,); alpha ().  Raises ValueError on others.
    """
    _check_values(q=q)
    _check_rows(q, log_prob=log_prob)
    return (alpha * log_prob - q.amin(0)).mean()


def temperature_loss(*, log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Raise the temperature while the entropy is under its target; log_prob (B,).

    Written on log α, whose step does not shrink with α.  Equation 18.
    """
    return -log_alpha * (log_prob.detach().mean() + target_entropy)


def _check_values(**tensors: Tensor) -> None:
    """Refuse what is not one value per critic and row, (N, B)."""
    for name, tensor in tensors.items():
        if tensor.dim() != 2:  # noqa: PLR2004 -- critics and rows
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected (critics, rows)")


def _check_rows(values: Tensor, **tensors: Tensor) -> None:
    """Refuse what is not one number per row of `values` (N, B): it could broadcast to (B, B)."""
    for name, tensor in tensors.items():
        if tensor.shape != values.shape[1:]:
            got, expected = tuple(tensor.shape), tuple(values.shape[1:])
            raise ValueError(f"{name} has shape {got}; expected {expected}, one number per row")
