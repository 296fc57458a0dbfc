"""How a child process learns that it should stop: its standard input ends.

That happens when the parent asks, and also when the parent dies in any way.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lifeline:
    """Watches standard input on a thread and tells once that it is time to stop."""

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        """Start watching; `wake` is called once when it is time to stop.

        Ctrl-C reaches every process of a terminal; children leave it to the parent.
        """
        self._cut = threading.Event()
        self._wake = wake
        signal.signal(signal.SIGINT, signal.SIG_IGN)
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
