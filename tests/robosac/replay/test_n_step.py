"""n-step returns against a walk over every run by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.replay import ReplayMemory, RowLayout
from robosac.replay.n_step import NStepMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=1, extra=0, action=1)
GAMMA = 0.5
AT = LAYOUT.slices


def row(
    number: int, *, reward: float, terminated: bool = False, truncated: bool = False
) -> FloatArray:
    """A row that observes its number, and the next number afterwards."""
    found = np.zeros(LAYOUT.width, np.float32)
    found[AT.obs], found[AT.next_obs] = number, number + 1
    found[AT.reward], found[AT.terminated], found[AT.truncated] = reward, terminated, truncated
    return found


def sampled(memory: NStepMemory, count: int = 400) -> dict[int, tuple[float, float, float, float]]:
    """By observation: reward, next observation, terminated, steps."""
    rows = memory.sample(count, np.random.default_rng(0))
    return {
        int(one[AT.obs][0]): (
            float(one[AT.reward][0]),
            float(one[AT.next_obs][0]),
            float(one[AT.terminated][0]),
            float(steps),
        )
        for one, steps in zip(rows, memory.steps, strict=True)
    }


def test_by_hand() -> None:
    """Rewards 1, 2, 4, then the end; n = 3, γ = 0.5: 1 + 1 + 1, 2 + 2, 4."""
    memory = NStepMemory(LAYOUT, 100, n=3, gamma=GAMMA)
    rewards = [(1, False), (2, False), (4, True), (8, False)]
    memory.extend(
        np.array([row(10 + i, reward=r, terminated=end) for i, (r, end) in enumerate(rewards)])
    )
    assert sampled(memory) == {
        10: (3, 13, 1, 3),
        11: (4, 13, 1, 2),
        12: (4, 13, 1, 1),
        13: (8, 14, 0, 1),  # nothing has followed yet: one step, bootstrapped from its own next
    }


def test_a_time_limit_ends_the_sum_and_not_the_value() -> None:
    """After truncation nothing is added, and the next observation is the episode's own (trap 13).

    Put back by walking on through truncated rows, or by calling their end a termination (trap 1).
    """
    memory = NStepMemory(LAYOUT, 100, n=3, gamma=GAMMA)
    memory.extend(np.array([row(0, reward=1), row(1, reward=2, truncated=True), row(50, reward=9)]))
    found = sampled(memory)
    assert found[0] == (2, 2, 0, 2)
    assert found[1] == (2, 2, 0, 1)


def test_a_refused_row_breaks_the_chain() -> None:
    """Sequence numbers 0, 1, 3: nothing follows on 1."""
    memory = NStepMemory(LAYOUT, 100, n=3, gamma=GAMMA)
    rows = np.array([row(number, reward=1) for number in (0, 1, 3)])
    memory.extend(rows, run="a", sequence=np.array([0, 1, 3]))
    assert [sampled(memory)[number][3] for number in (0, 1, 3)] == [2, 1, 1]


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("capacity", [37, 1000])
def test_random_runs_in_a_ring_that_wraps(n: int, capacity: int) -> None:
    """Two robots in chunks of changing size, random ends: every sample equals a walk (trap 13).

    Put back by following rows in the order of the ring, or by discounting with γ instead of γᵏ.
    """
    rng = np.random.default_rng(n)
    memory = NStepMemory(LAYOUT, capacity, n=n, gamma=GAMMA)
    whole: dict[int, FloatArray] = {}
    made = {0: 0, 1000: 0}
    order: list[int] = []
    for _ in range(60):
        base = int(rng.choice([0, 1000]))
        ends = rng.random(int(rng.integers(1, 9)))
        rows = [
            row(
                base + made[base] + i,
                reward=float(rng.integers(1, 9)),
                terminated=bool(end < 0.15),
                truncated=bool(0.15 <= end < 0.3),
            )
            for i, end in enumerate(ends)
        ]
        memory.extend(
            np.array(rows), run=base, sequence=np.arange(made[base], made[base] + len(rows))
        )
        made[base] += len(rows)
        whole |= {int(one[AT.obs][0]): one for one in rows}
        order += [int(one[AT.obs][0]) for one in rows]
    found = sampled(memory, 3000)
    assert set(found) == set(order[-capacity:])
    assert found == {number: walked(whole, number, n) for number in found}


def walked(whole: dict[int, FloatArray], number: int, n: int) -> tuple[float, float, float, float]:
    """Sum rewards from a row on, until n, an end, or nothing more is known."""
    total, steps = 0.0, 0
    while True:
        one = whole[number + steps]
        total += GAMMA**steps * float(one[AT.reward][0])
        steps += 1
        over = one[AT.terminated][0] or one[AT.truncated][0]
        if over or steps == n or number + steps not in whole:
            return total, float(one[AT.next_obs][0]), float(one[AT.terminated][0]), float(steps)


def test_a_robot_that_was_away_for_longer_than_the_ring() -> None:
    """Its last row has been overwritten by another robot's, whose follower its next one is not."""
    memory = NStepMemory(LAYOUT, 4, n=3, gamma=GAMMA)
    memory.extend(np.array([row(0, reward=1)]), run="a", sequence=np.array([0]))
    others = np.array([row(100 + number, reward=1) for number in range(4)])
    memory.extend(others, run="b", sequence=np.arange(4))
    memory.extend(np.array([row(1, reward=5)]), run="a", sequence=np.array([1]))
    assert sampled(memory)[103] == (1, 104, 0, 1)


def test_one_step_is_the_plain_memory() -> None:
    """The same rows by the same random numbers."""
    plain, one = ReplayMemory(LAYOUT, 50), NStepMemory(LAYOUT, 50, n=1, gamma=GAMMA)
    rows = np.array([row(number, reward=number) for number in range(80)])
    for memory in (plain, one):
        memory.extend(rows)
    expected = plain.sample(64, np.random.default_rng(3))
    np.testing.assert_array_equal(one.sample(64, np.random.default_rng(3)), expected)
