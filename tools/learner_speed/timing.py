"""Candidates take turns, so that whatever else the machine does meets all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Call = Callable[[], object]

BLOCK_S = 0.08
"""How long a candidate's turn takes."""


@dataclass(frozen=True)
class Figure:
    """What a number is, by how it came out over the blocks."""

    value: float
    """Median."""
    noise: float
    """Half of the distance between the quartiles."""

    @classmethod
    def over(cls, values: Iterable[float]) -> Figure:
        """Summarise one number per block, of two blocks at least."""
        found = list(values)
        low, _, high = quantiles(found, n=4)
        return cls(median(found), (high - low) / 2)


def seconds(call: Call, repeats: int = 1) -> float:
    """Mean duration of a call, s."""
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - started) / repeats


def take_turns(
    candidates: Mapping[str, Call], blocks: int, *, block_s: float = BLOCK_S
) -> list[dict[str, float]]:
    """Seconds per call of every candidate, once per block, in an order that changes with it."""
    repeats = {name: _repeats(call, block_s) for name, call in candidates.items()}
    names = list(candidates)
    found = []
    for number in range(blocks):
        turn = number % len(names)
        order = names[turn:] + names[:turn]
        found.append({name: seconds(candidates[name], repeats[name]) for name in order})
    return found


def median_seconds(call: Call, calls: int) -> float:
    """Median duration of single calls, s."""
    return median(seconds(call) for _ in range(calls))


def _repeats(call: Call, block_s: float) -> int:
    """Calls that fill a turn; the first ones warm up."""
    for _ in range(3):
        call()
    return max(1, round(block_s / seconds(call, 3)))
