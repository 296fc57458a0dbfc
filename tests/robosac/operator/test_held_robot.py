"""A simulated robot, guarded as a real one, that moves only while somebody holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import robots
from robosac.operator import Operator, Request
from robosac.operator.gamepad import Gamepad
from robots.errors import SafetyStopError
from robots.robot import JointCommand
from robots.safety import Guard, SafeRobot, State
from sim.mujoco_robot import MujocoRobot
from tests.clock import Clock
from tests.patience import PATIENCE_S, until
from tests.robosac.operator.test_gamepad import BACK, R1, START, A, B, Device, X, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TICK_NS = 20_000_000
STANDS = {State.ACTIVE}


class Walk:
    """A pup, its gamepad, and a control loop in simulated time."""

    def __init__(self, path: Path) -> None:
        self.robot = SafeRobot(MujocoRobot(robots.find("pup")), attended=True)
        self.operator = Operator(self.robot, clock=Clock())
        self.device = Device(path)
        self.gamepad = Gamepad(self.operator, path)
        self._stance = JointCommand.towards(self.robot.spec.column("stance"), self.robot.spec)
        self.applied = self._stance

    def tick(self) -> State:
        """One control period, as the runner has it; returns the state it ends in."""
        deadline = self.robot.now() + TICK_NS
        self.robot.read()
        self.applied = self.robot.write(self._stance)
        self.robot.wait_until(deadline)
        return self.robot.state

    def tick_until(self, states: set[State], *, at_most: int = 400) -> int:
        """Tick until it is in one of these states, holding on meanwhile if the pad does."""
        for ticks in range(1, at_most + 1):
            if self.gamepad.held:
                self.operator.alive("gamepad")
            if self.tick() in states:
                return ticks
        raise AssertionError(f"{self.robot.state} after {at_most} ticks")

    def press(self, number: int, heard: Callable[[], bool]) -> None:
        """Press a button and wait until it was heard."""
        self.device.press(number)
        until(heard)

    def start(self) -> None:
        """Hold, press go, and stand up."""
        self.device.send(event(R1, 1))
        until(lambda: self.gamepad.held)
        self.device.press(A)
        assert self.operator.wait(PATIENCE_S)
        assert self.operator.take() == {Request.GO}
        self.operator.alive("gamepad")
        self.robot.enable()
        self.operator.forget()
        self.tick_until(STANDS)


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    """A robot at rest with its gamepad plugged in."""
    walk = Walk(tmp_path / "js0")
    with walk.robot, walk.gamepad:
        yield walk
    walk.device.close()


def test_held_it_moves_and_released_it_sits_down(walk: Walk) -> None:
    """Within the dead-man's time and one tick, and the torque goes off."""
    walk.start()
    walk.tick_until({State.ACTIVE}, at_most=100)
    walk.operator.alive("gamepad")
    walk.device.send(event(R1, 0))
    until(lambda: not walk.gamepad.held)
    ticks = walk.tick_until({State.SIT})
    assert ticks * TICK_NS <= 0.5e9 + 2 * TICK_NS
    assert walk.robot.causes == (Guard.OPERATOR_GONE,)
    walk.tick_until({State.STANDBY})
    walk.tick()
    assert not walk.applied.kp.any()


def test_without_anybody_it_does_not_stand_up(walk: Walk) -> None:
    """A go is not a hold."""
    walk.device.press(A)
    assert walk.operator.wait(PATIENCE_S)
    walk.operator.take()
    with pytest.raises(SafetyStopError, match="operator_gone"):
        walk.robot.enable()
    assert walk.tick() is State.STANDBY


def test_the_emergency_stop_takes_the_torque_off_in_one_tick(walk: Walk) -> None:
    """And only release, clear and go, in this order, lead back to motion."""
    walk.start()
    walk.press(X, lambda: walk.robot._orders.estop_held)  # noqa: SLF001 - no tick may pass here
    assert walk.tick() is State.ESTOP
    assert not walk.applied.kp.any()
    assert not walk.applied.torque.any()
    walk.robot.clear()
    walk.tick()
    assert walk.robot.state is State.ESTOP
    walk.press(BACK, lambda: not walk.robot._orders.estop_held)  # noqa: SLF001 - as above
    walk.tick()
    assert walk.robot.state is State.ESTOP
    walk.device.press(START)
    assert walk.operator.wait(PATIENCE_S)
    assert walk.operator.take() == {Request.CLEAR}
    walk.robot.clear()
    assert walk.tick() is State.STANDBY


def test_a_stop_sits_it_down_and_an_early_go_starts_nothing(walk: Walk) -> None:
    """Go pressed while it sits down, or moves, is not kept for later."""
    walk.start()
    walk.device.press(A)
    walk.press(B, lambda: walk.tick() is State.SIT)
    walk.device.send(event(A, 1), event(R1, 0))
    until(lambda: not walk.gamepad.held)
    walk.operator.alive("gamepad")
    walk.tick_until({State.STANDBY})
    assert walk.operator.take() == frozenset()
