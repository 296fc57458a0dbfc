from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import Guard, State
from robots.safety import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench

MS = 1_000_000


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def test_the_ramp_starts_at_a_fresh_sample_and_keeps_its_speed(bench: Bench) -> None:
    """From where the joints are at enable, not from where they were, at 1.0 and 0.5 rad/s."""
    bench.say(position=f4(-0.9, -2.0))
    bench.read()
    bench.say(position=f4(-0.2, -1.7))
    bench.safe.enable()
    targets = [bench.tick().position for _ in range(3)]
    np.testing.assert_allclose(targets[0], [-0.2, -1.7], rtol=1e-6)
    np.testing.assert_allclose(targets[1], [-0.18, -1.69], rtol=1e-5)
    np.testing.assert_allclose(targets[2], [-0.16, -1.68], rtol=1e-5)
    assert bench.ticks_until(State.ACTIVE) == pytest.approx(28, abs=1)
    np.testing.assert_array_equal(bench.last.position, bench.stance)


def test_commands_during_the_ramp_are_not_used(bench: Bench) -> None:
    """Not even judged: the policy has no say yet."""
    bench.to(State.RAMP)
    for _ in range(3):
        bench.tick(bench.nan())
    assert bench.state is State.RAMP
    assert bench.safe.take_guards() == Guard.NONE


def test_a_robot_that_lies_outside_its_soft_limits_is_led_back_at_ramp_speed(bench: Bench) -> None:
    """Never thrown to the limit; once inside, it stays inside."""
    bench.say(position=f4(0.999, -0.505))
    bench.safe.enable()
    bench.ticks_until(State.ACTIVE)
    path = np.array([command.position for _, command in bench.robot.written])
    np.testing.assert_allclose(path[0], [0.999, -0.505], rtol=1e-6)
    steps = np.diff(path, axis=0)
    assert (np.abs(steps) <= f4(0.02, 0.01) + 1e-6).all()
    lower, upper = bench.robot.spec.soft_limits()
    inside = np.array([(lower <= row).all() and (row <= upper).all() for row in path])
    assert not inside[0]
    assert inside[inside.argmax() :].all()
    np.testing.assert_array_equal(path[-1], bench.stance)


def test_a_ramp_does_not_start_at_an_impossible_pose(bench: Bench) -> None:
    """An encoder that jumps by a turn after enable would throw the joint against its stop."""
    bench.to(State.RAMP)
    bench.say(position=f4(0.1, -1.5 + 2 * math.pi))
    bench.read()
    bench.safe.write(bench.command())
    np.testing.assert_allclose(bench.last.position, [0.1, -0.45], rtol=1e-6)


def test_a_long_pause_in_a_scripted_move_does_not_become_a_jump(bench: Bench) -> None:
    """Two seconds without a write count as 0.1 s."""
    bench.to(State.RAMP)
    bench.tick()
    before = bench.last.position
    bench.safe.wait_until(bench.safe.now() + 2000 * MS)
    bench.read()
    bench.safe.write(bench.command())
    assert (np.abs(bench.last.position - before) <= f4(0.1, 0.05) + 1e-6).all()


def test_any_doubt_during_the_ramp_damps_without_latching(bench: Bench) -> None:
    """Standing up is not worth a risk; the operator may try again."""
    bench.to(State.RAMP)
    bench.fire(Event.DOUBT)
    assert bench.state is State.DAMP
    bench.fire(Event.DAMPED)
    assert bench.state.value == "standby"
    bench.safe.enable()


def test_an_operators_stop_sits_down_and_takes_the_torque_off(bench: Bench) -> None:
    """In the next call, at ramp speed, whatever is commanded; once, however often it is asked."""
    bench.to(State.ACTIVE)
    bench.tick()
    for _ in range(3):
        bench.safe.stop()
    first = bench.safe.write(bench.command(f4(0.3, -1.4)))
    assert bench.state is State.SIT
    assert (np.abs(first.position - bench.stance) <= f4(0.02, 0.01) + 1e-6).all()
    bench.safe.stop()
    assert bench.ticks_until(State.STANDBY) == pytest.approx(1.05 / 0.5 / 0.02, abs=2)
    np.testing.assert_array_equal(bench.last.position, bench.crouch)
    bench.tick()
    assert bench.robot.limp
    assert bench.safe.causes == (Guard.OPERATOR_STOP,)
    assert bench.safe.take_guards() == Guard.OPERATOR_STOP
    assert bench.safe.interventions == {"operator_stop": 1}


