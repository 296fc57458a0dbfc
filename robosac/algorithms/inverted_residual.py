"""A trunk of inverted residual blocks, and the same without normalisation of batches to export.

Kim et al. 2026, arXiv 2604.04539; Sandler et al. 2018, arXiv 1801.04381, for blocks that widen
before they narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn

from robosac.algorithms.dense import Dense
from robosac.algorithms.unit_norm import RMS_EPSILON, UnitBatchNorm, UnitDense, UnitRMSNorm

if TYPE_CHECKING:
    from collections.abc import Sequence


class InvertedResidual(nn.Module):
    """Two layers, the first of them wide, whose output is added to their input."""

    def __init__(self, width: int, *, expansion: int, momentum: float) -> None:
        """Widen `width` numbers by a factor and narrow them again."""
        super().__init__()
        self.widen = UnitDense(width, expansion * width)
        self.widened = UnitBatchNorm(expansion * width, momentum=momentum)
        self.narrow = UnitDense(expansion * width, width)
        self.narrowed = UnitBatchNorm(width, momentum=momentum)

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Features (B, H) of features (B, H)."""
        wide = F.relu(self.widened(self.widen(x), training=training))
        return x + F.relu(self.narrowed(self.narrow(wide), training=training))


class ResidualTrunk(nn.Module):
    """Normalised inputs, embedded and refined by blocks; features of mean square one."""

    def __init__(
        self, inputs: int, hidden: Sequence[int], *, expansion: int, momentum: float
    ) -> None:
        """Build as many blocks as there are widths, which are all the same."""
        super().__init__()
        width = hidden[0]
        self.embedding = UnitDense(inputs, width)
        self.inputs = UnitBatchNorm(inputs, momentum=momentum)
        self.blocks = nn.ModuleList(
            InvertedResidual(width, expansion=expansion, momentum=momentum) for width in hidden
        )
        self.features = UnitRMSNorm(width)

    def forward(self, x: Tensor, *, training: bool) -> Tensor:
        """Features (B, H) of inputs (B, in)."""
        x = self.embedding(self.inputs(x, training=training))
        for block in self.blocks:
            x = block(x, training=training)
        features: Tensor = self.features(x)
        return features


class FoldedTrunk(nn.Module):
    """A trunk outside training, its statistics and scales folded into plain layers."""

    def __init__(self, inputs: int, hidden: Sequence[int], *, expansion: int) -> None:
        """Build plain layers of the same sizes."""
        super().__init__()
        width = hidden[0]
        self.embedding = Dense(inputs, width)
        self.widen = nn.ModuleList(Dense(width, expansion * width, relu=True) for _ in hidden)
        self.narrow = nn.ModuleList(Dense(expansion * width, width, relu=True) for _ in hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, H) of inputs (B, in), without the scales that fold_head() gives the head."""
        x = self.embedding(x)
        for widen, narrow in zip(self.widen, self.narrow, strict=True):
            x = x + narrow(widen(x))
        return F.rms_norm(x, x.shape[-1:], eps=RMS_EPSILON)

    @torch.no_grad()
    def fold(self, trunk: ResidualTrunk) -> None:
        """Take over the weights and statistics of a trunk."""
        scale, shift = trunk.inputs.affine()
        self.embedding.weight.copy_(trunk.embedding.weight * scale)
        self.embedding.bias.copy_(trunk.embedding.weight @ shift)
        for number, block in enumerate(trunk.blocks):
            one = cast("InvertedResidual", block)
            _fold_after(one.widen, one.widened, self.widen[number])
            _fold_after(one.narrow, one.narrowed, self.narrow[number])


@torch.no_grad()
def fold_head(head: nn.Linear, trunk: ResidualTrunk, into: nn.Linear) -> None:
    """Write into a layer what a trunk's last scales followed by a head are."""
    into.weight.copy_(head.weight * trunk.features.weight)
    into.bias.copy_(head.bias)


def _fold_after(layer: UnitDense, norm: UnitBatchNorm, into: nn.Module) -> None:
    """Write into a layer what a layer followed by normalisation outside training is."""
    scale, shift = norm.affine()
    plain = cast("Dense", into)
    plain.weight.copy_(scale[:, None] * layer.weight)
    plain.bias.copy_(shift)
