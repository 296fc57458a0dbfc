"""Tells whether the machine has held threads up, so that what ran in real time shows nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEAT_S = 0.002


class Metronome:
    """Wakes up again and again, and knows how late it once was."""

    def __init__(self) -> None:
        """Begin without a beat."""
        self.latest_s = 0.0
        """Most that a beat was late, s."""
        self.over = threading.Event()
        """Ends it."""

    def beat(self) -> None:
        """Do nothing else until it is over."""
        before = time.monotonic()
        while not self.over.wait(_BEAT_S):
            now = time.monotonic()
            self.latest_s = max(self.latest_s, now - before - _BEAT_S)
            before = now


@contextlib.contextmanager
def metronome() -> Iterator[Metronome]:
    """Have one beat in a thread of its own."""
    one = Metronome()
    thread = threading.Thread(target=one.beat, name="metronome")
    thread.start()
    try:
        yield one
    finally:
        one.over.set()
        thread.join()
