"""Joint samples that no joint can have produced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard, State
from robots.safety.jump_filter import JumpFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench

HERE, FAR = (0.1, -1.5), (0.1, -1.0)
"""The knee makes 0.5 rad/s: 0.065 rad in 20 ms with half as much again and noise."""


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


@pytest.mark.parametrize(("step", "dropped"), [(0.064, False), (0.066, True), (-0.066, True)])
def test_a_step_that_no_joint_makes_is_dropped(bench: Bench, *, step: float, dropped: bool) -> None:
    """1.5 times the no-load speed and noise; the last sample stays, and is 20 ms older."""
    bench.to(State.ACTIVE)
    bench.say(position=f4(0.1, -1.5 + step), joint_age_s=0.005)
    bench.robot.clock_ns += bench.period_ns
    reading = bench.read()
    assert reading.joint_jumps == dropped
    np.testing.assert_array_equal(reading.position, f4(0.1, -1.5 + (0 if dropped else step)))
    assert reading.joint_age_s == pytest.approx(0.02 if dropped else 0.005)


def test_one_jump_is_bridged(bench: Bench) -> None:
    """The robot goes on; whoever reads sees that it was dropped."""
    bench.to(State.ACTIVE)
    for position in (HERE, FAR, HERE):
        bench.say(position=f4(*position))
        bench.tick()
    assert bench.state is State.ACTIVE
    assert not bench.safe.interventions


def test_two_jumps_are_held_and_three_are_a_broken_encoder(bench: Bench) -> None:
    """At 50 Hz: 20, 40, 60 ms without a sample; the cause is the jump, not the age."""
    bench.to(State.ACTIVE)
    bench.tick()
    states = []
    for _ in range(3):
        bench.say(position=f4(*FAR))
        bench.tick()
        states.append(bench.state)
    assert states == [State.ACTIVE, State.HOLD, State.DAMP]
    assert bench.safe.causes == (Guard.ENCODER_JUMP,)
    assert bench.safe.interventions == {"stale_state": 1, "encoder_jump": 1}
    bench.ticks_until(State.FAULT)


def test_a_driver_that_drops_jumps_itself_has_the_same_cause(bench: Bench) -> None:
    """Also when the age is up before the third, as at slow rates."""
    bench.to(State.ACTIVE)
    bench.say(joint_jumps=2, joint_age_s=0.1)
    bench.read()
    assert bench.state is State.DAMP
    assert bench.safe.causes == (Guard.ENCODER_JUMP,)


def test_the_time_between_samples_counts_not_that_between_readings(bench: Bench) -> None:
    """A joint that did not answer for a while may have gone far."""
    watch = JumpFilter(bench.robot.spec)
    bench.say(joint_age_s=0.3)
    watch.take(bench.robot.read())
    bench.robot.clock_ns += bench.period_ns
    bench.say(position=f4(0.1, -1.3))
    assert watch.take(bench.robot.read()).joint_jumps == 0


def test_where_the_joint_stays_is_believed_in_the_end(bench: Bench) -> None:
    """The fourth sample, for the damping that goes on."""
    bench.to(State.ACTIVE)
    for _ in range(4):
        bench.say(position=f4(*FAR))
        bench.tick()
    np.testing.assert_array_equal(bench.read().position, f4(*FAR))


def test_limp_joints_are_moved_by_anybody(bench: Bench) -> None:
    """In STANDBY every sample is believed, and enable begins with the newest."""
    bench.tick()
    for position in (FAR, HERE, (-0.9, -2.0)):
        bench.say(position=f4(*position))
        bench.tick()
    assert bench.state is State.STANDBY
    bench.say(position=f4(0.2, -1.4))
    bench.safe.enable()
    np.testing.assert_array_equal(bench.tick().position, f4(0.2, -1.4))


def test_a_simulators_place_is_no_jump(bench: Bench) -> None:
    """It teleports."""
    bench.to(State.ACTIVE)
    bench.robot.simulated = True
    bench.say(position=f4(0.9, -2.4))
    bench.safe.place(np.random.default_rng(0))
    bench.safe.enable()
    assert bench.read().joint_jumps == 0


@pytest.mark.parametrize("wild", [np.nan, np.inf])
def test_what_is_no_number_is_not_hidden(bench: Bench, wild: float) -> None:
    """A dropped sample must not keep the robot from being damped for it."""
    bench.to(State.ACTIVE)
    bench.say(position=f4(wild, 9.0))
    bench.read()
    assert bench.safe.causes == (Guard.STATE_NOT_FINITE,)
