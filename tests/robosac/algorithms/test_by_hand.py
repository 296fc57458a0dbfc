"""Gradients written by hand are autograd's."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import Tensor, nn

from robosac.algorithms import products
from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.by_hand import Kept, Network
from robosac.algorithms.catalogue import build
from robosac.algorithms.config import SACConfig
from robosac.algorithms.dense import Dense
from robosac.algorithms.sac import SAC
from robosac.algorithms.sac_by_hand import SACByHand
from tests.robosac.algorithms.conftest import ROWS, SIZES, Noted, batch

KINDS = ["plain", "norm"]
COLUMNS = slice(5, None)


def layers(kind: str, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    """Two hidden layers of one kind and an output, with no trivial scale or shift."""
    torch.manual_seed(1)
    found: list[nn.Module] = []
    for inputs, outputs in ((9, 24), (24, 16)):
        found.append(Dense(inputs, outputs, relu=kind == "plain"))
        found += [nn.LayerNorm(outputs), nn.ReLU()] if kind == "norm" else []
    network = nn.Sequential(*found, Dense(16, 10))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return list(network.to(dtype))


def by_autograd(network: list[nn.Module], x: Tensor, grad: Tensor) -> list[Tensor]:
    """Output, gradients of the parameters and of some columns of the input, by torch's layers."""
    leaf = x.clone().requires_grad_()
    y = leaf
    for layer in network:
        if isinstance(layer, Dense):
            y = nn.functional.linear(y, layer.weight, layer.bias)
            y = y.relu() if layer.relu else y
        else:
            y = layer(y)
    parameters = [one for layer in network for one in layer.parameters()]
    *found, of_x = torch.autograd.grad(y, [*parameters, leaf], grad)
    return [y.detach(), *found, of_x[:, COLUMNS]]


@torch.no_grad()
def by_hand(network: Network, x: Tensor, grad: Tensor) -> list[Tensor]:
    """The same by hand."""
    kept: list[Kept] = []
    again: list[Kept] = []
    y = network.evaluate(x, kept)
    network.evaluate(x, again)
    found = network.parameter_gradients(grad.clone(), kept)
    return [y, *found, network.input_gradient(grad.clone(), again, COLUMNS)]


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_autograd(
    kind: str, dtype: torch.dtype, *, onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every parameter and of the input: to rounding in float64, to 1e-5 in float32.

    Put back by leaving the mask of a ReLU out.
    """
    monkeypatch.setattr(products, "ONEDNN", products.ONEDNN and onednn)
    network = layers(kind, dtype)
    x, grad = torch.randn(64, 9, dtype=dtype), torch.randn(64, 10, dtype=dtype)
    found = by_hand(Network(network), x, grad)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for got, expected in zip(found, by_autograd(network, x, grad), strict=True):
        assert got.dtype == dtype
        assert (got - expected).abs().max() <= tolerance * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_stays_in_hidden_layers(kind: str) -> None:
    """Outputs and gradients are float32, and near those of float32 in size and direction."""
    network = layers(kind)
    x, grad = torch.randn(256, 9), torch.randn(256, 10)
    found = by_hand(Network(network, hidden_dtype=torch.bfloat16), x, grad)
    reference = by_autograd(network, x, grad)
    assert not torch.equal(found[0], reference[0])
    for got, expected in zip(found, reference, strict=True):
        assert got.dtype == torch.float32
        assert nn.functional.cosine_similarity(got.flatten(), expected.flatten(), 0) > 0.99
        assert got.norm().item() == pytest.approx(expected.norm().item(), rel=0.05)


def test_layers_without_a_gradient_are_refused() -> None:
    """A layer that is silently left out would be silently wrong."""
    with pytest.raises(AssertionError, match="no gradient was written for Tanh"):
        Network([Dense(3, 4), nn.Tanh()])


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        ({}, True),
        ({"precision": "bfloat16"}, True),
        ({"dropout": 0.1}, True),
        ({"dropout": 0.1, "precision": "bfloat16"}, True),
        ({"actor_gradient": "reinforce"}, False),
    ],
    ids=str,
)
def test_the_faster_one_is_built_where_it_suits(
    options: dict[str, object], *, by_hand: bool
) -> None:
    """Everything else is autograd's."""
    algorithm = build(SACConfig(hidden=(8,), **options), Sizes(3, 0, 2), seed=0)  # type: ignore[arg-type]
    assert type(algorithm) is (SACByHand if by_hand else SAC)


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_bfloat16_learns_what_float32_learns(dropout: float) -> None:
    """After 50 updates of the same batches the values agree to a few percent of their spread."""
    usual = SACConfig(hidden=(32, 32), critic_lr=3e-3, dropout=dropout)
    one, other = (
        build(msgspec.structs.replace(usual, precision=precision), SIZES, seed=0)
        for precision in ("float32", "bfloat16")
    )
    for number in range(50):
        found, expected = other.update(batch(number)), one.update(batch(number))
    assert found["critic_loss"].dtype == torch.float32
    assert found["critic_loss"] != expected["critic_loss"]
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=0.1, abs=0.05), name


def test_targets_are_exact_beside_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """What critics are drawn to is r + γ·(1 - terminated)·V' in float32 (trap 19).

    Put back by weighing with γ in bfloat16, or by handing the target on in bfloat16.
    """
    config = SACConfig(hidden=(32, 32), precision="bfloat16")
    given, drawn_to = Noted(monkeypatch, "bellman_target"), Noted(monkeypatch, "critic_loss")
    build(config, SIZES, seed=0).update(batch()._replace(terminated=torch.zeros(ROWS)))
    target = drawn_to.calls[0]["target"]
    exact = given.calls[0]["reward"].double() + 0.99 * given.calls[0]["next_value"].double()
    assert target.dtype == torch.float32
    assert (target - exact).abs().max() < 1e-6 * max(1.0, float(exact.abs().max()))
