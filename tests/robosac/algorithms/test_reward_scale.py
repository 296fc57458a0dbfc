"""Rewards divided by what returns are like, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from robosac.algorithms.algorithm import CPU
from robosac.algorithms.reward_scale import RewardScale
from robosac.algorithms.supply import Supply
from tests.robosac.algorithms.conftest import batch

if TYPE_CHECKING:
    from collections.abc import Sequence

F4 = np.float32
HERE = Supply(CPU)


def taken(
    reward: Sequence[float], ended: Sequence[float] | None = None, *, bound: float = 5
) -> float:
    """Divisor after these steps of one run, γ = 0.5."""
    scale = RewardScale(gamma=0.5, bound=bound)
    scale.take(np.array(reward, F4), np.array(ended or [0] * len(reward), F4), run="a")
    return scale.divisor


def test_divisor_by_hand() -> None:
    """Rewards 4, 2, -1: G = 4, 4, 1, whose deviation is √2; bound 5 asks for 4/5 at least."""
    assert taken([4, 2, -1]) == pytest.approx(2**0.5)


def test_largest_return_must_fit() -> None:
    """Rewards 4, -6, 0: the largest |G| is 4; with bound 1/2 it decides, not the deviation.

    Put back by the deviation alone: 3.40.
    """
    assert taken([4, -6, 0], bound=0.5) == pytest.approx(4 / 0.5)
    assert taken([4, -6, 0]) == pytest.approx(np.std([4, -4, -2]))


def test_the_largest_is_never_forgotten() -> None:
    """A thousand rows of nothing let the deviation shrink to 1.5, and 40/5 stays."""
    scale = RewardScale(gamma=0.5, bound=5)
    for reward, ended in ((40, 1), *[(0, 0)] * 1000):
        scale.take(np.array([reward], F4), np.array([ended], F4), run="a")
    assert scale.divisor == pytest.approx(8)


def test_a_return_begins_anew_after_an_episode() -> None:
    """Rewards 4 | 4, 4: G = 4, 4, 6 and not 4, 6, 7; nothing leaks from before the end."""
    cut, whole = (taken([4, 4, 4], [end, 0, 0], bound=100) for end in (1, 0))
    assert cut == pytest.approx(np.std([4, 4, 6]), rel=1e-6)
    assert whole == pytest.approx(np.std([4, 6, 7]), rel=1e-6)


def test_runs_have_returns_of_their_own() -> None:
    """Rows of two robots, in turn: G = 4, 1, then 2 + 4 and ½ + 1."""
    scale = RewardScale(gamma=0.5, bound=100)
    for reward, run in ((4, "a"), (1, "b"), (4, "a"), (1, "b")):
        scale.take(np.array([reward], F4), np.zeros(1, F4), run=run)
    assert scale.divisor == pytest.approx(np.std([4, 1, 6, 1.5]), rel=1e-6)


def test_other_chunks_give_the_same_bits() -> None:
    """As after a restart, when replay is read in chunks of another size."""
    rng = np.random.default_rng(0)
    reward, ended = rng.standard_normal(300).astype(F4), (rng.random(300) < 0.1).astype(F4)
    divisors = []
    for size in (1, 7, 300):
        scale = RewardScale(gamma=0.99, bound=5)
        for first in range(0, 300, size):
            scale.take(reward[first : first + size], ended[first : first + size], run="a")
        divisors.append(scale.divisor)
    assert len(set(divisors)) == 1


def test_rows_are_scaled_and_stay_raw() -> None:
    """Nothing known divides by one; zeros alone divide by something; no rows change nothing."""
    scale, rows = RewardScale(gamma=0.5, bound=5), batch()
    before = rows.reward.clone()
    assert torch.equal(scale.scaled(rows.reward, HERE), before)
    scale.take(np.array([4, 2, -1], F4), np.zeros(3, F4), run="a")
    scale.take(np.zeros(0, F4), np.zeros(0, F4), run="a")
    assert torch.allclose(scale.scaled(rows.reward, HERE), before / 2**0.5)
    assert torch.equal(rows.reward, before)
    assert np.isfinite(1 / taken([0, 0]))
