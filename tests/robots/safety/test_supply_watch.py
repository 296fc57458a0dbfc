"""Heat of the joints and voltage of the supply."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from robots import Guard, SafetyStopError, State
from robots.safety.supply_watch import SupplyWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robots import RobotState
    from tests.robots.safety.conftest import Bench


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    """A robot whose battery should have 9.9 V, and never less than 9."""
    usual = new_bench().robot.spec
    limits = msgspec.structs.replace(usual.safety, voltage_min=9.9, voltage_brownout=9.0)
    return new_bench(msgspec.structs.replace(usual, safety=limits))


def read(bench: Bench, **sensors: Any) -> RobotState:  # noqa: ANN401 - fields of many types
    """A reading of the robot itself that has these numbers."""
    bench.say(**sensors)
    bench.robot.clock_ns += bench.period_ns
    return bench.robot.read()


@pytest.mark.parametrize(
    ("celsius", "speed"), [(20, 1.0), (55, 1.0), (60, 0.65), (64.9, 0.307), (65, 0.3), (90, 0.3)]
)
def test_targets_slow_down_between_55_and_65_degrees(
    bench: Bench, celsius: float, speed: float
) -> None:
    """Linearly, by the hottest joint, to 30 %."""
    watch = SupplyWatch(bench.robot.spec)
    alarms = watch.judge(read(bench, temperature=f4(20, celsius)))
    assert watch.speed == pytest.approx(speed)
    assert bool(alarms) is (celsius >= 65)


def test_cooling_down_gives_the_speed_back(bench: Bench) -> None:
    """Nothing latches in the watch."""
    watch = SupplyWatch(bench.robot.spec)
    for celsius in (64, 50):
        watch.judge(read(bench, temperature=f4(celsius, 20)))
    assert watch.speed == 1.0


def test_the_slower_targets_reach_the_joints(bench: Bench) -> None:
    """6 rad/s · 0.65 · 20 ms, and the transition says that they were held."""
    bench.to(State.ACTIVE)
    bench.say(temperature=f4(60, 20))
    bench.tick()
    before = bench.last.position
    bench.tick(bench.command(f4(0.9, -1.4)))
    np.testing.assert_allclose(bench.last.position - before, [0.078, 0], atol=1e-6)
    assert Guard.SLEW_LIMIT in bench.safe.take_guards()


def test_the_hottest_joint_is_named_once_when_it_gets_warm(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log learns which joint to spare."""
    bench.to(State.ACTIVE)
    bench.say(temperature=f4(40, 56.4))
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            bench.tick()
    assert [record.getMessage() for record in caplog.records] == [
        "safety: knee has 56 °C; targets move slower up to 65 °C, then it sits"
    ]


def test_a_hot_robot_sits_and_does_not_start_again_before_it_is_cooler(bench: Bench) -> None:
    """Upright and sensing well: no reason to fall."""
    bench.to(State.ACTIVE)
    bench.say(temperature=f4(40, 65.2))
    bench.tick()
    assert bench.state is State.SIT
    assert bench.safe.why == "temperature: knee has 65 °C"
    bench.ticks_until(State.STANDBY)
    assert bench.safe.interventions == {"temperature": 1}
    with pytest.raises(SafetyStopError, match="temperature"):
        bench.safe.enable()
    bench.say(temperature=f4(40, 64))
    bench.safe.enable()


def test_a_flat_battery_sits_the_robot_down(bench: Bench) -> None:
    """Mean of 10 s: from 11 to 9.5 V it takes 10 s · ln(1.5/0.4) to fall below 9.9."""
    bench.to(State.ACTIVE)
    bench.say(voltage=11.0)
    bench.tick()
    bench.say(voltage=9.5)
    start = bench.safe.now()
    bench.ticks_until(State.SIT)
    assert (bench.safe.now() - start) / 1e9 == pytest.approx(10 * np.log(1.5 / 0.4), abs=0.1)
    assert bench.safe.why.startswith("voltage: the supply has 9.9 V on average")


def test_a_flat_battery_is_no_start(bench: Bench) -> None:
    """It would sit again in a moment."""
    bench.say(voltage=9.8)
    with pytest.raises(SafetyStopError, match="voltage"):
        bench.safe.enable()


def test_a_sag_of_a_second_is_no_flat_battery(bench: Bench) -> None:
    """Servos that pull hard lower it for a moment."""
    bench.to(State.ACTIVE)
    for number in range(1000):
        bench.say(voltage=9.3 if number % 100 > 75 else 10.8)
        bench.tick()
    assert bench.state is State.ACTIVE


def test_one_sample_of_a_brown_out_damps(bench: Bench) -> None:
    """Servos restart or let go at once: there is nothing to sit down with."""
    bench.to(State.ACTIVE)
    bench.say(voltage=8.9)
    bench.read()
    assert bench.state is State.DAMP
    assert bench.safe.why == "voltage: the supply has dropped to 8.9 V"
    bench.ticks_until(State.FAULT)


def test_a_limp_robot_may_be_hot_and_without_a_battery(bench: Bench) -> None:
    """Servos on the supply of the bench: enable is refused, nothing latches."""
    bench.say(voltage=5.0, temperature=f4(70, 70))
    for _ in range(100):
        bench.tick()
    assert (bench.state, bench.safe.interventions) == (State.STANDBY, {})
    with pytest.raises(SafetyStopError, match="temperature"):
        bench.safe.enable()
    assert bench.state is State.STANDBY


def test_robots_without_these_sensors_and_numbers_are_left_alone(
    bench: Bench, new_bench: Callable[..., Bench]
) -> None:
    """None is no zero."""
    assert not SupplyWatch(bench.robot.spec).judge(read(bench))
    usual = new_bench()
    assert not SupplyWatch(usual.robot.spec).judge(read(usual, voltage=1.0))
