from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

import robots
from sim.mujoco_robot import load_model

PUP = robots.find("pup").spec
GRAVITY = 9.81
STALL_NM, NO_LOAD, RATED_V, BATTERY_V = 3.0, 8.06, 12.0, 11.1
"""XM430-W210: the maker's stall torque and no-load speed at 12 V; three lithium cells."""
CONTINUOUS = 1 / 5
"""Share of the stall torque that such a servo may give for long: the maker's rule."""
P_GAIN, P_GAIN_UNIT, PWM_LIMIT, COUNTS = 800, 128, 885, 4096
"""Position P Gain and its divisor, full pulse width, counts per turn.

Unverified: that the regulator's output has the unit of the pulse width register.
"""
THIGH_M, CALF_M, FOOT_M, STANCE = 0.09, 0.10, 0.01, 0.7


def knee_torque(feet: int) -> float:
    """Torque at the knee with the weight on so many feet, N·m; the calf is its lever."""
    weight = PUP.mass * GRAVITY if PUP.mass else math.nan
    return weight / feet * CALF_M * math.sin(STANCE)


def test_the_limits_are_those_of_the_servo() -> None:
    """Stall torque and speed as rated, the battery as a share of that voltage."""
    assert set(PUP.column("effort_max").tolist()) == {STALL_NM}
    np.testing.assert_allclose(PUP.column("velocity_max"), NO_LOAD)
    assert pytest.approx(BATTERY_V / RATED_V) == PUP.sim.supply


def test_the_gains_are_those_of_its_position_controller() -> None:
    """Stiffness from the register's value at this supply, damping from the back-EMF."""
    saturation = PWM_LIMIT / (P_GAIN / P_GAIN_UNIT) * 2 * math.pi / COUNTS
    assert saturation == pytest.approx(0.217, abs=5e-4)
    stiffness = STALL_NM * PUP.sim.supply / saturation
    np.testing.assert_allclose(PUP.column("kp"), stiffness, rtol=5e-3)
    np.testing.assert_allclose(PUP.column("kd"), STALL_NM / NO_LOAD, rtol=5e-3)
    assert PUP.safety.damp_kd == pytest.approx(STALL_NM / NO_LOAD, rel=5e-3)


def test_it_is_light_enough_to_stand_and_trot_all_day() -> None:
    """On four feet and on two, the knee stays within what the servo may give for long."""
    continuous = CONTINUOUS * STALL_NM * PUP.sim.supply
    assert knee_torque(4) == pytest.approx(0.253, abs=1e-3)
    assert knee_torque(2) == pytest.approx(0.505, abs=1e-3)
    assert knee_torque(2) < 0.95 * continuous < knee_torque(1)


def test_swing_is_slow_enough_to_leave_the_torque_of_stance() -> None:
    """A trot at 2 Hz through 0.35 rad: at its fastest the motor can still carry the robot."""
    fastest = 2 * math.pi * 2.0 * 0.35
    assert fastest == pytest.approx(4.4, abs=0.01)
    left = STALL_NM * PUP.sim.supply - STALL_NM / NO_LOAD * fastest
    assert left > 2 * knee_torque(2)


def test_mass_and_stance_are_those_of_the_model() -> None:
    """What odometry and the torque check count on."""
    model = load_model(robots.find("pup"))
    assert float(model.body_mass.sum()) == pytest.approx(PUP.mass, rel=1e-6)
    height = (THIGH_M + CALF_M) * math.cos(STANCE) + FOOT_M
    assert height == pytest.approx(0.155, abs=1e-3)
    assert model.body("base").pos[2] == pytest.approx(height, abs=1e-3)


def test_legs_meet_the_ground_and_the_trunk_but_not_each_other() -> None:
    """Collisions as the filter of MuJoCo decides them."""
    model = load_model(robots.find("pup"))

    def collide(one: str, other: str) -> bool:
        mine, yours = model.geom(one), model.geom(other)
        return bool(
            mine.contype[0] & yours.conaffinity[0] or yours.contype[0] & mine.conaffinity[0]
        )

    for part in ("FR_thigh", "FR_calf", "FR_foot"):
        assert collide(part, "floor")
        assert collide(part, "trunk")
        assert not collide(part, "FL_calf")
    assert collide("trunk", "floor")
    assert not collide("trunk", "head")


def test_nothing_touches_in_stance_or_crouch() -> None:
    """Neither pose presses a leg into the trunk."""
    model = load_model(robots.find("pup"))
    data = mujoco.MjData(model)
    for pose in (PUP.column("stance"), np.array(PUP.crouch)):
        data.qpos[2] = 1.0
        data.qpos[7:] = pose
        mujoco.mj_forward(model, data)
        assert data.ncon == 0
