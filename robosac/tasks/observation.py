"""Named observation terms and the vector they make."""

from __future__ import annotations

import math
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

    def __post_init__(self) -> None:
        """Refuse a term that is no part of a vector; raises ValueError."""
        if self.size < 1 or self.history < 1:
            raise ValueError(
                f"term {self.name!r}: size {self.size}, history {self.history}; "
                "expected at least 1 of each"
            )
        clip = 1.0 if self.clip is None else self.clip
        if not (clip > 0 and math.isfinite(clip) and math.isfinite(self.scale)):
            raise ValueError(
                f"term {self.name!r}: scale {self.scale}, clip {self.clip}; expected a finite "
                "scale, and a finite clip above 0 or None for no bound"
            )


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
        """Append one reading of every term and return the vector (size,), float32.

        Raises ValueError when a reading has another shape than its term.
        """
        parts: list[FloatArray] = []
        for term, past in zip(self.terms, self._past, strict=True):
            reading, bound = np.asarray(readings[term.name], dtype=np.float32), _bound(term)
            if reading.shape != (term.size,):
                raise ValueError(
                    f"reading {term.name!r} has shape {reading.shape}; expected ({term.size},) "
                    "as its term says; correct readings() of the task, or the term"
                )
            past.append(np.clip(reading * np.float32(term.scale), -bound, bound))
            while len(past) < term.history:
                past.append(past[-1])
            parts.extend(past)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _bound(term: Term) -> float:
    """Largest number of a term, as a float; infinity does not survive JSON, None does."""
    return np.inf if term.clip is None else term.clip
