"""Updates get as many threads as pay off, and timing them leaves no trace in what is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from robosac.algorithms.algorithm import CPU
from robosac.learner.checkpoint import digest
from robosac.learner.rehearsal import rehearse
from robosac.learner.threads import most_threads, take_fastest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.robosac.learner.conftest import MakeLearner


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Give torch its threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """Its clock runs only while updates are made, and they take what is said of their threads."""

    def __init__(self, takes_s: Mapping[int, float]) -> None:
        self._takes_s = takes_s
        self.now = 0.0
        self.tried: set[int] = set()

    def update(self) -> None:
        """Take the time."""
        self.tried.add(torch.get_num_threads())
        self.now += self._takes_s[torch.get_num_threads()]

    def clock(self) -> float:
        """Tell the time, s."""
        return self.now


@pytest.mark.parametrize(
    ("takes_s", "chosen"),
    [
        ({1: 0.008, 2: 0.005, 4: 0.003, 6: 0.004}, 4),
        ({1: 0.008, 2: 0.005, 4: 0.003, 6: 0.002}, 6),
        ({1: 0.002, 2: 0.005, 4: 0.006, 6: 0.009}, 1),
        ({1: 0.0100, 2: 0.0098, 4: 0.0097, 6: 0.0096}, 1),
    ],
    ids=["in between", "all", "one", "more hardly pays"],
)
def test_the_fastest_number_of_threads_is_taken(takes_s: dict[int, float], chosen: int) -> None:
    """Powers of two and all of them are tried; others get those that gain less than a twentieth."""
    machine = Machine(takes_s)
    assert take_fastest(machine.update, 6, clock=machine.clock) == chosen
    assert torch.get_num_threads() == chosen
    assert machine.tried == {1, 2, 4, 6}


def test_one_hiccup_decides_nothing() -> None:
    """What else the machine does meanwhile only adds to some of the times."""
    machine = Machine({1: 0.004, 2: 0.003})
    calls = 0

    def update() -> None:
        nonlocal calls
        machine.update()
        calls += 1
        if torch.get_num_threads() == 2 and calls % 3:
            machine.now += 1.0

    assert take_fastest(update, 2, clock=machine.clock) == 2


def test_where_there_is_no_choice_nothing_is_timed() -> None:
    """A machine of two cores starts at once."""

    def update() -> None:
        pytest.fail("was timed")

    assert take_fastest(update, 1) == 1


def test_one_core_is_left_alone() -> None:
    """The runner and the learner's own service need it."""
    torch.set_num_threads(8)
    assert most_threads() == 7
    torch.set_num_threads(1)
    assert most_threads() == 1


def test_what_is_timed_is_not_what_learns(make_learner: MakeLearner) -> None:
    """The learner's tensors, its counters and torch's own generator stay as they were."""
    learner = make_learner()
    other = rehearse(learner, CPU)
    before = digest(learner.algorithm.state()), torch.random.get_rng_state()
    for _ in range(3):
        other.update()
    assert other.updates == 3
    assert digest(learner.algorithm.state()) == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    assert (learner.updates, learner.env_steps, learner.metrics) == (0, 0, {})
