"""Targets near a limit: the nearer, the slower; and no torque that pushes a joint outwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots import Guard, JointCommand, JointSpec, RobotSpec, SafetyLimits
from robots.safety.limits import Limited, Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOINT = JointSpec(
    name="knee",
    lower=-1.0,
    upper=1.0,
    stance=0.0,
    action_scale=0.4,
    effort_max=15.0,
    velocity_max=8.0,
    kp=30.0,
    kd=1.0,
)
SPEC = RobotSpec(name="one", joints=(JOINT,), safety=SafetyLimits(soft_limit=1.0, limit_gain=10.0))


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def held(
    position: float, previous: float, *, torque: float = 0.0, measured: float = 0.0, dt_s: float
) -> Limited:
    """A command after the limits."""
    command = JointCommand(position=f4(position), kp=f4(30), kd=f4(1), torque=f4(torque))
    return Limits(SPEC).apply(command, previous=f4(previous), measured=f4(measured), dt_s=dt_s)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("asked", "previous", "expected", "guards"),
    [
        (0.1, 0.0, 0.1, Guard.NONE),
        (1.0, 0.0, 0.16, Guard.SLEW_LIMIT),
        (1.0, 0.5, 0.6, Guard.SLEW_LIMIT | Guard.POSITION_LIMIT),
        (0.95, 0.9, 0.92, Guard.POSITION_LIMIT),
        (0.8, 0.9, 0.8, Guard.NONE),
        (1.5, 1.0, 1.0, Guard.SLEW_LIMIT | Guard.POSITION_LIMIT),
    ],
    ids=["inside", "slew", "both", "approach", "back", "at the limit"],
)
def test_the_step_towards_a_limit_shrinks_with_the_distance(
    asked: float, previous: float, expected: float, guards: Guard, side: int
) -> None:
    """10 /s · distance · 20 ms, where that is less than 8 rad/s · 20 ms; away from it as before."""
    limited = held(side * asked, side * previous, dt_s=0.02)
    np.testing.assert_allclose(limited.command.position, [side * expected], rtol=1e-5)
    assert limited.guards == guards


def test_a_slow_loop_may_go_all_the_way() -> None:
    """Never farther: 10 /s · 0.2 s would be twice the distance."""
    assert held(1.5, 0.9, dt_s=0.2).command.position == 1.0


@pytest.mark.parametrize(
    ("measured", "torque", "expected"),
    [
        (1.0, 5.0, 0.0),
        (1.1, 5.0, 0.0),
        (1.1, -5.0, -5.0),
        (-1.0, -5.0, 0.0),
        (-1.1, 5.0, 5.0),
        (0.99, 5.0, 5.0),
        (-0.99, -5.0, -5.0),
    ],
)
def test_a_joint_at_its_limit_is_not_pushed_outwards(
    measured: float, torque: float, expected: float
) -> None:
    """One-sided: feed-forward torque may bring it back."""
    limited = held(0.0, 0.0, torque=torque, measured=measured, dt_s=0.02)
    np.testing.assert_array_equal(limited.command.torque, [expected])
    assert (limited.guards == Guard.POSITION_LIMIT) is (torque != expected)


def test_heat_slows_targets_down() -> None:
    """A share of the speed, in every direction."""
    command = JointCommand(position=f4(-0.5), kp=f4(30), kd=f4(1), torque=f4(0))
    limited = Limits(SPEC).apply(command, previous=f4(0), measured=f4(0), dt_s=0.02, speed=0.5)
    np.testing.assert_allclose(limited.command.position, [-0.08], rtol=1e-5)
    assert limited.guards is Guard.SLEW_LIMIT


def test_the_gain_comes_from_robot_toml() -> None:
    """A gain that is large leaves the slew alone."""
    quick = msgspec.structs.replace(SPEC, safety=SafetyLimits(soft_limit=1.0, limit_gain=1000.0))
    command = JointCommand(position=f4(1.0), kp=f4(30), kd=f4(1), torque=f4(0))
    limited = Limits(quick).apply(command, previous=f4(0.9), measured=f4(0), dt_s=0.02)
    assert limited.command.position == 1.0
    assert limited.guards is Guard.NONE
