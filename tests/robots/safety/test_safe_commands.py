from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard, State
from robots.safety import Event

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.robots.safety.conftest import Bench


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_command_that_is_not_finite_is_refused_and_held(bench: Bench, number: float) -> None:
    """In the same call: the robot gets the last safe target again, not a clamped number."""
    bench.to(State.ACTIVE)
    safe = bench.tick(bench.command(f4(0.25, -1.41)))
    applied = bench.safe.write(bench.command(f4(number, -1.4)))
    assert bench.state is State.HOLD
    np.testing.assert_array_equal(bench.last.position, safe.position)
    np.testing.assert_array_equal(applied.position, safe.position)
    assert bench.safe.take_guards() == Guard.COMMAND_NOT_FINITE


@pytest.mark.parametrize("part", ["kp", "kd", "torque"])
def test_gains_and_torques_that_are_not_finite_are_refused(bench: Bench, part: str) -> None:
    """NaN in a gain is as bad as NaN in a target."""
    bench.to(State.ACTIVE)
    bench.safe.write(bench.command(**{part: f4(1, math.nan)}))
    assert bench.state is State.HOLD
    assert np.isfinite(getattr(bench.last, part)).all()


def test_a_command_of_another_shape_is_refused_and_held(bench: Bench) -> None:
    """One number for all joints is no command."""
    bench.to(State.ACTIVE)
    bench.safe.write(bench.command(f4(0.2)))
    assert bench.state is State.HOLD
    assert bench.safe.take_guards() == Guard.COMMAND_SHAPE
    assert bench.last.position.shape == (2,)


def test_one_refused_command_passes_with_the_next_good_one(bench: Bench) -> None:
    """The good one is applied in the call that brings it."""
    bench.to(State.ACTIVE)
    bench.tick(bench.nan())
    bench.tick(bench.command(f4(0.22, -1.4)))
    assert bench.state is State.ACTIVE
    np.testing.assert_array_equal(bench.last.position, f4(0.22, -1.4))


def test_the_second_refused_command_in_a_row_sits_down(bench: Bench) -> None:
    """Within its own call: what is written is already the first step of the crouch."""
    bench.to(State.ACTIVE)
    bench.tick()
    bench.tick(bench.nan())
    applied = bench.tick(bench.nan())
    assert bench.state is State.SIT
    assert bench.safe.causes == (Guard.COMMAND_NOT_FINITE,)
    np.testing.assert_allclose(applied.position, bench.stance + f4(0.02, -0.01), rtol=1e-5)
    bench.ticks_until(State.STANDBY, bench.nan())
    np.testing.assert_array_equal(bench.last.position, bench.crouch)
    assert bench.robot.limp


def test_two_refused_commands_apart_do_not_sit_down(bench: Bench) -> None:
    """In a row means in a row."""
    bench.to(State.ACTIVE)
    for _ in range(5):
        bench.tick(bench.nan())
        bench.tick()
    assert bench.state is State.ACTIVE
    assert bench.safe.interventions == {"command_not_finite": 5}


def test_refusals_of_an_earlier_life_do_not_count(bench: Bench) -> None:
    """After a stop and a new enable one bad command is again only the first."""
    bench.to(State.ACTIVE)
    bench.fire(Event.GIVE_UP)
    bench.ticks_until(State.STANDBY)
    bench.to(State.ACTIVE)
    bench.tick(bench.nan())
    assert bench.state is State.HOLD


def test_targets_beyond_the_soft_limits_are_clamped(bench: Bench) -> None:
    """Half range 1.0 about 0.0 and about -1.5, 95 % of it; the limit is reached and kept."""
    bench.to(State.ACTIVE)
    for _ in range(200):
        bench.tick(bench.command(f4(2.0, -4.0)))
    np.testing.assert_allclose(bench.last.position, [0.95, -2.45], rtol=1e-6)
    assert bench.safe.take_guards() & Guard.POSITION_LIMIT
    bench.tick(bench.command(f4(0.9, -2.4)))
    assert not bench.safe.take_guards() & Guard.POSITION_LIMIT


def test_a_step_is_limited_against_the_last_command_not_the_measurement(bench: Bench) -> None:
    """6.0 and 0.5 rad/s for 20 ms, although the joints have stayed behind."""
    bench.to(State.ACTIVE)
    bench.tick()
    bench.say(position=f4(-0.5, -1.0))
    bench.tick(bench.command(f4(0.9, -2.0)))
    np.testing.assert_allclose(bench.last.position, [0.32, -1.41], rtol=1e-6)
    assert bench.safe.take_guards() == Guard.SLEW_LIMIT


def test_what_a_driver_says_it_applied_does_not_move_the_limits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply of NaN would turn every later limit into NaN."""
    nonsense = bench.command(f4(math.nan, 9.0))
    bench.to(State.ACTIVE)
    truly = bench.robot.write
    monkeypatch.setattr(bench.robot, "write", lambda command: (truly(command), nonsense)[1])
    assert bench.tick(bench.command(f4(0.9, -2.0))) is nonsense
    bench.tick(bench.command(f4(0.9, -2.0)))
    np.testing.assert_allclose(bench.last.position, [0.44, -1.42], rtol=1e-6)


def test_a_long_silence_does_not_buy_a_long_step(bench: Bench) -> None:
    """After two seconds of reading only, the step is that of stale_damp_s, 0.1 s."""
    bench.to(State.ACTIVE)
    bench.tick()
    for _ in range(100):
        bench.safe.wait_until(bench.safe.now() + bench.period_ns)
        bench.safe.read()
    bench.safe.write(bench.command(f4(0.9, -2.0)))
    np.testing.assert_allclose(bench.last.position, [0.8, -1.45], rtol=1e-6)


def test_two_commands_at_the_same_time_allow_one_step(bench: Bench) -> None:
    """Without time between them nothing may move."""
    bench.to(State.ACTIVE)
    bench.safe.write(bench.command(f4(0.22, -1.4)))
    bench.safe.write(bench.command(f4(0.9, -2.0)))
    np.testing.assert_array_equal(bench.last.position, f4(0.22, -1.4))


def test_gains_above_robot_toml_are_cut(bench: Bench) -> None:
    """And counted once, whatever number of parts was out of bounds."""
    bench.to(State.ACTIVE)
    bench.tick(bench.command(kp=f4(21, -1), kd=f4(9, 9), torque=f4(-11, 16)))
    np.testing.assert_array_equal(bench.last.kp, [20, 0])
    np.testing.assert_array_equal(bench.last.kd, [0.5, 1])
    np.testing.assert_array_equal(bench.last.torque, [-10, 15])
    assert bench.safe.take_guards() == Guard.GAIN_LIMIT
    assert bench.safe.interventions == {"gain_limit": 1}


def test_commands_cannot_be_changed_after_they_were_judged(bench: Bench) -> None:
    """Limits count from the last command: the driver and the caller get it read-only."""
    bench.to(State.ACTIVE)
    mine = bench.command(f4(0.21, -1.4))
    applied = bench.tick(mine)
    for part in (applied.position, applied.kp, applied.kd, applied.torque):
        with pytest.raises(ValueError, match="read-only"):
            part[:] = 0
    mine.position[:] = 9
    np.testing.assert_array_equal(bench.last.position, f4(0.21, -1.4))
