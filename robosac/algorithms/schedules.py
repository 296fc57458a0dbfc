"""How learning rates fall while a run goes on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_LEFT: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
}
"""What is left of the way down, by how much of the time has passed."""


class Schedule(NamedTuple):
    """Share of a learning rate that is left, by the steps that its own optimiser has made.

    A network that is updated less often is behind on its way down.  Loshchilov and Hutter 2017,
    arXiv 1608.03983, equation 5, for the cosine.
    """

    kind: str
    """Constant, linear or cosine."""
    steps: int
    """Steps after which the rate stays where it is."""
    final: float
    """Share that is left then."""

    @property
    def falls(self) -> bool:
        """Whether the share is ever another than 1."""
        return self.kind != "constant"

    def share(self, made: int) -> float:
        """Share of the learning rate for the next step, so many having been made."""
        left = _LEFT[self.kind](min(made / self.steps, 1.0))
        return self.final + (1 - self.final) * left
