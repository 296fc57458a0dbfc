"""What a policy would do: tried on observations before it may act on any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robosac.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from robosac.policy import OnnxPolicy
    from robosac.runner.link import Policy

    FloatArray = NDArray[np.float32]

JUMP_MAX = 0.5
"""Largest jump() at which one policy may follow another while the robot moves.

Measured while go2 learned to walk, 3,000 steps: policies that follow one another jump by 0.08
(median) to 0.25, eight versions apart by 0.42 at most; the same policy with its signs changed jumps
by 0.65 and more as soon as it has learned anything.
"""
_UNBOUNDED = 1000.0


def check_finite(policy: OnnxPolicy, seen: Iterable[FloatArray]) -> None:
    """Raise PolicyError unless actions are finite at zero, at the bounds, and on these (O,)."""
    bound = np.concatenate(
        [
            np.full(term.size * term.history, term.clip or _UNBOUNDED, np.float32)
            for term in policy.contract.obs
        ]
    )
    corners = {"zeros": 0 * bound, "the upper bounds": bound, "the lower bounds": -bound}
    cases = [*corners.items(), *(("a recent observation", obs) for obs in seen)]
    actions = policy.actions([obs for _, obs in cases])
    for (name, _), action in zip(cases, actions, strict=True):
        if not np.isfinite(action).all():
            raise PolicyError(f"action is not finite on {name}")


def jump(acting: Policy, candidate: OnnxPolicy, seen: list[FloatArray]) -> float:
    """Largest difference of deterministic actions on these observations (O,), of a range of 2.

    The difference on one observation is the mean over the joints of how far each target would move.
    """
    if not seen:
        return 0.0
    contract = candidate.contract
    half_range = (np.array(contract.action_upper) - np.array(contract.action_lower)) / 2
    difference = (candidate.actions(seen) - acting.actions(seen)) / half_range
    return float(np.abs(difference).mean(axis=1).max())
