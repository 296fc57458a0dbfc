"""The rows of one run that the learner has not acknowledged, wherever there is room for them."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from robosac.errors import StorageError
from robosac.replay import Chunk
from robosac.runner import journal

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.replay import RowLayout
    from robosac.runner.spool import Spool

    FloatArray = NDArray[np.float32]

RETRY_S = 1.0
"""Pause before a disk that has refused rows is tried again, s."""


class Backlog:
    """A spool, and behind it in memory the rows that the disk has refused.

    Rows are read in order from both, so that a full disk holds up no delivery.  What is in memory
    goes to disk as soon as the disk takes it.  Numbers may be missing where the control loop had to
    give rows up; what follows a gap is handed out when everything before it is acknowledged, since
    a learner that sees it earlier takes everything before it for lost.
    """

    def __init__(self, spool: Spool) -> None:
        """Take over an open spool."""
        self.trouble = ""
        """Why the disk does not take rows; empty when it does."""
        self._spool = spool
        self._rows: deque[FloatArray] = deque()
        self._first = self._end = spool.end
        self._gaps: deque[tuple[int, int]] = deque()
        self._given_up = 0
        self._retry_at = 0.0

    @property
    def layout(self) -> RowLayout:
        """Layout of the rows."""
        return self._spool.layout

    @property
    def path(self) -> Path:
        """Folder of the spool."""
        return self._spool.path

    @property
    def oldest(self) -> int:
        """Sequence number of the oldest row that can still be read."""
        return self._spool.oldest if self._spool.pending else self._first

    @property
    def end(self) -> int:
        """Sequence number that the next row will get."""
        return self._end

    @property
    def reach(self) -> int:
        """Sequence number up to which rows may be sent now: the end, or the first gap."""
        return self._gaps[0][0] if self._gaps else self._end

    @property
    def kept(self) -> int:
        """Sequence number below which every row is on disk, acknowledged, or counted as dropped."""
        return self._first

    @property
    def in_memory(self) -> int:
        """Rows that are on no disk."""
        missing = sum(behind - before for before, behind in self._gaps)
        return self._end - self._first - missing

    @property
    def pending(self) -> int:
        """Rows that wait for an acknowledgement."""
        return self._spool.pending + self.in_memory

    @property
    def dropped(self) -> int:
        """Rows given up unacknowledged: for want of room, or by the control loop."""
        return self._spool.dropped + self._given_up

    @property
    def size(self) -> int:
        """What it takes on disk and in memory, bytes."""
        return self._spool.size + self.in_memory * 4 * self.layout.width

    def append(self, rows: FloatArray, *, first: int) -> None:
        """Add rows (n, width), the first of which has this sequence number, at least `end`."""
        self.skip_to(first)
        self._rows.append(rows)
        self._end += len(rows)
        self.write()

    def skip_to(self, first: int) -> None:
        """Take in that the numbers up to this one will never come; those before `end` have."""
        if first > self._end:
            self._given_up += first - self._end
            self._gaps.append((self._end, first))
            self._end = first
            self._close_gap()

    def write(self) -> None:
        """Put on disk what is in memory, unless the disk has just refused."""
        if time.monotonic() < self._retry_at:
            return
        try:
            self._write()
        except StorageError as error:
            self.trouble = error.got
            self._retry_at = time.monotonic() + RETRY_S
        else:
            self.trouble = ""

    def read(self, first: int, max_rows: int) -> Chunk:
        """Return up to `max_rows` rows from this sequence number on, `reach` at most.

        Raises StorageError.
        """
        if first < self._spool.end and self._spool.pending:
            return self._spool.read(first, max_rows)
        first = min(max(first, self._first), self.reach)
        rows = np.empty((min(max_rows, self.reach - first), self.layout.width), np.float32)
        filled, start = 0, self._first
        for part in self._rows:
            taken = part[max(first + filled - start, 0) :][: len(rows) - filled]
            rows[filled : filled + len(taken)] = taken
            filled += len(taken)
            start += len(part)
            if filled == len(rows):
                break
        return Chunk(robot=self._spool.robot, run=self._spool.run, first=first, rows=rows)

    def forget(self, sequence: int) -> None:
        """Let go of every row below this sequence number: it is durable at the learner.

        That may be so of rows in a gap: the process before this one delivered them from memory.
        """
        try:
            self._spool.forget(min(sequence, self._spool.end))
        except StorageError as error:
            self.trouble = error.got
        self._forget_in_memory(sequence)
        while self._gaps and not self._spool.pending and sequence > self._gaps[0][0]:
            before, behind = self._gaps[0]
            self._given_up -= min(sequence, behind) - before
            self._close_gap()
            self._forget_in_memory(sequence)
        self._close_gap()

    def drop_oldest(self) -> None:
        """Give up some of the oldest rows; does nothing when the disk does not let go of them."""
        if self._spool.pending:
            try:
                self._spool.drop_oldest()
            except StorageError as error:
                self.trouble = error.got
        elif self._rows:
            self._given_up += len(self._rows[0])
            self._first += len(self._rows.popleft())
        self._close_gap()

    def remove(self) -> None:
        """Delete spool and journal of a run that is over, and close it; raises StorageError."""
        self._spool.remove()
        journal.remove(self.path)

    def close(self) -> None:
        """Make what is on disk durable and close the spool; raises StorageError."""
        self._spool.close()

    def _write(self) -> None:
        """Move rows to disk, oldest first; those behind a gap wait."""
        while self._rows and self._first + len(self._rows[0]) <= self.reach:
            if self._first > self._spool.end:
                self._spool.forget(self._first)
            self._spool.append(self._rows[0])
            self._first += len(self._rows.popleft())

    def _forget_in_memory(self, sequence: int) -> None:
        """Let go of rows in memory below this sequence number."""
        while self._rows and self._first < min(sequence, self.reach):
            part = self._rows.popleft()
            kept = part[sequence - self._first :]
            self._first += len(part) - len(kept)
            if len(kept):
                self._rows.appendleft(kept)

    def _close_gap(self) -> None:
        """Go on behind the first gap when nothing is left before it."""
        if self._gaps and not self._spool.pending and self._first >= self._gaps[0][0]:
            self._first = self._gaps.popleft()[1]
