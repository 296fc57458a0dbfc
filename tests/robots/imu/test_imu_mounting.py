from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.imu.mounting import Mounting, from_angles, inverse, product, rotate

HALF = math.sqrt(0.5)
angles = st.tuples(*[st.floats(-180, 180)] * 3)
vectors = st.tuples(*[st.floats(-10, 10)] * 3)


@pytest.mark.parametrize(
    ("turn", "vector", "turned"),
    [
        ((HALF, HALF, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((HALF, 0, HALF, 0), (0, 0, 1), (1, 0, 0)),
        ((HALF, 0, 0, HALF), (1, 0, 0), (0, 1, 0)),
        ((0, 1, 0, 0), (1, 2, 3), (1, -2, -3)),
    ],
    ids=["about x", "about y", "about z", "half a turn about x"],
)
def test_vectors_turn_by_the_right_hand_rule(
    turn: tuple[float, ...], vector: tuple[float, ...], turned: tuple[float, ...]
) -> None:
    """Quaternions are w x y z."""
    assert rotate(turn, vector) == pytest.approx(turned)


def test_angles_are_about_fixed_axes_roll_first() -> None:
    """Rolled by 90 degrees the y axis points up; the pitch after it turns up to forward."""
    turn = from_angles(math.pi / 2, math.pi / 2, 0)
    assert rotate(turn, (0, 1, 0)) == pytest.approx((1, 0, 0))
    assert rotate(turn, (1, 0, 0)) == pytest.approx((0, 0, -1))
    turn = from_angles(math.pi / 2, 0, math.pi / 2)
    assert rotate(turn, (1, 0, 0)) == pytest.approx((0, 1, 0))
    assert rotate(turn, (0, 1, 0)) == pytest.approx((0, 0, 1))


def test_a_sensor_that_looks_left_measures_to_the_left() -> None:
    """Its x is the body's y: what it feels forward, the body feels to the left."""
    mounting = Mounting((0, 0, 90))
    assert mounting.vector((1, 0, 0)) == pytest.approx((0, 1, 0))
    assert mounting.vector((0, 1, 0)) == pytest.approx((-1, 0, 0))


def test_a_sensor_on_its_back_sees_a_level_body_as_upside_down() -> None:
    """What it measures then is a body that stands upright."""
    mounting = Mounting((180, 0, 0))
    upright = mounting.attitude((0, 1, 0, 0))
    assert rotate(upright, (0, 0, 1)) == pytest.approx((0, 0, 1))
    assert mounting.vector((0, 0, -9.81)) == pytest.approx((0, 0, 9.81))


@given(angles, angles)
def test_attitude_and_vectors_stay_in_agreement(
    mounted: tuple[float, ...], tilted: tuple[float, ...]
) -> None:
    """Up as the accelerometer feels it is up as the attitude has it, however it is mounted."""
    mounting = Mounting(mounted)
    sensor = from_angles(*(math.radians(angle) for angle in tilted))
    felt = rotate(inverse(sensor), (0, 0, 9.81))
    up = rotate(inverse(mounting.attitude(sensor)), (0, 0, 9.81))
    assert mounting.vector(felt) == pytest.approx(up, abs=1e-9)


@given(angles, vectors)
def test_the_inverse_turns_back(tilted: tuple[float, ...], vector: tuple[float, ...]) -> None:
    """A rotation and its inverse cancel."""
    turn = from_angles(*(math.radians(angle) for angle in tilted))
    assert rotate(inverse(turn), rotate(turn, vector)) == pytest.approx(vector, abs=1e-9)
    assert product(turn, inverse(turn)) == pytest.approx((1, 0, 0, 0), abs=1e-12)
