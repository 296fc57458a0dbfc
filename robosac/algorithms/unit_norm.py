"""Layers whose parameters have a fixed norm, which every step of an optimiser restores.

Only the direction of a weight is learned, so a step turns it by the same angle early and late.
Kim et al. 2026, arXiv 2604.04539.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

from robosac.algorithms.dense import Dense

_NORM_EPSILON = 1e-5
RMS_EPSILON = 1e-6
"""Added to mean squares before they are divided by."""


class UnitDense(Dense):
    """A linear layer, every row of whose weights has norm 1; the bias, if there is one, is free."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        """Draw orthogonal weights."""
        super().__init__(inputs, outputs)
        nn.init.orthogonal_(self.weight)
        if bias:
            nn.init.zeros_(self.bias)
        else:
            self.register_parameter("bias", None)

    def normalise(self) -> None:
        """Scale every row to norm 1."""
        self.weight.div_(self.weight.norm(dim=-1, keepdim=True))


class UnitBatchNorm(nn.Module):
    """Batch normalisation, whose scales and shifts together have the norm √width."""

    def __init__(self, width: int, *, momentum: float) -> None:
        """Normalise so many columns; a batch leaves this share of the running statistics."""
        super().__init__()
        self._momentum = momentum
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Normalise (B, H); only in training by the batch, which then moves the statistics."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=training,
            momentum=1 - self._momentum,
            eps=_NORM_EPSILON,
        )

    def normalise(self) -> None:
        """Scale both to their norm."""
        norm = torch.cat((self.weight, self.bias)).norm()
        for parameter in (self.weight, self.bias):
            parameter.mul_(math.sqrt(len(self.weight)) / norm)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (H,) that this is outside training."""
        scale = self.weight / (self.running_var + _NORM_EPSILON).sqrt()
        return scale, self.bias - self.running_mean * scale


class UnitRMSNorm(nn.Module):
    """Root mean square normalisation, whose scales have the norm √width.

    Zhang and Sennrich 2019, arXiv 1910.07467, equation 4.
    """

    def __init__(self, width: int) -> None:
        """Normalise rows of so many numbers."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, H), every row by itself."""
        return F.rms_norm(x, self.weight.shape, self.weight, eps=RMS_EPSILON)

    def normalise(self) -> None:
        """Scale them to their norm."""
        self.weight.mul_(math.sqrt(len(self.weight)) / self.weight.norm())


@torch.no_grad()
def normalise(network: nn.Module) -> None:
    """Give every parameter of a network that has a fixed norm its norm again."""
    for module in network.modules():
        if isinstance(module, UnitDense | UnitBatchNorm | UnitRMSNorm):
            module.normalise()
