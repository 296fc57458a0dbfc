"""The runner process with a real service: what it leaves in its folder and tells its parent."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import zmq

from robosac.cli import resolve
from robosac.cli.runner_config import RunnerConfig
from robosac.learner.inbox import Inbox
from robosac.learner.service import PublishedPolicy, Service
from robosac.replay import SegmentLog
from robosac.wire.names import robot_name
from robosac.wire.sockets import bind_learner
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from robosac.policy import Contract
    from tests.robosac.conftest import PolicyMaker

ENV = "Pendulum-v1"


class Place:
    """A run folder, a service for it, and the runners of a test."""

    def __init__(self, folder: Path, make_policy: PolicyMaker) -> None:
        with resolve.make(robot=None, task=None, env=ENV) as place:
            self.contract: Contract = place.contract
        self.own = folder / "runner-0"
        self._replay = folder / "replay"
        self._make_policy = make_policy
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bound, self._endpoint = bind_learner(self._context)
        self.service = Service(bound, self._replay, Inbox())
        self.service.allowed_steps = 0
        self.publish(1)
        self._runners: list[subprocess.Popen[bytes]] = []

    def publish(self, version: int, *, gain: float = 0.1) -> None:
        """Send a policy that leans with the pendulum."""
        file = self._make_policy(gain=gain, contract=self.contract)
        sha256 = hashlib.sha256(file).hexdigest()
        self.service.policy = PublishedPolicy(version, sha256, file)

    def start(self, steps: int | None, *, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
        """Start a runner."""
        config = RunnerConfig(
            name=robot_name(ENV, 0),
            robot=None,
            task=None,
            env=ENV,
            endpoint=self._endpoint,
            folder=str(self.own),
            seed=(0, 0),
            steps=steps,
        )
        command = [sys.executable, "-m", *config.arguments()]
        self._runners.append(subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE))
        return self._runners[-1]

    def rows(self) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        """Rows on disk by run, in the order in which the runs began."""
        self.service.close()
        with SegmentLog(self._replay, self.contract.row_layout) as log:
            chunks = list(log.rows())
        runs = dict.fromkeys(chunk.run for chunk in chunks)
        return [np.concatenate([one.rows for one in chunks if one.run == run]) for run in runs]

    def reports(self) -> list[dict[str, Any]]:
        """What runners have written, in the order in which they began."""
        paths = sorted(self.own.glob("report-*"), key=lambda path: path.stat().st_mtime)
        return [msgspec.json.decode(path.read_bytes()) for path in paths]

    def close(self) -> None:
        """End everything."""
        for runner in self._runners:
            runner.kill()
            runner.communicate()
        self.service.close()
        self._context.term()


@pytest.fixture
def place(tmp_path: Path, make_policy: PolicyMaker) -> Iterator[Place]:
    """A service that has a policy and allows no step yet."""
    place = Place(tmp_path, make_policy)
    yield place
    place.close()


def finish(runner: subprocess.Popen[bytes]) -> tuple[int, list[dict[str, Any]]]:
    """Wait for the end; returns the exit code and what was told."""
    code = runner.wait(PATIENCE_S)
    assert runner.stdout is not None
    told = [msgspec.json.decode(line) for line in runner.stdout]
    return code, [one for one in told if one["event"] != "link"]


def ask_to_stop(runner: subprocess.Popen[bytes]) -> None:
    """Cut its lifeline."""
    assert runner.stdin is not None
    runner.stdin.close()
    runner.stdin = None


def test_a_runner_makes_its_share(place: Place) -> None:
    """Under a name that is valid for its environment; policies that did not pass are counted."""
    place.service.allowed_steps = 20
    place.service.start()
    runner = place.start(50)
    until(lambda: place.service.ledger.rows == 20)
    place.publish(2, gain=np.nan)
    until(lambda: any(one.declined for one in place.service.ledger.robots.values()))
    place.publish(3)
    until(lambda: len(list(place.own.glob("policy/*"))) == 3)
    place.service.allowed_steps = 50
    assert finish(runner) == (0, [{"event": "made", "steps": 50, "complete": True}])
    assert list(place.service.ledger.made) == [("Pendulum-v1-0", place.reports()[0]["run"])]
    (report,) = place.reports()
    assert (report["made"], report["refused_policies"]) == (50, 1)
    assert report["missed_ticks"] is None, "a pendulum has no clock"
    (rows,) = place.rows()
    versions = place.contract.row_layout.view(rows).policy_version
    assert set(versions.tolist()) <= {1.0, 3.0}


def test_a_refusal_is_one_line_and_exit_code_2(place: Place) -> None:
    """With the fields that differ."""
    place.service.open_log(msgspec.structs.replace(place.contract, env="Other-v0"))
    place.service.start()
    code, told = finish(place.start(50))
    assert code == 2
    (error,) = (one for one in told if one["event"] == "error")
    assert "learner refuses this robot" in error["message"]
    assert "env: policy has 'Other-v0', expected 'Pendulum-v1'" in error["message"]


def test_a_runner_stops_when_asked(place: Place) -> None:
    """In the middle, waiting for credit; what it has made is delivered and reported."""
    place.service.allowed_steps = 20
    place.service.start()
    runner = place.start(50)
    until(lambda: place.service.ledger.rows == 20)
    ask_to_stop(runner)
    assert finish(runner) == (0, [{"event": "made", "steps": 20, "complete": False}])
    assert place.reports()[0]["made"] == 20
    assert place.service.ledger.parted == {"Pendulum-v1-0"}


def test_a_runner_goes_on_until_it_is_enough(place: Place) -> None:
    """However many steps the learner wants; it need not be told how many."""
    place.service.allowed_steps, place.service.steps = None, 40
    place.service.start()
    code, told = finish(place.start(None))
    assert (code, told) == (0, [{"event": "made", "steps": 40, "complete": True}])
    assert place.service.ledger.rows == 40


def test_a_killed_runner_is_followed_by_one_that_explores_anew(place: Place) -> None:
    """It has left a report without a number, and the next one resets and acts otherwise."""
    place.service.allowed_steps = 20
    place.service.start()
    runner = place.start(50)
    until(lambda: place.service.ledger.rows == 20)
    runner.kill()
    runner.communicate()
    place.service.allowed_steps = 40
    assert finish(place.start(20))[0] == 0
    assert [report["made"] for report in place.reports()] == [None, 20]
    first, second = place.rows()
    assert len(first) == len(second) == 20
    assert not np.array_equal(first[0], second[0])


def test_a_runner_whose_parent_is_gone_touches_nothing(place: Place) -> None:
    """Its folder may already be somebody else's."""
    place.service.start()
    lifeline, parent = os.pipe()
    os.close(parent)
    assert finish(place.start(50, stdin=lifeline)) == (0, [])
    os.close(lifeline)
    assert not place.own.exists()
