from __future__ import annotations

import math

import numpy as np
import pytest

from robosac.tasks.motion import planar_velocity
from robots import BaseMotion


def motion(x: float = 0.0, y: float = 0.0, *, yaw: float = 0.0, z: float = 0.3) -> BaseMotion:
    """A base somewhere; its own velocity, which must not matter, says 9 m/s."""
    return BaseMotion(
        position=np.array([x, y, z], np.float32),
        velocity=np.full(3, 9.0, np.float32),
        yaw=yaw,
        source="test",
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (motion(), motion(0.1, 0), (2.0, 0.0, 0.0)),
        (motion(), motion(-0.1, 0), (-2.0, 0.0, 0.0)),
        (motion(), motion(0, 0.1), (0.0, 2.0, 0.0)),
        (motion(), motion(0, -0.05), (0.0, -1.0, 0.0)),
        (motion(yaw=math.pi / 2), motion(0, 0.1, yaw=math.pi / 2), (2.0, 0.0, 0.0)),
        (motion(yaw=math.pi / 2), motion(0.1, 0, yaw=math.pi / 2), (0.0, -2.0, 0.0)),
        (motion(yaw=math.pi), motion(0.1, 0, yaw=math.pi), (-2.0, 0.0, 0.0)),
        (motion(yaw=-2.5), motion(yaw=-2.5), (0.0, 0.0, 0.0)),
        (motion(1, 1, yaw=math.pi / 4), motion(1.03, 1.04, yaw=math.pi / 4), (0.98995, 0.14142, 0)),
        (motion(), motion(z=9.0), (0.0, 0.0, 0.0)),
    ],
    ids=[
        *("forward", "backward", "left", "right", "forward facing left", "right facing left"),
        *("backward facing back", "still", "askew", "up is no motion in the plane"),
    ],
)
def test_speed_is_displacement_in_the_frame_the_step_began_in(
    before: BaseMotion, after: BaseMotion, expected: tuple[float, float, float]
) -> None:
    """Over 50 ms: x forward, y left of where the robot faced."""
    assert planar_velocity(before, after, 0.05) == pytest.approx(expected, abs=1e-4)


def test_the_frame_is_that_before_the_turn() -> None:
    """A robot that goes along x and turns while it does has gone forward."""
    forward, left, turn = planar_velocity(motion(), motion(0.1, 0, yaw=1.0), 0.05)
    assert (forward, left, turn) == pytest.approx((2.0, 0.0, 20.0))


@pytest.mark.parametrize(
    ("before", "after", "turned"),
    [
        (3.1, -3.1, 2 * math.pi - 6.2),
        (-3.1, 3.1, 6.2 - 2 * math.pi),
        (0.0, 0.5, 0.5),
        (0.5, 0.0, -0.5),
        (7.0, 7.1, 0.1),
        (0.1, 0.1 + 4 * math.pi, 0.0),
    ],
)
def test_a_turn_across_the_back_is_a_small_one(before: float, after: float, turned: float) -> None:
    """Yaw jumps by a whole turn at ± pi; the robot does not."""
    _, _, rate = planar_velocity(motion(yaw=before), motion(yaw=after), 0.1)
    assert rate == pytest.approx(turned / 0.1, abs=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "dt_s"),
    [
        (None, motion(1, 1), 0.05),
        (motion(), None, 0.05),
        (motion(), motion(1, 1), 0.0),
        (motion(), motion(1, 1), -0.1),
    ],
)
def test_without_two_motions_and_time_between_them_there_is_no_speed(
    before: BaseMotion | None, after: BaseMotion | None, dt_s: float
) -> None:
    """Zero, not infinity."""
    assert planar_velocity(before, after, dt_s) == (0.0, 0.0, 0.0)
