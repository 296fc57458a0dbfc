from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.cli import resolve
from robosac.env import RobotEnv
from tools.odometry_error import compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robots import BaseMotion

    FloatArray = NDArray[np.float32]


@pytest.fixture
def env() -> Iterator[RobotEnv]:
    """Pup under its task."""
    with resolve.make(robot="pup", task="walk", env=None) as place:
        assert isinstance(place.env, RobotEnv)
        yield place.env


def stand(_: FloatArray) -> FloatArray:
    """Ask for the stance."""
    return np.zeros(12, np.float32)


class Sway:
    """Swings all thighs together, once a second."""

    def __init__(self) -> None:
        self.tick = 0

    def __call__(self, _: FloatArray) -> FloatArray:
        self.tick += 1
        action = np.zeros((4, 3), np.float32)
        action[:, 1] = 0.5 * math.sin(2 * math.pi * self.tick / 20)
        return action.ravel()


def test_a_robot_that_stands_has_no_error(env: RobotEnv) -> None:
    """Neither moves, neither says so."""
    found = compare(env, stand, seconds=1.0, seed=0)
    assert (found.robot, found.seconds) == ("pup", 1.0)
    assert abs(found.speed_mps) < 0.01
    assert max(found.forward_rms_mps, found.left_rms_mps) < 0.01
    assert 0 < found.update_us < 1e5


def test_what_odometry_does_not_see_is_told_as_bias_and_drift(
    env: RobotEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A truth that moves backwards at 0.1 m/s besides: forward, that is too fast by as much."""
    honest = compare(env, Sway(), seconds=2.0, seed=3)
    assert honest.forward_rms_mps < 0.05
    true_motion = env.robot.base_motion

    def carried() -> BaseMotion:
        motion = true_motion()
        assert motion is not None
        heading = np.array([math.cos(motion.yaw), math.sin(motion.yaw), 0.0])
        position = motion.position - 0.1 * env.robot.now() / 1e9 * heading
        return replace(motion, position=position.astype(np.float32))

    monkeypatch.setattr(env.robot, "base_motion", carried)
    found = compare(env, Sway(), seconds=2.0, seed=3)
    assert found.forward_bias_mps - honest.forward_bias_mps == pytest.approx(0.1, abs=0.02)
    assert found.speed_mps - honest.speed_mps == pytest.approx(-0.1, abs=0.02)
    assert found.forward_rms_mps > 0.08
    assert found.drift_per_m > 0.4
    assert found.left_bias_mps == pytest.approx(honest.left_bias_mps, abs=0.01)


def test_every_episode_starts_anew(env: RobotEnv) -> None:
    """A robot that is put back to the origin has not strayed."""
    env.task.episode_s = 1.0
    short = RobotEnv(env.robot, env.task)
    found = compare(short, Sway(), seconds=3.0, seed=3)
    assert found.forward_rms_mps < 0.05
