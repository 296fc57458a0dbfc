"""Batch renormalisation by hand; Ioffe 2017, arXiv 1702.03275, algorithm 1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from robosac.algorithms.batch_renorm import BatchRenorm, fold

X = torch.tensor([[1.0], [5.0]])
"""Mean 3, variance 4."""


def norm(*, warm_up: int = 0, mean: float = 0.0, var: float = 1.0) -> BatchRenorm:
    """One column whose running statistics are given."""
    layer = BatchRenorm(1, momentum=0.9, warm_up=warm_up)
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(var)
    return layer


def test_warm_up_is_plain_batch_normalisation() -> None:
    """(1 - 3)/2 = -1 and (5 - 3)/2 = 1, whatever the running statistics are; ε = 0.001."""
    layer = norm(warm_up=1, mean=100.0)
    assert torch.allclose(layer(X, training=True), torch.tensor([[-1.0], [1.0]]), atol=1e-3)


def test_afterwards_a_batch_is_corrected_towards_the_running_statistics() -> None:
    """(x - 3)/2·r + d with r = 2/1.5, d = (3 - 2)/1.5: the same as (x - 2)/1.5."""
    found = norm(mean=2.0, var=2.25)(X, training=True)
    assert torch.allclose(found, torch.tensor([[-1 / 1.5], [3 / 1.5]]), atol=2e-3)


def test_gradients_are_those_of_the_formula() -> None:
    """Of inputs, scale and shift: through mean and deviation of the batch, not through r and d.

    Fails when the correction gets a gradient, or the statistics of the batch get none.
    """
    torch.manual_seed(0)
    layer = BatchRenorm(3, momentum=0.9, warm_up=0).double()
    with torch.no_grad():
        for one in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            one.copy_(torch.rand(3) + 0.5)
    x = torch.randn(16, 3, dtype=torch.float64, requires_grad=True)
    mean, std = x.mean(0), (x.var(0, unbiased=False) + 1e-3).sqrt()
    running = (layer.running_var + 1e-3).sqrt()
    r, d = (std / running).detach(), ((mean - layer.running_mean) / running).detach()
    expected = ((x - mean) / std * r + d) * layer.weight + layer.bias
    inputs, grad = (x, layer.weight, layer.bias), torch.randn_like(x)
    wanted = torch.autograd.grad(expected, inputs, grad)
    found = torch.autograd.grad(layer(x, training=True), inputs, grad)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(
    ("mean", "var", "expected"),
    [
        (3.0, 1e-4, [-3.0, 3.0]),  # r = 2/0.033 is clipped to 3
        (3.0, 4e4, [-1 / 3, 1 / 3]),  # r = 2/200 is clipped to 1/3
        (-97.0, 4.0, [4.0, 6.0]),  # d = 100/2 is clipped to 5
        (103.0, 4.0, [-6.0, -4.0]),  # d = -100/2 is clipped to -5
    ],
)
def test_correction_is_bounded(mean: float, var: float, expected: list[float]) -> None:
    """Factor within 1/3 to 3, shift within ±5."""
    found = norm(mean=mean, var=var)(X, training=True)[:, 0]
    assert torch.allclose(found, torch.tensor(expected), atol=3e-3)


def test_statistics_move_only_in_training() -> None:
    """0.9·2 + 0.1·3 = 2.1 and 0.9·2.25 + 0.1·4 = 2.425; asking twice gives the same (trap 17).

    Put back by updating the statistics in both modes.
    """
    layer = norm(mean=2.0, var=2.25)
    layer(X, training=True)
    assert layer.running_mean.item() == pytest.approx(2.1)
    assert layer.running_var.item() == pytest.approx(2.425)
    assert torch.equal(layer(X, training=False), layer(X, training=False))
    assert layer.running_mean.item() == pytest.approx(2.1)
    assert int(layer.batches) == 1


def test_no_gradient_flows_through_the_correction() -> None:
    """The gradient is that of plain batch normalisation times r, here 2/1.5."""
    plain, corrected = X.clone().requires_grad_(), X.clone().requires_grad_()
    weights = torch.tensor([[1.0], [-3.0]])
    y = norm(warm_up=1)(plain, training=True)
    (for_plain,) = torch.autograd.grad((y**3 * weights).sum() / 3, plain)
    z = norm(mean=2.0, var=2.25)(corrected, training=True)
    (for_corrected,) = torch.autograd.grad((z * y.detach() ** 2 * weights).sum(), corrected)
    assert for_plain.abs().min() > 1e-4
    assert torch.allclose(for_corrected, for_plain * 2 / 1.5, rtol=5e-3)


def test_folding_is_exact() -> None:
    """A layer with the normalisation folded in gives what both give one after the other."""
    torch.manual_seed(0)
    layer, into = nn.Linear(5, 7), nn.Linear(5, 7)
    before = BatchRenorm(5, momentum=0.9, warm_up=0)
    with torch.no_grad():
        for tensor in (before.weight, before.bias, before.running_mean):
            tensor.normal_()
        before.running_var.uniform_(0.1, 9)
    fold(before, layer, into)
    x = 3 * torch.randn(64, 5)
    assert torch.allclose(into(x), layer(before(x, training=False)), atol=1e-5)
