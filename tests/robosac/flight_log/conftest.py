"""A small robot with two joints and a foot, its readings, and patience."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

import robots
from robosac.flight_log import writer_link
from robosac.flight_log.log import FlightLog
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def until(what: Callable[[], bool], *, doing: Callable[[], None] = lambda: None) -> None:
    """Wait for something to become true; fails when it does not."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it has not happened"
        doing()
        time.sleep(0.01)


def joint(name: str) -> robots.JointSpec:
    """A joint of no particular kind."""
    return robots.JointSpec(
        name=name,
        lower=-1.0,
        upper=1.0,
        stance=0.0,
        action_scale=0.5,
        effort_max=1.0,
        velocity_max=6.0,
        kp=1.0,
        kd=0.1,
    )


SPEC = robots.RobotSpec(name="twig", feet=("toe",), joints=(joint("hip"), joint("knee")))


def reading(step: int) -> robots.RobotState:
    """Readings that tell which step they are of."""
    joints = np.array([step, step + 0.5], np.float32)
    return robots.RobotState(
        stamp_ns=time.monotonic_ns(),
        position=joints,
        velocity=joints / np.float32(3),
        effort=-joints / np.float32(7),
        quaternion=np.array([1, 0, 0, 0], np.float32),
        gyro=np.full(3, step, np.float32),
        accelerometer=np.array([0, 0, 9.81], np.float32),
    )


def fly(log: FlightLog, steps: range) -> None:
    """Log ticks."""
    for step in steps:
        log.tick(reading(step), robots.State.ACTIVE, reward=float(step))


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for a writer that is held up, for longer than on a robot."""
    monkeypatch.setattr(writer_link, "_CLOSE_S", 60.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test goes."""
    return tmp_path / "flight.mcap"


@pytest.fixture
def log(path: Path) -> Iterator[FlightLog]:
    """A log that is open."""
    with FlightLog(path, SPEC, clock=time.monotonic_ns) as log:
        yield log
