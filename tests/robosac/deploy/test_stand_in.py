"""Who takes the operator's place where the robot is emulated."""

from __future__ import annotations

import pytest

from robosac.deploy.stand_in import PATIENCE_S, StandIn
from robosac.operator import Request
from robots.errors import PortLostError
from tests.clock import Clock
from tests.robosac.deploy.conftest import UPSIDE_DOWN, Rig


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


@pytest.fixture
def stand_in(rig: Rig, clock: Clock) -> StandIn:
    """For a robot that is connected and has lain for long enough."""
    rig.robot.connect()
    stand_in = StandIn(rig.robot, stopped=lambda: False, clock=clock)
    stand_in.take()
    clock.now += PATIENCE_S
    return stand_in


def test_a_robot_on_its_feet_goes(stand_in: StandIn) -> None:
    """As often as it is asked."""
    assert stand_in.take() == stand_in.take() == {Request.GO}


def test_hands_get_their_time_before_it_goes_again(stand_in: StandIn, clock: Clock) -> None:
    """They take hold a while after the torque is off."""
    stand_in.forget()
    assert stand_in.take() == frozenset()
    clock.now += PATIENCE_S - 0.1
    assert stand_in.take() == frozenset()
    clock.now += 0.2
    assert stand_in.take() == {Request.GO}


def test_a_robot_that_lies_waits_for_hands(rig: Rig, stand_in: StandIn) -> None:
    """In standby and in a fault."""
    rig.say(**UPSIDE_DOWN)
    assert stand_in.take() == frozenset()
    rig.say()
    rig.robot.estop()
    rig.robot.read()
    rig.say(**UPSIDE_DOWN)
    assert stand_in.take() == frozenset()


def test_a_fault_is_cleared_when_it_is_upright(rig: Rig, stand_in: StandIn) -> None:
    """The go comes with the next look."""
    rig.robot.estop()
    rig.robot.read()
    assert stand_in.take() == {Request.CLEAR}


def test_a_driver_that_fails_is_opened_anew(rig: Rig, stand_in: StandIn) -> None:
    """In standby, too: a go would be refused for ever."""
    rig.machine.error = PortLostError("/dev/pts/7", "unplugged")
    assert stand_in.take() == {Request.CLEAR}


def test_it_quits_when_it_is_told(rig: Rig) -> None:
    """Whatever the robot does."""
    stand_in = StandIn(rig.robot, stopped=lambda: True)
    assert stand_in.quitting
    assert stand_in.take() == {Request.QUIT}
    assert not stand_in.wait(0.0)
