"""Time that training takes, without what is done beside it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopwatch:
    """Wall and processor time of this process; runs from the moment it is made."""

    def __init__(self) -> None:
        """Start."""
        self._wall, self._cpu = time.monotonic(), time.process_time()

    @property
    def wall_s(self) -> float:
        """Time so far, s."""
        return time.monotonic() - self._wall

    @property
    def cpu_s(self) -> float:
        """Processor time of all threads so far, s."""
        return time.process_time() - self._cpu

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do something that does not count."""
        wall_s, cpu_s = self.wall_s, self.cpu_s
        try:
            yield
        finally:
            self._wall, self._cpu = time.monotonic() - wall_s, time.process_time() - cpu_s
