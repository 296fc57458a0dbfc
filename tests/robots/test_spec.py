from __future__ import annotations

import itertools
import math
import re
import tomllib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots import JointSpec, RobotSpec, RobotSpecError, SafetyLimits, find
from robots.spec import problems, read_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[[str], Path]

KNEE = (
    '{ name = "knee", lower = -2.0, upper = -0.5, stance = -1.2, action_scale = 0.3, '
    "effort_max = 12.0, velocity_max = 9.0, kp = 20.0, kd = 0.5 }"
)
TOML = f'name = "hopper"\njoints = [{KNEE}]\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a robot.toml and returns its folder."""

    def write(text: str) -> Path:
        (tmp_path / "robot.toml").write_text(text, "utf-8")
        return tmp_path

    return write


def refusal(folder: Path) -> str:
    """The message a folder is refused with; it always names the file."""
    with pytest.raises(RobotSpecError) as caught:
        read_folder(folder)
    assert str(folder) in str(caught.value)
    return caught.value.problem


def joint(**fields: float) -> JointSpec:
    """The knee with other numbers."""
    (knee,) = msgspec.convert(tomllib.loads(TOML), RobotSpec).joints
    return msgspec.structs.replace(knee, **fields)


def spec(*joints: JointSpec, soft_limit: float = 0.95) -> RobotSpec:
    """A robot of these joints."""
    return RobotSpec(name="hopper", joints=joints, safety=SafetyLimits(soft_limit=soft_limit))


def test_a_sound_folder_is_read(write: Write) -> None:
    """Everything that is left out has a default."""
    folder = read_folder(write(TOML))
    assert folder.spec.joint_names == ("knee",)
    assert folder.spec.column("effort_max") == pytest.approx([12.0])
    assert folder.spec.column("kp").dtype == np.float32
    assert (folder.spec.sim.engine, folder.spec.safety) == ("mujoco", SafetyLimits())


