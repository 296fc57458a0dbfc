"""What everything that speaks for the operator has in common: a thread that listens."""

from __future__ import annotations

import abc
import logging
import os
import select
import threading
from typing import TYPE_CHECKING, Self

from robots.closing import Closing

if TYPE_CHECKING:
    from robosac.operator.operator import Operator

_log = logging.getLogger(__name__)


class Source(Closing):
    """Listens on a thread of its own and tells an Operator what it hears; a context manager.

    A source that goes away has let go: it never speaks again, and its dead-man is released.
    """

    def __init__(self, operator: Operator, name: str) -> None:
        """Speak to this operator under this name."""
        self.name = name
        """What the log calls it."""
        self._operator = operator
        self._thread: threading.Thread | None = None
        self._closing = False

    def start(self) -> None:
        """Open it and begin to listen."""
        self._open()
        self._closing = False
        self._wake_end, self._wake = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop to listen and give everything back; may be called any number of times."""
        if self._thread is None:
            return
        self._closing = True
        os.write(self._wake, b"\0")
        self._thread.join()
        self._thread = None
        os.close(self._wake)
        os.close(self._wake_end)
        self._shut()

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def _run(self) -> None:
        """Listen; a source that breaks has let go, and stops what moves."""
        try:
            self._listen()
        except Exception:  # noqa: BLE001 - logged; whatever it is, nobody listens any more
            _log.exception("operator: %s is broken", self.name)
            self._operator.stop(self.name)

    @abc.abstractmethod
    def _open(self) -> None:
        """Open what is listened to; raises what speaks against it."""

    @abc.abstractmethod
    def _listen(self) -> None:
        """Listen until `_closing`; runs on the thread."""

    @abc.abstractmethod
    def _shut(self) -> None:
        """Give back what _open took, after the thread has ended."""

    def _wait(self, descriptor: int | None, timeout_s: float | None = None) -> bool:
        """Wait for something to read; False when the time is over or the source is closed."""
        poll = select.poll()
        poll.register(self._wake_end, select.POLLIN)
        if descriptor is not None:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(None if timeout_s is None else max(timeout_s, 0.0) * 1000)
        return not self._closing and bool(ready)
