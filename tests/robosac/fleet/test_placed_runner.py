"""A runner that is kept going, with real processes that do what a test tells them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from robosac.fleet import placed_runner
from robosac.fleet.placed_runner import Outcome, PlacedRunner
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

folder = Path(sys.argv[2])
starts = len(list(folder.glob("start-*")))
(folder / f"start-{starts}").touch()

def tell(**figures):
    print(json.dumps(figures), flush=True)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

exec(sys.argv[1])
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], PlacedRunner]:
    """Place a runner that is this code; it is started again at once when it was killed."""
    (tmp_path / "played.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(placed_runner, "_PAUSE_S", 0.0)

    def place(code: str) -> PlacedRunner:
        folder = str(tmp_path / "runner-0")
        return PlacedRunner("go2-0", folder, ["played", code, folder])

    return place


def started(tmp_path: Path) -> int:
    """How often the runner has been started."""
    return len(list((tmp_path / "runner-0").glob("start-*")))


def test_a_runner_that_is_done_is_not_started_again(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """Its last word counts; what libraries print is no word of it."""
    runner = place("print('noise'); print('[1]'); tell(event='made', steps=7, complete=True)")
    assert runner.run() == Outcome(steps=7, complete=True)
    assert started(tmp_path) == 1
    assert runner.troubles == []


def test_a_killed_runner_is_started_again(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """And that is told."""
    runner = place("starts or die(); tell(event='made', steps=7, complete=True)")
    assert runner.run() == Outcome(steps=7, complete=True)
    assert started(tmp_path) == 2
    assert runner.troubles == ["was killed by signal 9 and is started again"]


def test_a_runner_that_is_killed_at_every_start_is_given_up(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """After the fifth time within a minute; exit code 4 asks to go on later."""
    outcome = place("print('last words', file=sys.stderr, flush=True); die()").run()
    assert started(tmp_path) == 5
    assert outcome.code == 4
    assert outcome.message is not None
    assert outcome.message.startswith("go2-0 was killed by signal 9; see ")
    assert (tmp_path / "runner-0" / "runner.log").read_text() == "last words\n" * 5


def test_kills_that_are_far_apart_are_forgiven(
    place: Callable[[str], PlacedRunner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may take days."""
    monkeypatch.setattr(placed_runner, "_KILLS_WITHIN_S", 0.0)
    assert place("starts > 6 or die(); tell(event='made', steps=1, complete=True)").run().complete
    assert started(tmp_path) == 8


def test_a_runner_that_says_what_is_wrong_is_believed(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """It would say so again; its steps count all the same."""
    code = "tell(event='made', steps=3, complete=False); tell(event='error', message='no', code=2)"
    assert place(f"{code}; sys.exit(2)").run() == Outcome(steps=3, message="no", code=2)
    assert started(tmp_path) == 1


def test_a_bug_is_not_tried_again(place: Callable[[str], PlacedRunner], tmp_path: Path) -> None:
    """The message names the log, and the log has the traceback."""
    outcome = place("raise RuntimeError('a bug')").run()
    assert started(tmp_path) == 1
    assert outcome.code == 4
    assert outcome.message is not None
    assert "go2-0 ended with exit code 1" in outcome.message
    log = tmp_path / "runner-0" / "runner.log"
    assert str(log) in outcome.message
    assert "RuntimeError: a bug" in log.read_text()


def test_a_runner_is_asked_to_stop(place: Callable[[str], PlacedRunner], tmp_path: Path) -> None:
    """Its standard input ends; it says what it has made, and no other is started."""
    runner = place("sys.stdin.read(); tell(event='made', steps=4, complete=False); die()")
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(runner.run()))
    thread.start()
    until(lambda: started(tmp_path) == 1)
    runner.stop()
    runner.stop()
    thread.join(PATIENCE_S)
    assert outcomes == [Outcome(steps=4)]
    assert started(tmp_path) == 1


def test_who_was_asked_to_stop_first_starts_nothing(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """Ray may deliver the two calls in any order."""
    runner = place("tell(event='made', steps=4, complete=True)")
    runner.stop()
    assert runner.run() == Outcome()
    assert started(tmp_path) == 0


def test_the_uplink_is_waited_for(place: Callable[[str], PlacedRunner], tmp_path: Path) -> None:
    """The next runner would find the folder in its hands."""
    uplink = "import time; time.sleep(0.3); open(sys.argv[1], 'w').close()"
    start = f"subprocess.Popen([sys.executable, '-c', 'import sys; ' + {uplink!r}, str(done)])"
    code = f"done = folder / 'done'; starts or ({start}, die()); assert done.exists()"
    assert place(f"{code}; tell(event='made', steps=1, complete=True)").run().complete


def test_a_folder_that_cannot_be_made_is_one_line(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """With exit code 2; nothing has been started."""
    (tmp_path / "runner-0").write_text("in the way")
    outcome = place("die()").run()
    assert outcome.code == 2
    assert outcome.message is not None
    assert f"go2-0: {tmp_path / 'runner-0'}: got " in outcome.message


HOLDER = """
import sys
from robosac.fleet.placed_runner import PlacedRunner

PlacedRunner("go2-0", sys.argv[1], ["played", sys.argv[2], sys.argv[1]]).run()
"""


def test_a_runner_ends_in_order_when_its_holder_is_killed(
    place: Callable[[str], PlacedRunner], tmp_path: Path
) -> None:
    """As Ray's workers are when their node is given up: the lifeline is all there is."""
    folder = tmp_path / "runner-0"
    code = "sys.stdin.read(); (folder / 'in-order').touch()"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), code])
    until(lambda: started(tmp_path) == 1)
    os.kill(holder.pid, signal.SIGKILL)
    assert holder.wait(PATIENCE_S) == -signal.SIGKILL
    until((folder / "in-order").exists)