@pytest.mark.parametrize("name", ["go2", "pup", "quadruped"])
def test_the_robots_that_come_with_the_package_are_sound(name: str) -> None:
    """Twelve joints, no problem."""
    built_in = find(name).spec
    assert built_in.name == name
    assert len(built_in.joints) == 12
    assert problems(built_in) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name", "colour = 3\nname", "unknown field `colour`"),
        ("kd = 0.5", "kd = 0.5, ki = 1.0", r"unknown field `ki` - at `\$\.joints\[0\]`"),
        (", kd = 0.5", "", r"missing required field `kd` - at `\$\.joints\[0\]`"),
        ('name = "hopper"', "", "missing required field `name`"),
        ("kp = 20.0", 'kp = "stiff"', r"Expected `float`, got `str` - at `\$\.joints\[0\]\.kp`"),
        ("kp = 20.0", "kp = nan", "joint knee: kp is nan; expected a finite number"),
        ("stance = -1.2", "stance = nan", "joint knee: stance is nan"),
        ("upper = -0.5", "upper = inf", "joint knee: upper is inf"),
        ("kp = 20.0", "kp = -1.0", "joint knee: kp -1.0; expected zero or more"),
        ("effort_max = 12.0", "effort_max = 0.0", "effort_max 0.0; expected a positive number"),
        ("lower = -2.0", "lower = 2.0", "lower 2.0 is not below upper -0.5 rad; swap them"),
        ("lower = -2.0", "lower = -0.5", "lower -0.5 is not below upper -0.5"),
        ("stance = -1.2", "stance = -0.52", r"outside the soft limits \[-1.962, -0.5375\] rad"),
        ("stance = -1.2", "stance = -2.1", "stance -2.1 outside the soft limits"),
        (KNEE, f"{KNEE}, {KNEE}", "joint knee stands twice; names must differ"),
        (KNEE, "", "no joints; expected at least one"),
        ("name =", "crouch = [-1.0, 0.0]\nname =", "crouch has 2 positions for 1 joints"),
        ("name =", "crouch = [0.0]\nname =", r"knee: crouch 0.0 outside \[-2.0, -0.5\] rad"),
        ("joints", "joints =", "Invalid value"),
        ("name =", "mass = 0.0\nname =", "mass 0.0; expected a positive number, kg"),
        ("name =", "mass = nan\nname =", "mass nan; expected a positive number, kg"),
    ],
)
def test_what_is_wrong_is_refused_by_name(write: Write, old: str, new: str, message: str) -> None:
    """Got, expected, and where."""
    assert re.search(message, refusal(write(TOML.replace(old, new, 1))))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[safety]\ntilt_deg = nan", "safety.tilt_deg nan; expected a positive number"),
        ("[safety]\nsoft_limit = 0.0", "outside"),
        ("[safety]\nsoft_limit = 1.01", "safety.soft_limit 1.01 outside"),
        ("[safety]\nsoft_limit = nan", r"safety.soft_limit nan outside \(0, 1\]"),
        ("[safety]\nstale_damp_s = -0.1", "safety.stale_damp_s -0.1; expected a positive"),
        ("[safety]\nramp_speed = inf", "safety.ramp_speed inf"),
        ("[safety]\nhold = 1.0", "unknown field `hold`"),
        ("[safety]\ntilt_deg = 180.0", "safety.tilt_deg 180.0; expected at most 179"),
        ("[safety]\nlate_in_50 = 51", "safety.late_in_50 51; expected at most 50"),
        ("[safety]\nlate_in_a_row = 51", "safety.late_in_a_row 51; expected at most 50"),
        ("[safety]\ndeadman_s = 1e9", "safety.deadman_s 1000000000.0; expected at most 10"),
        ("[safety]\nsit_c = 500.0", "safety.sit_c 500.0; expected at most 120"),
        ("[sim]\nphysics_hz = 0.0", "sim.physics_hz 0.0; expected at least 1"),
        ("[sim]\naction_delay_ms = -1.0", "sim.action_delay_ms -1.0; expected zero or more"),
        ("[sim]\nsupply = 0.0", "sim.supply 0.0; expected a positive number"),
        ("[sim]\nsupply = inf", "sim.supply inf"),
        ('[tasks.walk]\nforward_mps = "fast"', r"`str` - at `\$\.tasks\[\.\.\.\]\[\.\.\.\]`"),
        ("[sim]\naction_delay_ms = nan", "sim.action_delay_ms nan"),
        ('[sim]\nengine = "bullet"', "Invalid enum value 'bullet'"),
    ],
)
def test_tables_that_make_no_sense_are_refused(write: Write, table: str, message: str) -> None:
    """A guard with a number that cannot fire is as bad as none."""
    assert re.search(message, refusal(write(f"{TOML}\n{table}\n")))


LEG_JOINTS = ("hip", "thigh", "knee")
LEG = (
    '[[legs]]\njoints = ["hip", "thigh", "knee"]\nhip = [0.1, 0.05, 0.0]\n'
    "offset = 0.03\nthigh = 0.1\ncalf = 0.1\nsole = 0.01\n"
)
WITH_LEG = (
    'name = "hopper"\njoints = ['
    + ", ".join(KNEE.replace("knee", name) for name in LEG_JOINTS)
    + f"]\n{LEG}"
)


def test_the_geometry_of_a_leg_is_read(write: Write) -> None:
    """Names of joints and lengths."""
    (leg,) = read_folder(write(WITH_LEG)).spec.legs
    assert leg.joints == LEG_JOINTS
    assert (leg.hip, leg.offset, leg.thigh, leg.calf, leg.sole) == (
        (0.1, 0.05, 0),
        0.03,
        0.1,
        0.1,
        0.01,
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'joints = ["hip"',
            'joints = ["hop"',
            "leg of hop, thigh, knee: no joint hop; expected hip",
        ),
        ('joints = ["hip", "thigh"', 'joints = ["hip"', "Expected `array` of length 3"),
        ('joints = ["hip", "thigh"', 'joints = ["hip", "hip"', "names hip twice"),
        ("calf = 0.1", "calf = 0.0", "leg of hip, thigh, knee: calf 0.0; expected a positive"),
        ("thigh = 0.1", "thigh = nan", "thigh nan; expected a positive number"),
        ("sole = 0.01", "sole = -0.01", "sole -0.01; expected a positive number"),
        ("offset = 0.03", "offset = inf", "offset inf; expected finite numbers"),
        ("hip = [0.1,", "hip = [nan,", r"hip \(nan, 0.05, 0.0\), offset 0.03; expected finite"),
        (LEG, LEG + LEG.replace("0.05", "-0.05"), "shares a joint with another leg"),
    ],
)
def test_legs_that_cannot_be_are_refused(write: Write, old: str, new: str, message: str) -> None:
    """A wrong name or length would put the feet elsewhere, silently."""
    assert re.search(message, refusal(write(WITH_LEG.replace(old, new, 1))))


