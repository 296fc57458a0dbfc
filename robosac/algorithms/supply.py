"""What the processor supplies updates with: random numbers, rows, and numbers that change."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import Tensor

    Make = Callable[[], Tensor]
    """Gives what the next update is to have, on the processor; called once for every update."""


class Supply:
    """Brings tensors to where updates are made, and is the only way that leads there.

    An update that is recorded, to be replayed without Python, needs everything that differs from
    one update to the next at addresses that stay, filled beforehand.  So it must be known what is
    brought, in which order and by whom, and something else must be able to take its place.
    """

    def __init__(self, device: torch.device) -> None:
        """Bring to this device."""
        self.device = device
        self._bring: Callable[[Make], Tensor] = self._moved

    def bring(self, make: Make) -> Tensor:
        """Return what `make` gives, where updates are made."""
        return self._bring(make)

    @contextmanager
    def noted(self) -> Iterator[list[tuple[Make, Tensor]]]:
        """Note all that is brought, each with who made it, in order."""
        brought: list[tuple[Make, Tensor]] = []

        def bring(make: Make) -> Tensor:
            made = make()
            brought.append((make, made))
            return made.to(self.device)

        with self._instead(bring):
            yield brought

    @contextmanager
    def replaced(self, tensors: list[Tensor]) -> Iterator[None]:
        """Bring these, in order, and let nobody make anything."""
        following = iter(tensors)
        with self._instead(lambda _: next(following)):
            yield

    def _moved(self, make: Make) -> Tensor:
        return make().to(self.device)

    @contextmanager
    def _instead(self, bring: Callable[[Make], Tensor]) -> Iterator[None]:
        self._bring = bring
        try:
            yield
        finally:
            self._bring = self._moved
