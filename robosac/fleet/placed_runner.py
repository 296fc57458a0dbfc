"""A runner process, and who keeps it going on the node where Ray has placed it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.errors import StorageError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_USER

if TYPE_CHECKING:
    from typing import BinaryIO

_KILLS = 5
_KILLS_WITHIN_S = 60.0
_PAUSE_S = 1.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a runner has ended for good."""

    steps: int = 0
    """Steps made by processes that ended in order; one that was killed does not say."""
    complete: bool = False
    """Whether the learner has enough, or the runner has made the steps it was asked for."""
    message: str | None = None
    """What is wrong; None when nothing is."""
    code: int = EXIT_DONE
    """Exit code that this asks for."""


class PlacedRunner:
    """Runs a process that behaves as `robosac.cli.runner` does, again when it was killed.

    The process ends in order when whoever holds this object dies: its standard input is a lifeline.
    Methods may be called from any thread.
    """

    def __init__(self, name: str, folder: str, arguments: list[str]) -> None:
        """Plan `python -m ARGUMENTS`; what it writes to its standard error goes to the folder."""
        self._name, self._folder, self._arguments = name, Path(folder), arguments
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._kills: deque[float] = deque(maxlen=_KILLS)
        self.troubles: list[str] = []
        """What has happened to the process so far, one line each."""

    def run(self) -> Outcome:
        """Return when the runner has ended for good: done, stopped, wrong or killed too often."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / "runner.log").open("ab") as log:
                return self._keep_going(log)
        except OSError as error:
            message = str(StorageError.from_os(self._folder, error))
            return Outcome(message=f"{self._name}: {message}", code=EXIT_USER)

    def stop(self) -> None:
        """Ask the runner to stop, and start no other; may be called any number of times."""
        with self._lock:
            self._stopping.set()
            if self._process is not None:
                assert self._process.stdin is not None
                self._process.stdin.close()

    def _keep_going(self, log: BinaryIO) -> Outcome:
        """Start the process, and start it again whenever it was killed."""
        steps = 0
        while (process := self._start(log)) is not None:
            told = _listen(process)
            steps += told.steps
            exit_code = self._reap(process)
            if told.message is not None or exit_code == EXIT_DONE:
                return msgspec.structs.replace(told, steps=steps)
            how = f"ended with exit code {exit_code}"
            if exit_code < 0:
                how = f"was killed by signal {-exit_code}"
            if exit_code > 0 or self._too_often():
                where = f"{self._folder}/runner.log on its node"
                message = f"{self._name} {how}; see {where}, then go on with --resume"
                return Outcome(steps=steps, message=message, code=EXIT_INCOMPLETE)
            self.troubles.append(f"{how} and is started again")
            self._stopping.wait(_PAUSE_S)
        return Outcome(steps=steps)

    def _start(self, log: BinaryIO) -> subprocess.Popen[bytes] | None:
        """Start a process in a group of its own; None when it is time to stop."""
        with self._lock:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-m", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
            return self._process

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Take in the end of a process; returns its exit code."""
        code = process.wait()
        with self._lock:
            assert process.stdin is not None
            process.stdin.close()
            self._process = None
        return code

    def _too_often(self) -> bool:
        """Count a kill; a runner that is killed at every start will never get anywhere."""
        now = time.monotonic()
        self._kills.append(now)
        return len(self._kills) == _KILLS and now - self._kills[0] < _KILLS_WITHIN_S


def _listen(process: subprocess.Popen[bytes]) -> Outcome:
    """Take in what a runner says until it and its uplink have ended."""
    outcome = Outcome()
    assert process.stdout is not None
    with process.stdout:
        for figures in map(_decode, process.stdout):
            match figures.pop("event", None):
                case "made" | "error":
                    outcome = msgspec.structs.replace(outcome, **figures)
    return outcome


def _decode(line: bytes) -> dict[str, Any]:
    """Return what a line of the runner says; nothing when a library has printed it."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}
