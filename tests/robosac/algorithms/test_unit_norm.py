"""Layers of fixed norm and the blocks made of them, by hand and against each other."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from robosac.algorithms.inverted_residual import (
    FoldedTrunk,
    InvertedResidual,
    ResidualTrunk,
    fold_head,
)
from robosac.algorithms.unit_norm import (
    UnitBatchNorm,
    UnitDense,
    UnitRMSNorm,
    normalise,
)

X = torch.tensor([[1.0], [5.0]])
"""Mean 3, variance 4, unbiased variance 8."""


def disturbed(network: nn.Module, *, seed: int = 0) -> nn.Module:
    """Draw every parameter and statistic anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=generator)
        for name, buffer in network.named_buffers():
            if "var" in name:
                buffer.uniform_(0.2, 4, generator=generator)
            else:
                buffer.normal_(generator=generator)
    return network


def test_rows_by_hand() -> None:
    """(3, 4) becomes (0.6, 0.8) and (0, -2) becomes (0, -1); the bias stays."""
    layer = UnitDense(2, 2, bias=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
        layer.bias.fill_(7)
    normalise(layer)
    assert torch.allclose(layer.weight, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert layer.bias.tolist() == [7, 7]
    assert UnitDense(2, 2).bias is None


def test_first_rows_are_orthogonal() -> None:
    """With no more rows than inputs every row has norm 1 at once and none looks like another."""
    layer = UnitDense(6, 4)
    assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(4), atol=1e-5)


def test_scales_and_shifts_by_hand() -> None:
    """Scales (3, 0) and shifts (0, 4) of norm 5 together get the norm √2."""
    norm = UnitBatchNorm(2, momentum=0.9)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([3.0, 0.0]))
        norm.bias.copy_(torch.tensor([0.0, 4.0]))
    normalise(norm)
    assert norm.weight.tolist() == pytest.approx([0.6 * math.sqrt(2), 0])
    assert norm.bias.tolist() == pytest.approx([0, 0.8 * math.sqrt(2)])


def test_root_mean_square_by_hand() -> None:
    """(3, 4) has the root mean square √12.5; scales (2, 1) then make (6, 4)/√12.5."""
    norm = UnitRMSNorm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 1.0]))
    found = norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([6 / 12.5**0.5, 4 / 12.5**0.5])
    assert found[1].tolist() == [0, 0]
    normalise(norm)
    assert norm.weight.tolist() == pytest.approx([2 * (2 / 5) ** 0.5, (2 / 5) ** 0.5])


def test_statistics_move_only_in_training() -> None:
    """0.9·0 + 0.1·3 and 0.9·1 + 0.1·8; asking twice gives the same (trap 17)."""
    norm = UnitBatchNorm(1, momentum=0.9)
    assert torch.allclose(norm(X, training=True), torch.tensor([[-1.0], [1.0]]), atol=1e-4)
    assert norm.running_mean.item() == pytest.approx(0.3)
    assert norm.running_var.item() == pytest.approx(1.7)
    asked = norm(X, training=False)
    assert torch.allclose(asked, (X - 0.3) / 1.7**0.5, atol=1e-4)
    assert torch.equal(norm(X, training=False), asked)
    assert norm.running_mean.item() == pytest.approx(0.3)


def test_block_by_hand() -> None:
    """One number widened to two, 2x and -x, narrowed to 3·relu(2x): x + relu(6x) outside training.

    Statistics of mean 0 and variance 1 change nothing; x = 1 gives 7, x = -2 gives -2 + 3·2.
    """
    block = InvertedResidual(1, expansion=2, momentum=0.9)
    with torch.no_grad():
        block.widen.weight.copy_(torch.tensor([[2.0], [-1.0]]))
        block.narrow.weight.copy_(torch.tensor([[3.0, 3.0]]))
    found = block(torch.tensor([[1.0], [-2.0]]), training=False)
    assert found[:, 0].tolist() == pytest.approx([1 + 6, -2 + 6], abs=1e-3)
    with torch.no_grad():
        block.narrow.weight.mul_(-1)
    assert block(torch.tensor([[1.0]]), training=False).item() == pytest.approx(1)


def test_trunk_normalises_inputs_and_features() -> None:
    """In training inputs in any unit give the same features, each row of mean square one."""
    trunk = ResidualTrunk(3, (8, 8), expansion=4, momentum=0.9)
    normalise(trunk)
    x = torch.randn((32, 3), generator=torch.Generator().manual_seed(0))
    features = trunk(x, training=True)
    assert torch.allclose(features.square().mean(-1), torch.ones(32), atol=1e-4)
    assert torch.allclose(trunk(100 * x + 7, training=True), features, atol=1e-3)
    assert len(trunk.blocks) == 2
    assert [tuple(one.shape) for one in trunk.blocks[0].parameters()][:2] == [(32, 8), (32,)]


def test_folding_is_exact() -> None:
    """Plain layers give what the trunk and its head give outside training."""
    trunk = ResidualTrunk(5, (8, 8, 8), expansion=2, momentum=0.9)
    head = UnitDense(8, 4, bias=True)
    for network in (trunk, head):
        disturbed(network)
    plain, into = FoldedTrunk(5, (8, 8, 8), expansion=2), nn.Linear(8, 4)
    plain.fold(trunk)
    fold_head(head, trunk, into)
    x = torch.randn((64, 5), generator=torch.Generator().manual_seed(1)) * 3
    with torch.no_grad():
        assert torch.allclose(into(plain(x)), head(trunk(x, training=False)), atol=1e-5)
    assert not any("norm" in name or "running" in name for name, _ in plain.named_buffers())
