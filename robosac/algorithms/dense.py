"""Dense layers on the fastest float32 product that torch has on this processor.

torch gives float32 products to MKL, which uses half the vector width of AMD's processors.  oneDNN,
which torch carries for its compiler, uses all of it on every x86-64 processor: one update of
soft actor-critic takes 60 % of the time (tools/bench_learner.py).
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable

ONEDNN: bool = platform.machine() in {"x86_64", "AMD64"} and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
"""Whether products go to oneDNN; fixed per machine, so that the same seed gives the same bits."""
_NARROW = 8
"""With fewer outputs than this, starting oneDNN takes longer than the product."""


class Dense(nn.Linear):
    """A linear layer with its ReLU, if it has one."""

    def __init__(self, inputs: int, outputs: int, *, relu: bool = False) -> None:
        """Draw weights as nn.Linear does."""
        super().__init__(inputs, outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (B, out) of inputs (B, in)."""
        if self._takes(x):
            run: Callable[..., Tensor] = _OneDnnDense.apply if torch.is_grad_enabled() else _dense
            return run(x.contiguous(), self.weight, self.bias, self.relu)
        y = F.linear(x, self.weight, self.bias)
        return F.relu(y) if self.relu else y

    def _takes(self, x: Tensor) -> bool:
        """Whether oneDNN can and should do this product; an exported graph has torch's own."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() == 2  # noqa: PLR2004
        wide = self.out_features >= _NARROW
        return ONEDNN and plain and wide and not torch.compiler.is_exporting()


class _OneDnnDense(Function):
    """y = x·Wᵀ + b, and ReLU on request, with its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:  # noqa: ANN401, FBT001 -- autograd passes what apply() gets, by position
        y = _dense(x, weight, bias, relu)
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
            _dense(grad, weight.t()) if for_x else None,
            _dense(grad.t(), x.t()) if for_weight else None,
            grad.sum(0) if for_bias else None,
            None,
        )


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:  # noqa: FBT001, FBT002 -- as _OneDnnDense
    """x·Wᵀ + b for x (B, in) and weight (out, in), and ReLU on request.

    Both matrices must be dense, transposed or not: with gaps between the rows of `weight`, oneDNN
    falls back to an implementation that is a hundred times slower.
    """
    after = "relu" if relu else "none"
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, after, [], "")  # noqa: SLF001 -- the only way to it
    return y
