"""How many threads updates get: as many as pay off, measured before any robot moves.

A batch that is small for its networks is slower with many threads than with a few, and where that
begins depends on the processor.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

_PAYS = 0.95
"""Share of the time that more threads must come down to; others have a use for them, too."""
_WARM_UP, _LEAST_CALLS = 2, 3
_ENOUGH_S = 0.1


def most_threads() -> int:
    """All that torch would take but one, which the runner and the learner's service keep busy."""
    return max(1, torch.get_num_threads() - 1)


def take_fastest(
    update: Callable[[], object],
    most: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Let torch have the number of threads, up to `most`, with which a call is the fastest.

    Returns that number; `clock` gives seconds.
    """
    chosen, shortest = 1, math.inf
    for threads in _candidates(most):
        torch.set_num_threads(threads)
        found = _seconds(update, clock) if most > 1 else 0.0
        if found < _PAYS * shortest:
            chosen, shortest = threads, found
    torch.set_num_threads(chosen)
    return chosen


def _candidates(most: int) -> list[int]:
    """1, 2, 4, … and the most."""
    powers = [2**power for power in range(most.bit_length())]
    return sorted({*powers, most})


def _seconds(update: Callable[[], object], clock: Callable[[], float]) -> float:
    """Time of the fastest of some calls, s: whatever else the machine does only adds to it."""
    for _ in range(_WARM_UP):
        update()
    times: list[float] = []
    while len(times) < _LEAST_CALLS or sum(times) < _ENOUGH_S:
        before = clock()
        update()
        times.append(clock() - before)
    return min(times)
