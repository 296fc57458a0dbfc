"""Moments at which the whole machine stood still, from what each core has seen."""

from __future__ import annotations

import time

import pytest

from tools.stalls import Stall, Stalls, common


def test_only_what_every_core_has_missed_is_a_stall() -> None:
    """A core that was merely busy says nothing about the machine."""
    first = [Stall(1.0, 1.02), Stall(5.0, 5.01)]
    second = [Stall(1.01, 1.03), Stall(7.0, 7.5)]
    assert common([first, second]) == [Stall(1.01, 1.02)]
    assert common([first, []]) == []
    assert common([first]) == first


@pytest.mark.parametrize(
    ("since_s", "until_s", "explained"),
    [(0.9, 1.0, True), (1.01, 1.5, True), (0.5, 0.9, False), (1.02, 2.0, False)],
)
def test_a_tick_is_excused_by_a_stall_before_or_in_it(
    since_s: float, until_s: float, *, explained: bool
) -> None:
    """From the tick before its time to when it began."""
    stalls = Stalls()
    stalls.found = [Stall(0.95, 1.02)]
    assert stalls.explains(since_s, until_s) is explained


def test_a_watched_machine_tells_or_says_that_it_cannot() -> None:
    """One watcher a core, ended with the context."""
    with Stalls() as stalls:
        time.sleep(0.3)  # long enough for a watcher that does not go on to be found out
    assert stalls.found is None or all(one.end_s > one.begin_s for one in stalls.found)
