"""The supervisor with real processes that play learner and runner as a test tells them to."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from robosac.cli import supervisor as supervisor_module
from robosac.cli.supervisor import ChildDiedError, ChildFailedError, Supervisor
from robosac.errors import StorageError
from robosac.learner.options import LearnerOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ACTOR = """#!{python}
import json, os, signal, sys, time

module, *args = sys.argv[2:]
if module == "robosac.learner":
    args = [json.loads(args[0])["folder"]]

def tell(**figures):
    print(json.dumps(figures), flush=True)

def wait_until_asked():
    sys.stdin.read()

exec(json.loads(os.environ["PLAY"])[module])
"""
LEARNER = """
tell(event="listening", endpoint="tcp://here")
tell(event="status", env_steps=0)
wait_until_asked()
tell(event="report", rows=10)
"""
RUNNER = "tell(event='made', steps=5, complete=True)"


class Play:
    """A supervisor whose learner and runners are Python snippets."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        actor = tmp_path / "actor"
        actor.write_text(ACTOR.format(python=sys.executable))
        actor.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(actor))
        self._monkeypatch = monkeypatch
        self.folder = tmp_path / "run"
        self.folder.mkdir()
        self.shown: list[dict[str, Any]] = []
        self.on_shown: Callable[[], None] = lambda: None
        self.report: dict[str, Any] | None = None
        self.made = 0

    def run(self, *, learner: str | None = LEARNER, runner: str = RUNNER, runners: int = 1) -> None:
        """Play the two parts to the end; without a learner, for one elsewhere."""
        play = {"robosac.learner": learner, "runner": runner}
        self._monkeypatch.setenv("PLAY", msgspec.json.encode(play).decode())

        def crew(endpoint: str) -> dict[str, list[str]]:
            arguments = ["runner", str(self.folder)]
            return {
                f"runner-{index}": [*arguments, str(index), endpoint] for index in range(runners)
            }

        supervisor = Supervisor(
            self.folder,
            learner=None if learner is None else LearnerOptions(folder=str(self.folder)),
            crew=crew,
            show=self._show,
        )
        try:
            supervisor.run("tcp://elsewhere" if learner is None else "")
            supervisor.check_rows(10 if learner is not None else 0)
        finally:
            self.report, self.made = supervisor.report, supervisor.made

    @property
    def log(self) -> str:
        """What children have written to their standard error."""
        return (self.folder / "processes.log").read_text()

    def _show(self, figures: dict[str, Any]) -> None:
        self.shown.append(figures)
        self.on_shown()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Parts to be filled in; nothing may take long."""
    monkeypatch.setattr(supervisor_module, "_GRACE_S", 10.0)
    return Play(tmp_path, monkeypatch)


DONE_LEARNER = """
tell(event="listening", endpoint="tcp://here")
tell(event="status", env_steps=5)
while len([name for name in os.listdir(args[0]) if name.startswith("done")]) < {runners}:
    time.sleep(0.01)
tell(event="report", rows=10)
"""
DONE_RUNNER = """
open(os.path.join(args[0], "done-" + args[1]), "w").close()
tell(event="made", steps=5, complete=True)
assert args[2] == "tcp://here"
"""


def test_a_run_to_its_end(play: Play) -> None:
    """Runners start when the learner listens, and are told where; the report is kept."""
    play.run(learner=DONE_LEARNER.format(runners=2), runner=DONE_RUNNER, runners=2)
    assert play.report == {"rows": 10}
    assert play.made == 10
    assert play.shown == [{"env_steps": 5}]
    done = {path.name for path in play.folder.glob("done-*")}
    assert done == {"done-0", "done-1"}


def test_a_runner_may_finish_long_before_another(play: Play) -> None:
    """Its end is no reason to stop."""
    runner = "time.sleep(0.5 * int(args[1]))" + DONE_RUNNER
    play.run(learner=DONE_LEARNER.format(runners=2), runner=runner, runners=2)
    assert play.report == {"rows": 10}


def test_what_a_child_says_is_wrong_is_what_the_user_reads(play: Play) -> None:
    """A busy port, for example: its line, and no other."""
    learner = "tell(event='error', message='port 80 cannot be used', code=2); sys.exit(2)"
    with pytest.raises(ChildFailedError, match=r"^port 80 cannot be used$") as caught:
        play.run(learner=learner)
    assert caught.value.code == 2
    assert play.report is None


def test_a_killed_runner_ends_the_run_in_order(play: Play) -> None:
    """The learner is asked to stop, reports, and the message says how to go on."""
    runner = "os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(ChildDiedError, match="runner-0 was killed by signal 9") as caught:
        play.run(runner=runner)
    assert f"--run {play.folder} --resume" in str(caught.value)
    assert "processes.log" in str(caught.value)
    assert play.report == {"rows": 10}


def test_a_learner_that_dies_takes_the_runners_with_it(play: Play) -> None:
    """They are asked to stop, and leave what they have on disk."""
    learner = "tell(event='listening', endpoint='x'); time.sleep(0.3); sys.exit(1)"
    runner = """
