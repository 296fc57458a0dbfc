from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robots import Guard, NotConnectedError, SafeRobot, SafetyStopError, State
from robots.errors import HardwareFaultError, NoReplyError, PortLostError, WriteBlockedError
from robots.imu import ImuLostError
from robots.safety import Event
from robots.safety.states import MOVING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.robots.safety.conftest import Bench


class CableError(Exception):
    """What a driver raises when the bus is gone."""


def act(bench: Bench, method: str) -> None:
    """Call the wrapper's method of that name."""
    if method == "read":
        bench.safe.read()
    elif method == "write":
        bench.safe.write(bench.command())
    else:
        bench.safe.wait_until(bench.safe.now() + 1)


@pytest.mark.parametrize("method", ["read", "write", "wait_until"])
@pytest.mark.parametrize("state", sorted(MOVING, key=str))
def test_an_error_of_the_driver_damps_and_latches_and_is_raised(
    bench: Bench, state: State, method: str
) -> None:
    """The caller hears of it; if it goes on nevertheless, the next command has no stiffness."""
    bench.to(state)
    bench.robot.fails[method] = CableError("cable")
    with pytest.raises(CableError):
        act(bench, method)
    assert bench.state is State.DAMP
    assert bench.safe.causes[-1] is Guard.DRIVER_ERROR
    assert Guard.DRIVER_ERROR in bench.safe.take_guards()
    bench.robot.fails.clear()
    bench.safe.write(bench.command())
    np.testing.assert_array_equal(bench.last.kp, 0)
    with pytest.raises(SafetyStopError):
        bench.safe.enable()


TYPED = [
    (HardwareFaultError("servo 3 (FR_calf_joint): overload"), Guard.HARDWARE_ERROR),
    (PortLostError("/dev/ttyUSB0", "hang-up"), Guard.LINK_LOST),
    (WriteBlockedError("/dev/ttyUSB0", written=3, size=9, timeout_s=0.02), Guard.LINK_LOST),
    (ImuLostError("/dev/ttyUSB1", "hang-up"), Guard.LINK_LOST),
    (NoReplyError(3, "a ping"), Guard.DRIVER_ERROR),
]


@pytest.mark.parametrize(
    ("error", "guard"), TYPED, ids=[type(error).__name__ for error, _ in TYPED]
)
def test_the_type_of_an_error_decides_the_guard_and_its_message_is_the_reason(
    bench: Bench, error: Exception, guard: Guard, caplog: pytest.LogCaptureFixture
) -> None:
    """So that the log names servo and bits, and the reason outlives later causes."""
    bench.to(State.ACTIVE)
    bench.robot.fails["read"] = error
    with caplog.at_level(logging.INFO), pytest.raises(type(error)):
        bench.read()
    assert bench.safe.causes == (guard,)
    assert str(error) in caplog.text
    bench.robot.fails.clear()
    bench.fire(Event.DANGER)
    assert str(error) in bench.safe.why
    bench.ticks_until(State.FAULT)


def test_a_command_that_breaks_the_judge_does_not_leave_the_robot_moving(bench: Bench) -> None:
    """Objects that cannot become an array: whatever goes wrong in here damps as well."""
    bench.to(State.ACTIVE)
    with pytest.raises(ValueError, match="inhomogeneous"):
        bench.safe.write(bench.command([[1.0], [1.0, 2.0]]))
    assert bench.state is State.DAMP


def test_a_reading_that_breaks_the_judge_damps_and_damping_goes_on(bench: Bench) -> None:
    """A driver may return anything; the broken reading is raised once and not judged again."""
    bench.to(State.ACTIVE)
    bench.say(joint_age_s="old")
    with pytest.raises(TypeError):
        bench.read()
    bench.safe.write(bench.command())
    assert bench.state is State.DAMP
    np.testing.assert_array_equal(bench.last.kp, 0)


@pytest.mark.parametrize("method", ["read", "write", "wait_until"])
def test_an_error_in_standby_latches_nothing(bench: Bench, method: str) -> None:
    """There is no torque that would have to go; the operator may plug in and enable."""
    bench.robot.fails = {method: CableError("cable"), "disarm": CableError("cable")}
    with pytest.raises(CableError):
        act(bench, method)
    bench.robot.fails.clear()
    assert (bench.state, bench.safe.interventions) == (State.STANDBY, {})
    bench.safe.enable()


def test_enabling_without_a_reading_is_refused_by_the_driver_itself(bench: Bench) -> None:
    """No fresh sample, no motion."""
    bench.robot.fails["read"] = CableError("cable")
    with pytest.raises(CableError):
        bench.safe.enable()
    assert bench.state is State.STANDBY


@pytest.mark.parametrize("state", [*sorted(MOVING, key=str), State.DAMP])
def test_a_disarm_that_fails_is_latched_and_tried_again(bench: Bench, state: State) -> None:
    """Who asked hears of it, nothing is written but the next attempt."""
    bench.to(state)
    writes = len(bench.robot.written)
    bench.robot.fails["disarm"] = CableError("cable")
    with pytest.raises(CableError):
        bench.safe.disarm("test")
    assert bench.state is State.FAULT
    with pytest.raises(CableError):
        bench.safe.write(bench.command())
    bench.robot.fails.clear()
    bench.safe.write(bench.command())
    assert bench.robot.limp
    assert len(bench.robot.written) == writes


def test_an_error_after_the_fault_is_appended(bench: Bench) -> None:
    """The first cause stays first."""
    bench.to(State.FAULT)
    bench.robot.fails["read"] = CableError("cable")
    with pytest.raises(CableError):
        bench.read()
    assert bench.safe.causes == (Guard.STATE_NOT_FINITE, Guard.DRIVER_ERROR)