def test_a_folder_without_robot_toml_says_what_a_robot_is(tmp_path: Path) -> None:
    """The usual mistake is the wrong folder."""
    assert "a robot is a folder with robot.toml" in refusal(tmp_path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """No traceback from the decoder."""
    (tmp_path / "robot.toml").write_bytes(b'name = "\xff"')
    assert "utf-8" in refusal(tmp_path)


def test_a_servo_without_stiffness_is_refused() -> None:
    """It would stay limp while the others stand up."""
    pup = find("pup").spec
    soft = msgspec.structs.replace(pup.joints[3], kp=0.0)
    (problem,) = problems(
        msgspec.structs.replace(pup, joints=(*pup.joints[:3], soft, *pup.joints[4:]))
    )
    assert problem.startswith(f"joint {soft.name}: kp 0; expected a positive number")


def test_an_imu_that_is_slower_than_its_guard_is_refused() -> None:
    """Every other tick would find its sample too old, and hold."""
    pup = find("pup").spec
    assert pup.imu_device is not None
    slow = msgspec.structs.replace(pup.imu_device, rate_hz=25.0)
    (problem,) = problems(msgspec.structs.replace(pup, imu_device=slow))
    assert problem.startswith("imu_device.rate_hz 25; expected a sample more often than every")


def test_every_number_of_a_joint_must_be_finite() -> None:
    """NaN passes every comparison that is written the wrong way round."""
    numbers = [field for field in JointSpec.__struct_fields__ if field != "name"]
    for field, value in itertools.product(numbers, (math.nan, math.inf, -math.inf)):
        (problem,) = problems(spec(joint(**{field: value})))
        assert problem.startswith(f"joint knee: {field} is")


LIMITS = st.tuples(st.floats(-10, 10), st.floats(0.01, 10))


@given(LIMITS, st.floats(0.01, 1.0))
def test_soft_limits_lie_inside_on_both_sides(limits: tuple[float, float], share: float) -> None:
    """Shrunk about the centre: a factor on the bound would move a negative one outward."""
    lower, width = limits
    upper = lower + width
    knee = joint(lower=lower, upper=upper, stance=lower + width / 2)
    soft_lower, soft_upper = spec(knee, soft_limit=share).soft_limits()
    slack = 1e-5
    assert lower - slack <= soft_lower[0] <= soft_upper[0] <= upper + slack
    assert soft_upper[0] - soft_lower[0] == pytest.approx(share * width, abs=slack)
    assert soft_lower[0] - lower == pytest.approx(upper - soft_upper[0], abs=slack)


def test_soft_limits_of_a_negative_range_by_hand() -> None:
    """[-2, -0.5] at 0.9: the centre -1.25 ± 0.675."""
    soft = spec(joint(), soft_limit=0.9).soft_limits()
    np.testing.assert_allclose(np.ravel(soft), [-1.925, -0.575], rtol=1e-6)


def test_the_digest_covers_description_and_model(write: Write) -> None:
    """A policy of one model must not run on another."""
    digests = {read_folder(write(TOML)).model_sha256}
    folder = write(TOML)
    (folder / "model.xml").write_text("<mujoco/>", "utf-8")
    digests.add(read_folder(folder).model_sha256)
    digests.add(read_folder(write(TOML + "\n")).model_sha256)
    assert len(digests) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
