"""What a robot ordinarily does trips no guard."""

from __future__ import annotations

import numpy as np
import pytest

import robots
from robots import Guard, JointCommand, SafeRobot, State
from sim.robots import make


@pytest.fixture
def go2() -> SafeRobot:
    """The simulated Go2, enabled and standing."""
    safe = SafeRobot(make(robots.find("go2")))
    safe.connect()
    safe.place(np.random.default_rng(0))
    safe.enable()
    while safe.state is State.RAMP:
        tick(safe, safe.spec.column("stance"))
    return safe


def tick(safe: SafeRobot, target: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    """One control period at 20 Hz."""
    safe.write(JointCommand.towards(target, safe.spec))
    safe.wait_until(safe.now() + 50_000_000)
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
