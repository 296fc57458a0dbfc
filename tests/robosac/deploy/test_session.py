"""A session of a robot and its operator, in simulated time and lockstep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.operator import Request
from robosac.runner.loop import WithdrawnError
from robots import State
from robots.errors import PortLostError, ServoEnableError
from tests.robosac.deploy.conftest import UPSIDE_DOWN, Rig, times

if TYPE_CHECKING:
    from collections.abc import Callable

NAN = np.full(3, np.nan, np.float32)


def withdrawn(rig: Rig) -> None:
    """The session waits until the operator has done everything, and ends by their quit."""
    with pytest.raises(WithdrawnError):
        rig.session.reset()
    assert not rig.operator.deeds


def test_nothing_moves_before_the_operator_says_go(rig: Rig) -> None:
    """It is read and watched, and carries no torque; a clear changes nothing."""
    operator = rig.operator
    operator.then(lambda: None, operator.clear, operator.stop, lambda: None, operator.quit)
    withdrawn(rig)
    assert rig.machine.stiff == 0
    assert rig.state is State.STANDBY
    assert rig.told[0] == "standby, torque off: go lets it stand up (ENTER)"
    assert rig.idled == 5


def test_go_lets_it_stand_up_once(rig: Rig) -> None:
    """Steps follow; a go while it moves is dropped and begins nothing after the next stop."""
    rig.go()
    assert rig.robot.active
    rig.operator.go()
    assert not rig.step(5)
    rig.operator.go()
    rig.operator.stop()
    assert rig.step()
    rig.operator.go()
    moved = rig.machine.stiff
    rig.operator.then(lambda: None, rig.operator.quit)
    withdrawn(rig)
    sat = rig.machine.stiff - moved
    rig.session.close()
    assert rig.machine.stiff == moved + sat
    assert rig.state is State.STANDBY
    assert [(one.cause, one.state) for one in rig.journey.stops] == [("operator_stop", "standby")]


def test_a_go_that_was_given_early_starts_nothing(rig: Rig) -> None:
    """What waits in a pipe when the program begins was not meant for what is told there now."""
    rig.operator.go()
    rig.operator.then(lambda: None, rig.operator.quit)
    withdrawn(rig)
    assert rig.machine.stiff == 0
    assert rig.has_told("that go came early and does not count; go again")


def test_a_go_counts_from_the_first_word_on(rig: Rig) -> None:
    """A program that answers what it is told may be quicker than the line after it."""
    rig.on_told = times(rig.operator.go, 1)
    rig.session.reset()
    assert rig.robot.active
    assert not rig.has_told("early")


def test_after_a_stop_it_goes_on_when_told(rig: Rig) -> None:
    """Any number of times; the journey tells of every stop."""
    for _ in range(3):
        rig.go()
        rig.step(3)
        rig.operator.stop()
        assert rig.step()
    rig.session.close()
    assert rig.journey.steps == 12
    assert rig.journey.episodes == 3
    assert [one.cause for one in rig.journey.stops] == ["operator_stop"] * 3


def test_a_stop_between_go_and_standing_up_is_heard_at_once(rig: Rig) -> None:
    """It comes when the go has been taken and nothing moves yet: it must not wait for the ramp."""
    rig.operator.then(rig.operator.go, rig.operator.quit)
    seen: list[State] = []
    rig.machine.on_write = lambda: seen.append(rig.state)
    take = rig.operator.take

    def take_and_stop() -> frozenset[Request]:
        taken = take()
        if Request.GO in taken:
            rig.operator.stop()
        return taken

    rig.operator.take = take_and_stop  # type: ignore[method-assign]
    withdrawn(rig)
    assert not {State.RAMP, State.ACTIVE} & set(seen)
    assert rig.has_told("it does not stand up because of operator_stop")


def test_a_quit_while_it_stands_up_sits_it_down(rig: Rig) -> None:
    """It never gets to run, and the session ends."""
    rig.machine.on_write = times(rig.operator.quit, 10)
    rig.operator.then(rig.operator.go)
    withdrawn(rig)
    assert rig.state is State.STANDBY
    assert rig.has_told("it does not stand up because of operator_stop")


def test_a_fault_waits_for_clear_and_then_for_go(rig: Rig) -> None:
    """Neither a go alone nor a clear alone moves it; after both it runs again."""
    rig.go()
    rig.say(gyro=NAN)
    assert rig.step()
    rig.say()
    operator, seen = rig.operator, []
    operator.then(
        operator.go,
        lambda: seen.append(rig.state),
        operator.clear,
        lambda: seen.append(rig.state),
        operator.go,
    )
    moved = rig.machine.stiff
    rig.machine.on_write = lambda: seen.append(rig.state) if rig.state is State.RAMP else None
    rig.session.reset()
    assert seen[:2] == [State.FAULT, State.STANDBY]
    assert set(seen[2:]) == {State.RAMP}
    assert rig.state is State.ACTIVE
    assert rig.machine.stiff > moved
    assert rig.has_told("go does not count now: stopped (fault), torque off, because of state_not")
    assert [(one.cause, one.state) for one in rig.journey.stops] == [("state_not_finite", "fault")]


def test_clear_and_go_at_once_do_not_move_it(rig: Rig) -> None:
    """The go was given before anybody was told that the robot is ready for one."""
    rig.go()
    rig.say(gyro=NAN)
    rig.step()
    rig.say()
    operator = rig.operator

    def press_both() -> None:
        operator.go()
        operator.clear()

    operator.then(press_both, lambda: None, operator.quit)
    moved = []
    rig.machine.on_write = lambda: moved.append(rig.state) if rig.state is State.RAMP else None
    withdrawn(rig)
    assert rig.state is State.STANDBY
    assert not moved


def test_an_emergency_stop_needs_release_clear_and_go(rig: Rig) -> None:
    """In this order; every other leaves it where it is."""
    rig.go()
    rig.step(3)
    rig.operator.estop()
    assert rig.step()
    operator, seen = rig.operator, []
    deeds: list[Callable[[], object]] = [
        operator.go,
        operator.clear,
        operator.release,
        operator.go,
        operator.clear,
        operator.go,
    ]
    for deed in deeds:
        operator.then(lambda: seen.append(rig.state), deed)
    rig.session.reset()
    assert seen == [State.ESTOP] * 5 + [State.STANDBY]
    assert rig.state is State.ACTIVE
    assert [(one.cause, one.state) for one in rig.journey.stops] == [("estop", "estop")]


def test_an_emergency_stop_at_rest_latches_too(rig: Rig) -> None:
    """A go does not count, and it is said what would help."""
    operator = rig.operator
    operator.then(operator.estop, operator.go, operator.quit)
    withdrawn(rig)
    assert rig.state is State.ESTOP
    assert rig.machine.stiff == 0
    assert rig.has_told("emergency stop, torque off, because of estop: release it (r), then clear")


def test_a_lost_port_is_opened_anew_by_clear(rig: Rig) -> None:
    """As long as it is gone a clear says so; when it is back clear opens it, and go moves it."""
    rig.go()
    rig.step(2)
    rig.machine.error = PortLostError("/dev/ttyUSB0", "unplugged")
    assert rig.step()
    operator, opened = rig.operator, rig.machine.opened
    operator.then(operator.go, operator.clear, lambda: setattr(rig.machine, "error", None))
    operator.then(operator.clear, operator.go)
    rig.session.reset()
    assert rig.machine.opened > opened
    assert rig.state is State.ACTIVE
    assert rig.has_told("put it right, then clear (c) opens it anew")
    assert rig.has_told("not yet: ")
    assert not rig.step(3)


def test_a_robot_that_lies_is_not_stood_up(rig: Rig) -> None:
    """It may be carried around limp; on its feet again it goes without any clear."""
    operator = rig.operator
    operator.then(lambda: rig.say(**UPSIDE_DOWN), operator.go, rig.say, operator.go)
    rig.session.reset()
    assert rig.state is State.ACTIVE
    assert rig.told[1] == "standby, torque off: put it on its feet, then go (ENTER)"
    assert rig.told[2] == "it does not stand up because of tilt"


def test_a_time_limit_does_not_end_the_walk() -> None:
    """The next episode begins where the robot is: without anybody, and without standing up anew."""
    rig = Rig(episode_s=0.1)
    rig.go()
    states = []
    rig.machine.on_write = lambda: states.append(rig.state)
    for _ in range(3):
        assert rig.step(5)
        rig.session.reset()
    assert set(states) == {State.ACTIVE}
    assert len(states) == 15
    assert rig.journey.episodes == 3
    assert not rig.journey.stops


def _stop(rig: Rig) -> None:
    rig.operator.stop()
    rig.step()


def _fault(rig: Rig) -> None:
    rig.say(gyro=NAN)
    rig.step()
    rig.say()


def _estop(rig: Rig) -> None:
    rig.operator.estop()
    rig.step()


@pytest.mark.parametrize(
    ("bring", "before", "after"),
    [
        (lambda rig: None, State.ACTIVE, State.STANDBY),
        (_stop, State.SIT, State.STANDBY),
        (_fault, State.DAMP, State.FAULT),
        (_estop, State.ESTOP, State.ESTOP),
    ],
    ids=["active", "sit", "damp", "estop"],
)
def test_quit_ends_the_session_in_every_state(
    rig: Rig, bring: Callable[[Rig], None], before: State, after: State
) -> None:
    """It comes to rest, the torque is off, and what had latched stays so."""
    rig.go()
    rig.step(2)
    bring(rig)
    assert rig.state is before
    rig.operator.quit()
    if before is State.ACTIVE:
        assert rig.step()
    withdrawn(rig)
    rig.session.close()
    assert rig.state is after
    assert rig.journey.limp


def test_quit_counts_when_the_driver_is_lost(rig: Rig) -> None:
    """And it is said that nobody knows whether the torque is off."""
    rig.go()
    rig.machine.error = PortLostError("/dev/ttyUSB0", "unplugged")
    rig.step()
    rig.operator.then(rig.operator.quit)
    withdrawn(rig)
    rig.session.close()
    assert not rig.journey.limp
    assert "/dev/ttyUSB0" in rig.journey.error
    assert rig.has_told("CUT ITS POWER: ")


def test_a_torque_that_does_not_go_is_said_and_taken_off_when_it_can_be(rig: Rig) -> None:
    """A cable that came loose with the emergency stop: nobody is told that the torque is off."""
    rig.go()
    rig.machine.unconfirmed = ServoEnableError("servos 4, 5 did not confirm; cut their power")
    rig.operator.estop()
    assert rig.step()
    told = len(rig.told)
    rig.operator.then(lambda: None, lambda: setattr(rig.machine, "unconfirmed", None))
    rig.operator.then(rig.operator.quit)
    withdrawn(rig)
    first, *_, last = rig.told[told:]
    assert "emergency stop, TORQUE MAY BE ON, CUT ITS POWER" in first
    assert "servos 4, 5 did not confirm" in first
    assert "emergency stop, torque off" in last
    rig.session.close()
    assert rig.journey.limp


def test_a_clear_without_a_port_does_not_make_the_torque_go(rig: Rig) -> None:
    """It is still said at the end that nobody knows."""
    rig.go()
    rig.machine.error = PortLostError("/dev/ttyUSB0", "unplugged")
    rig.step()
    rig.operator.then(rig.operator.clear, rig.operator.quit)
    withdrawn(rig)
    rig.machine.error = None  # a driver that is closed raises nothing
    rig.session.close()
    assert not rig.journey.limp


def test_a_damped_emergency_stop_is_damped_to_its_end() -> None:
    """Where robot.toml says so; then the torque is off, without anybody's doing."""
    rig = Rig(estop="damp")
    rig.go()
    rig.operator.estop()
    assert rig.step()
    assert not rig.robot.limp
    seen: list[bool] = []
    rig.operator.then(lambda: seen.append(rig.robot.limp), rig.operator.quit)
    withdrawn(rig)
    assert seen == [True]
    assert not rig.robot.torque_owed
    assert rig.state is State.ESTOP


