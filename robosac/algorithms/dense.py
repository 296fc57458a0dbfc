"""Dense layers on the fastest product that torch has on this processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from robosac.algorithms import products
from robosac.algorithms.products import product, weight_gradient

if TYPE_CHECKING:
    from collections.abc import Callable

_NARROW = 8
"""With fewer outputs than this, autograd's own product is as fast as ours with its node."""


class Dense(nn.Linear):
    """A linear layer with its ReLU, if it has one."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool = False) -> None:
        """Draw weights as nn.Linear does."""
        super().__init__(inputs, outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, out) of inputs (B, in)."""
        if self._takes(x):
            run: Callable[..., Tensor] = _Product.apply if torch.is_grad_enabled() else product
            return run(x.contiguous(), self.weight, self.bias, self.relu)
        y = F.linear(x, self.weight, self.bias)
        return F.relu(y) if self.relu else y

    def _takes(self, x: Tensor) -> bool:
        """Whether oneDNN can and should do this product; an exported graph has torch's own."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 2  # noqa: PLR2004
        wide = self.out_features >= _NARROW
        return products.ONEDNN and plain and wide and not torch.compiler.is_exporting()


class _Product(Function):
    """y = x·Wᵀ + b, and ReLU on request, with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:  # noqa: ANN401, FBT001 -- autograd passes what apply() gets, by position
        y = product(x, weight, bias, relu)
        ctx.relu = relu
        ctx.save_for_backward(x, weight, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 -- as forward
        x, weight, y = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        grad = torch.ops.aten.threshold_backward(grad, y, 0) if ctx.relu else grad
        return (
            product(grad, weight.t()) if for_x else None,
            weight_gradient(grad, x) if for_weight else None,
            grad.sum(0) if for_bias else None,
            None,
        )
