"""What a signal does to whoever drives a robot."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from robosac.deploy import signals
from robosac.operator import Operator
from robots import State
from tests.clock import Clock
from tests.robosac.operator.conftest import Told

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which signals are told apart."""
    clock = Clock()
    monkeypatch.setattr(signals, "time", clock)
    return clock


@pytest.fixture
def robot() -> Told:
    """A robot that moves."""
    robot = Told()
    robot.state = State.ACTIVE
    return robot


@pytest.fixture
def operator(robot: Told, clock: Clock) -> Iterator[Operator]:
    """An operator who hears signals."""
    operator = Operator(robot)
    before = signal.getsignal(signal.SIGTERM)
    with signals.signals_to(operator):
        yield operator
    assert signal.getsignal(signal.SIGTERM) is before


def send(number: signal.Signals) -> None:
    """To this process; it is handled before the call returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_robot_sit_down_and_ends(
    operator: Operator, robot: Told, number: signal.Signals
) -> None:
    """Whatever else comes with it from a terminal that closes or a service manager."""
    send(number)
    assert operator.quitting
    for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        send(other)
    assert set(robot.calls) == {"stop"}


def test_ctrl_c_again_is_an_emergency_stop(operator: Operator, robot: Told, clock: Clock) -> None:
    """Also a while later, and also after a quit by other means."""
    operator.quit("keyboard")
    send(signal.SIGINT)
    assert "estop" not in robot.calls
    clock.now += 1.0
    send(signal.SIGINT)
    assert robot.calls.count("estop") == 1


def test_one_ctrl_c_that_comes_twice_is_one(operator: Operator, robot: Told, clock: Clock) -> None:
    """The terminal sends it to the whole group, and a wrapper may pass it on once more."""
    send(signal.SIGINT)
    clock.now += 0.1
    send(signal.SIGINT)
    assert "estop" not in robot.calls
    clock.now += 0.2
    send(signal.SIGINT)
    assert "estop" in robot.calls


def test_sigquit_is_an_emergency_stop(operator: Operator, robot: Told) -> None:
    r"""Ctrl-\ is pressed by who is in a hurry; it leaves no core dump but a robot at rest."""
    send(signal.SIGQUIT)
    assert robot.calls[0] == "estop"
    assert operator.quitting
