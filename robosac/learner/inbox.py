"""What the service thread hands to the update thread: rows, one condition, no copies."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


class Inbox:
    """A queue of durable rows with one waiting reader.

    The condition's lock is reentrant, so wake() may also be called by a signal handler.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._news = threading.Condition()
        self._rows: list[FloatArray] = []

    def put(self, rows: FloatArray) -> None:
        """Add rows (n, width) and wake the reader."""
        with self._news:
            self._rows.append(rows)
            self._news.notify()

    def wake(self) -> None:
        """Wake the reader although there are no rows."""
        with self._news:
            self._news.notify()

    def take(self, *, timeout_s: float = 0.0) -> list[FloatArray]:
        """Return everything that has come, after waiting up to `timeout_s` for something to."""
        with self._news:
            if not self._rows and timeout_s > 0:
                self._news.wait(timeout_s)
            rows, self._rows = self._rows, []
            return rows
