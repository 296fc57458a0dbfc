"""The track of an emulated robot: where it really is, at a rate that can be written down."""

from __future__ import annotations

import math

import pytest

import robots
from sim.emulator.bench import Bench
from sim.emulator.mujoco_motion import MujocoJoints, Place
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.track import Track

S = 1_000_000_000


def tracked(place: Place) -> Track:
    """One second of a limp robot."""
    plant = MujocoJoints(robots.find("pup"))
    plant.place(place)
    bench = Bench([Servo(ServoOptions(id=one + 1)) for one in range(12)], plant=plant)
    track = Track(plant)
    bench.helpers.append(track.step)
    bench.advance(S)
    return track


def test_there_are_twenty_notes_a_second() -> None:
    """Whatever the rate of the physics is."""
    notes = tracked("crouch").notes
    assert len(notes) == pytest.approx(20, abs=1)
    gaps = [after.t - before.t for before, after in zip(notes, list(notes)[1:], strict=False)]
    assert gaps == pytest.approx([0.05] * len(gaps), abs=0.003)


def test_it_tells_height_and_tilt() -> None:
    """A robot on its side is lower, and lies."""
    crouching, lying = tracked("crouch").notes[-1], tracked("lying").notes[-1]
    assert crouching.tilt < 0.2
    assert lying.tilt > 1.0
    assert crouching.z > 0.02


def test_the_heading_is_that_of_the_model() -> None:
    """Turned by hand about the vertical axis."""
    plant = MujocoJoints(robots.find("pup"))
    assert plant.pose[3] == pytest.approx(0.0, abs=1e-6)
    plant._data.qpos[plant._index.base_quaternion] = [math.cos(0.4), 0, 0, math.sin(0.4)]  # noqa: SLF001 -- nobody else turns it
    assert plant.pose[3] == pytest.approx(0.8)
