from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard, State
from robots.safety import Event
from robots.safety.limits import Limited, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench

MS = 1_000_000


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def test_a_reading_that_is_not_finite_damps_at_once_and_latches(bench: Bench) -> None:
    """The write after it already has no stiffness."""
    bench.to(State.ACTIVE)
    bench.tick()
    bench.fire(Event.DANGER)
    assert bench.state is State.DAMP
    bench.safe.write(bench.command())
    np.testing.assert_array_equal(bench.last.kp, 0)
    np.testing.assert_array_equal(bench.last.torque, 0)
    np.testing.assert_array_equal(bench.last.kd, bench.robot.spec.safety.damp_kd)
    assert np.isfinite(bench.last.position).all()
    assert bench.safe.causes == (Guard.STATE_NOT_FINITE,)


@pytest.mark.parametrize(
    "sensors", [{"temperature": f4(20, np.nan)}, {"voltage": math.nan}, {"voltage": math.inf}]
)
def test_a_temperature_or_voltage_that_is_none_damps_and_reaches_no_target(
    bench: Bench, sensors: dict[str, object]
) -> None:
    """Of NaN °C a share of speed would be NaN, and so would every target."""
    bench.to(State.ACTIVE)
    bench.say(**sensors)
    bench.tick()
    bench.tick()
    assert bench.state is State.DAMP
    assert bench.safe.causes == (Guard.STATE_NOT_FINITE,)
    assert all(np.isfinite(command.position).all() for _, command in bench.robot.written)


