from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

import robots
from robots import RobotFolder
from robots.spec import read_folder
from sim.lint import Finding, lint
from sim.lint.mirror import right_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = tuple[str, str]
    Broken = Callable[..., RobotFolder]


@pytest.fixture
def broken(tmp_path: Path) -> Broken:
    """Copies the Go2 with replacements in robot.toml and in model.xml."""

    def build(toml: tuple[Edit, ...] = (), model: tuple[Edit, ...] = ()) -> RobotFolder:
        source = robots.find("go2")
        for name, edits in (("robot.toml", toml), ("model.xml", model)):
            text = (source.path / name).read_text("utf-8")
            for old, new in edits:
                assert old in text, old
                text = text.replace(old, new, 1)
            (tmp_path / name).write_text(text, "utf-8")
        return read_folder(tmp_path)

    return build


def said(folder: RobotFolder, rule: str, severity: str) -> list[str]:
    """What one rule says in one severity."""
    return [
        finding.message
        for finding in lint(folder)
        if (finding.rule, finding.severity) == (rule, severity)
    ]


@pytest.mark.parametrize("name", ["go2", "pup", "quadruped"])
def test_the_robots_that_come_along_are_clean(name: str) -> None:
    """No rule fires on them; the measurement of how they stand is all there is."""
    (finding,) = lint(robots.find(name))
    assert (finding.rule, finding.severity) == ("standing", "info")
    assert re.match(r"stands at 1\.000 upright, base \d+\.\d% lower, ", finding.message)


FL_THIGH = 'name = "FL_thigh_joint", lower = -1.5708, upper = 3.4907, stance = 0.7'
FL_HIP = 'name = "FL_hip_joint", lower = -1.0472, upper = 1.0472, stance = 0.05'
RR_CALF = 'name="RR_calf_joint" class="calf"'
FL_CALF_MOTOR = '<motor name="FL_calf" joint="FL_calf_joint" ctrlrange="-45.43 45.43"/>'
FR_HIP_MOTOR = '<motor name="FR_hip" joint="FR_hip_joint" ctrlrange="-23.7 23.7"/>'
FR_HIP_MASS = 'mass="0.678" diaginertia="0.00088403 0.000596003 0.000479967"'
KEYFRAME = (
    '<keyframe><key name="home" qpos="0 0 0.27 1 0 0 0 '
    '0 0.9 -1.8 0 0.9 -1.8 0 0.9 -1.8 0 0.9 {knee}"/></keyframe></mujoco>'
)


@pytest.mark.parametrize(
    ("toml", "rule", "severity", "message"),
    [
        (
            (
                f"{FL_THIGH}, action_scale = 0.4, effort_max = 23.7",
                FL_THIGH + ", action_scale = 0.4, effort_max = 33.5",
            ),
            *("mirror", "error", "effort_max: FL_thigh_joint has 33.5, FR_thigh_joint has 23.7"),
        ),
        (
            (FL_HIP, FL_HIP.replace("upper = 1.0472", "upper = 0.9")),
            *("mirror", "error", "limits: FL_hip_joint has"),
        ),
        (
            (FL_HIP, FL_HIP.replace("stance = 0.05", "stance = -0.05")),
            *("mirror", "error", "stance: FL_hip_joint has -0.05, FR_hip_joint has -0.05"),
        ),
        (
            ("upper = 3.4907", "upper = 3.6"),
            *(
                "range",
                "error",
                r"FR_thigh_joint: robot.toml allows \[-1.5708, 3.6\] rad, the model",
            ),
        ),
        (
            ("effort_max = 45.43", "effort_max = 23.7"),
            *("effort", "error", "FR_calf_joint: effort_max 23.7 N·m in robot.toml, 45.43 in the"),
        ),
        (
            ("action_scale = 0.4", "action_scale = 3.0"),
            *("limits", "warning", r"FR_thigh_joint: actions reach \[-2.300, 3.700\] rad, targets"),
        ),
        (
            ("crouch = [0.0, 1.36, -2.55", "crouch = [0.0, 1.36, -2.7"),
            *("limits", "warning", "FR_calf_joint: crouch -2.7 outside the soft limits"),
        ),
        (
            ('feet = ["FR_foot", "FL_foot"', 'feet = ["FL_foot", "FR_foot"'),
            *(
                "order",
                "warning",
                "feet stand in another order .* number 1 belongs to FL_hip_joint",
            ),
        ),
        (('base = "base"', 'base = "trunk"'), "model", "error", "no body named 'trunk'"),
        (('base = "base"', 'base = "FL_hip"'), "model", "error", "no free joint"),
    ],
)
def test_mistakes_in_robot_toml(
    broken: Broken, toml: Edit, rule: str, severity: str, message: str
) -> None:
    """Every rule fires on its mistake and names the joint."""
    assert any(re.search(message, text) for text in said(broken((toml,)), rule, severity))


