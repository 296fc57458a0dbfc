from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import Guard, SafetyStopError, State
from robots.safety import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.robots.safety.conftest import Bench


@pytest.fixture
def damped(new_bench: Callable[..., Bench]) -> Bench:
    """A robot whose emergency stop damps before it takes the torque off."""
    usual = new_bench().robot.spec
    safety = msgspec.structs.replace(usual.safety, estop="damp")
    return new_bench(msgspec.structs.replace(usual, safety=safety))


@pytest.mark.parametrize("method", ["read", "write"])
@pytest.mark.parametrize("state", [state for state in State if state is not State.ESTOP])
def test_an_emergency_stop_takes_the_torque_off_in_the_next_call(
    bench: Bench, state: State, method: str
) -> None:
    """In every state, at once, before a sensor is read or a command sent."""
    bench.to(state)
    bench.robot.limp = False
    bench.robot.calls.clear()
    bench.safe.estop()
    if method == "read":
        bench.safe.read()
    else:
        bench.safe.write(bench.command())
    assert bench.state is State.ESTOP
    assert bench.robot.calls[0] == "disarm"
    assert bench.robot.limp
    assert Guard.ESTOP in bench.safe.causes
    assert Guard.ESTOP in bench.safe.take_guards()
    assert bench.safe.interventions["estop"] == 1


def test_an_emergency_stop_beats_a_driver_that_cannot_read(bench: Bench) -> None:
    """The sensors are not asked first."""
    bench.to(State.ACTIVE)
    bench.robot.fails["read"] = OSError("cable")
    bench.safe.estop()
    with pytest.raises(OSError, match="cable"):
        bench.read()
    assert bench.state is State.ESTOP
    assert bench.robot.limp


def test_a_torque_that_would_not_go_is_taken_off_at_the_next_call(bench: Bench) -> None:
    """The state is ESTOP whatever the driver says, and the driver's error is heard."""
    bench.to(State.ACTIVE)
    bench.robot.fails["disarm"] = OSError("cable")
    bench.safe.estop()
    with pytest.raises(OSError, match="cable"):
        bench.read()
    assert bench.state is State.ESTOP
    bench.robot.fails.clear()
    bench.safe.write(bench.command())
    assert bench.robot.limp


def test_a_torque_that_would_not_go_is_owed_while_the_robot_is_only_read(bench: Bench) -> None:
    """A robot at rest is not written to: every reading tries again, until it is confirmed."""
    bench.to(State.ACTIVE)
    assert not bench.safe.torque_owed
    bench.robot.fails["disarm"] = OSError("cable")
    bench.safe.estop()
    for _ in range(3):
        with pytest.raises(OSError, match="cable"):
            bench.safe.read()
        assert bench.safe.torque_owed
    bench.robot.fails.clear()
    bench.safe.read()
    assert bench.robot.limp
    assert not bench.safe.torque_owed


def test_a_torque_that_is_owed_is_taken_off_though_the_sensors_are_gone(bench: Bench) -> None:
    """The servos may hear though the IMU does not speak."""
    bench.to(State.ACTIVE)
    bench.robot.fails["disarm"] = OSError("cable")
    bench.safe.estop()
    with pytest.raises(OSError, match="cable"):
        bench.safe.read()
    bench.robot.fails = {"read": OSError("no IMU")}
    bench.robot.clock_ns += 500_000_000
    with pytest.raises(OSError, match="no IMU"):
        bench.safe.read()
    assert bench.robot.limp
    assert not bench.safe.torque_owed


def test_a_torque_that_is_owed_outlives_a_driver_that_has_gone(bench: Bench) -> None:
    """A driver that is closed has nothing to take off, which confirms nothing."""
    bench.to(State.ACTIVE)
    bench.robot.fails["disarm"] = OSError("cable")
    for _ in range(2):
        with pytest.raises(OSError, match="cable"):
            bench.safe.close()
    bench.robot.fails.clear()
    bench.safe.disarm("closed")
    bench.safe.close()
    assert bench.safe.torque_owed
    bench.safe.connect()
    bench.safe.read()
    assert not bench.safe.torque_owed


def test_damping_that_ends_at_a_reading_takes_the_torque_off_there(damped: Bench) -> None:
    """As for a robot that somebody only watches."""
    damped.to(State.ACTIVE)
    damped.fire(Event.ESTOP)
    damped.tick()
    assert not damped.safe.limp
    damped.robot.clock_ns += 4_000_000_000
    damped.safe.read()
    assert damped.safe.limp
    assert damped.robot.limp


