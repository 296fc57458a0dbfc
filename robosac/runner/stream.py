"""One run on its way to the learner: what was sent, what is durable, what must be said again."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from robosac.errors import StorageError
from robosac.wire import messages

if TYPE_CHECKING:
    from robosac.replay import Chunk
    from robosac.runner.backlog import Backlog

_log = logging.getLogger(__name__)
WINDOW_ROWS = 4096
"""Most rows that are on their way without an acknowledgement."""
STALL_S = 2.0
"""Silence of acknowledgements after which rows are sent again, s."""
_CHUNK_ROWS = 256
_CHUNK_BYTES = 2**20
_REPEAT_S = 1.0


class Stream:
    """Decides what of a backlog is sent next; has no socket.

    Rows are sent ahead of their acknowledgements, up to a window, and stay in the backlog until the
    learner has made them durable.  Sending again is always safe: the learner knows what it has.
    """

    def __init__(self, backlog: Backlog, *, made: int | None = None) -> None:
        """Take over a backlog; `made` is how many rows the run made, when it is over."""
        self.backlog = backlog
        self.made = made
        self.done = False
        """Whether the learner has said farewell to the run."""
        self.acknowledged_at = time.monotonic()
        """When the learner last made something durable."""
        self._sent = backlog.oldest
        self._sending_since = self.acknowledged_at
        self._chunk_rows = max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // (4 * backlog.layout.width)))
        self._said_bye = -_REPEAT_S

    @property
    def delivered(self) -> bool:
        """Whether the run is over and the learner has acknowledged all of it."""
        over = self.made is not None and self.backlog.end >= self.made
        return over and not self.backlog.pending

    def conclude(self, made: int) -> None:
        """Take in that the run is over, and all its rows that ever come are here.

        What is missing behind the last one the process before this one has delivered from memory.
        """
        self.made = made
        self.backlog.skip_to(made)

    @property
    def held(self) -> messages.Held:
        """The rows that are still here."""
        return messages.Held(oldest=self.backlog.oldest, end=self.backlog.end)

    def begin(self, expected: int) -> None:
        """Start from where a learner that has just welcomed this robot is."""
        if self.done:
            return
        self.acknowledge(expected)
        self._sent = min(max(expected, self.backlog.oldest), self.backlog.end)
        self._said_bye = -_REPEAT_S

    def acknowledge(self, expected: int) -> None:
        """Let go of every row below this sequence number: it is durable."""
        durable = min(expected, self.backlog.end)
        if self.done or durable <= self.backlog.oldest:
            return
        self.backlog.forget(durable)
        self._sent = max(self._sent, durable)
        self.acknowledged_at = time.monotonic()

    def next_chunk(self) -> Chunk | None:
        """Return the rows to send next; None when there are none or the window is full."""
        oldest = self.backlog.oldest
        first = max(self._sent, oldest)
        reach = min(self.backlog.reach, oldest + WINDOW_ROWS)
        count = min(self._chunk_rows, reach - first)
        return None if self.done or count <= 0 else self.backlog.read(first, count)

    def note_sent(self, chunk: Chunk) -> None:
        """Take in that the socket has accepted a chunk."""
        if self._sent <= self.backlog.oldest:
            self._sending_since = time.monotonic()  # nothing was on its way
        self._sent = chunk.end

    def go_back(self) -> None:
        """Send again from the first row that is not durable, when acknowledgements have stopped.

        ZeroMQ drops what was on its way when a connection breaks, and a busy learner may drop an
        acknowledgement; either way the learner sorts out what it has.
        """
        oldest = self.backlog.oldest
        quiet_since = max(self._sending_since, self.acknowledged_at)
        if self._sent > oldest and time.monotonic() - quiet_since > STALL_S:
            self._sent = oldest

    def bye(self, run: str) -> messages.Bye | None:
        """Return the word that the run is over, when it is time to say it (again)."""
        now = time.monotonic()
        if self.done or not self.delivered or now - self._said_bye < _REPEAT_S:
            return None
        self._said_bye = now
        return messages.Bye(run=run, made=self.made or 0, oldest=self.backlog.oldest)

    def finish(self) -> bool:
        """Delete the spool of a run that is over and durable; False when it is neither.

        One that cannot be deleted is sent by the next run once more, and known to the learner.
        """
        if self.done or not self.delivered:
            return False
        self.done = True
        try:
            self.backlog.remove()
        except StorageError as error:
            _log.warning("spool stays: %s", error)
        return True
