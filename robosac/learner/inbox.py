"""What the service thread hands to the update thread: chunks, one condition, no copies."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robosac.replay import Chunk


class Inbox:
    """A queue of durable chunks with one waiting reader.

    The condition's lock is reentrant, so wake() may also be called by a signal handler.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._news = threading.Condition()
        self._chunks: list[Chunk] = []

    def put(self, chunk: Chunk) -> None:
        """Add a chunk and wake the reader."""
        with self._news:
            self._chunks.append(chunk)
            self._news.notify()

    def wake(self) -> None:
        """Wake the reader although there is no chunk."""
        with self._news:
            self._news.notify()

    def take(self, *, timeout_s: float = 0.0) -> list[Chunk]:
        """Return everything that has come, after waiting up to `timeout_s` for something to."""
        with self._news:
            if not self._chunks and timeout_s > 0:
                self._news.wait(timeout_s)
            chunks, self._chunks = self._chunks, []
            return chunks
