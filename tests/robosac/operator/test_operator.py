"""The operator: what reaches the robot at once, what waits, and what must never start a motion."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from robosac.operator import Operator, Request
from robosac.operator.operator import FRESH_S
from robots.safety import State
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.robosac.operator.conftest import Told

MOVING = (State.RAMP, State.ACTIVE, State.HOLD, State.SIT, State.DAMP)
NOTHING: frozenset[Request] = frozenset()


def test_stop_estop_release_and_alive_reach_the_robot_at_once(
    operator: Operator, robot: Told
) -> None:
    """They wait for nobody, and nobody who waits is told of them."""
    operator.stop()
    operator.estop()
    operator.release()
    operator.alive("gamepad")
    assert robot.calls == ["stop", "estop", "release", "alive"]
    assert not operator.wait(0)
    assert operator.take() == NOTHING


def test_an_edge_is_taken_once(operator: Operator) -> None:
    """Go and clear are there for the first who asks."""
    operator.go()
    operator.clear()
    assert operator.wait(0)
    assert operator.take() == {Request.GO, Request.CLEAR}
    assert operator.take() == NOTHING
    assert not operator.wait(0)


def test_a_source_wakes_who_waits(operator: Operator) -> None:
    """Waiting ends with the request, not with the time."""
    source = threading.Timer(0.01, operator.go, ["keyboard"])
    source.start()
    assert operator.wait(10.0)
    source.join()
    assert operator.take() == {Request.GO}


def test_waiting_ends_without_a_request(operator: Operator) -> None:
    """Who waits gets back to its work."""
    assert not operator.wait(0.01)


@pytest.mark.parametrize("state", MOVING)
@pytest.mark.parametrize("request_", [Request.GO, Request.CLEAR])
def test_an_edge_while_something_is_under_way_is_dropped(
    operator: Operator,
    robot: Told,
    state: State,
    request_: Request,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would start the next motion as soon as this one ends."""
    caplog.set_level(logging.INFO)
    robot.state = state
    {Request.GO: operator.go, Request.CLEAR: operator.clear}[request_]("gamepad")
    robot.state = State.STANDBY
    assert operator.take() == NOTHING
    assert f"{request_.value} ignored in {state.value} (gamepad)" in caplog.text


def test_an_edge_that_nobody_took_in_time_is_dropped(
    robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """A key pressed while nobody asked starts nothing later."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    operator = Operator(robot, clock=clock)
    operator.go()
    clock.now += FRESH_S
    assert operator.wait(0)
    clock.now += 0.01
    assert not operator.wait(0)
    assert operator.take() == NOTHING
    assert "go is too old" in caplog.text


def test_old_edges_do_not_take_new_ones_with_them(robot: Told) -> None:
    """Each has its own time."""
    clock = Clock()
    operator = Operator(robot, clock=clock)
    operator.go()
    clock.now += FRESH_S
    operator.clear()
    clock.now += 0.5
    assert operator.take() == {Request.CLEAR}


@pytest.mark.parametrize("halt", [Operator.stop, Operator.estop])
def test_a_stop_cancels_a_go_that_is_not_taken(
    operator: Operator, halt: Callable[[Operator], None]
) -> None:
    """The last word is the stop."""
    operator.go()
    operator.clear()
    halt(operator)
    assert operator.take() == {Request.CLEAR}


@pytest.mark.parametrize("halt", [Operator.stop, Operator.quit])
def test_a_stop_between_a_go_and_the_motion_is_passed_on_again(
    operator: Operator, robot: Told, halt: Callable[[Operator], None]
) -> None:
    """A robot at rest has nothing to stop and forgets it: the motion must not go on."""
    operator.go()
    assert operator.take() == {Request.GO}
    halt(operator)
    robot.calls.clear()
    robot.state = State.RAMP
    operator.forget()
    assert robot.calls == ["stop"]


@pytest.mark.parametrize("halt", [Operator.stop, Operator.quit])
def test_a_stop_overtaken_by_the_motion_it_is_to_prevent_is_passed_on(
    operator: Operator,
    robot: Told,
    halt: Callable[[Operator], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The robot at rest takes the stop, rises, and says so before its thread goes on."""
    operator.go()
    assert operator.take() == {Request.GO}
    usual = robot.stop

    def overtaken() -> None:
        usual()
        monkeypatch.setattr(robot, "stop", usual)
        operator.forget()

    monkeypatch.setattr(robot, "stop", overtaken)
    halt(operator)
    assert robot.calls == ["stop", "stop"]


def test_a_go_is_off_as_soon_as_a_stop_is_under_way(
    operator: Operator, robot: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the stop has not got to cancel it yet."""
    operator.go()
    monkeypatch.setattr(robot, "stop", lambda: taken.append(operator.take()))
    taken: list[frozenset[Request]] = []
    operator.stop()
    assert taken == [frozenset()]


def test_an_old_stop_does_not_stop_the_next_motion(operator: Operator, robot: Told) -> None:
    """It belongs to the motion that it ended."""
    operator.stop()
    operator.go()
    assert operator.take() == {Request.GO}
    robot.calls.clear()
    operator.forget()
    operator.forget()
    assert robot.calls == []


def test_motion_drops_what_came_while_it_was_begun(operator: Operator) -> None:
    """A second go on the way to the first does not start another motion."""
    operator.go()
    operator.take()
    operator.go()
    operator.forget()
    assert operator.take() == NOTHING


def test_quit_stops_first_and_is_never_forgotten(operator: Operator, robot: Told) -> None:
    """Pressed in motion, it is still there when the robot has sat down."""
    robot.state = State.ACTIVE
    operator.quit()
    assert robot.calls == ["stop"]
    assert operator.quitting
    operator.forget()
    assert operator.wait(0)
    assert operator.take() == {Request.QUIT}
    assert operator.take() == {Request.QUIT}


def test_what_was_asked_is_logged_with_who_asked(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """One line per request, with its source."""
    caplog.set_level(logging.INFO)
    for ask in (operator.go, operator.clear, operator.stop, operator.estop, operator.release):
        ask("gamepad")
    operator.quit("keyboard")
    asked = [line for line in caplog.messages if line.endswith("(gamepad)")]
    assert len(asked) == 5
    assert "operator: quit (keyboard)" in caplog.messages


def test_a_signal_may_come_in_the_middle_of_waiting(operator: Operator, robot: Told) -> None:
    """A handler runs in the thread that waits; it must not wait for itself."""
    usual = signal.signal(signal.SIGUSR1, lambda *_: operator.quit("signal"))
    main = threading.main_thread().ident
    assert main is not None
    alarm = threading.Timer(0.02, signal.pthread_kill, [main, signal.SIGUSR1])
    try:
        alarm.start()
        began = time.monotonic()
        assert operator.wait(10.0)
        assert time.monotonic() - began < 5.0
    finally:
        alarm.join()
        signal.signal(signal.SIGUSR1, usual)
    assert robot.calls == ["stop"]


def test_who_asks_again_and_again_is_logged_once_a_second(
    robot: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """A held key reaches the robot every time, and the log once in a while."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    operator = Operator(robot, clock=clock)
    for _ in range(30):
        operator.estop("keyboard")
        clock.now += 0.1
    assert robot.count("estop") == 30
    assert len(caplog.messages) == 3
