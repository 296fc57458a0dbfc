"""The service behind its door: a key speaks for its own robots, and for nobody who is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robosac.wire import messages
from robosac.wire.keysmith import make_learner, make_robot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.robosac.learner.conftest import MakePlace, Robot

    Call = Callable[[str, str], Robot]


@pytest.fixture
def call(tmp_path: Path, make_place: MakePlace) -> Call:
    """Return what connects to a service with the key of one name and speaks for a robot."""
    keys = tmp_path / "keys"
    make_learner(keys / "learner")
    place = make_place(keys=keys)
    place.service.start()

    def connect(key: str, robot: str) -> Robot:
        make_robot(keys / key, keys / "learner")
        return place.robot(robot, key=key)

    return connect


@pytest.mark.parametrize("robot", ["pup", "pup-1", "pup-lab-2"])
def test_a_key_speaks_for_its_name_and_what_is_derived_from_it(call: Call, robot: str) -> None:
    """One key may be for a whole litter."""
    one = call("pup", robot)
    one.join()
    one.send_rows(0, 3)
    one.acknowledged(3)
    one.part(3)


@pytest.mark.parametrize("robot", ["cat", "puppy", "pu", "pup_1"])
def test_a_key_speaks_for_nobody_else(call: Call, robot: str) -> None:
    """And is told which key it is."""
    one = call("pup", robot)
    one.hello()
    assert f"key 'pup' may not speak for robot '{robot}'" in one.hear(messages.Refused).reason
    one.send_rows(0, 3)
    one.hear(messages.Unknown)


def test_a_robot_that_is_connected_is_not_taken_over_with_another_key(call: Call) -> None:
    """Keys pup and pup-1 may both speak for pup-1, but not while the other does."""
    robot, thief = call("pup-1", "pup-1"), call("pup", "pup-1")
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    for run in (thief.run, robot.run):
        thief.run = run
        thief.hello()
        assert "is connected with another key" in thief.hear(messages.Refused).reason
        thief.send_rows(5, 5, run=robot.run)
        thief.hear(messages.Unknown)
    robot.send_rows(5, 2)
    robot.acknowledged(7)
    robot.part(7)
    assert not robot.told(messages.Unknown)


def test_a_robot_comes_back_with_its_own_key(call: Call) -> None:
    """On another connection, while the learner still believes in the first."""
    robot, again = call("pup", "pup-1"), call("pup", "pup-1")
    again.run = robot.run
    robot.join()
    robot.send_rows(0, 5)
    robot.acknowledged(5)
    assert again.join().expected == {robot.run: 5}
    robot.say(messages.Ping())
    robot.hear(messages.Unknown)