@pytest.mark.parametrize(
    ("model", "rule", "severity", "message"),
    [
        (
            ((FL_CALF_MOTOR, ""), (FR_HIP_MOTOR, FL_CALF_MOTOR + FR_HIP_MOTOR)),
            *("order", "warning", "actuators stand .* number 1 belongs to FL_calf_joint"),
        ),
        (((FL_CALF_MOTOR, ""),), "order", "error", "joint FL_calf_joint has 0 actuators"),
        (
            ((FL_CALF_MOTOR, FL_CALF_MOTOR + FL_CALF_MOTOR.replace('"FL_calf"', '"twin"')),),
            *("order", "error", "joint FL_calf_joint has 2 actuators"),
        ),
        (
            (
                (
                    "<sensor>",
                    '<sensor><jointpos joint="FL_hip_joint"/><jointpos joint="FR_hip_joint"/>',
                ),
            ),
            *("order", "warning", "sensors on joints stand .* number 1 belongs to FL_hip_joint"),
        ),
        (
            ((RR_CALF, f'{RR_CALF} range="-2.5 -0.83776"'),),
            *("mirror", "error", r"model range: RL_calf_joint has \[-2.7227"),
        ),
        (
            ((RR_CALF, f'{RR_CALF} damping="2"'),),
            *("mirror", "error", "damping: RL_calf_joint has 0.1, RR_calf_joint has 2.0"),
        ),
        (((RR_CALF, f'{RR_CALF} armature="0.02"'),), "mirror", "error", "armature: RL_calf"),
        (((RR_CALF, f'{RR_CALF} axis="0 0.8 0.6"'),), "mirror", "error", "axis: RL_calf_joint"),
        (
            ((RR_CALF, f'{RR_CALF} axis="0 -1 0"'),),
            *("mirror", "error", "limits: RL_calf_joint has"),
        ),
        (
            (('pos="-0.1934 -0.0465 0"', 'pos="-0.1934 -0.06 0"'),),
            *("mirror", "error", "place: RL_hip_joint has"),
        ),
        (
            ((FR_HIP_MASS, FR_HIP_MASS.replace("0.678", "0.9")),),
            *("mirror", "error", r"body mass: FL_hip has \[0.678\], FR_hip has \[0.9\]"),
        ),
        (
            ((FL_CALF_MOTOR, FL_CALF_MOTOR.replace("/>", ' gear="2"/>')),),
            *("effort", "error", "FL_calf_joint: effort_max 45.43 N·m in robot.toml, 90.86 in"),
        ),
        (
            ((FL_CALF_MOTOR, FL_CALF_MOTOR.replace("/>", ' forcerange="-20 20"/>')),),
            *("effort", "error", "FL_calf_joint: effort_max 45.43 N·m in robot.toml, 20 in"),
        ),
        (
            (('name="FL_calf_joint"', 'name="FL_calf_joint" actuatorfrcrange="-30 30"'),),
            *("effort", "error", "FL_calf_joint: effort_max 45.43 N·m in robot.toml, 30 in"),
        ),
        (
            ((FL_CALF_MOTOR, '<position joint="FL_calf_joint" kp="9" ctrlrange="-2.8 -0.8"/>'),),
            *("range", "warning", "actuator of FL_calf_joint takes targets"),
        ),
        (
            (("</mujoco>", KEYFRAME.format(knee=-2.9)),),
            *("range", "warning", "keyframe 'home': joint RL_calf_joint at -2.9000 rad, outside"),
        ),
        (
            (("</mujoco>", KEYFRAME.format(knee=-1.8)),),
            *("standing", "warning", "keyframe 'home' starts 18 mm in the ground"),
        ),
        (
            (('class="hip"/>', 'class="hip" limited="false"/>'),),
            *("range", "warning", "joint FR_hip_joint has no range in the model"),
        ),
        (
            (('damping="0.1"', 'damping="2"'),),
            *("passive", "warning", "FR_hip_joint: damping takes 254% of the stall torque"),
        ),
        (
            (('frictionloss="0.2"', 'frictionloss="8"'),),
            *("passive", "warning", "FR_hip_joint: frictionloss is 34% of the stall torque"),
        ),
        (
            (('damping="0.1" armature="0.01" frictionloss="0.2"', 'armature="0.01"'),),
            *("passive", "warning", "FR_hip_joint: neither damping nor frictionloss"),
        ),
        (
            (('armature="0.01"', 'armature="0"'),),
            *("passive", "warning", "FR_hip_joint: armature takes 0 ms"),
        ),
        (
            ((FR_HIP_MASS, FR_HIP_MASS.replace("0.00088403", "0.1")),),
            *("inertia", "error", r"body FR_hip: principal inertias .* < 0.1 kg·m²"),
        ),
        (
            ((FR_HIP_MASS, FR_HIP_MASS.replace("0.00088403", "-0.1")),),
            *("inertia", "error", "body FR_hip: principal inertias -0.1 .* expected positive"),
        ),
        (
            ((FR_HIP_MASS, 'mass="0.678" fullinertia="1e-3 1e-3 1e-3 2e-3 0 0"'),),
            *("inertia", "error", "body FR_hip: principal inertias -0.001 "),
        ),
        (
            ((FR_HIP_MASS, FR_HIP_MASS.replace('mass="0.678"', 'mass="0"')),),
            *("inertia", "error", "body FR_hip: mass 0 kg; expected a positive"),
        ),
        (
            ((FR_HIP_MASS, 'mass="0.678" diaginertia="1 1 1"'),),
            *("inertia", "error", r"body FR_hip: its mass would sit 1\.21 m from its centre"),
        ),
        ((("<worldbody>", "<worldbody"),), "model", "error", "XML"),
    ],
)
def test_mistakes_in_the_model(
    broken: Broken, model: tuple[Edit, ...], rule: str, severity: str, message: str
) -> None:
    """Every rule fires on its mistake and names the part."""
    assert any(re.search(message, text) for text in said(broken((), model), rule, severity))


