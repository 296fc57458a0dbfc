"""Whether replays do what updates do: tried with networks that nobody keeps, before robots move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robosac.learner.replayed import Replayed

if TYPE_CHECKING:
    from robosac.algorithms.algorithm import Algorithm
    from robosac.learner.learner import Learner
    from robosac.learner.replayed import Graphs

_UPDATES = 100
"""Enough for several replays of what is done every twentieth time."""
_ALIKE = 1e-3
"""Most that a number may differ by, relative to it where it is large: sums of a device may be taken
in any order, and a step of Adam that went astray is several times as large by then."""


def let_replay(learner: Learner, device: Graphs) -> str | None:
    """Let a device replay a learner's updates, or say in one line why it does not."""
    try:
        gap = _gap(learner, device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
    else:
        if gap <= _ALIKE:
            learner.replay_updates(device)
            return None
        reason = f"after {_UPDATES} updates a number was {gap:.2g} from what it should be"
    return f"updates on {device.device} are made one operation at a time, which is slower: {reason}"


def _gap(learner: Learner, device: Graphs) -> float:
    """Largest difference between what plain and replayed updates have made of the same."""
    plain, update = learner.rehearsal(device.device)
    recorded, learn = learner.rehearsal(device.device)
    replay = Replayed(recorded, learn, device)
    for _ in range(_UPDATES):
        update()
        replay()
    return _difference(plain, recorded)


def _difference(one: Algorithm, other: Algorithm) -> float:
    """Largest difference between tensors of two algorithms; NaN if any number is."""
    gaps = []
    for mine, theirs in zip(one.state().values(), other.state().values(), strict=True):
        expected, found = mine.cpu().double(), theirs.cpu().double()
        gaps.append(((found - expected).abs() / (1 + expected.abs())).max())
    return float(max(gaps, key=lambda gap: float(gap.nan_to_num(float("inf")))))
