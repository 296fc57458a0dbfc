"""Rows that the control loop has made and that would die with the uplink process."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from robosac.runner.frames import NUMBER, Kept, ToUplink

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robosac.runner.journal import RowJournal
    from robosac.runner.pipe import FramePipe

    FloatArray = NDArray[np.float32]

_BURST = 128
_AHEAD = 64


class Outbox:
    """Numbers the rows of a run and keeps each until it is on disk or at the learner.

    Holds `limit_bytes` at most: when an uplink takes nothing for so long, the oldest rows go.  The
    journal has as many of the oldest as it has room for, should this process die too.
    """

    def __init__(self, journal: RowJournal, *, row_bytes: int, limit_bytes: int) -> None:
        """Start with an empty run."""
        self.made = 0
        """Sequence number of the next row."""
        self.given_up = 0
        """Rows given up that no uplink has counted yet."""
        self._journal = journal
        self._rows_max = max(1, limit_bytes // row_bytes)
        self._rows: deque[bytes] = deque()
        self._sent = 0
        self._taken_from = 0

    def __len__(self) -> int:
        """Rows that only this process, its journal, and perhaps an uplink's memory have."""
        return len(self._rows)

    @property
    def all_sent(self) -> bool:
        """Whether the pipe has got every row."""
        return self._sent == self.made

    def add(self, row: FloatArray) -> None:
        """Take one row."""
        self._rows.append(row.tobytes())
        self.made += 1
        if len(self._rows) > self._rows_max:
            self._drop_oldest()
        self._write_journal()

    def send(self, pipe: FramePipe) -> None:
        """Hand the pipe what it takes now, a bounded number of rows at a time."""
        stop = min(self.made, self._sent + _BURST)
        while self._sent < stop and pipe.unsent < _AHEAD:
            row = self._rows[self._sent - self._first]
            pipe.send(ToUplink.ROW, NUMBER.pack(self._sent) + row)
            self._sent += 1

    def send_again(self) -> None:
        """Send everything once more: the uplink is another."""
        self._sent = self._first

    def forget(self, kept: Kept) -> None:
        """Let go of what an uplink has kept."""
        while self._rows and self._first < kept.below:
            self._rows.popleft()
        self._sent = max(self._sent, self._first)
        if kept.end >= self._taken_from:
            self.given_up = 0
        self._write_journal()

    @property
    def _first(self) -> int:
        """Sequence number of the oldest row that is here."""
        return self.made - len(self._rows)

    def _drop_oldest(self) -> None:
        """Give up a row; one that was sent lives on in the uplink's memory."""
        self._rows.popleft()
        if self._sent < self._first:
            self._sent = self._taken_from = self._first
            self.given_up += 1

    def _write_journal(self) -> None:
        """Add what there is room for; only rows that are not here any more are overwritten."""
        journal, first = self._journal, self._first
        if journal.end < first:
            journal.begin(first)
        for number in range(journal.end, min(self.made, first + journal.capacity)):
            journal.add(self._rows[number - first])
