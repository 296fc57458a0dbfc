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
    Equations 2, 3 and 5.
    """
    _same_length(reward=reward, discount=discount, next_q=next_q[0], next_log_prob=next_log_prob)
    return reward + discount * (next_q.amin(0) - alpha * next_log_prob)


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Half mean squared Bellman error, summed over the critics; equation 5.

    Shapes: q (N, B); target (B,).
    """
    _same_length(q=q[0], target=target)
    return 0.5 * (q - target).square().mean(1).sum()


def actor_loss(*, q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """Mean of α·log π - min Q over a batch; q (N, B), log_prob (B,).  Equations 7 and 9."""
    _same_length(q=q[0], log_prob=log_prob)
    return (alpha * log_prob - q.amin(0)).mean()


def temperature_loss(*, log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Raise the temperature while the entropy is under its target; log_prob (B,).

    Written on log α, whose step does not shrink with α.  Equation 18.
    """
    return -log_alpha * (log_prob.detach().mean() + target_entropy)


def _same_length(**tensors: Tensor) -> None:
    """Refuse shapes that would broadcast to (B, B)."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(f"expected one value per row in every tensor, got shapes {shapes}")