def test_an_emergency_stop_from_a_signal_handler_is_not_lost(bench: Bench) -> None:
    """Nor one from a thread that releases it at once."""
    bench.to(State.ACTIVE)
    before = signal.signal(signal.SIGUSR1, lambda *_: bench.safe.estop())
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    thread = threading.Thread(target=bench.safe.release_estop)
    thread.start()
    thread.join()
    bench.tick()
    assert bench.state is State.ESTOP


def test_only_release_and_then_clear_lead_out(bench: Bench) -> None:
    """Neither of them alone, not in the other order, and to no motion."""
    bench.to(State.ESTOP)
    bench.safe.clear()
    assert bench.state is State.ESTOP
    bench.safe.release_estop()
    for _ in range(500):
        bench.tick()
    assert bench.state is State.ESTOP
    with pytest.raises(SafetyStopError, match="estop"):
        bench.safe.enable()
    bench.safe.clear()
    assert (bench.state.value, bench.safe.causes) == ("standby", ())
    bench.tick()
    assert not bench.robot.written
    bench.safe.enable()
    assert bench.state.value == "ramp"


def test_a_press_that_nobody_has_seen_yet_is_not_cleared(bench: Bench) -> None:
    """Pressed in FAULT and cleared before the next tick: the newer order wins."""
    bench.to(State.FAULT)
    bench.safe.estop()
    bench.safe.clear()
    assert bench.state is State.ESTOP


def test_a_press_and_release_that_nobody_has_seen_is_shown_before_it_is_cleared(
    bench: Bench,
) -> None:
    """The clear was meant for the fault; another one leads out."""
    bench.to(State.FAULT)
    bench.safe.estop()
    bench.safe.release_estop()
    bench.safe.clear()
    assert bench.state is State.ESTOP
    bench.safe.clear()
    assert bench.state.value == "standby"


def test_pressing_again_wants_another_release(bench: Bench) -> None:
    """Also when it is pressed in ESTOP."""
    bench.to(State.ESTOP)
    bench.safe.release_estop()
    bench.fire(Event.ESTOP)
    bench.safe.clear()
    assert bench.state is State.ESTOP
    assert bench.safe.interventions["estop"] == 1


@pytest.mark.parametrize("leave", ["disarm", "rest", "close", "place"])
def test_no_way_of_ending_leads_out_of_an_emergency_stop(bench: Bench, leave: str) -> None:
    """Not even a simulator's place, which clears everything else."""
    bench.to(State.ESTOP)
    bench.safe.release_estop()
    if leave == "place":
        bench.robot.simulated = True
        assert not bench.safe.place(np.random.default_rng(0))
    elif leave == "disarm":
        bench.safe.disarm("test")
    else:
        getattr(bench.safe, leave)()
    assert bench.state is State.ESTOP
    assert bench.robot.limp
    bench.safe.connect()
    assert bench.state is State.ESTOP


def test_a_damped_emergency_stop_damps_until_the_robot_is_still(damped: Bench) -> None:
    """Then the torque goes; the state is ESTOP all the time, and clear waits for the end."""
    damped.to(State.ACTIVE)
    damped.fire(Event.ESTOP)
    damped.safe.release_estop()
    start = damped.safe.now()
    damped.tick()
    assert not damped.robot.limp
    np.testing.assert_array_equal(damped.last.kp, 0)
    np.testing.assert_array_equal(damped.last.kd, damped.robot.spec.safety.damp_kd)
    damped.safe.clear()
    while not damped.robot.limp:
        damped.tick()
    assert (damped.safe.now() - start) / 1e9 == pytest.approx(1.0, abs=0.05)
    assert damped.state is State.ESTOP
    damped.safe.clear()
    assert damped.state.value == "standby"


def test_a_blind_robot_is_not_damped_for_ever(damped: Bench) -> None:
    """Torque off after damp_s, whatever the sensors say."""
    damped.to(State.ACTIVE)
    damped.say(imu_age_s=60.0)
    damped.fire(Event.ESTOP)
    start = damped.safe.now()
    while not damped.robot.limp:
        damped.tick()
    assert (damped.safe.now() - start) / 1e9 == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("state", [State.STANDBY, State.FAULT])
def test_a_damped_emergency_stop_gives_a_limp_robot_no_torque(damped: Bench, state: State) -> None:
    """Damping is for joints that carry something."""
    damped.to(state)
    damped.fire(Event.ESTOP)
    damped.tick()
    assert not damped.robot.written
    assert damped.robot.limp


@pytest.mark.parametrize("leave", ["disarm", "close"])
def test_a_damped_emergency_stop_ends_with_the_torque_off(damped: Bench, leave: str) -> None:
    """disarm() at once, close() when the robot is still."""
    damped.to(State.ACTIVE)
    damped.fire(Event.ESTOP)
    if leave == "disarm":
        damped.safe.disarm("test")
    else:
        damped.safe.close()
    assert damped.robot.limp
    assert damped.state is State.ESTOP
