"""Matrix products on the fastest library that torch has on this processor.

torch gives float32 products to MKL, which uses half the vector width of AMD's processors.  oneDNN,
which torch carries for its compiler, uses all of it on every x86-64 processor.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

ONEDNN: bool = platform.machine() in {"x86_64", "AMD64"} and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
"""Whether products go to oneDNN; fixed per machine, so that the same seed gives the same bits."""
_BFLOAT16: bool = ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 -- the only one who knows
"""Whether oneDNN can multiply bfloat16 here; torch can everywhere, though slowly."""
_NARROW = 4
"""With a side shorter than this, starting oneDNN takes longer than the product."""


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, relu: bool = False) -> Tensor:  # noqa: FBT001, FBT002 -- autograd calls by position
    """x·Wᵀ + b for x (B, in), weight (out, in) and bias (out,), and ReLU on request.

    Both matrices must be dense, transposed or not: with gaps between the rows of `weight`, oneDNN
    falls back to an implementation that is a hundred times slower.
    """
    if ONEDNN and _suits_onednn(x, weight):
        after = "relu" if relu else "none"
        y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, after, [], "")  # noqa: SLF001 -- the only way to it
        return y
    y = torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
    return y.relu_() if relu else y


def weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient (out, in) of the weight of x·Wᵀ for x (B, in) and that of the product (B, out)."""
    if grad.dtype == torch.bfloat16:
        return torch.mm(grad.t(), x)
    if x.shape[1] < grad.shape[1]:  # oneDNN transposes its first factor: let it be the smaller one
        return product(x.t(), grad.t()).t().contiguous()
    return product(grad.t(), x.t())


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    can = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and _BFLOAT16)
    return can and x.device.type == "cpu" and min(*x.shape, *weight.shape) >= _NARROW
