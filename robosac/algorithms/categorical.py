"""Values as distributions over evenly spaced numbers.

Bellemare et al. 2017, arXiv 1707.06887.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Support(nn.Module):
    """Evenly spaced values from -bound to bound that a categorical distribution is over."""

    def __init__(self, *, bound: float, bins: int) -> None:
        """Space so many values evenly."""
        super().__init__()
        self._bound = bound
        self._spacing = 2 * bound / (bins - 1)
        self.values: Tensor
        """Shape (bins,)."""
        self.register_buffer("values", torch.linspace(-bound, bound, bins), persistent=False)

    def mean(self, log_probability: Tensor) -> Tensor:
        """Expected values (...) of log probabilities (..., bins)."""
        return (log_probability.exp() * self.values).sum(-1)

    def project(self, probability: Tensor, at: Tensor) -> Tensor:
        """Distribution (B, bins) on the support of probabilities (B, bins) at other values.

        Every probability is shared by the two nearest values so that its mean stays; what lies
        outside the support goes to its edge.  Algorithm 1.
        """
        place = ((at + self._bound) / self._spacing).clamp(0, len(self.values) - 1)
        below = place.floor()
        share = place - below
        index = below.long()
        above = (index + 1).clamp(max=len(self.values) - 1)
        projected = torch.zeros_like(probability)
        projected.scatter_add_(1, index, probability * (1 - share))
        return projected.scatter_add_(1, above, probability * share)


def least(log_probability: Tensor, mean: Tensor) -> Tensor:
    """Of N distributions (N, B, bins) the one with the least mean (N, B), row by row: (B, bins)."""
    rows = torch.arange(mean.shape[1], device=mean.device)
    return log_probability[mean.argmin(0), rows]


def cross_entropy(log_probability: Tensor, target: Tensor) -> Tensor:
    """Mean over N critics and rows of -Σ p·log q, q (N, B, bins) and p (B, bins); section 4.

    Raises ValueError on other shapes.
    """
    if log_probability.dim() != 3 or target.shape != log_probability.shape[1:]:  # noqa: PLR2004 -- critics, rows and bins
        raise ValueError(
            f"target has shape {tuple(target.shape)}; expected {tuple(log_probability.shape[1:])}, "
            "one distribution per row"
        )
    return -(target * log_probability).sum(-1).mean()
