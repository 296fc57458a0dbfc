"""A robot that remembers what its operator told it, and an operator who speaks to it."""

from __future__ import annotations

import threading

import pytest

from robosac.operator import Operator
from robots.safety import State
from tests.clock import Clock
from tests.patience import PATIENCE_S


class Told:
    """What reached the robot, in order; its state is what the test says."""

    def __init__(self) -> None:
        self.state = State.STANDBY
        self.calls: list[str] = []
        self._changed = threading.Condition()

    def stop(self) -> None:
        """Remember it."""
        self._note("stop")

    def estop(self) -> None:
        """Remember it."""
        self._note("estop")

    def release_estop(self) -> None:
        """Remember it."""
        self._note("release")

    def alive(self, source: str) -> None:
        """Remember it."""
        self._note("alive")

    def count(self, call: str) -> int:
        """How often the robot was told this."""
        return self.calls.count(call)

    def wait_for(self, call: str, *, times: int = 1) -> None:
        """Wait until the robot was told this so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.count(call) >= times, PATIENCE_S), self.calls

    def _note(self, call: str) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()


@pytest.fixture
def robot() -> Told:
    """A robot at rest."""
    return Told()


@pytest.fixture
def operator(robot: Told) -> Operator:
    """An operator of that robot, to whom no request ever grows old."""
    return Operator(robot, clock=Clock())
