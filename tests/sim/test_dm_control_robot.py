from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots import JointCommand, RobotFolder, RobotSpec
from sim.dm_control_robot import DmControlRobot
from sim.errors import DivergedError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

STEP_NS = 5_000_000


@pytest.fixture
def folder() -> RobotFolder:
    """The built-in quadruped."""
    return robots.find("quadruped")


@pytest.fixture
def robot(folder: RobotFolder) -> Iterator[DmControlRobot]:
    """A connected quadruped in its stance."""
    with DmControlRobot(folder) as robot:
        yield robot


def changed(folder: RobotFolder, **fields: object) -> RobotFolder:
    """The folder with other fields in its spec."""
    return RobotFolder(folder.path, msgspec.structs.replace(folder.spec, **fields))


def wait(robot: DmControlRobot, steps: int) -> None:
    """Let so many physics steps pass."""
    robot.wait_until(robot.now() + steps * STEP_NS)


def command(spec: RobotSpec, **columns: float | NDArray[np.float32]) -> JointCommand:
    """The stance at the gains of robot.toml, with these columns instead."""
    wanted = JointCommand.towards(spec.column("stance"), spec)
    full = {name: np.full(len(spec.joints), value, np.float32) for name, value in columns.items()}
    return dataclasses.replace(wanted, **full)


def test_it_moves_as_the_suite_does(robot: DmControlRobot) -> None:
    """With the gains of robot.toml the physics is the suite's own, step for step."""
    from dm_control import suite

    physics = suite.load("quadruped", "walk").physics
    with physics.reset_context():
        physics.data.qpos[:] = robot.data.qpos
        physics.data.ctrl[:] = robot.data.ctrl
        physics.data.act[:] = robot.data.act
    rng = np.random.default_rng(0)
    for _ in range(20):
        target = rng.uniform(-0.6, 0.6, 12).astype(np.float32)
        robot.write(JointCommand.towards(target, robot.spec))
        wait(robot, 4)
        physics.set_control(target)
        physics.step(4)
    np.testing.assert_allclose(robot.data.qpos, physics.data.qpos, atol=1e-9)
    physics.forward()
    np.testing.assert_allclose(robot.read().effort, physics.data.actuator_force, rtol=1e-5)


def test_effort_is_what_the_command_asks_for(robot: DmControlRobot) -> None:
    """Force = kp·(filtered target - q) - kd·dq + torque, for any kp, kd and torque."""
    robot.write(command(robot.spec, position=0.3, kp=400.0, kd=25.0, torque=7.0))
    for _ in range(5):
        wait(robot, 10)
        state, target = robot.read(), robot.data.act.astype(np.float32)
        expected = 400 * (target - state.position) - 25 * state.velocity + 7
        np.testing.assert_allclose(state.effort, expected, rtol=1e-4, atol=0.01)


def test_targets_are_clipped_to_the_control_range(robot: DmControlRobot) -> None:
    """The returned command says what the suite makes of an unreachable target."""
    applied = robot.write(command(robot.spec, position=3.0))
    np.testing.assert_allclose(applied.position, np.tile([1.0, 1.1, 0.8], 4), rtol=1e-6)
    wait(robot, 1)
    np.testing.assert_allclose(robot.data.ctrl, applied.position)


def test_servos_start_from_the_pose_they_were_placed_in(robot: DmControlRobot) -> None:
    """A filter that starts elsewhere would kick the robot at the first command."""
    robot.place(np.random.default_rng(0))
    robot.write(command(robot.spec))
    wait(robot, 1)
    assert np.abs(robot.read().effort).max() < 20  # N·m; 1000 per rad of mismatch


def test_joints_follow_robot_toml(folder: RobotFolder) -> None:
    """The suite lists front left first; a folder that lists the joints backwards gets them so."""
    spec = folder.spec
    backwards = changed(folder, joints=spec.joints[::-1], crouch=spec.crouch[::-1])
    target = np.linspace(-0.3, 0.3, 12, dtype=np.float32)
    with DmControlRobot(folder) as forth, DmControlRobot(backwards) as back:
        forth.write(JointCommand.towards(target, forth.spec))
        back.write(JointCommand.towards(target[::-1], back.spec))
        for robot in (forth, back):
            wait(robot, 100)
        np.testing.assert_array_equal(forth.read().position, back.read().position[::-1])
        np.testing.assert_array_equal(forth.read().effort, back.read().effort[::-1])
        np.testing.assert_allclose(forth.read().position, target, atol=0.2)


def test_the_action_delay_delays_the_effect(folder: RobotFolder) -> None:
    """A command of now acts so many physics steps later."""
    late = changed(folder, sim=msgspec.structs.replace(folder.spec.sim, action_delay_ms=20.0))
    with DmControlRobot(late) as robot:
        robot.write(command(robot.spec, torque=50.0))
        wait(robot, 4)
        np.testing.assert_array_equal(robot.read().effort, 0)
        wait(robot, 1)
        assert np.abs(robot.read().effort).min() > 10


def test_poses_are_what_was_asked_for(robot: DmControlRobot) -> None:
    """The map from actuator lengths to hinge angles is exact and keeps the legs coupled."""
    robot.place(np.random.default_rng(4))
    lift = robot.data.actuator("lift_back_left").length[0]
    hinges = [robot.data.joint(f"{part}_back_left").qpos[0] for part in ("pitch", "knee", "ankle")]
    assert sum(hinges) == pytest.approx(0, abs=1e-9)
    assert (hinges[0] - hinges[2]) / 2 == pytest.approx(lift)
    assert lift == pytest.approx(0.1, abs=0.031)


def test_physics_that_blows_up_is_an_error(robot: DmControlRobot) -> None:
    """dm_control's own exception does not get out, and MuJoCo's silent reset does not happen."""
    wait(robot, 10)
    robot.data.qvel[7] = np.nan
    with pytest.raises(DivergedError, match=r"quadruped diverged at 0\.050 s") as caught:
        wait(robot, 4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("base", "trunk", "no body 'trunk'"),
        ("feet", ("paw",), "no geom 'paw'"),
    ],
)
def test_names_the_suite_lacks_are_refused(
    folder: RobotFolder, field: str, value: object, message: str
) -> None:
    """The error names the kind and the name."""
    with pytest.raises(ModelError, match=message):
        DmControlRobot(changed(folder, **{field: value}))


def test_an_actuator_the_suite_lacks_is_refused(folder: RobotFolder) -> None:
    """A misspelt joint is not guessed at."""
    joints = (msgspec.structs.replace(folder.spec.joints[0], name="yaw"), *folder.spec.joints[1:])
    with pytest.raises(ModelError, match="no actuator 'yaw'"):
        DmControlRobot(changed(folder, joints=joints))