wait_until_asked()
open(os.path.join(args[0], "asked"), "w").close()
tell(event="made", steps=3, complete=False)
"""
    with pytest.raises(ChildDiedError, match="learner ended with exit code 1"):
        play.run(learner=learner, runner=runner)
    assert (play.folder / "asked").exists()


def test_a_learner_that_is_asked_to_stop_by_somebody_else_is_no_success(play: Play) -> None:
    """It ends cleanly with code 0, and so do the runners; the steps are missing all the same."""
    learner = LEARNER.replace("wait_until_asked()", "time.sleep(0.3)").replace("10", "3")
    runner = "wait_until_asked(); tell(event='made', steps=3, complete=False)"
    with pytest.raises(ChildDiedError, match="the run ended with 3 of 10 steps"):
        play.run(learner=learner, runner=runner)


def test_rows_that_did_not_reach_the_learner_are_no_success(play: Play) -> None:
    """Made, and every process ended in order; they lie in a spool, and --resume delivers them."""
    learner = DONE_LEARNER.format(runners=1).replace("rows=10", "rows=9")
    with pytest.raises(ChildDiedError, match="9 of 10 steps at the learner"):
        play.run(learner=learner, runner=DONE_RUNNER)


def test_a_crew_that_goes_home_early_takes_the_learner_with_it(play: Play) -> None:
    """Asked to stop by somebody else: the learner would wait for its robots for ever."""
    runner = "tell(event='made', steps=3, complete=False)"
    with pytest.raises(ChildDiedError, match="the run ended with 4 of 10 steps"):
        play.run(learner=LEARNER.replace("10", "4"), runner=runner, runners=2)
    assert play.report == {"rows": 4}


def test_a_crew_may_serve_a_learner_elsewhere(play: Play) -> None:
    """Then there is no learner to start, and its end is the end."""
    runner = DONE_RUNNER.replace("here", "elsewhere")
    play.run(learner=None, runner=runner, runners=2)
    assert play.made == 10
    assert play.report is None


def test_runners_are_asked_before_the_learner(play: Play) -> None:
    """So that it can take in what they still have; all runners at the same time.

    Each waits for the others to be asked: one after another they would never end.
    """
    runner = """
if args[1] == "0":
    time.sleep(0.2)
    sys.exit(1)
wait_until_asked()
open(os.path.join(args[0], "asked-" + args[1]), "w").close()
while len([name for name in os.listdir(args[0]) if name.startswith("asked")]) < 5:
    time.sleep(0.01)
open(os.path.join(args[0], "done-" + args[1]), "w").close()
"""
    learner = """
tell(event="listening", endpoint="x")
wait_until_asked()
tell(event="report", done=sorted(n for n in os.listdir(args[0]) if n.startswith("done")))
"""
    with pytest.raises(ChildDiedError, match="runner-0 ended with exit code 1"):
        play.run(learner=learner, runner=runner, runners=6)
    assert play.report == {"done": [f"done-{index}" for index in range(1, 6)]}


def test_a_child_that_does_not_end_is_killed(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said: its part of the folder may be missing."""
    monkeypatch.setattr(supervisor_module, "_GRACE_S", 0.3)
    learner = LEARNER.replace("wait_until_asked()", "time.sleep(60)")
    with pytest.raises(ChildFailedError, match="first"):
        play.run(learner=learner, runner="tell(event='error', message='first', code=2)")
    with pytest.raises(ChildDiedError, match="learner was killed by signal 9"):
        _interrupt(play, learner=learner, runners=0)


