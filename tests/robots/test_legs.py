from __future__ import annotations

import mujoco
import numpy as np
import pytest

import robots
from robots import Legs, LegSpec, OutOfReachError, RobotSpecError
from sim.mujoco_robot import ModelIndex, load_model

WALKERS = ("pup", "go2")
TOLERANCE_M = {"pup": 1e-12, "go2": 2.1e-3}
"""The sphere of go2's foot stands 2 mm behind its calf's axis; pup's model is what is computed."""


def poses(name: str, count: int, *, seed: int = 0) -> np.ndarray:
    """Random positions of all joints (N, J) within their limits."""
    spec = robots.find(name).spec
    rng = np.random.default_rng(seed)
    return rng.uniform(spec.column("lower"), spec.column("upper"), (count, len(spec.joints)))


@pytest.mark.parametrize("name", WALKERS)
def test_feet_are_where_the_model_has_them(name: str) -> None:
    """MuJoCo's own kinematics of model.xml, for the whole range of every joint."""
    folder = robots.find(name)
    legs, model = Legs(folder.spec), load_model(folder)
    index, data = ModelIndex(model, folder), mujoco.MjData(model)
    data.qpos[index.base_position] = 0
    for pose in poses(name, 50):
        data.qpos[index.position] = pose
        mujoco.mj_kinematics(model, data)
        feet = legs.feet(pose[legs.joints])
        np.testing.assert_allclose(feet, data.geom_xpos[index.feet], atol=TOLERANCE_M[name], rtol=0)


@pytest.mark.parametrize("name", WALKERS)
def test_soles_are_those_of_the_model(name: str) -> None:
    """They roll on the radius of their sphere."""
    folder = robots.find(name)
    model = load_model(folder)
    radii = [model.geom(foot).size[0] for foot in folder.spec.feet]
    np.testing.assert_allclose(Legs(folder.spec).sole, radii)


@pytest.mark.parametrize("name", WALKERS)
def test_the_jacobian_is_the_derivative_of_the_feet(name: str) -> None:
    """Central differences, every leg, joint and axis."""
    legs, step = Legs(robots.find(name).spec), 1e-6
    for pose in poses(name, 20):
        angles = pose[legs.joints]
        jacobian = legs.feet_and_jacobian(angles)[1]
        for joint in range(3):
            nudge = np.zeros_like(angles)
            nudge[:, joint] = step
            slope = (legs.feet(angles + nudge) - legs.feet(angles - nudge)) / (2 * step)
            np.testing.assert_allclose(jacobian[:, :, joint], slope, atol=1e-8)


@pytest.mark.parametrize("name", WALKERS)
def test_angles_are_the_way_back_from_the_feet(name: str) -> None:
    """The very angles, wherever the foot is below the abduction axis."""
    legs = Legs(robots.find(name).spec)
    seen = 0
    for pose in poses(name, 200):
        angles = pose[legs.joints]
        straight = angles.copy()
        straight[:, 0] = 0
        below = legs.feet(straight)[:, 2] < -0.01
        found = legs.angles(legs.feet(angles))
        np.testing.assert_allclose(found[below], angles[below], atol=1e-6)
        seen += int(below.sum())
    assert seen > 400


@pytest.mark.parametrize("name", WALKERS)
def test_angles_always_lead_to_the_feet_asked_for(name: str) -> None:
    """Also where the joints came from the other solution; the knee then bends backwards."""
    legs = Legs(robots.find(name).spec)
    for pose in poses(name, 100):
        feet = legs.feet(pose[legs.joints])
        angles = legs.angles(feet)
        np.testing.assert_allclose(legs.feet(angles), feet, atol=1e-9)
        assert (angles[:, 2] <= 0).all()
        assert (np.abs(angles[:, 0]) <= np.pi).all()


def test_pup_stands_as_drawn() -> None:
    """0.145 m below the hips, by hand: (0.09 + 0.10)·cos 0.7; ahead by (0.10 - 0.09)·sin 0.7."""
    spec = robots.find("pup").spec
    legs = Legs(spec)
    feet = legs.feet(spec.column("stance").astype(np.float64)[legs.joints])
    assert feet[1] == pytest.approx([0.095 + 0.00644, 0.045 + 0.035, -0.14532], abs=1e-5)
    np.testing.assert_allclose(feet[0], feet[1] * [1, -1, 1])


def test_abduction_swings_the_left_leg_by_the_right_hand_rule() -> None:
    """About x: the foot that hangs down goes to the left, y positive, and up."""
    legs = Legs(robots.find("pup").spec)
    down, out = (legs.feet(np.tile([hip, 0.0, 0.0], (4, 1))) for hip in (0.0, 0.3))
    assert (out[:, 1] > down[:, 1]).all()


@pytest.mark.parametrize(
    "place",
    [
        (0.0, 0.0, -0.2),  # farther than thigh and calf together
        (0.0, -0.035, -0.005),  # nearer than their difference
        (0.0, 0.02, -0.01),  # within the offset
    ],
)
def test_places_out_of_reach_are_refused(place: tuple[float, float, float]) -> None:
    """The leg, the place and the reach are named; the others would have had an answer."""
    spec = robots.find("pup").spec
    legs = Legs(spec)
    feet = legs.feet(spec.column("stance").astype(np.float64)[legs.joints])
    feet[2] = legs.hip[2] + place
    with pytest.raises(OutOfReachError, match=r"leg 2 does not reach .* within 0.190 m"):
        legs.angles(feet)


def test_joints_are_found_by_name() -> None:
    """The order of [[legs]] need not be that of the joints."""
    spec = robots.find("pup").spec
    leg = spec.legs[3]
    assert [spec.joint_names[index] for index in Legs(spec).joints[3]] == list(leg.joints)


def test_a_robot_without_geometry_is_refused() -> None:
    """With what robot.toml should have."""
    with pytest.raises(RobotSpecError, match=r"quadruped: robot.toml has no \[\[legs\]\]"):
        Legs(robots.find("quadruped").spec)


def test_left_and_right_are_mirror_images() -> None:
    """Of the robots that come with the package: hips and offsets."""
    for name in WALKERS:
        legs = {leg.joints[0]: leg for leg in robots.find(name).spec.legs}
        for side in "FR", "RR":
            right, left = legs[f"{side}_hip_joint"], legs[f"{side[0]}L_hip_joint"]
            assert _numbers(left) == _numbers(right, mirrored=True)


def _numbers(leg: LegSpec, *, mirrored: bool = False) -> tuple[float, ...]:
    """Everything but the names."""
    sign = -1 if mirrored else 1
    x, y, z = leg.hip
    return (x, sign * y, z, sign * leg.offset, leg.thigh, leg.calf, leg.sole)
