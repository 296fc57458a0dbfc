"""How late ticks are: counted in next to no time, read as percentiles."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robosac.lateness import Histogram, Lateness


def test_percentiles_by_hand() -> None:
    """Of a hundred ticks two are a millisecond late, the others ten microseconds."""
    histogram = Histogram()
    for _ in range(98):
        histogram.add(10_000)
    histogram.add(900_000)
    histogram.add(1_000_000)
    report = histogram.report()
    assert report["count"] == 100
    assert 10 <= report["p50_us"] <= 12.5
    assert 900 <= report["p99_us"] <= 1000
    assert report["max_us"] == 1000
    assert sum(report["buckets_us"].values()) == 100
    assert len(report["buckets_us"]) in (2, 3)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_what_is_read_is_never_too_small_and_at_most_a_quarter_too_large(late: list[int]) -> None:
    """For every duration that a clock of nanoseconds can tell."""
    histogram = Histogram()
    for one in late:
        histogram.add(one)
    report = histogram.report()
    for share, read in ((0.5, report["p50_us"]), (0.99, report["p99_us"])):
        exact = np.quantile(np.array(late, object), share, method="inverted_cdf") / 1e3
        assert exact <= read * (1 + 1e-9)
        assert read <= max(1.25 * exact, 0.006)
    assert report["max_us"] == max(late) / 1e3


def test_an_early_tick_is_not_late() -> None:
    """A clock that is read twice may be a little ahead."""
    histogram = Histogram()
    histogram.add(-500)
    assert histogram.report()["max_us"] == 0


def test_simulated_time_has_no_lateness() -> None:
    """Nothing is ever late there: a figure that was not measured is none."""
    lateness = Lateness()
    assert lateness.report() is None
    lateness.wake.add(0)
    lateness.act.add(0)
    assert lateness.report() is None
    lateness.wake.add(1500)
    report = lateness.report()
    assert report is not None
    assert report["wake"]["count"] == 2
    assert report["act"]["count"] == 1


def test_counting_costs_the_control_thread_next_to_nothing() -> None:
    """Both histograms of a tick, best of many: below 5 us, of 20,000."""
    lateness = Lateness()
    costs = []
    for _ in range(200):
        started = time.perf_counter_ns()
        for _ in range(100):
            lateness.wake.add(123_456)
            lateness.act.add(1_234_567)
        costs.append((time.perf_counter_ns() - started) / 100)
    assert min(costs) < 5000
    assert lateness.wake.report()["p50_us"] == pytest.approx(123.456, rel=0.25)