def test_writing_needs_a_connection(bench: Bench) -> None:
    """Before connect() and after close(), as with any robot."""
    fresh = SafeRobot(bench.robot)
    bench.safe.close()
    for safe in (fresh, bench.safe):
        with pytest.raises(NotConnectedError, match="scripted"):
            safe.write(bench.command())


def test_a_stop_from_another_thread_is_not_lost(bench: Bench) -> None:
    """It is taken at the next tick, also when it comes between a doubt and its recovery."""
    bench.to(State.HOLD)
    bench.say()
    thread = threading.Thread(target=bench.safe.stop)
    thread.start()
    thread.join()
    bench.tick()
    assert bench.state is State.SIT


# Coming to rest


@pytest.mark.parametrize("state", sorted(MOVING, key=str))
def test_closing_a_moving_robot_sits_it_down_first(bench: Bench, state: State) -> None:
    """A standing robot whose process ends must not drop."""
    bench.to(state)
    bench.safe.close()
    np.testing.assert_allclose(bench.last.position, [0.5, -2.45])
    assert bench.robot.calls[-2:] == ["disarm", "close"]
    assert bench.state.value == "standby"
    assert "operator_stop" not in bench.safe.interventions or state is State.SIT


def test_closing_a_falling_robot_damps_it_to_the_end(bench: Bench) -> None:
    """No torque at once would let it drop; and it stays latched."""
    bench.to(State.DAMP)
    before = bench.safe.now()
    bench.say()
    bench.safe.close()
    assert bench.safe.now() - before >= 1_000_000_000
    assert bench.state.value == "fault"
    assert bench.robot.limp


@pytest.mark.parametrize("state", [State.STANDBY, State.FAULT])
def test_closing_a_limp_robot_moves_nothing(bench: Bench, state: State) -> None:
    """Also twice, also before connecting."""
    bench.to(state)
    bench.safe.close()
    bench.safe.close()
    SafeRobot(bench.robot).close()
    assert not bench.robot.written
    assert bench.robot.limp
    assert bench.state is state


@pytest.mark.parametrize("method", ["read", "write", "wait_until"])
def test_closing_takes_the_torque_off_even_if_sitting_down_fails(
    bench: Bench, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is in the log, and the robot is closed."""
    bench.to(State.ACTIVE)
    bench.robot.fails[method] = CableError("cable")
    with caplog.at_level(logging.ERROR):
        bench.safe.close()
    assert bench.robot.limp
    assert bench.robot.calls[-2:] == ["disarm", "close"]
    assert "cable" in caplog.text


@pytest.mark.parametrize("state", sorted(MOVING, key=str))
def test_a_robot_whose_sensors_are_gone_is_damped_to_the_end_before_it_rests(
    bench: Bench, state: State
) -> None:
    """Its servos still hear: without torque at once it would drop from where it stands."""
    bench.to(state)
    before = bench.safe.now()
    bench.robot.fails["read"] = ImuLostError("/dev/ttyUSB1", "hang-up")
    bench.safe.rest()
    assert (bench.safe.now() - before) / 1e9 == pytest.approx(3.0, abs=0.1)
    np.testing.assert_array_equal(bench.last.kp, 0)
    np.testing.assert_array_equal(bench.last.kd, bench.robot.spec.safety.damp_kd)
    assert bench.robot.limp
    assert bench.state is State.FAULT
    assert Guard.LINK_LOST in bench.safe.causes


def test_closing_closes_even_if_the_torque_cannot_be_taken_off(bench: Bench) -> None:
    """The port is released and the caller is told."""
    bench.to(State.ACTIVE)
    bench.robot.fails["disarm"] = CableError("cable")
    with pytest.raises(CableError):
        bench.safe.close()
    assert bench.robot.calls[-1] == "close"


def test_a_robot_whose_clock_stands_is_disarmed_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scripted move without time would never end."""
    bench.to(State.ACTIVE)
    monkeypatch.setattr(bench.robot, "wait_until", lambda deadline_ns: None)
    bench.safe.close()
    assert bench.robot.limp
    assert bench.robot.calls[-1] == "close"


def test_an_interrupt_while_sitting_down_still_takes_the_torque_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C is in a hurry."""
    bench.to(State.ACTIVE)

    def interrupt(deadline_ns: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.robot, "wait_until", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.safe.close()
    assert bench.robot.limp
    assert bench.robot.calls[-1] == "close"


def test_rest_ends_every_motion_and_leaves_the_robot_connected(bench: Bench) -> None:
    """It can be enabled again."""
    bench.to(State.ACTIVE).safe.rest()
    assert bench.state is State.STANDBY
    assert bench.robot.limp
    bench.fire(Event.ENABLE)
    assert bench.state.value == "ramp"


def test_a_latched_robot_stays_latched_through_close_and_connect(bench: Bench) -> None:
    """A cable pulled and plugged in is no clear."""
    bench.to(State.FAULT).safe.close()
    bench.safe.connect()
    assert bench.state is State.FAULT


def test_an_exception_in_a_with_block_ends_with_the_torque_off(
    new_bench: Callable[..., Bench],
) -> None:
    """Every way out does."""
    bench = new_bench()
    bench.to(State.ACTIVE)
    with pytest.raises(ZeroDivisionError), bench.safe:
        raise ZeroDivisionError
    assert bench.robot.limp
    assert bench.robot.calls[-1] == "close"
