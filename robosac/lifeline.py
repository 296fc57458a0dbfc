"""How a child process hears from its parent and is heard: standard input and standard output.

Standard input ends when the child should stop; that happens when the parent asks, and also when the
parent dies in any way.  Standard output carries one JSON object a line.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class Lifeline:
    """Watches standard input on a thread and tells once that it is time to stop."""

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        """Start watching; `wake` is called when it is time to stop.

        SIGTERM and SIGINT say the same: stop, and leave everything whole.
        """
        self._cut = threading.Event()
        self._wake = wake
        # At once, not when the thread gets to it: a child of a parent that has died meanwhile must
        # not even begin.
        if select.select([sys.stdin], [], [], 0)[0] and not os.read(sys.stdin.fileno(), 1024):
            self._cut.set()
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    @property
    def cut(self) -> bool:
        """Whether it is time to stop."""
        return self._cut.is_set()

    def _watch(self) -> None:
        # Below Python's buffers, whose lock a daemon thread would hold at exit.
        while os.read(sys.stdin.fileno(), 1024):
            pass
        self._pull()

    def _on_signal(self, number: int, frame: object) -> None:
        del number, frame
        self._pull()

    def _pull(self) -> None:
        self._cut.set()
        if self._wake is not None:
            self._wake()


def tell(**figures: object) -> None:
    """Write one JSON object to standard output for the parent; nothing when it is gone."""
    try:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        send_nowhere()


def send_nowhere() -> None:
    """Let standard output lead nowhere: neither later lines nor the flush at exit have a reader."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
