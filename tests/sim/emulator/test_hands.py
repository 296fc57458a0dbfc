"""Hands that put a limp robot back, and touch nothing that moves."""

from __future__ import annotations

import numpy as np
import pytest

import robots
from robots.dynamixel.control_table import Register
from sim.emulator.bench import Bench
from sim.emulator.hands import GRIP_S, LIMP_S, PAUSE_S, SPREAD_RAD, TILT_RAD, Hands
from sim.emulator.mujoco_motion import MujocoJoints, Place
from sim.emulator.servo import Servo, ServoOptions

S = 1_000_000_000


class Patient:
    """A robot with hands beside it."""

    def __init__(self, place: Place) -> None:
        self.plant = MujocoJoints(robots.find("pup"))
        self.plant.place(place)
        self.bench = Bench([Servo(ServoOptions(id=one + 1)) for one in range(12)], plant=self.plant)
        self.hands = Hands(self.plant)
        self.bench.helpers.append(self.hands.step)

    def wait(self, seconds: float) -> None:
        self.bench.advance(self.bench.now_ns + round(seconds * S))


def test_a_robot_on_its_side_is_put_upright_into_its_crouch() -> None:
    """Soon after it was switched on, slowly enough for encoders, and one line says so."""
    made = Patient("lying")
    made.wait(LIMP_S - 0.1)
    assert made.plant.tilt > TILT_RAD
    fastest = 0.0
    for _ in range(round((GRIP_S + 0.2) / 0.01)):
        before = made.plant.position
        made.wait(0.01)
        fastest = max(fastest, float(np.abs(made.plant.position - before).max()) / 0.01)
    made.wait(0.5)
    assert made.plant.tilt < 0.1
    assert made.plant.spread < SPREAD_RAD
    assert fastest < 8.0
    (line,) = made.hands.diary
    assert line.startswith("hands put the robot back: it lay ")


@pytest.mark.parametrize("place", ["crouch", "stance"])
def test_a_robot_that_has_sunk_onto_its_feet_is_left_alone(place: Place) -> None:
    """From there it can stand up by itself."""
    made = Patient(place)
    made.wait(5.0)
    assert not made.hands.diary


def test_legs_that_are_spread_are_folded() -> None:
    """Upright is not enough."""
    made = Patient("crouch")
    made.wait(1.5)
    made.plant.hold(np.tile([0.0, -0.6, -0.5], 4))
    made.plant.let_go()
    made.wait(0.7)
    assert len(made.hands.diary) == 1
    made.wait(1.0)
    assert made.plant.spread < SPREAD_RAD


def test_a_driven_robot_is_touched_by_nobody() -> None:
    """And when a torque comes on under their grip they let go at once."""
    made = Patient("lying")
    made.bench.servos[4].memory.set(Register.TORQUE_ENABLE, 1)
    made.wait(LIMP_S + 0.5)
    assert not made.hands.diary
    made.bench.servos[4].memory.set(Register.TORQUE_ENABLE, 0)
    made.wait(LIMP_S + GRIP_S / 2)
    assert len(made.hands.diary) == 1
    folding = made.plant.position.copy()
    made.bench.servos[4].memory.set(Register.TORQUE_ENABLE, 1)
    made.wait(0.1)
    assert not np.array_equal(made.plant.position, folding)
    assert np.abs(made.plant.velocity).max() > 0


def test_they_rest_between_two_grips() -> None:
    """However often the robot falls."""
    made = Patient("lying")
    times: list[int] = []
    for _ in range(60):
        made.wait(0.1)
        if len(made.hands.diary) > len(times):
            times.append(made.bench.now_ns)
        if made.plant.tilt < TILT_RAD:
            made.plant.place("lying")
    assert len(times) >= 2
    assert np.diff(times).min() >= PAUSE_S * S
