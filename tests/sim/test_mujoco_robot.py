from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

import robots
from robots import JointCommand, RobotFolder
from sim.errors import DivergedError, ModelError
from sim.mujoco_robot import MujocoRobot

if TYPE_CHECKING:
    from pathlib import Path

STEP_NS = 2_000_000


@pytest.fixture
def folder() -> RobotFolder:
    """The built-in Go2."""
    return robots.find("go2")


def changed(folder: RobotFolder, **fields: object) -> RobotFolder:
    """The folder with other fields in its spec."""
    return RobotFolder(folder.path, msgspec.structs.replace(folder.spec, **fields))


def edited(folder: RobotFolder, copy: Path, *edits: tuple[str, str]) -> RobotFolder:
    """A copy of the folder with these replacements in its model."""
    text = folder.model_path.read_text("utf-8")
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (copy / "model.xml").write_text(text, "utf-8")
    return RobotFolder(copy, folder.spec)


def test_joints_follow_robot_toml(folder: RobotFolder) -> None:
    """Whatever order the model has, state and command are in the order of robot.toml."""
    order = np.random.default_rng(0).permutation(12)
    shuffled = changed(folder, joints=tuple(folder.spec.joints[index] for index in order))
    target = folder.spec.column("stance") + np.linspace(-0.2, 0.2, 12, dtype=np.float32)
    with MujocoRobot(folder) as plain, MujocoRobot(shuffled) as other:
        plain.write(JointCommand.towards(target, plain.spec))
        other.write(JointCommand.towards(target[order], other.spec))
        for robot in (plain, other):
            robot.wait_until(robot.now() + 50 * STEP_NS)
        mine, yours = plain.read(), other.read()
        for field in ("position", "velocity", "effort"):
            np.testing.assert_array_equal(getattr(mine, field)[order], getattr(yours, field))


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_the_action_delay_delays_the_effect(folder: RobotFolder, steps: int) -> None:
    """A command of now acts so many physics steps later, not one sooner or later."""
    sim = msgspec.structs.replace(folder.spec.sim, action_delay_ms=2.0 * steps)
    with MujocoRobot(changed(folder, sim=sim)) as robot:
        robot.write(JointCommand.towards(robot.spec.column("stance") + 0.1, robot.spec))
        robot.wait_until(robot.now() + steps * STEP_NS)
        np.testing.assert_array_equal(robot.read().effort, 0)
        robot.wait_until(robot.now() + STEP_NS)
        assert np.abs(robot.read().effort).min() > 1


def test_delayed_commands_keep_their_spacing(folder: RobotFolder) -> None:
    """Two commands under way at once arrive in order, each after its own delay."""
    sim = msgspec.structs.replace(folder.spec.sim, action_delay_ms=20.0)
    stance = folder.spec.column("stance")
    with MujocoRobot(changed(folder, sim=sim)) as robot:
        robot.write(JointCommand.towards(stance + 0.1, robot.spec))
        robot.wait_until(robot.now() + 5 * STEP_NS)
        robot.write(JointCommand.towards(stance - 0.1, robot.spec))
        robot.wait_until(robot.now() + 6 * STEP_NS)
        assert robot.read().effort.min() > 1
        robot.wait_until(robot.now() + 5 * STEP_NS)
        assert robot.read().effort.max() < -1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"FL_thigh_joint"', '"FL_leg_joint"', "no joint named 'FL_thigh_joint'"),
        ('<freejoint name="root"/>', "", "no free joint"),
        ('<site name="imu"', '<site name="box"', "no site named 'imu'"),
        ('geom name="RL_foot"', 'geom name="RL_paw"', "no geom named 'RL_foot'"),
        ("<worldbody>", "<worldbody", "XML"),
    ],
)
def test_models_that_do_not_fit_are_refused(
    folder: RobotFolder, tmp_path: Path, old: str, new: str, message: str
) -> None:
    """The error names the file and what is missing."""
    text = folder.model_path.read_text("utf-8")
    references = text[text.index("<actuator>") : text.index("</mujoco>")]
    broken = edited(folder, tmp_path, (references, ""), (old, new))
    with pytest.raises(ModelError, match=message):
        MujocoRobot(broken)


def test_a_folder_without_a_model_is_refused(folder: RobotFolder, tmp_path: Path) -> None:
    """A robot.toml alone is enough for hardware, not for MuJoCo."""
    with pytest.raises(ModelError, match=r"model\.xml"):
        MujocoRobot(RobotFolder(tmp_path, folder.spec))


def test_the_models_own_actuators_do_nothing(folder: RobotFolder, tmp_path: Path) -> None:
    """A model with position actuators would otherwise fight the servos of robot.toml."""
    stiff = edited(folder, tmp_path, ("<motor ", '<general gainprm="500" biastype="none" '))
    with MujocoRobot(stiff) as robot:
        robot.data.ctrl[:] = 1.0
        robot.wait_until(robot.now() + 5 * STEP_NS)
        np.testing.assert_array_equal(robot.data.qfrc_actuator, 0)


def test_physics_that_blows_up_is_an_error(folder: RobotFolder) -> None:
    """MuJoCo would start anew in silence, and the learner would take that for a step."""
    with MujocoRobot(folder) as robot:
        robot.wait_until(50_000_000)
        robot.data.qvel[7] = np.nan
        with pytest.raises(DivergedError, match="go2 diverged"):
            robot.wait_until(60_000_000)


def test_a_disarmed_robot_reports_no_effort_at_once(folder: RobotFolder) -> None:
    """Not only after the next physics step."""
    with MujocoRobot(folder) as robot:
        robot.write(JointCommand.towards(folder.spec.column("stance") + 0.2, folder.spec))
        robot.wait_until(20_000_000)
        assert np.abs(robot.read().effort).max() > 1
        robot.disarm("test")
        np.testing.assert_array_equal(robot.read().effort, 0)