def test_what_libraries_print_is_no_event(play: Play) -> None:
    """Lines that are no JSON object go to the log; the run goes on."""
    noise = "print('WARNING: Nan'); print('[1, 2]'); print('12'); print('\\xff', flush=True)"
    learner = noise + DONE_LEARNER.format(runners=1)
    play.run(learner=learner, runner=DONE_RUNNER)
    assert play.report == {"rows": 10}
    assert "WARNING: Nan" in play.log


def test_tracebacks_stay_in_the_log(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    """The user reads one line; who wants to know more finds it."""
    with pytest.raises(ChildDiedError, match="learner ended with exit code 1"):
        play.run(learner="raise RuntimeError('a bug')")
    assert "RuntimeError: a bug" in play.log
    assert capfd.readouterr() == ("", "")


def _interrupt(play: Play, *, learner: str, runner: str = RUNNER, runners: int = 1) -> None:
    """Press Ctrl-C when the learner has told its figures: all are started, and it is waited for."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    press = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    play.on_shown = press.start
    try:
        play.run(learner=learner, runner=runner, runners=runners)
    finally:
        press.cancel()
        signal.signal(signal.SIGINT, usual)


def test_an_interrupted_run_leaves_its_report(play: Play) -> None:
    """KeyboardInterrupt passes when everything has ended by itself."""
    runner = "wait_until_asked(); tell(event='made', steps=3, complete=False)"
    with pytest.raises(KeyboardInterrupt):
        _interrupt(play, learner=LEARNER, runner=runner)
    assert play.report == {"rows": 10}


def test_an_error_while_ending_is_not_lost_in_an_interrupt(play: Play) -> None:
    """The folder is not whole then, and must not be called so."""
    learner = LEARNER + "tell(event='error', message='disk full', code=2); sys.exit(2)"
    runner = "wait_until_asked()"
    with pytest.raises(ChildFailedError, match="disk full"):
        _interrupt(play, learner=learner, runner=runner)


def test_nothing_is_started_while_everything_ends(play: Play) -> None:
    """A learner that begins to listen when it is asked to stop gets no runners."""
    learner = "tell(event='status'); wait_until_asked(); tell(event='listening', endpoint='x')"
    runner = "open(os.path.join(args[0], 'started'), 'w').close()"
    with pytest.raises(KeyboardInterrupt):
        _interrupt(play, learner=learner, runner=runner)
    assert not (play.folder / "started").exists()


def test_ctrl_c_on_a_terminal_reaches_the_parent_alone(play: Play) -> None:
    """Children are no part of its process group, from their first moment on."""
    learner = "print(os.getpgrp(), file=sys.stderr)\n" + DONE_LEARNER.format(runners=1)
    runner = "print(os.getpgrp(), file=sys.stderr)\n" + DONE_RUNNER
    play.run(learner=learner, runner=runner)
    groups = re.findall(r"^\d+$", play.log, flags=re.MULTILINE)
    assert len(set(groups)) == 2
    assert str(os.getpgrp()) not in groups


def test_a_full_disk_hides_no_end_of_a_child(play: Play) -> None:
    """What a library prints cannot be kept; the run ends as it would have."""
    (play.folder / "processes.log").symlink_to("/dev/full")
    learner = LEARNER.replace("wait_until_asked()", "print('a library says hello', flush=True)")
    play.run(learner=learner)
    assert play.report == {"rows": 10}


def test_a_folder_that_cannot_be_written_is_named(play: Play) -> None:
    """Before anything is started."""
    (play.folder / "processes.log").mkdir()
    with pytest.raises(StorageError, match=r"processes\.log"):
        play.run()
