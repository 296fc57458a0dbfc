"""The losses of soft actor-critic and of what came before it, one function each.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", arXiv 1812.05905, unless
another paper is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def bellman_target(*, reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """Bellman target r + γ(1-terminated)·V'; equations 2 and 3.

    Shapes: reward, discount (B,); next_value (B,), or (N, B) where every critic has its own target.
    Returns next_value's shape.  Raises ValueError on other shapes.
    """
    _check_rows(reward=reward, discount=discount)
    if next_value.shape[-1:] != reward.shape or next_value.dim() > 2:  # noqa: PLR2004 -- critics and rows
        _refuse("next_value", next_value, reward)
    return reward + discount * next_value


def soft_value(q: Tensor, log_prob: Tensor, *, alpha: Tensor) -> Tensor:
    """Value Q - α·log π of a state whose action was drawn from the policy; equation 3.

    Shapes: q (B,), or (N, B) for every critic by itself; log_prob (B,); alpha ().  Returns q's
    shape.  In bellman_target() the discount takes the entropy away together with the value.
    Raises ValueError on other shapes.
    """
    if q.shape[-1:] != log_prob.shape or q.dim() > 2:  # noqa: PLR2004 -- critics and rows
        _refuse("log_prob", log_prob, q)
    return q - alpha * log_prob


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Half mean squared Bellman error, summed over the critics; equation 5.

    Shapes: q (N, B); target (B,) for all critics, or (N, B).  Raises ValueError on others.
    """
    return 0.5 * squared_error(q, target)


def squared_error(q: Tensor, target: Tensor) -> Tensor:
    """Mean squared Bellman error, summed over the critics; arXiv 1509.02971, equation 4.

    Shapes as in critic_loss().
    """
    _check_values(q=q)
    if target.shape not in {q.shape, q.shape[1:]}:
        _refuse("target", target, q[0])
    return (q - target).square().mean(1).sum()


def value_loss(value: Tensor, target: Tensor) -> Tensor:
    """Half mean squared error of a state value, (B,) both; arXiv 1801.01290, equation 5."""
    _check_rows(value=value, target=target)
    return 0.5 * (value - target).square().mean()


def actor_loss(*, value: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """Mean of α·log π - Q over a batch; equations 7 and 9.

    Shapes: value (B,), the Q that the policy climbs; log_prob (B,); alpha ().  Raises ValueError
    on others.
    """
    _check_rows(value=value, log_prob=log_prob)
    return (alpha * log_prob - value).mean()


def reinforce_loss(*, value: Tensor, log_prob: Tensor) -> Tensor:
    """Score-function form of -E[Q]: minus the mean of log π·Q, with no gradient through Q.

    Shapes: value and log_prob (M, B) of M actions per state, which were drawn without gradient.
    Williams 1992, "Simple statistical gradient-following algorithms", equation 2, without baseline.
    """
    _check_values(value=value, log_prob=log_prob)
    if value.shape != log_prob.shape:
        _refuse("log_prob", log_prob, value)
    return -(log_prob * value.detach()).mean()


def temperature_loss(*, log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Raise the temperature while the entropy is under its target; log_prob (B,).

    Written on log α, whose step does not shrink with α.  Equation 18.
    """
    return -log_alpha * (log_prob.detach().mean() + target_entropy)


def linear_temperature_loss(
    *, log_alpha: Tensor, log_prob: Tensor, target_entropy: float
) -> Tensor:
    """As temperature_loss(), written on α as equation 18 is: steps are proportional to α."""
    return -log_alpha.exp() * (log_prob.detach().mean() + target_entropy)


def _check_values(**tensors: Tensor) -> None:
    """Refuse what is not one value per critic and row, (N, B)."""
    for name, tensor in tensors.items():
        if tensor.dim() != 2:  # noqa: PLR2004 -- critics and rows
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected (critics, rows)")


def _check_rows(**tensors: Tensor) -> None:
    """Refuse what is not one number per row, (B,): it could broadcast to (B, B)."""
    first = next(iter(tensors.values()))
    for name, tensor in tensors.items():
        if tensor.dim() != 1 or tensor.shape != first.shape:
            _refuse(name, tensor, first)


def _refuse(name: str, tensor: Tensor, rows: Tensor) -> None:
    got, expected = tuple(tensor.shape), tuple(rows.shape[-1:])
    raise ValueError(f"{name} has shape {got}; expected {expected}, one number per row")