def test_limits_that_no_loader_would_accept(broken: Broken) -> None:
    """Specs built in code get the same answer as specs that are read."""
    folder = broken()
    hip = msgspec.structs.replace(folder.spec.joints[0], stance=1.04)
    spec = msgspec.structs.replace(folder.spec, joints=(hip, *folder.spec.joints[1:]))
    (message,) = said(RobotFolder(folder.path, spec), "limits", "error")
    assert "FR_hip_joint: stance 1.04 outside the soft limits" in message


SLOPE = ('integrator="implicitfast"', 'integrator="implicitfast" gravity="0 1 -9.8"')
UPWARD = ('integrator="implicitfast"', 'integrator="implicitfast" gravity="0 0 9.8"')
TRUNK_COM = 'pos="0.021112 0 -0.005366"'
HEAD = 'size="0.05 0.04 0.035" pos="0.235 0 0.01"'


@pytest.mark.parametrize(
    ("model", "severity", "message"),
    [
        ((SLOPE, ('friction="0.8', 'friction="0.05')), "warning", r"feet slip by \d\d+ mm"),
        ((('mass="6.921"', 'mass="60"'),), "warning", "_joint stands at 100% of its torque"),
        ((('mass="6.921"', 'mass="60"'),), "warning", r"the base sinks by 3\d%"),
        ((UPWARD,), "error", "the base rises by"),
        (((HEAD, HEAD.replace("0.035", "0.45")),), "error", r"starts \d\d mm in the ground"),
        (((TRUNK_COM, 'pos="0 0.5 0"'),), "error", "falls over in its stance"),
    ],
)
def test_standing_badly(
    broken: Broken, model: tuple[Edit, ...], severity: str, message: str
) -> None:
    """Slip, load, sag, a part in the ground and a fall are seen in simulation."""
    assert any(re.search(message, text) for text in said(broken((), model), "standing", severity))


def test_a_model_that_cannot_be_loaded_is_not_stood_up(broken: Broken) -> None:
    """One error, not a chain of them."""
    found = lint(broken((), ((FR_HIP_MASS, 'mass="0"'),)))
    assert [finding.rule for finding in found] == ["inertia"]


def test_the_suites_robot_is_compared_by_its_numbers() -> None:
    """Where there is no model.xml, limits may be equal or all negated, nothing else."""
    folder = robots.find("quadruped")
    joints = list(folder.spec.joints)
    joints[1] = msgspec.structs.replace(joints[1], upper=0.8, kp=900.0)
    spec = msgspec.structs.replace(folder.spec, joints=tuple(joints))
    kp, limits = said(RobotFolder(folder.path, spec), "mirror", "error")
    assert kp.startswith("kp: lift_front_left has 900.0, lift_front_right has 1000.0")
    assert limits.startswith("lower, stance, upper: lift_front_left has")


def test_a_robot_without_sides_is_told_so(broken: Broken) -> None:
    """Silence would look like a passed comparison."""
    folder = broken()
    joints = tuple(
        msgspec.structs.replace(joint, name=f"motor {number}")
        for number, joint in enumerate(folder.spec.joints)
    )
    spec = msgspec.structs.replace(folder.spec, joints=joints)
    assert Finding(
        "mirror", "info", "no joint names pair left with right; nothing compared"
    ) in lint(RobotFolder(folder.path, spec))


def test_a_lone_left_joint_is_noticed(broken: Broken) -> None:
    """A misspelt right joint would otherwise never be compared."""
    rename = ('"FR_hip_joint"', '"FRR_hip_joint"')
    folder = broken(toml=(rename, rename))  # the joint, and the leg that names it
    assert said(folder, "mirror", "warning") == [
        "joint FL_hip_joint has no counterpart FR_hip_joint"
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("FL_hip_joint", "FR_hip_joint"),
        ("RL_calf", "RR_calf"),
        ("yaw_front_left", "yaw_front_right"),
        ("LeftHip", "RightHip"),
        ("hip.l", "hip.r"),
        ("lh-knee", "rh-knee"),
        ("FR_hip_joint", None),
        ("pelvis", None),
        ("all_legs", None),
    ],
)
def test_names_of_the_other_side(left: str, right: str | None) -> None:
    """Common ways of naming legs, and names that only look like them."""
    assert right_of(left) == right
