"""A run whose updates are shared by two processes, and what becomes of it when one dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from robosac.learner import checkpoint
from tests.robosac.learner.conftest import followers_of

if TYPE_CHECKING:
    from tests.robosac.processes.conftest import SimRun

pytestmark = pytest.mark.timeout(120)

ROLES = {"supervisor": 1, "learner": 1, "runner": 1, "uplink": 1}


@pytest.fixture
def shared(run: SimRun) -> SimRun:
    """A run of two ranks that has learned for a while."""
    run.start("--steps", "100000", "--ranks", "2")
    run.wait_for_rows(100)
    run.wait(lambda: bool(checkpoint.complete(run.folder / "checkpoint")))
    assert run.roles() == ROLES
    return run


@pytest.mark.parametrize("victim", ["learner", "follower"])
def test_a_killed_rank_ends_the_run_and_nothing_is_lost(shared: SimRun, victim: str) -> None:
    """One line says so; the run goes on with as many ranks, or with the learner alone."""
    (follower,) = followers_of(shared.pid("learner"))
    os.kill(follower if victim == "follower" else shared.pid("learner"), signal.SIGKILL)
    code, error = shared.finish()
    assert (code, error.count("\n")) == (4, 1)
    assert "--resume" in error
    assert shared.roles() == {}
    shared.wait(lambda: not alive(follower))
    made = sum(shared.rows().values())

    steps = made + 200
    shared.resume("--steps", str(steps), *(["--ranks", "2"] if victim == "follower" else []))
    assert shared.finish()[0] == 0
    summary = shared.read("summary.json")
    assert (summary["lost"], summary["duplicated"], summary["env_steps"]) == (0, 0, steps)
    assert shared.read("learner.json")["resumed_from"]["env_steps"] >= made
    assert shared.roles() == {}


def test_a_killed_supervisor_leaves_no_rank_behind(shared: SimRun) -> None:
    """The learner's lifeline is cut, and it cuts that of the other."""
    (follower,) = followers_of(shared.pid("learner"))
    shared.kill("supervisor")
    assert shared.finish() == (-9, "")
    shared.wait(lambda: shared.roles() == {} and not alive(follower))


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_everybody_is_asked_to_stop_and_the_folder_is_whole(shared: SimRun) -> None:
    """As a service manager does it, to every process of the learner: rank 0 leaves in order."""
    os.killpg(shared.pid("learner"), signal.SIGTERM)
    code, _ = shared.finish()
    assert code == 4
    assert (shared.folder / "policy" / "final.onnx").exists()
    assert shared.read("learner.json")["lost"] == 0
    assert shared.roles() == {}