def test_a_command_that_a_bug_has_made_never_leaves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look at what goes out: it damps instead."""
    bench.to(State.ACTIVE)
    broken = bench.command(f4(np.nan, 0))
    monkeypatch.setattr(Limits, "apply", lambda *_, **__: Limited(broken, Guard.NONE))
    with pytest.raises(ValueError, match="expected finite numbers"):
        bench.safe.write(bench.command())
    bench.safe.write(bench.command())
    assert bench.state is State.DAMP
    assert np.isfinite(bench.last.position).all()


@pytest.mark.parametrize("state", [State.RAMP, State.ACTIVE, State.HOLD, State.SIT])
@pytest.mark.parametrize(("period_ms", "ticks"), [(5, 13), (20, 4), (50, 3)])
def test_a_fallen_robot_is_damped_after_60_ms(
    new_bench: Callable[..., Bench], state: State, period_ms: int, ticks: int
) -> None:
    """A time, not a number of ticks, in every state that moves, also while it sits down."""
    bench = new_bench(period_ns=period_ms * MS)
    bench.to(state)
    bench.tilt(70)
    assert bench.ticks_until(State.DAMP) == ticks
    assert bench.safe.causes[-1] is Guard.TILT


def test_stale_sensors_are_held_at_40_ms_and_damped_at_100_ms(bench: Bench) -> None:
    """Age grows by itself while the driver returns the same sample."""
    bench.to(State.ACTIVE)
    bench.tick()
    states = {}
    for age in (20, 40, 60, 80, 100):
        bench.say(imu_age_s=age / 1000)
        bench.tick(bench.command(f4(0.3, -1.5)))
        states[age] = bench.state.value
    assert states == {20: "active", 40: "hold", 60: "hold", 80: "hold", 100: "damp"}
    assert bench.safe.causes == (Guard.STALE_STATE,)
    assert bench.safe.interventions["stale_state"] == 2  # held, then damped


@pytest.mark.parametrize("sensor", ["joint_age_s", "imu_age_s"])
def test_an_age_that_is_no_number_is_stale(bench: Bench, sensor: str) -> None:
    """max() of a number and NaN may be the number."""
    bench.to(State.ACTIVE)
    bench.say(**{sensor: math.nan})
    bench.read()
    assert bench.state is State.DAMP
    assert bench.safe.causes == (Guard.STALE_STATE,)


def test_a_reading_both_stale_and_not_finite_latches_both(bench: Bench) -> None:
    """And no position of it is ever written."""
    bench.to(State.ACTIVE)
    bench.say(position=f4(math.nan, 0), joint_age_s=math.nan)
    bench.tick()
    bench.tick()
    assert set(bench.safe.causes) == {Guard.STATE_NOT_FINITE, Guard.STALE_STATE}
    assert np.isfinite(bench.last.position).all()


def test_a_driver_that_repeats_its_last_reading_is_found_out(bench: Bench) -> None:
    """Its stamp grows old, whatever ages it claims."""
    bench.to(State.ACTIVE)
    bench.robot.stamp_lag_ns = 100 * MS
    bench.read()
    assert bench.safe.causes == (Guard.STALE_STATE,)


@pytest.mark.parametrize(("pause_ms", "state"), [(39, "active"), (40, "hold"), (2000, "damp")])
def test_a_loop_that_was_stopped_between_read_and_write_does_not_act_on_old_news(
    bench: Bench, pause_ms: int, state: str
) -> None:
    """SIGSTOP, 2 s, SIGCONT: the command was computed from another time."""
    bench.to(State.ACTIVE)
    bench.tick()
    bench.robot.clock_ns += pause_ms * MS
    bench.safe.write(bench.command(f4(0.3, -1.5)))
    assert bench.state.value == state


def test_readings_are_returned_as_they_are(bench: Bench) -> None:
    """The wrapper judges, it does not filter."""
    bench.say(position=f4(0.123, -1.3))
    np.testing.assert_array_equal(bench.read().position, f4(0.123, -1.3))


@pytest.mark.parametrize(
    ("period_ms", "expected_ms"), [(5, 200), (20, 200), (50, 200), (60, 240), (150, 300)]
)
def test_hold_ends_at_the_first_tick_at_or_after_200_ms(
    new_bench: Callable[..., Bench], period_ms: int, expected_ms: int
) -> None:
    """At any control rate; then it sits, and is not latched."""
    bench = new_bench(period_ns=period_ms * MS)
    bench.to(State.HOLD)
    start = bench.safe.now()
    bench.robot.sensors["joint_age_s"] = 0.05
    while bench.state is State.HOLD:
        bench.safe.wait_until(bench.safe.now() + bench.period_ns)
        bench.read()
    assert (bench.safe.now() - start) / MS == expected_ms
    assert bench.state.value == "sit"
    assert bench.safe.causes == (Guard.STALE_STATE,)


def test_hold_repeats_the_last_target_and_marks_every_command_it_overrides(bench: Bench) -> None:
    """The transition whose command was not executed carries the guard, the next one does not."""
    bench.to(State.ACTIVE)
    bench.tick(bench.command(f4(0.25, -1.4)))
    bench.say(joint_age_s=0.05)
    bench.tick(bench.command(f4(0.25, -1.4)))
    assert bench.safe.take_guards() == Guard.STALE_STATE
    bench.say()
    bench.tick(bench.command(f4(0.3, -1.4)))
    np.testing.assert_array_equal(bench.last.position, f4(0.25, -1.4))
    assert bench.safe.take_guards() == Guard.STALE_STATE
    bench.tick(bench.command(f4(0.3, -1.4)))
    np.testing.assert_array_equal(bench.last.position, f4(0.3, -1.4))
    assert bench.safe.take_guards() == Guard.NONE
    assert bench.safe.interventions == {"stale_state": 1}


def test_hold_goes_on_while_either_command_or_sensors_are_unusable(bench: Bench) -> None:
    """A good reading does not excuse a bad command, nor the other way round."""
    bench.to(State.ACTIVE)
    bench.tick(bench.nan())
    bench.read()
    assert bench.state is State.HOLD
    bench.say(joint_age_s=0.05)
    bench.tick()
    assert bench.state is State.HOLD
    bench.say()
    bench.read()
    assert bench.state.value == "active"
