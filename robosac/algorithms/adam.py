"""The optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor


class Adam:
    """Adam with its usual constants; Kingma and Ba 2015, arXiv 1412.6980, algorithm 1.

    torch.optim.Adam runs the same kernel and gives the same bits, but spends several times as long
    around it.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        beta1: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        """Optimise these tensors in place; weight_decay of them is added to their gradient."""
        self.parameters = list(parameters)
        self.lr = lr
        self._beta1, self._weight_decay = beta1, weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = torch.zeros((), device=self.parameters[0].device)
        self.steps = 0
        """Steps ever made; asking the tensor would wait for its device."""

    @torch.no_grad()
    def step(self, gradients: Iterable[Tensor], *, lr: float | Tensor | None = None) -> None:
        """Move every parameter down its gradient, by another learning rate if one is given."""
        self._steps += 1
        self.steps += 1
        torch._fused_adam_(
            self.parameters,
            list(gradients),
            self._means,
            self._squares,
            [],
            [self._steps] * len(self.parameters),
            lr=self.lr if lr is None else lr,
            beta1=self._beta1,
            beta2=0.999,
            weight_decay=self._weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def recount(self) -> None:
        """Read how many steps were made from a state that was restored."""
        self.steps = int(self._steps)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on besides the parameters, by name; no copies."""
        tensors = {"steps": self._steps}
        for index, (mean, square) in enumerate(zip(self._means, self._squares, strict=True)):
            tensors |= {f"mean.{index}": mean, f"square.{index}": square}
        return tensors
