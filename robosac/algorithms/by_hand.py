"""Networks of dense layers with gradients written by hand.

Autograd gives the same numbers and takes a fifth longer: for its graph, and for memory that is no
longer in the processor's cache when the gradient comes back to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from robosac.algorithms.dense import Dense
from robosac.algorithms.networks import Dropout
from robosac.algorithms.products import product, weight_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Kept(NamedTuple):
    """What the gradient of one layer needs of its evaluation."""

    x: Tensor
    """Input (B, in)."""
    weight: Tensor
    """Weight (out, in), of the type that the product had."""
    y: Tensor
    """Output (B, out)."""
    factors: Tensor | None
    """What the product was multiplied by to drop units (B, out)."""
    norm: tuple[Tensor, Tensor, Tensor] | None
    """Input of the normalisation, means and inverse deviations of its rows."""


class Network:
    """Dense layers, each with its dropout, LayerNorm and ReLU; the layers stay the owners."""

    def __init__(
        self,
        layers: Iterable[nn.Module],
        *,
        hidden_dtype: torch.dtype | None = None,
        dropping: Callable[[int], Tensor] | None = None,
    ) -> None:
        """Evaluate these layers; all but the last with numbers of another type, if one is given.

        Units are dropped only with somebody to draw them, as Algorithm.quarters().
        """
        self._layers: list[_Layer] = []
        for layer in layers:
            if isinstance(layer, Dense):
                self._layers.append(_Layer(layer, dropping))
            else:
                self._layers[-1].append(layer)
        if hidden_dtype is not None:
            for one in self._layers:
                one.dtype = hidden_dtype
            self._layers[-1].dtype = torch.float32

    def evaluate(self, x: Tensor, kept: list[Kept] | None = None) -> Tensor:
        """Outputs (B, out) of inputs (B, in); what gradients need is appended to `kept`."""
        for layer in self._layers:
            found = layer.evaluate(x)
            if kept is not None:
                kept.append(found)
            x = found.y
        return x

    def parameter_gradients(self, grad: Tensor, kept: list[Kept]) -> list[Tensor]:
        """Gradients of all parameters, in their order, by that of the outputs (B, out).

        `kept` is used up, and `grad` may be overwritten.
        """
        gradients: list[Tensor] = []
        for layer in reversed(self._layers):
            one = kept.pop()
            grad, affine = layer.before_norm(grad, one, wanted=True)
            of_weight, of_bias = weight_gradient(grad, one.x), grad.sum(0, dtype=layer.bias.dtype)
            gradients[:0] = of_weight.to(layer.weight.dtype), of_bias, *affine
            if kept:
                grad = product(grad, one.weight.t())
        return gradients

    def input_gradient(self, grad: Tensor, kept: list[Kept], columns: slice) -> Tensor:
        """Gradient of some columns of the inputs, as in parameter_gradients()."""
        for layer in reversed(self._layers):
            one = kept.pop()
            grad, _ = layer.before_norm(grad, one, wanted=False)
            weight = one.weight if kept else one.weight[:, columns].contiguous()
            grad = product(grad, weight.t())
        return grad.to(self._layers[0].weight.dtype)


class _Layer:
    """A dense layer with what comes behind it."""

    def __init__(self, dense: Dense, dropping: Callable[[int], Tensor] | None) -> None:
        self.weight, self.bias, self.relu = dense.weight, dense.bias, dense.relu
        self.dropout: Dropout | None = None
        self.norm: nn.LayerNorm | None = None
        self._dropping = dropping
        self.dtype: torch.dtype | None = None
        """Type of the product, if not that of the weight."""

    def append(self, layer: nn.Module) -> None:
        """Put dropout, a normalisation or a ReLU behind it."""
        if isinstance(layer, Dropout):
            self.dropout = layer
        elif isinstance(layer, nn.LayerNorm):
            self.norm = layer
        else:
            assert isinstance(layer, nn.ReLU), f"no gradient was written for {layer}"
            self.relu = True

    def evaluate(self, x: Tensor) -> Kept:
        """Output and what led to it."""
        norm = self.norm
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if self.dtype is not None:
            x, weight, bias = x.to(self.dtype), weight.to(self.dtype), bias.to(self.dtype)
        if norm is None and self.dropout is None:
            return Kept(x, weight, product(x, weight, bias, relu=self.relu), None, None)
        before = product(x, weight, bias)
        factors = self._drop(before)
        if norm is None:
            return Kept(x, weight, before.relu_() if self.relu else before, factors, None)
        if before.device.type != "cpu":  # which alone knows scales of another type
            before = before.to(norm.weight.dtype)
        y, mean, inverse = torch.native_layer_norm(
            before, before.shape[1:], norm.weight, norm.bias, norm.eps
        )
        return Kept(x, weight, y.relu_() if self.relu else y, factors, (before, mean, inverse))

    def _drop(self, x: Tensor) -> Tensor | None:
        """Drop units of the product, if there are any to drop, and return what did it."""
        if self.dropout is None or self._dropping is None:
            return None
        factors = self.dropout.factors(x, self._dropping)
        x.mul_(factors)
        return factors

    def before_norm(self, grad: Tensor, kept: Kept, *, wanted: bool) -> tuple[Tensor, list[Tensor]]:
        """Gradient of the product and, if wanted, of the normalisation's scale and shift.

        By that of the output, which is overwritten.
        """
        grad = grad.to(kept.y.dtype)
        if self.relu:
            torch.ops.aten.threshold_backward.grad_input(grad, kept.y, 0, grad_input=grad)
        affine: list[Tensor] = []
        if self.norm is not None and kept.norm is not None:
            before, mean, inverse = kept.norm
            scale, shift = self.norm.weight, self.norm.bias
            grad, *affine = torch.ops.aten.native_layer_norm_backward(
                grad, before, before.shape[1:], mean, inverse, scale, shift, [True, wanted, wanted]
            )
        if self.dtype is not None:
            grad = grad.to(self.dtype)
        if kept.factors is not None:
            grad = grad.mul_(kept.factors)
        return grad, affine