def test_a_stop_before_enable_is_not_kept_for_later(bench: Bench) -> None:
    """The newer of two acts of the operator counts."""
    bench.safe.stop()
    bench.safe.enable()
    bench.tick()
    assert bench.state is State.RAMP
    assert not bench.safe.interventions


def test_a_robot_without_a_crouch_sits_in_its_stance(new_bench: Callable[..., Bench]) -> None:
    """And arrives there."""
    usual = new_bench().robot.spec
    bench = new_bench(msgspec.structs.replace(usual, crouch=()))
    bench.to(State.SIT)
    bench.ticks_until(State.STANDBY)
    np.testing.assert_array_equal(bench.last.position, bench.stance)


def test_damping_ends_when_the_robot_lies_still_for_a_second(bench: Bench) -> None:
    """Not while it still moves."""
    bench.to(State.DAMP)
    bench.say(velocity=f4(0.0, 0.5))
    for _ in range(50):
        bench.tick()
    bench.say()
    start = bench.safe.now()
    bench.ticks_until(State.FAULT)
    assert (bench.safe.now() - start) / MS == pytest.approx(1000, abs=40)
    bench.tick()
    assert bench.robot.limp


def test_a_blind_moment_is_no_stillness(bench: Bench) -> None:
    """0.8 s of stillness, one reading that is none, 0.8 s of stillness: not a second in a row."""
    bench.to(State.DAMP)
    for reading in ({}, {"gyro": f4(math.nan, 0, 0)}, {}):
        bench.say(**reading)
        for _ in range(1 if reading else 40):
            bench.tick()
    assert bench.state is State.DAMP


def test_the_stillness_of_an_earlier_stop_does_not_count(bench: Bench) -> None:
    """Every stop waits for its own second."""
    for _ in range(2):
        bench.to(State.DAMP)
        bench.say()
        start = bench.safe.now()
        bench.ticks_until(State.FAULT)
        assert (bench.safe.now() - start) / MS == pytest.approx(1000, abs=40)
        bench.safe.clear()


@pytest.mark.parametrize(
    "sensors",
    [
        {"velocity": f4(0.0, 0.5)},
        {"gyro": f4(math.nan, 0, 0)},
        {"imu_age_s": 60.0},
    ],
    ids=["moving", "not finite", "stale"],
)
def test_torque_is_off_3_s_after_the_cause_whatever_the_sensors_say(
    bench: Bench, sensors: dict[str, object]
) -> None:
    """A robot that moves or is blind is not damped for ever; dead sensors are no stillness."""
    bench.to(State.DAMP)
    bench.say(**sensors)
    start = bench.safe.now()
    bench.ticks_until(State.FAULT)
    assert (bench.safe.now() - start) / 1e9 == pytest.approx(3.0, abs=0.04)
    bench.tick()
    assert bench.robot.limp


def test_damping_does_not_need_a_caller_that_reads(bench: Bench) -> None:
    """Timers run in write() too."""
    bench.to(State.DAMP)
    for _ in range(151):
        bench.safe.write(bench.command())
        bench.safe.wait_until(bench.safe.now() + bench.period_ns)
    assert bench.state is State.FAULT


def test_damping_keeps_the_last_target(bench: Bench) -> None:
    """A driver that knows positions only is not asked to jump."""
    bench.to(State.ACTIVE)
    bench.tick(bench.command(f4(0.3, -1.41)))
    bench.say(position=f4(math.nan, 0))
    bench.read()
    bench.tick()
    np.testing.assert_array_equal(bench.last.position, f4(0.3, -1.41))
    np.testing.assert_array_equal(bench.last.kp, 0)
