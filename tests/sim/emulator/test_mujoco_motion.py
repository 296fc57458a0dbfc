"""A robot folder's physics behind emulated servos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import robots
from robots.dynamixel.control_table import RAD_PER_COUNT, Register
from robots.dynamixel.protocol import BROADCAST, Instruction
from sim.emulator.motors import FREE, Drive
from sim.emulator.mujoco_motion import MujocoJoints
from sim.errors import DivergedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

TWELVE = tuple(range(1, 13))


@pytest.fixture
def pup() -> MujocoJoints:
    """The small quadruped, limp."""
    return MujocoJoints(robots.find("pup"))


def test_without_drive_the_robot_sinks_to_the_ground(pup: MujocoJoints) -> None:
    """It begins in its stance, and the IMU feels gravity when it has come to rest."""
    spec = robots.find("pup").spec
    assert pup.position == pytest.approx(spec.column("stance").astype(float))
    for _ in range(1000):
        pup.step([FREE] * 12)
    assert np.abs(pup.position - spec.column("stance")).max() > 0.3
    quaternion, gyro, force = pup.felt
    assert np.linalg.norm(quaternion) == pytest.approx(1.0)
    assert np.linalg.norm(gyro) < 0.5
    assert np.linalg.norm(force) == pytest.approx(9.81, abs=1.0)


def test_servos_hold_the_robot_up(pup: MujocoJoints, rig: Callable[..., Rig]) -> None:
    """Goals by sync write through the wire: it stands, near its stance, for a second."""
    spec = robots.find("pup").spec
    made = rig(TWELVE, plant=pup, volts=11.1)
    for device, angle in zip(TWELVE, spec.column("stance"), strict=True):
        goal = round(2048 + float(angle) / RAD_PER_COUNT)
        assert made.write(Register.GOAL_POSITION, goal, device) == 0
    torque = b"\x40\x00\x01\x00" + b"".join(bytes((one, 1)) for one in TWELVE)
    made.ask_all(BROADCAST, Instruction.SYNC_WRITE, torque)
    made.port.sleep(1.0)
    statuses = made.sync_read(TWELVE, 132, 4)
    counts = [int.from_bytes(status.data, "little", signed=True) for status in statuses]
    angles = (np.array(counts) - 2048) * RAD_PER_COUNT
    assert angles == pytest.approx(pup.position, abs=2 * RAD_PER_COUNT)
    assert np.abs(angles - spec.column("stance")).max() < 0.25
    assert pup.felt[0][0] == pytest.approx(1.0, abs=0.02)


def test_physics_that_blows_up_says_so(pup: MujocoJoints) -> None:
    """With the robot's name."""
    with pytest.raises(DivergedError, match="simulation of pup diverged"):
        pup.step([Drive(1e12, 0.0)] * 12)