def test_it_is_known_whether_an_episode_begins_from_a_stand() -> None:
    """A policy that would be a jump in motion waits for one that does."""
    rig = Rig(episode_s=0.1)
    rig.operator.then(rig.operator.go)
    _, info = rig.session.reset()
    assert not info["goes_on"]
    assert rig.step(5)
    _, info = rig.session.reset()
    assert info["goes_on"]
    rig.operator.stop()
    assert rig.step()
    rig.operator.then(rig.operator.go)
    _, info = rig.session.reset()
    assert not info["goes_on"]


def test_nobody_holding_on_is_said(rig: Rig) -> None:
    """An attended robot stands up only while somebody holds it."""
    rig = Rig(attended=True)
    rig.operator.then(rig.operator.go, rig.operator.quit)
    withdrawn(rig)
    assert rig.machine.stiff == 0
    assert rig.has_told("it does not stand up because of operator_gone")


def test_steps_are_added_to_the_journey(rig: Rig) -> None:
    """Distance over time is the speed; what it was worth counts when the episode has ended."""
    rig.go()
    began = rig.env.robot.base_motion()
    rig.step(20)
    now = rig.env.robot.base_motion()
    assert began is not None
    assert now is not None
    assert rig.journey.steps == 20
    assert rig.journey.moving_s == pytest.approx(0.4)
    assert rig.journey.forward_m == pytest.approx(now.position[0] - began.position[0], abs=2e-3)
    assert rig.journey.return_mean is None
    rig.operator.stop()
    rig.step()
    assert rig.journey.return_mean is not None
