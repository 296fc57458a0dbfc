"""Start the processes of a run, pass on what they report, and end them together."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.cli.console import say
from robosac.errors import RobosacError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO, TypeAlias

    from robosac.learner.options import LearnerOptions

    Crew: TypeAlias = Callable[[str], dict[str, list[str]]]
    """From an endpoint to what `python -m` is called with, by the name of the process."""
    Show: TypeAlias = Callable[[dict[str, Any]], None]

_GRACE_S = 30.0
LEARNER = "learner"


class ChildDiedError(RobosacError):
    """A process of the run has ended before its time."""


class ChildFailedError(RobosacError):
    """A process of the run has said what is wrong, and ended."""

    def __init__(self, message: str, code: int) -> None:
        """Say it again, and keep the exit code that it asks for."""
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a child; `figures` is None when the child has ended."""

    child: str
    figures: dict[str, Any] | None


class Child:
    """A process whose standard input is its lifeline and whose standard output is JSON lines."""

    def __init__(
        self, name: str, arguments: list[str], events: queue.SimpleQueue[Event], log: BinaryIO
    ) -> None:
        """Start `python -m ...`; its standard error goes to the run's log file.

        It is in a process group of its own: Ctrl-C on a terminal reaches the parent alone, which
        then asks every child to stop.
        """
        self.name = name
        self._events, self._log = events, log
        self._process = subprocess.Popen(  # noqa: S603 -- our own module
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    def ask_to_stop(self) -> None:
        """Cut the lifeline; may be done any number of times."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def wait(self, timeout_s: float) -> int:
        """Wait for the end, kill what does not end in time, and return the exit code."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self.ask_to_stop()
        self._reader.join(timeout_s)
        return code

    def _read(self) -> None:
        """Turn lines into events; what a library prints among them goes to the log."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                figures = msgspec.json.decode(line, type=dict[str, Any])
            except msgspec.MsgspecError:
                with contextlib.suppress(OSError):  # a full disk must not hide how the child ends
                    self._log.write(line)
            else:
                self._events.put(Event(self.name, figures))
        self._process.stdout.close()
        self._events.put(Event(self.name, None))


class Supervisor:
    """Runs a learner, or what serves a learner elsewhere, or both, in one folder.

    Returns when all of its processes have ended.
    """

    def __init__(
        self, folder: Path, *, learner: LearnerOptions | None, crew: Crew, show: Show
    ) -> None:
        """Plan a run; `crew` tells what to start as soon as there is an endpoint to serve.

        `show` gets the learner's figures, twice a second.
        """
        self._folder, self._learner, self._crew, self._show = folder, learner, crew, show
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._children: dict[str, Child] = {}
        self._running: set[str] = set()
        self.report: dict[str, Any] | None = None
        """The learner's last word."""
        self.made = 0
        """Steps that the crew says it has made."""
        self.incomplete = False
        """Whether one of the crew has stopped before the learner had enough."""
        self._problem: RobosacError | None = None

    def run(self, endpoint: str = "") -> None:
        """Run to the end; `endpoint` is that of a learner elsewhere.

        Raises ChildFailedError with what a process says is wrong, ChildDiedError when one ends
        before its time, StorageError where nothing can be written; KeyboardInterrupt passes after
        every process has left a whole folder.
        """
        path = self._folder / "processes.log"
        try:
            log = path.open("ab", buffering=0)
        except OSError as error:
            raise StorageError.from_os(path, error) from None
        with log:
            try:
                if self._learner is None:
                    self._start_crew(endpoint, log)
                else:
                    self._start(LEARNER, ["robosac.learner", self._learner.argument()], log)
                self._follow(log)
            finally:
                self._end()
                if self._problem is not None:
                    raise self._problem

    def check_rows(self, steps: int) -> None:
        """Every process may have ended in order, and yet rows be missing: ChildDiedError."""
        rows = (self.report or {}).get("rows", 0)
        if rows < steps:
            raise ChildDiedError(
                f"the run ended with {rows} of {steps} steps at the learner, because one of its "
                f"processes was asked to stop; {self._advice}"
            )

    @property
    def _advice(self) -> str:
        return f"go on with --run {self._folder} --resume"

    def _start(self, name: str, arguments: list[str], log: BinaryIO) -> None:
        self._children[name] = Child(name, arguments, self._events, log)
        self._running.add(name)

    def _follow(self, log: BinaryIO) -> None:
        """Handle events until every process has ended or one of them should not have."""
        while self._running and self._problem is None:
            event = self._events.get()
            if event.figures is None:
                self._on_end(event.child)
            elif event.figures.get("event") == "listening":
                self._start_crew(event.figures["endpoint"], log)
            else:
                self._note(event.figures)

    def _start_crew(self, endpoint: str, log: BinaryIO) -> None:
        for name, arguments in self._crew(endpoint).items():
            self._start(name, arguments, log)

    def _note(self, figures: dict[str, Any]) -> None:
        """Take in what a child has written."""
        match figures.pop("event", None):
            case "status":
                self._show(figures)
            case "resumed" | "notice":
                say(figures["text"])
            case "link" if self._learner is None:
                say(f"{figures['robot']}: {figures['state']}")
            case "made":
                self.made += figures["steps"]
                self.incomplete |= not figures["complete"]
            case "report":
                self.report = figures
            case "error":
                self._problem = self._problem or ChildFailedError(**figures)

    def _on_end(self, name: str) -> None:
        """Take in that a process has ended by itself; without a learner the others cannot go on.

        And a learner whose crew has gone home early would wait for them for ever.
        """
        self._running.discard(name)
        self._check_exit(name, self._children[name].wait(_GRACE_S))
        if name == LEARNER or (self.incomplete and self._running == {LEARNER}):
            for other in self._running:
                self._children[other].ask_to_stop()

    def _check_exit(self, name: str, code: int) -> None:
        """Only exit code 0 is the end of a process that has done its part."""
        if code != 0 and self._problem is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            log = self._folder / "processes.log"
            self._problem = ChildDiedError(f"{name} {how}; see {log}, then {self._advice}")

    def _end(self) -> None:
        """Stop what still runs: runners first, so that the learner can take what they have."""
        for group in (self._running - {LEARNER}, self._running & {LEARNER}):
            for name in group:
                self._children[name].ask_to_stop()
            deadline = time.monotonic() + _GRACE_S
            for name in sorted(group):
                code = self._children[name].wait(max(0.0, deadline - time.monotonic()))
                self._drain()
                self._check_exit(name, code)
                self._running.discard(name)

    def _drain(self) -> None:
        """Take in what children have written since; nothing is started any more."""
        while not self._events.empty():
            event = self._events.get()
            if event.figures is not None:
                self._note(event.figures)
