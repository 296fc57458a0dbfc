"""Every fault of the list, injected into the whole stack; `tools/faults.py` prints each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.metronome import metronome
from tools.hazards.catalog import hazards
from tools.hazards.nominal import walk
from tools.hazards.registry import EXPECTED

if TYPE_CHECKING:
    from tools.hazards.registry import Hazard

LIVE_ALWAYS = ("B27", "I9", "H6")
"""In real time, each takes some seconds: a lost port, a silent sensor, a process that is killed."""
TRIES, TRIAL_S = 3, 120
HELD_UP_S = 0.015
"""About what a reply may be late: longer, and a robot may not get up."""


def every_hazard() -> list[object]:
    """All of them, those that take long marked as slow."""
    slow = (pytest.mark.slow, pytest.mark.timeout(TRIES * TRIAL_S))
    patient = (pytest.mark.timeout(TRIES * TRIAL_S),)
    return [
        pytest.param(
            one,
            id=one.id,
            marks=() if not one.live else patient if one.id in LIVE_ALWAYS else slow,
        )
        for one in hazards()
    ]


@pytest.mark.parametrize("one", every_hazard())
def test_a_fault_leaves_the_robot_safe(one: Hazard) -> None:
    """It does what it must, in time and logged; the servos themselves are watched.

    One that did not get up on a machine that held up its threads is tried again; once the fault is
    there, what comes of it counts.
    """
    for _ in range(TRIES if one.live else 1):
        with metronome() as beating:
            finding = one.try_out()
        if finding.begun or beating.latest_s < HELD_UP_S:
            break
    assert finding.safe, finding


def test_every_fault_of_the_list_is_tried() -> None:
    """64 of them, by number."""
    assert [one.id for one in hazards()] == list(EXPECTED)
    assert len(EXPECTED) == 64


def test_ten_seconds_of_walking_trip_nothing() -> None:
    """Guards that fire without a fault would be switched off; `--nominal 600` walks for longer."""
    finding = walk(10.0)
    assert finding.safe, finding
