"""What a robot ordinarily does trips no guard."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

import robots
from robots import Guard, JointCommand, RobotFolder, SafeRobot, State
from sim.robots import make


def standing(folder: RobotFolder) -> SafeRobot:
    """A simulated robot, enabled and standing."""
    safe = SafeRobot(make(folder))
    safe.connect()
    safe.place(np.random.default_rng(0))
    safe.enable()
    while safe.state is State.RAMP:
        tick(safe, safe.spec.column("stance"))
    return safe


@pytest.fixture
def go2() -> SafeRobot:
    """The simulated Go2, enabled and standing."""
    return standing(robots.find("go2"))


@pytest.fixture
def pup() -> SafeRobot:
    """The simulated pup, enabled and standing for a while."""
    safe = standing(robots.find("pup"))
    for number in range(60):
        tick(safe, safe.spec.column("stance") + np.float32(1e-6 * number), hz=50)
    return safe


def tick(
    safe: SafeRobot, target: np.ndarray[tuple[int], np.dtype[np.float32]], *, hz: int = 20
) -> None:
    """One control period."""
    safe.write(JointCommand.towards(target, safe.spec))
    safe.wait_until(safe.now() + 1_000_000_000 // hz)
    safe.tick_late(0.0)
    safe.read()


SQUAT, SWAY, STEP = (
    np.tile([0, 1, -1.8], 4),
    np.tile([1, 0, 0], 4),
    np.repeat([1, -1, -1, 1], 3) * np.tile([0, 1, 1], 4),
)
"""Directions in the action box, for legs of hip, thigh and calf in the order FR FL RR RL."""


def test_a_minute_of_standing_and_moving_trips_nothing(go2: SafeRobot) -> None:
    """15 s each of the stance, squatting, swaying and diagonal steps, once a second."""
    stance, box = go2.spec.column("stance"), go2.spec.column("action_scale")
    for direction in (0 * SQUAT, SQUAT, SWAY, STEP):
        for step in range(300):
            swing = 0.2 * np.sin(2 * np.pi * 0.05 * step)
            tick(go2, (stance + swing * direction * box).astype(np.float32))
    assert go2.state is State.ACTIVE
    assert not go2.interventions
    assert go2.take_guards() is Guard.NONE
    go2.close()


def test_a_go2_pushed_on_its_side_is_damped_and_stays_down(go2: SafeRobot) -> None:
    """The same guards, fired by physics: legs that fold on one side roll it over."""
    target = go2.spec.column("stance").copy()
    left = [name.startswith(("FL", "RL")) for name in go2.spec.joint_names]
    target[left] = np.tile([1.0, 3.0, -0.9], 2)
    for _ in range(100):
        tick(go2, target)
        if not go2.active:
            break
    assert go2.causes == (Guard.TILT,)
    for _ in range(100):
        tick(go2, target)
    assert go2.state is State.FAULT
    assert go2.interventions["tilt"] == 1
    go2.close()


def trot(safe: SafeRobot, ticks: int) -> None:
    """Diagonal legs in turn, 2.5 strides a second, lifted by half the action box, at 50 Hz."""
    stance, box = safe.spec.column("stance"), safe.spec.column("action_scale")
    diagonals = np.repeat([1, -1, -1, 1], 3)
    for step in range(ticks):
        phase = 2 * np.pi * 2.5 * step / 50
        lift = np.maximum(np.cos(phase) * diagonals, 0) * np.tile([0, 0.5, -1], 4)
        action = min(step / 25, 1) * (0.15 * np.sin(phase) * STEP + 0.5 * lift)
        tick(safe, (stance + action * box).astype(np.float32), hz=50)


def test_half_a_minute_of_trotting_trips_nothing(pup: SafeRobot) -> None:
    """Feet that strike the ground five times a second."""
    trot(pup, 1500)
    assert pup.state is State.ACTIVE
    assert not pup.interventions
    pup.close()


def test_trotting_is_too_much_for_joints_that_bear_a_tenth_of_their_stall_torque() -> None:
    """The same guard, fired by physics."""
    folder = robots.find("pup")
    joints = tuple(
        msgspec.structs.replace(joint, effort_continuous=joint.effort_max / 10)
        for joint in folder.spec.joints
    )
    weak = dataclasses.replace(folder, spec=msgspec.structs.replace(folder.spec, joints=joints))
    safe = standing(weak)
    trot(safe, 250)
    assert safe.causes == (Guard.EFFORT,)
    assert safe.state is State.STANDBY
    safe.close()


def test_random_commands_trip_no_guard_of_joints_and_encoders(pup: SafeRobot) -> None:
    """As a policy explores: it may fall and ask for more than the slew, nothing else."""
    rng = np.random.default_rng(0)
    stance, box = pup.spec.column("stance"), pup.spec.column("action_scale")
    for _ in range(500):
        tick(pup, (stance + rng.uniform(-1, 1, 12) * box).astype(np.float32), hz=50)
        if not pup.active:
            pup.place(rng)
            pup.enable()
    assert set(pup.interventions) <= {"slew_limit", "tilt"}
    pup.close()
