"""Symmetric sampling: half and half, whatever there is more of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.replay import ReplayMemory, RowLayout
from robosac.replay.mixture import Mixture
from robosac.replay.n_step import NStepMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=1, extra=0, action=1)
EARLIER = 10_000
AT = LAYOUT.slices


def filled(memory: ReplayMemory, count: int, *, first: int = 0) -> ReplayMemory:
    """Rows that observe their number, and are worth 1 each."""
    rows = np.zeros((count, LAYOUT.width), np.float32)
    rows[:, AT.obs] = np.arange(first, first + count)[:, None]
    rows[:, AT.next_obs] = rows[:, AT.obs] + 1
    rows[:, AT.reward] = 1
    memory.extend(rows)
    return memory


def mixture(online: int, earlier: int) -> Mixture:
    """So many rows of either; those of earlier runs have large numbers."""
    return Mixture(
        filled(ReplayMemory(LAYOUT, 1000), online),
        filled(ReplayMemory(LAYOUT, max(1, earlier)), earlier, first=EARLIER),
    )


@pytest.mark.parametrize(
    ("size", "online"), [(1, 1), (2, 1), (3, 2), (16, 8), (17, 9), (256, 128), (257, 129)]
)
@pytest.mark.parametrize(("rows", "earlier"), [(1, 1000), (1000, 1), (50, 50)])
def test_half_of_every_batch_is_this_run_s(size: int, online: int, rows: int, earlier: int) -> None:
    """And the extra row of an odd batch; not a share that depends on how many rows there are."""
    numbers = mixture(rows, earlier).sample(size, np.random.default_rng(0))[:, 0]
    assert (numbers < EARLIER).tolist() == [True] * online + [False] * (size - online)


def test_both_halves_are_uniform() -> None:
    """Every row of either side comes about as often as every other of its side."""
    numbers = mixture(10, 40).sample(40_000, np.random.default_rng(1))[:, 0].astype(int)
    for first, count in ((0, 10), (EARLIER, 40)):
        drawn = np.bincount(numbers[(numbers >= first) & (numbers < first + count)] - first)
        assert len(drawn) == count
        np.testing.assert_allclose(drawn, 20_000 / count, rtol=0.2)


def test_into_the_given_array_with_the_given_numbers() -> None:
    """The same generator gives the same rows, in place."""
    mixed = mixture(30, 30)
    out = np.empty((9, LAYOUT.width), np.float32)
    assert mixed.sample(9, np.random.default_rng(2), out) is out
    np.testing.assert_array_equal(mixed.sample(9, np.random.default_rng(2)), out)


@pytest.mark.parametrize(("online", "earlier"), [(0, 5), (5, 0)])
def test_one_side_alone_is_not_learned_from(online: int, earlier: int) -> None:
    """Before the first row of its own a run makes no update, and a prior without rows is none."""
    with pytest.raises(ValueError, match="empty replay memory"):
        mixture(online, earlier).sample(4, np.random.default_rng(0))


def test_new_rows_are_sampled_from_then_on() -> None:
    """They go into the run's own memory, as ever."""
    own = filled(ReplayMemory(LAYOUT, 10), 1)
    mixed = Mixture(own, filled(ReplayMemory(LAYOUT, 5), 5, first=EARLIER))
    filled(own, 9, first=1)
    numbers = mixed.sample(400, np.random.default_rng(0))[:200, 0]
    assert set(numbers.tolist()) == set(range(10))


def test_steps_belong_to_their_rows() -> None:
    """Own rows have no followers here, earlier ones have three: rewards 1 and 1 + γ + γ²."""
    own = NStepMemory(LAYOUT, 10, n=3, gamma=0.5)
    for number in range(4):
        rows = filled(ReplayMemory(LAYOUT, 1), 1, first=number).sample(1, np.random.default_rng(0))
        own.extend(rows, run=number, sequence=np.array([0]))
    earlier = NStepMemory(LAYOUT, 5, n=3, gamma=0.5)
    filled(earlier, 5, first=EARLIER)
    mixed = Mixture(own, earlier)
    batch, steps = mixed.sample(101, np.random.default_rng(0)), mixed.steps
    assert steps is not None
    numbers = batch[:, AT.obs.start]
    expected = np.where(numbers < EARLIER, 1, np.minimum(3, EARLIER + 5 - numbers))
    np.testing.assert_array_equal(steps, expected)
    np.testing.assert_array_equal(batch[:, AT.reward.start], 2 - 0.5 ** (expected - 1))
    assert set(expected.tolist()) == {1, 2, 3}


def test_without_n_steps_there_are_none_to_tell() -> None:
    """One each."""
    mixed = mixture(5, 5)
    mixed.sample(4, np.random.default_rng(0))
    assert mixed.steps is None
