"""Named observation terms and the vector they make."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class Term(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One named part of an observation; part of the policy's contract."""

    name: str
    """Name of the quantity, as the task computes it."""
    size: int
    """Numbers in one reading."""
    unit: str
    """Unit before scaling."""
    scale: float = 1.0
    """Factor from the unit to what the network sees."""
    clip: float | None = 10.0
    """Bound of the scaled numbers, both signs; None is no bound."""
    history: int = 1
    """Readings stacked, oldest first; the first reading fills the past at a reset."""


class Observer:
    """Turns one reading after another into the stacked, scaled observation vector."""

    def __init__(self, terms: Sequence[Term]) -> None:
        """Take the terms in the order of the vector."""
        self.terms = tuple(terms)
        self.bound = np.repeat(
            np.array([_bound(term) for term in self.terms], dtype=np.float32),
            [term.size * term.history for term in self.terms],
        )
        self.size = len(self.bound)
        self._past: list[deque[FloatArray]] = []
        self.reset()

    def reset(self) -> None:
        """Forget the past; the next reading fills it."""
        self._past = [deque(maxlen=term.history) for term in self.terms]

    def observe(self, readings: Mapping[str, FloatArray]) -> FloatArray:
        """Append one reading of every term and return the vector (size,), float32."""
        parts: list[FloatArray] = []
        for term, past in zip(self.terms, self._past, strict=True):
            bound = _bound(term)
            value = np.clip(readings[term.name] * np.float32(term.scale), -bound, bound)
            past.append(value.astype(np.float32))
            while len(past) < term.history:
                past.append(past[-1])
            parts.extend(past)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _bound(term: Term) -> float:
    """Largest number of a term, as a float; infinity does not survive JSON, None does."""
    return np.inf if term.clip is None else term.clip
