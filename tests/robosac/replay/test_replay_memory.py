"""The ring keeps the newest rows, and sampling returns them unmixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robosac.replay import ReplayMemory, RowLayout

FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=2, extra=1, action=1)


def numbered(first: int, count: int) -> FloatArray:
    """Rows that tell their number in every column: number + 1000 * column."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    return numbers[:, None] + 1000 * np.arange(LAYOUT.width, dtype=np.float32)


def held(memory: ReplayMemory) -> list[int]:
    """Return the numbers that can be sampled, having checked that no row is mixed."""
    rows = memory.sample(60 * len(memory), np.random.default_rng(0))
    np.testing.assert_array_equal(rows, rows[:, :1] + 1000 * np.arange(LAYOUT.width))
    return sorted({int(number) for number in rows[:, 0]})


def test_a_partly_filled_memory_samples_only_what_it_was_given() -> None:
    """Uninitialised rows are never sampled."""
    memory = ReplayMemory(LAYOUT, capacity=1_000_000)
    memory.extend(numbered(0, 5))
    assert held(memory) == [0, 1, 2, 3, 4]
    assert (len(memory), memory.total) == (5, 5)


def test_the_oldest_rows_give_way_at_the_wrap() -> None:
    """A chunk that crosses the end of the ring lands whole, next observations too (trap 15).

    Put back by taking them from the row behind: after an end that is another episode's first.
    """
    memory = ReplayMemory(LAYOUT, capacity=8)
    memory.extend(numbered(0, 6))
    memory.extend(numbered(6, 5))
    assert held(memory) == list(range(3, 11))
    assert (len(memory), memory.total) == (8, 11)


@given(capacity=st.integers(1, 12), counts=st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_any_sequence_of_chunks_leaves_the_newest_rows(capacity: int, counts: list[int]) -> None:
    """Also chunks that are empty, or longer than the memory."""
    memory = ReplayMemory(LAYOUT, capacity)
    for count in counts:
        memory.extend(numbered(memory.total, count))
    total = sum(counts)
    assert memory.total == total
    assert len(memory) == min(total, capacity)
    if total:
        assert held(memory) == list(range(max(total - capacity, 0), total))


def test_where_a_row_lies_does_not_depend_on_the_chunks_it_came_in() -> None:
    """A memory refilled from disk samples the same rows as the one that was lost."""
    one, many = ReplayMemory(LAYOUT, capacity=7), ReplayMemory(LAYOUT, capacity=7)
    one.extend(numbered(0, 40))
    for number in range(40):
        many.extend(numbered(number, 1))
    np.testing.assert_array_equal(
        one.sample(32, np.random.default_rng(3)), many.sample(32, np.random.default_rng(3))
    )


def test_sampling_is_uniform() -> None:
    """Every row is as likely as any other, the wrap included."""
    memory = ReplayMemory(LAYOUT, capacity=10)
    memory.extend(numbered(0, 25))
    rows = memory.sample(20_000, np.random.default_rng(1))
    counts = np.bincount(rows[:, 0].astype(int) - 15, minlength=10)
    assert abs(counts - 2_000).max() < 6 * np.sqrt(2_000)


def test_sampling_fills_the_batch_it_is_given() -> None:
    """A batch in pinned memory is filled in place, with what a new one would hold."""
    memory = ReplayMemory(LAYOUT, capacity=10)
    memory.extend(numbered(0, 10))
    batch = np.full((4, LAYOUT.width), np.nan, dtype=np.float32)
    assert memory.sample(4, np.random.default_rng(2), out=batch) is batch
    np.testing.assert_array_equal(batch, memory.sample(4, np.random.default_rng(2)))


def test_rows_are_copied_in() -> None:
    """The caller may reuse its rows."""
    memory = ReplayMemory(LAYOUT, capacity=4)
    rows = numbered(0, 4)
    memory.extend(rows)
    rows[:] = -1
    assert held(memory) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((3, 13), dtype=np.float32),
        np.zeros(14, dtype=np.float32),
        np.zeros((1, 3, 14), dtype=np.float32),
        np.zeros((3, 14), dtype=np.float64),
    ],
)
def test_rows_of_another_shape_or_type_are_refused(rows: FloatArray) -> None:
    """Nothing is broadcast or cast on the way in (trap 23); put back by dropping the check."""
    memory = ReplayMemory(LAYOUT, capacity=4)
    with pytest.raises(ValueError, match=r"rows of float\d\d .*; expected float32 \(\d+, 14\)"):
        memory.extend(rows)
    assert memory.total == 0


@pytest.mark.parametrize("shape", [(4, 14), (3, 13), (3,)])
def test_a_batch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """Nothing is broadcast on the way out."""
    memory = ReplayMemory(LAYOUT, capacity=4)
    memory.extend(numbered(0, 2))
    with pytest.raises(ValueError, match=r"expected float32 \(3, 14\)"):
        memory.sample(3, np.random.default_rng(0), out=np.zeros(shape, dtype=np.float32))


def test_an_empty_memory_cannot_be_sampled() -> None:
    """An empty memory is an error of the caller, not a batch of zeros."""
    with pytest.raises(ValueError, match="empty replay memory"):
        ReplayMemory(LAYOUT, capacity=4).sample(1, np.random.default_rng(0))


def test_a_memory_holds_at_least_one_row() -> None:
    """The capacity is checked in the constructor."""
    with pytest.raises(ValueError, match="replay capacity 0"):
        ReplayMemory(LAYOUT, capacity=0)
