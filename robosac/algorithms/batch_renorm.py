"""Batch renormalisation: training sees nearly what the running statistics will give later.

Ioffe 2017, arXiv 1702.03275, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_EPSILON = 1e-3
_R_MAX, _D_MAX = 3.0, 5.0
"""How far a batch is corrected towards the running statistics: factor and shift."""


class BatchRenorm(nn.Module):
    """Normalises columns by those of the batch, corrected towards running statistics."""

    def __init__(self, width: int, *, momentum: float, warm_up: int) -> None:
        """Normalise so many columns; the first `warm_up` batches are not corrected."""
        super().__init__()
        self._momentum, self._warm_up = momentum, warm_up
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.batches: Tensor
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Normalise (B, H); only in training by the batch, which then moves the statistics."""
        if not training:
            scale, shift = self.affine()
            return x * scale + shift
        factor, offset = self._take(x.detach())
        # One kernel for all, gradients included; the correction is folded into scale and shift.
        scale, shift = self.weight * factor, self.bias + self.weight * offset
        return torch.batch_norm(x, scale, shift, None, None, True, 0.0, _EPSILON, False)  # noqa: FBT003 -- torch takes them by position

    @torch.no_grad()
    def _take(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Let the statistics of a batch (B, H) move the running ones; return its correction."""
        _, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, _EPSILON)  # noqa: FBT003 -- as above
        std = 1 / inverse
        factor, offset = self._correction(mean, std)
        self.running_mean.lerp_(mean, 1 - self._momentum)
        self.running_var.lerp_(std.square() - _EPSILON, 1 - self._momentum)
        self.batches += 1
        return factor, offset

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (H,) that this is outside training."""
        scale = self.weight / (self.running_var + _EPSILON).sqrt()
        return scale, self.bias - self.running_mean * scale

    def _correction(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """Factor r and shift d of a batch; no gradient flows through them."""
        running_std = (self.running_var + _EPSILON).sqrt()
        factor = (std / running_std).clamp(1 / _R_MAX, _R_MAX)
        offset = ((mean - self.running_mean) / running_std).clamp(-_D_MAX, _D_MAX)
        # Asked of the device and not of Python, which would have to wait for it.
        warm = self.batches >= self._warm_up
        return torch.where(warm, factor, 1.0), torch.where(warm, offset, 0.0)


@torch.no_grad()
def fold(norm: BatchRenorm, layer: nn.Linear, into: nn.Linear) -> None:
    """Write into a layer what normalisation outside training followed by a layer is."""
    scale, shift = norm.affine()
    into.weight.copy_(layer.weight * scale)
    into.bias.copy_(layer.bias + layer.weight @ shift)
