from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.imu.mounting import Mounting
from robots.imu.stream import Counts, Measurement, Tracker

MS = 1_000_000


def tracker(rate_hz: float = 200.0) -> tuple[Tracker, Counts]:
    """A tracker of a sensor that sits straight."""
    counts = Counts()
    return Tracker(Mounting((0, 0, 0)), counts, rate_hz), counts


def at_rest(device_ns: int | None = None, *, spin: float = 0.0) -> Measurement:
    """Level, turning about z."""
    return Measurement((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, spin), (0.0, 0.0, 9.81), device_ns)


def test_nothing_is_known_before_the_first_measurement() -> None:
    """No sample is made up."""
    assert tracker()[0].latest is None


def test_a_sample_carries_what_was_measured() -> None:
    """In the body's axes, with the host's time of its last byte."""
    keeper = Tracker(Mounting((0, 0, 90)), Counts(), 200.0)
    keeper.take(Measurement((1, 0, 0, 0), (1, 2, 3), (4, 5, 6), 77), 1000)
    sample = keeper.latest
    assert sample is not None
    np.testing.assert_allclose(sample.gyro, [-2, 1, 3], rtol=1e-6)
    np.testing.assert_allclose(sample.accelerometer, [-5, 4, 6], rtol=1e-6)
    assert (sample.stamp_ns, sample.device_ns, sample.repeats) == (1000, 77, 0)
    assert sample.gyro.dtype == np.float32


def test_samples_cannot_be_changed_by_who_reads_them() -> None:
    """The control loop, the log and the guard get the same arrays."""
    keeper, _ = tracker()
    keeper.take(at_rest(), 0)
    assert keeper.latest is not None
    with pytest.raises(ValueError, match="read-only"):
        keeper.latest.quaternion[0] = 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(10))
def test_a_field_that_is_no_number_drops_the_sample(place: int, number: float) -> None:
    """The sample before stays, with its time."""
    keeper, counts = tracker()
    keeper.take(at_rest(1), 1)
    fields = [1.0, 0, 0, 0, 0, 0, 0, 0, 0, 9.81]
    fields[place] = number
    w, x, y, z, gx, gy, gz, ax, ay, az = fields
    keeper.take(Measurement((w, x, y, z), (gx, gy, gz), (ax, ay, az), 2), 2)
    assert keeper.latest is not None
    assert keeper.latest.stamp_ns == 1
    assert (counts.not_finite, counts.samples) == (1, 1)


@pytest.mark.parametrize(
    ("quaternion", "gyro", "force"),
    [
        ((0, 0, 0, 0), (0, 0, 0), (0, 0, 9.81)),
        ((1.02, 0, 0, 0), (0, 0, 0), (0, 0, 9.81)),
        ((0.98, 0, 0, 0), (0, 0, 0), (0, 0, 9.81)),
        ((1, 0, 0, 0), (40.1, 0, 0), (0, 0, 9.81)),
        ((1, 0, 0, 0), (0, -30, 30), (0, 0, 9.81)),
        ((1, 0, 0, 0), (0, 0, 0), (0, 160.1, 0)),
        ((1, 0, 0, 0), (0, 0, 0), (100, 100, 100)),
    ],
)
def test_what_no_body_does_is_dropped(
    quaternion: tuple[float, float, float, float],
    gyro: tuple[float, float, float],
    force: tuple[float, float, float],
) -> None:
    """Zeros, which sensors send before they are ready, would else read as upright."""
    keeper, counts = tracker()
    keeper.take(Measurement(quaternion, gyro, force, None), 1)
    assert keeper.latest is None
    assert counts.out_of_range == 1


def test_the_limits_themselves_are_believed() -> None:
    """Hard landings happen."""
    keeper, counts = tracker()
    keeper.take(Measurement((1, 0, 0, 0), (0, 39.9, 0), (0, 0, 159.9), None), 1)
    assert counts.samples == 1


@given(st.floats(0.991, 1.009), st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_attitudes_are_delivered_with_norm_one(norm: float, parts: list[float]) -> None:
    """Rounding of the sensor is taken out."""
    length = math.hypot(*parts)
    if length < 0.1:
        return
    w, x, y, z = (part / length * norm for part in parts)
    keeper, _ = tracker()
    keeper.take(Measurement((w, x, y, z), (0, 0, 0), (0, 0, 9.81), None), 1)
    assert keeper.latest is not None
    assert np.linalg.norm(keeper.latest.quaternion) == pytest.approx(1, abs=1e-6)


def test_without_a_clock_identical_bits_are_a_repeat() -> None:
    """The sample gets no younger by it; anything new ends the count."""
    keeper, counts = tracker()
    for at in range(4):
        keeper.take(at_rest(), at * 5 * MS)
    assert keeper.latest is not None
    assert (keeper.latest.repeats, keeper.latest.stamp_ns) == (3, 0)
    keeper.take(at_rest(spin=0.001), 20 * MS)
    assert (keeper.latest.repeats, keeper.latest.stamp_ns) == (0, 20 * MS)
    assert (counts.repeats, counts.samples) == (3, 2)


def test_with_a_clock_only_the_clock_counts() -> None:
    """A body at rest may measure the same twice; a clock that stands is a dead sensor."""
    keeper, counts = tracker()
    keeper.take(at_rest(1 * MS), 1 * MS)
    keeper.take(at_rest(6 * MS), 6 * MS)
    assert counts.repeats == 0
    keeper.take(at_rest(6 * MS, spin=0.5), 11 * MS)
    assert keeper.latest is not None
    assert (keeper.latest.repeats, keeper.latest.stamp_ns) == (1, 6 * MS)
    assert keeper.latest.gyro[2] == 0


@pytest.mark.parametrize("jump_ns", [10_000 * MS, -10_000 * MS, 106 * MS, -6 * MS])
def test_a_jump_of_the_clock_is_counted_and_does_not_matter(jump_ns: int) -> None:
    """The sample is new, and its time is the host's."""
    keeper, counts = tracker()
    start = 60_000 * MS
    for tick in range(3):
        keeper.take(at_rest(start + tick * 5 * MS), tick * 5 * MS)
    for tick in range(3, 6):
        keeper.take(at_rest(start + tick * 5 * MS + jump_ns), tick * 5 * MS)
    assert counts.time_jumps == 1
    assert keeper.latest is not None
    assert (keeper.latest.stamp_ns, keeper.latest.repeats) == (25 * MS, 0)


def test_a_gap_that_both_clocks_saw_is_no_jump() -> None:
    """Samples were lost, that is all; as little is a backlog that comes at once."""
    keeper, counts = tracker()
    keeper.take(at_rest(1), 0)
    keeper.take(at_rest(1000 * MS), 1000 * MS)
    for tick in range(10):
        keeper.take(at_rest((1005 + tick * 5) * MS), 1050 * MS)
    assert counts.time_jumps == 0
    assert counts.samples == 12


def test_the_rate_is_that_of_the_new_samples() -> None:
    """Unknown until a fifth of a second has been seen; repeats do not count."""
    keeper, _ = tracker(100.0)
    for tick in range(20):
        keeper.take(at_rest(tick), tick * 10 * MS)
    assert keeper.rate_hz() is None
    keeper.take(at_rest(20), 200 * MS)
    assert keeper.rate_hz() == pytest.approx(100)
    for tick in range(21, 80):
        keeper.take(at_rest(tick - tick % 2), tick * 10 * MS)
    assert keeper.rate_hz() == pytest.approx(50, rel=0.05)
