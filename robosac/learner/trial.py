"""Whether replays do what updates do: tried by learners that nobody keeps, before robots move."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from robosac.learner.rehearsal import random_rows, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from robosac.algorithms.algorithm import Algorithm
    from robosac.learner.learner import Learner
    from robosac.learner.replayed import Graphs

_UPDATES = 100
"""Enough for several replays of what is done every twentieth time."""
_ROWS = 10
"""Transitions that come in before every update, so that statistics move."""
_ALIKE = 1e-3
"""Most that a number may differ by, relative to it where it is large: a step of Adam that went
astray is several times as large by then."""
_CHAOS = 10
"""Most times that replays may differ as much as plain updates do from themselves: a device may add
up some sums in any order, and what follows is not the same twice."""


def let_replay(learner: Learner, graphs_of: Callable[[torch.device], Graphs]) -> str | None:
    """Let a learner's device replay its updates, or say in one line why it does not.

    What was tried and what learns have graphs of their own: to destroy one can take memory away
    from others of its stream (pytorch 193402).
    """
    device = learner.algorithm.device
    if learner.algorithm.turn is None:
        return _slower(device, "no two of this recipe are the same")
    plain, again = _learned(learner), _learned(learner)
    try:
        replayed = _learned(learner, graphs_of(device))
    except RuntimeError as error:
        reason = str(_first(error)).partition("\n")[0]
    else:
        gap, usual = _difference(plain, replayed), _difference(plain, again)
        if gap <= max(_ALIKE, _CHAOS * usual):
            learner.replay_updates(graphs_of(device))
            return None
        reason = f"after {_UPDATES} updates a number was {gap:.2g} from what it should be"
    finally:
        gc.collect()  # algorithms refer to themselves, and the device's memory is wanted
    return _slower(device, reason)


def _slower(device: torch.device, reason: str) -> str:
    return f"updates on {device} are made one operation at a time, which is slower: {reason}"


def _learned(learner: Learner, graphs: Graphs | None = None) -> Algorithm:
    """What updates have made of networks that are the same every time."""
    one = rehearse(learner, learner.algorithm.device)
    if graphs is not None:
        one.replay_updates(graphs)
    for number in range(_UPDATES):
        one.ingest(random_rows(one.layout, _ROWS, seed=number))
        one.update()
    return one.algorithm


def _difference(one: Algorithm, other: Algorithm) -> float:
    """Largest difference between tensors of two algorithms; NaN if any number is."""
    gaps = []
    for mine, theirs in zip(one.state().values(), other.state().values(), strict=True):
        expected, found = mine.cpu().double(), theirs.cpu().double()
        gaps.append(((found - expected).abs() / (1 + expected.abs())).max())
    return float(max(gaps, key=lambda gap: float(gap.nan_to_num(float("inf")))))


def _first(error: BaseException) -> BaseException:
    """What went wrong first: of a recording that is broken off torch tells only that it was."""
    while error.__context__ is not None:
        error = error.__context__
    return error
