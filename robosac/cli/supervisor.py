"""Start a learner and its runners, show what they report, and end them together."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.errors import RobosacError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from robosac.run_folder import RunFolder

_GRACE_S = 30.0
LEARNER = "learner"


class ChildDiedError(RobosacError):
    """A process of the run has ended before its time."""


class ChildFailedError(RobosacError):
    """A process of the run has said what is wrong, and ended."""


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
                self._log.write(line)
                self._log.flush()
            else:
                self._events.put(Event(self.name, figures))
        self._process.stdout.close()
        self._events.put(Event(self.name, None))


class Supervisor:
    """Runs one learner and N runners in one folder; returns when all of them have ended."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        port: int,
        shares: list[int],
        show: Callable[[dict[str, Any]], None],
    ) -> None:
        """Plan a run; `shares` are the steps that each runner has still to make."""
        self._folder, self._port, self._shares, self._show = folder, port, shares, show
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._children: dict[str, Child] = {}
        self._running: set[str] = set()
        self.report: dict[str, Any] | None = None
        """The learner's last word."""
        self._made = 0
        self._problem: RobosacError | None = None

    def run(self) -> None:
        """Run to the end.

        Raises ChildFailedError with what a process says is wrong, ChildDiedError when one ends
        before its time; KeyboardInterrupt passes after every process has left a whole folder.
        """
        with (self._folder.path / "processes.log").open("ab") as log:
            try:
                arguments = ["robosac.learner", str(self._folder.path), str(self._port)]
                self._start(LEARNER, arguments, log)
                self._follow(log)
            finally:
                self._end()
                if self._problem is not None:
                    raise self._problem
        self._check_complete()

    def _check_complete(self) -> None:
        """Every process may have ended in order, and yet rows be missing."""
        if self._made < sum(self._shares):
            raise ChildDiedError(
                f"the run ended after {self._made} of {sum(self._shares)} steps, because one of "
                f"its processes was asked to stop; {self._advice}"
            )
        rows, steps = (self.report or {}).get("rows", 0), self._folder.read_config().steps
        if rows < steps:
            raise ChildDiedError(
                f"the run ended with {rows} of {steps} steps at the learner; the others are in "
                f"a spool; {self._advice}"
            )

    @property
    def _advice(self) -> str:
        return f"go on with --run {self._folder.path} --resume"

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
                self._start_runners(event.figures["endpoint"], log)
            else:
                self._note(event.figures)

    def _start_runners(self, endpoint: str, log: BinaryIO) -> None:
        for index, steps in enumerate(self._shares):
            arguments = [str(self._folder.path), str(index), endpoint, str(steps)]
            self._start(f"runner-{index}", ["robosac.cli.runner", *arguments], log)

    def _note(self, figures: dict[str, Any]) -> None:
        """Take in what a child has written."""
        match figures.pop("event", None):
            case "status":
                self._show(figures)
            case "made":
                self._made += figures["steps"]
            case "report":
                self.report = figures
            case "error":
                self._problem = self._problem or ChildFailedError(figures["message"])

    def _on_end(self, name: str) -> None:
        """Take in that a process has ended by itself; without a learner the others cannot go on."""
        self._running.discard(name)
        self._check_exit(name, self._children[name].wait(_GRACE_S))
        if name == LEARNER:
            for runner in self._running:
                self._children[runner].ask_to_stop()

    def _check_exit(self, name: str, code: int) -> None:
        """Only exit code 0 is the end of a process that has done its part."""
        if code != 0 and self._problem is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            log = self._folder.path / "processes.log"
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
