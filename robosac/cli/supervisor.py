"""Start a learner and its runners, show what they report, and end them together."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.errors import RobosacError

if TYPE_CHECKING:
    from collections.abc import Callable

    from robosac.run_folder import RunFolder

_GRACE_S = 30.0


class ChildDiedError(RobosacError):
    """A process of the run has ended before its time."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a child; `figures` is None when the child has ended."""

    child: str
    figures: dict[str, Any] | None


class Child:
    """A process whose standard input is its lifeline and whose standard output is JSON lines."""

    def __init__(
        self, name: str, arguments: list[str], events: queue.SimpleQueue[Event], log: int
    ) -> None:
        """Start `python -m ...`; its standard error goes to the run's log file."""
        self.name = name
        self._events = events
        self._process = subprocess.Popen(  # noqa: S603 -- our own module
            [sys.executable, "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask_to_stop(self) -> None:
        """Cut the lifeline."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self) -> int:
        """Wait for the end, kill what does not end in time, and return the exit code."""
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._events.put(Event(self.name, msgspec.json.decode(line)))
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
        self.resumed: dict[str, Any] | None = None
        self._problem: str | None = None

    def run(self) -> None:
        """Run to the end.

        Raises ChildDiedError with one line when a process ends before its time; KeyboardInterrupt
        passes after every process has left a whole folder.
        """
        with (self._folder.path / "processes.log").open("ab") as log:
            try:
                self._start(
                    "learner",
                    ["robosac.learner", str(self._folder.path), str(self._port)],
                    log.fileno(),
                )
                self._follow(log.fileno())
            finally:
                self._end()
        if self._problem is not None:
            raise ChildDiedError(self._problem)

    def _start(self, name: str, arguments: list[str], log: int) -> None:
        self._children[name] = Child(name, arguments, self._events, log)
        self._running.add(name)

    def _follow(self, log: int) -> None:
        """Handle events until every process has ended or one of them should not have."""
        while self._running:
            event = self._events.get()
            if event.figures is None:
                self._on_end(event.child)
            else:
                self._on_line(event.figures, log)
            if self._problem is not None:
                return

    def _on_line(self, figures: dict[str, Any], log: int) -> None:
        match figures.pop("event"):
            case "listening":
                for index, steps in enumerate(self._shares):
                    arguments = [
                        str(self._folder.path),
                        str(index),
                        figures["endpoint"],
                        str(steps),
                    ]
                    self._start(f"runner-{index}", ["robosac.cli.runner", *arguments], log)
            case "status":
                self._show(figures)
            case "resumed":
                self.resumed = figures
            case "report":
                self.report = figures
            case "error":
                self._problem = figures["message"]

    def _on_end(self, name: str) -> None:
        """A process may end by itself only with exit code 0."""
        self._running.discard(name)
        code = self._children[name].wait()
        if code != 0 and self._problem is None:
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self._problem = (
                f"{name} {how}; see {self._folder.path / 'processes.log'}, "
                f"then continue with --run {self._folder.path} --resume"
            )

    def _end(self) -> None:
        """Runners first, so that the learner can still take what they have."""
        for name in sorted(self._running, key=lambda name: name == "learner"):
            self._children[name].ask_to_stop()
            self._children[name].wait()
        while not self._events.empty():
            event = self._events.get()
            if event.figures is not None and event.figures.get("event") == "report":
                self.report = {key: value for key, value in event.figures.items() if key != "event"}
