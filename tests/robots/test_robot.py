from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import robots
from robots import BaseMotion, JointCommand, RobotState

if TYPE_CHECKING:
    from numpy.typing import NDArray


def f4(*numbers: float) -> NDArray[np.float32]:
    """A float32 vector."""
    return np.array(numbers, np.float32)


def state(**parts: Any) -> RobotState:  # noqa: ANN401 - fields of many types
    """A level robot of two joints with some readings changed."""
    usual: dict[str, Any] = {
        "stamp_ns": 0,
        "position": f4(0, 0),
        "velocity": f4(0, 0),
        "effort": f4(0, 0),
        "quaternion": f4(1, 0, 0, 0),
        "gyro": f4(0, 0, 0),
        "accelerometer": f4(0, 0, 9.81),
    }
    return RobotState(**(usual | parts))


HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("quaternion", "gravity"),
    [
        ((1, 0, 0, 0), (0, 0, -1)),
        ((-1, 0, 0, 0), (0, 0, -1)),
        ((0, 1, 0, 0), (0, 0, 1)),
        ((HALF, HALF, 0, 0), (0, -1, 0)),
        ((HALF, 0, HALF, 0), (1, 0, 0)),
        ((HALF, 0, 0, HALF), (0, 0, -1)),
    ],
    ids=["level", "level, other sign", "on its back", "on its right", "nose down", "facing left"],
)
def test_gravity_in_the_body_frame(
    quaternion: tuple[float, ...], gravity: tuple[float, ...]
) -> None:
    """Rolled to the right gravity points to the right, -y; nose down it points forward, +x."""
    np.testing.assert_allclose(state(quaternion=f4(*quaternion)).gravity, gravity, atol=1e-6)


@pytest.mark.parametrize(
    "field", ["position", "velocity", "effort", "quaternion", "gyro", "accelerometer"]
)
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_one_number_makes_a_reading_not_finite(field: str, number: float) -> None:
    """Effort as well: a task or a log may use it."""
    numbers = getattr(state(), field).copy()
    numbers[-1] = number
    assert not state(**{field: numbers}).is_finite()
    assert state().is_finite()


def test_commands_take_their_gains_from_robot_toml() -> None:
    """Towards targets with stiffness, damping without."""
    spec = robots.find("go2").spec
    stance = spec.column("stance")
    towards, damping = JointCommand.towards(stance, spec), JointCommand.damping(stance, spec)
    np.testing.assert_array_equal(towards.kp, spec.column("kp"))
    np.testing.assert_array_equal(towards.kd, spec.column("kd"))
    np.testing.assert_array_equal(damping.kp, 0)
    np.testing.assert_array_equal(damping.kd, np.float32(spec.safety.damp_kd))
    for command in (towards, damping):
        np.testing.assert_array_equal(command.position, stance)
        np.testing.assert_array_equal(command.torque, 0)
        parts = (command.position, command.kp, command.kd, command.torque)
        assert {part.dtype for part in parts} == {np.dtype(np.float32)}


def motion(**parts: Any) -> BaseMotion:  # noqa: ANN401 - fields of many types
    """A motion with some parts changed."""
    usual: dict[str, Any] = {
        "position": f4(1, 2, 3),
        "velocity": f4(4, 5, 6),
        "yaw": 0.5,
        "source": "truth",
    }
    return BaseMotion(**(usual | parts))


def test_motions_are_equal_when_all_their_numbers_are() -> None:
    """Gymnasium compares what stands in info."""
    assert motion() == motion()
    assert hash(motion()) == hash(motion())
    for other in (
        motion(position=f4(1, 2, 4)),
        motion(velocity=f4(4, 5, 7)),
        motion(yaw=0.6),
        motion(source="legs"),
        "truth",
    ):
        assert motion() != other
