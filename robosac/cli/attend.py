"""`robosac attend`: hold a robot's dead-man from another machine."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import tyro

from robosac.cli.console import say
from robosac.errors import ConfigError, WireError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_INTERRUPTED

if TYPE_CHECKING:
    from robosac.operator.attendant import Attendant

_HELP = "you hold the robot: ENTER or s sit · SPACE emergency stop · q let go and leave"
_KEYS = {"\n": "stop", "\r": "stop", "s": "stop", "\x1a": "stop", " ": "estop", "\x1c": "estop"}
_CHUNK = 256


class Attend(msgspec.Struct, frozen=True, kw_only=True):
    """Attend a robot over the network: it sits down when this program or its terminal is gone.

    It tells the robot ten times a second that this terminal is there, not that somebody looks at
    it: who attends stays where the robot can be seen.  It can stop the robot and never start it.
    """

    robot: Annotated[str, tyro.conf.Positional]
    """Where the robot listens for whom attends it, HOST:PORT."""
    keys: Path | None = None
    """Folder with the keys of who attends, such as keys/NAME."""

    def execute(self) -> int:
        """Hold until q is pressed or the terminal is gone; returns the exit code."""
        from robosac.operator.attendant import Attendant
        from robosac.operator.terminal import Terminal
        from robosac.wire.address import parse_address
        from robosac.wire.keys import RobotKeys

        descriptor = sys.stdin.fileno()
        if not os.isatty(descriptor):
            raise ConfigError(
                "standard input is no terminal; expected one with somebody at it; "
                "start robosac attend by hand in a terminal of its own"
            )
        keys = None if self.keys is None else RobotKeys.load(self.keys)
        endpoint = parse_address(self.robot).endpoint
        with contextlib.ExitStack() as stack:
            terminal = Terminal(descriptor)
            stack.callback(terminal.close)
            terminal.open()
            attendant = Attendant(endpoint, keys)
            stack.callback(attendant.close)
            say(_HELP)
            try:
                return _Shift(attendant, descriptor, name=self.robot).run()
            except KeyboardInterrupt:
                say("interrupted, and let go")
                return EXIT_INTERRUPTED


class _Shift:
    """One person's time with the robot."""

    def __init__(self, attendant: Attendant, descriptor: int, *, name: str) -> None:
        self._attendant, self._descriptor, self._name = attendant, descriptor, name
        self._shown = ""

    def run(self) -> int:
        """Beat until somebody leaves; returns the exit code."""
        from robosac.operator.attendant import PERIOD_S

        next_beat = time.monotonic()
        while True:
            typed = self._typed(next_beat - time.monotonic())
            if typed is None:
                return EXIT_INCOMPLETE
            self._act(typed)
            if "q" in typed:
                say("let go")
                return EXIT_DONE
            if typed or time.monotonic() >= next_beat:
                self._attendant.beat()
                next_beat = time.monotonic() + PERIOD_S
            self._show()

    def _typed(self, timeout_s: float) -> str | None:
        """Keys that were pressed in this time; None when the terminal is gone."""
        import select

        if not select.select([self._descriptor], [], [], max(timeout_s, 0.0))[0]:
            return ""
        try:
            typed = os.read(self._descriptor, _CHUNK)
        except OSError:  # EIO of a terminal that has hung up
            typed = b""
        return typed.decode(errors="replace").lower() or None

    def _act(self, typed: str) -> None:
        asked = {_KEYS.get(key) for key in typed}
        if "estop" in asked:
            self._attendant.estop()
        if "stop" in asked:
            self._attendant.stop()

    def _show(self) -> None:
        """Say how the robot is when it has changed."""
        try:
            self._attendant.listen()
        except WireError as error:
            raise WireError(f"{self._name}: {error}") from None
        report = self._attendant.report
        if report is None or not self._attendant.answered:
            words = "does not answer"
        else:
            words = f"{report.state}, {'you hold it' if report.holding else 'you do not hold it'}"
        if words != self._shown:
            self._shown = words
            say(f"{self._name}: {words}")
