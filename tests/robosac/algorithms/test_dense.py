"""Dense layers are nn.Linear, whichever library makes the product."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from robosac.algorithms import products
from robosac.algorithms.dense import Dense

LIBRARIES = [
    pytest.param(
        True,
        id="onednn",
        marks=pytest.mark.skipif(not products.ONEDNN, reason="not on this machine"),
    ),
    pytest.param(False, id="torch"),
]
SHAPES = [(1, 3, 5), (256, 23, 256), (64, 64, 12), (7, 40, 1), (3, 1, 8)]
"""Rows, inputs, outputs."""


@pytest.fixture(params=LIBRARIES)
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with each library."""
    monkeypatch.setattr(products, "ONEDNN", request.param)


def reference(x: Tensor, layer: Dense, grad: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients of x, weight and bias in float64."""
    inputs = [part.detach().double().requires_grad_() for part in (x, layer.weight, layer.bias)]
    y = nn.functional.linear(*inputs)
    y = nn.functional.relu(y) if layer.relu else y
    return y.detach(), *torch.autograd.grad(y, inputs, grad.double())


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_output_and_gradients(rows: int, inputs: int, outputs: int, *, relu: bool) -> None:
    """The output and all three gradients are those of nn.Linear and ReLU in float64."""
    torch.manual_seed(0)
    layer = Dense(inputs, outputs, relu=relu)
    x = torch.randn(rows, inputs, requires_grad=True)
    grad = torch.randn(rows, outputs)
    y = layer(x)
    found = (y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), grad))
    for got, expected in zip(found, reference(x, layer, grad), strict=True):
        scale = max(1.0, float(expected.abs().max()))
        assert (got - expected).abs().max() <= 3e-6 * scale


@pytest.mark.usefixtures("_library")
def test_matrices_with_gaps_and_repeats() -> None:
    """Columns cut from wider rows, as replay gives them, and expanded gradients are handled."""
    torch.manual_seed(0)
    layer = Dense(17, 32)
    rows = torch.randn(64, 52)
    x = rows[:, 5:22].detach().requires_grad_()
    y = layer(x)
    grad = torch.ones(1, 1).expand(64, 32)
    found = (y.detach(), *torch.autograd.grad(y, (x, layer.weight, layer.bias), grad))
    for got, expected in zip(found, reference(x, layer, grad), strict=True):
        assert torch.allclose(got.double(), expected, atol=1e-4)


@pytest.mark.usefixtures("_library")
def test_columns_cut_from_wider_rows_are_as_fast() -> None:
    """With gaps between rows, oneDNN would take hundreds of times as long for a gradient."""

    def seconds(x: Tensor) -> float:
        layer, best = Dense(17, 256), 1.0
        for _ in range(5):
            started = time.perf_counter()
            torch.autograd.grad(layer(x).sum(), layer.weight)
            best = min(best, time.perf_counter() - started)
        return best

    rows = torch.randn(256, 52)
    assert seconds(rows[:, :17]) < 20 * seconds(rows[:, :17].contiguous())


@pytest.mark.usefixtures("_library")
def test_only_wanted_gradients_are_made() -> None:
    """A frozen layer passes the gradient on and keeps none."""
    layer = Dense(16, 16, relu=True).requires_grad_(requires_grad=False)
    x = torch.randn(4, 16, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.usefixtures("_library")
def test_other_types_and_ranks_are_left_to_torch() -> None:
    """float64 and a single row without a batch axis work as in nn.Linear."""
    layer = Dense(16, 16)
    x = torch.randn(2, 16)
    assert torch.allclose(layer(x[0]), layer(x)[0], atol=1e-6)
    assert torch.allclose(layer.double()(x.double()), layer.float()(x).double(), atol=1e-5)


def test_weights_are_drawn_as_in_torch() -> None:
    """The same seed gives the layer that nn.Linear would be."""
    torch.manual_seed(3)
    ours = Dense(5, 7)
    torch.manual_seed(3)
    theirs = nn.Linear(5, 7)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
