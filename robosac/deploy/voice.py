"""What the program says to people, from a thread that nobody waits for."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
from typing import TYPE_CHECKING

from robosac.lifeline import send_nowhere
from robots.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_LINES_MAX = 1000
_CLOSE_S = 2.0


def write_out(text: str) -> None:
    """Write a line to standard output, below Python's buffers.

    Their lock would be held at the end by a thread that a stopped terminal keeps waiting.
    """
    rest = (text + "\n").encode(sys.stdout.encoding, "replace")
    while rest:
        rest = rest[os.write(sys.stdout.fileno(), rest) :]


class Voice(Closing):
    """Says lines in their order; a terminal that is stopped, or a full pipe, holds up nobody.

    What finds no room is dropped.  When whoever listened has gone, the rest is said to nobody: that
    is no reason to stop a robot.  A context manager.
    """

    def __init__(self, write: Callable[[str], None] = write_out) -> None:
        """Write lines with this."""
        self._write = write
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="voice", daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        """Say one line; returns at once."""
        if self._lines.qsize() < _LINES_MAX:
            self._lines.put(text)

    def close(self) -> None:
        """Say what is left, for a bounded time; may be called any number of times."""
        self._lines.put(None)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            while (text := self._lines.get()) is not None:
                self._write(text)
        except OSError as error:
            _log.warning("output: nobody reads it any more (%s)", error.strerror)
            send_nowhere()
            while self._lines.get() is not None:
                pass
