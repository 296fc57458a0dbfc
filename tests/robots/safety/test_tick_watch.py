"""The control loop's own lateness as a reason to stop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest

from robots import Guard, SafetyLimits, State
from robots.safety.tick_watch import TickWatch

if TYPE_CHECKING:
    from tests.robots.safety.conftest import Bench

ON_TIME, LATE = 0.01, 0.011


def first_wrong(*ticks: float, limits: SafetyLimits | None = None) -> int | None:
    """Number of the first tick at which something is wrong."""
    watch = TickWatch(limits or SafetyLimits())
    wrong = [bool(watch.add(late_s)) for late_s in ticks]
    return wrong.index(True) if any(wrong) else None


@pytest.mark.parametrize(
    ("ticks", "expected"),
    [
        ([ON_TIME] * 200, None),
        ([LATE, LATE, ON_TIME] * 2, None),
        ([LATE, LATE, LATE], 2),
        ([0.1], None),
        ([0.101], 0),
        ([math.nan], 0),
        ([*[LATE, *[ON_TIME] * 9] * 4, LATE], 40),
        ([LATE, *[ON_TIME] * 12] * 20, None),
    ],
    ids=["on time", "two and two", "three", "0.1", "more than 0.1", "nan", "5 in 50", "4 in 50"],
)
def test_three_in_a_row_five_in_fifty_or_one_by_far(
    ticks: list[float], expected: int | None
) -> None:
    """And not one tick sooner."""
    assert first_wrong(*ticks) == expected


def test_numbers_come_from_robot_toml() -> None:
    """Another loop, another patience."""
    limits = SafetyLimits(late_s=0.001, late_in_a_row=2)
    assert first_wrong(0.002, 0.002, limits=limits) == 1
    assert first_wrong(0.06, limits=msgspec.structs.replace(limits, late_stop_s=0.05)) == 0


def test_forgetting_starts_anew() -> None:
    """What the last run was late does not count."""
    watch = TickWatch(SafetyLimits())
    for late_s in (LATE, LATE):
        watch.add(late_s)
    watch.forget()
    assert not watch.add(LATE)
    assert not watch.add(LATE)
    assert watch.add(LATE)


@pytest.mark.parametrize("state", [State.RAMP, State.ACTIVE, State.HOLD])
def test_a_robot_that_is_upright_and_sensing_sits_down(bench: Bench, state: State) -> None:
    """Not latched; the reason has the numbers."""
    bench.to(state)
    bench.say()
    for _ in range(3):
        bench.safe.tick_late(0.014)
        bench.tick()
    assert bench.state is State.SIT
    assert bench.safe.causes == (Guard.OVERRUN,)
    assert bench.safe.why == "overrun: 3 ticks in a row began late, the last 14 ms"
    bench.ticks_until(State.STANDBY)
    bench.safe.enable()


def test_a_robot_that_has_tipped_over_is_damped(bench: Bench) -> None:
    """Sitting down needs a robot that stands."""
    bench.to(State.ACTIVE)
    bench.tilt(70)
    bench.safe.tick_late(0.2)
    bench.read()
    assert bench.state is State.DAMP
    assert bench.safe.causes == (Guard.OVERRUN,)


def test_a_robot_that_senses_badly_is_damped(bench: Bench) -> None:
    """An age that is only doubted otherwise is too old for a scripted move."""
    bench.to(State.ACTIVE)
    bench.say(imu_age_s=0.05)
    bench.safe.tick_late(0.2)
    bench.read()
    assert bench.state is State.DAMP
    bench.ticks_until(State.FAULT)


@pytest.mark.parametrize("state", [State.STANDBY, State.FAULT, State.SIT, State.ESTOP])
def test_lateness_means_nothing_to_a_robot_that_stops_anyway(bench: Bench, state: State) -> None:
    """Nor is it kept for the next start."""
    bench.to(state)
    bench.safe.tick_late(1.0)
    bench.tick()
    assert bench.state is state
    assert "overrun" not in bench.safe.interventions


def test_waiting_between_episodes_does_not_count_for_the_next(bench: Bench) -> None:
    """The ticks begin with enable."""
    for _ in range(2):
        bench.safe.tick_late(LATE)
    bench.to(State.ACTIVE)
    bench.safe.tick_late(LATE)
    bench.tick()
    assert bench.state is State.ACTIVE
