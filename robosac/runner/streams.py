"""All runs of one robot whose rows wait for the learner, within one limit."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from robosac.errors import LockedError, StorageError
from robosac.runner import journal
from robosac.runner.backlog import Backlog
from robosac.runner.spool import Spool
from robosac.runner.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from robosac.replay import RowLayout

    FloatArray = NDArray[np.float32]


_log = logging.getLogger(__name__)
_ADOPTED_MAX = 100
RECORD_ROWS = 256
"""Most rows that are written as one record."""
_HEAD = 256
"""More than the head of a record takes on disk, bytes."""


class Streams:
    """The run that is being made, and before it those that earlier processes left behind.

    Together they take `limit_bytes` at most; for more, the oldest rows of the oldest run go.
    """

    def __init__(
        self, folder: Path, layout: RowLayout, *, robot: str, run: str, limit_bytes: int
    ) -> None:
        """Open the spool of this run and those of earlier ones.

        Raises StorageError, also for an earlier run that cannot be read.
        """
        self._folder, self._layout, self._robot, self._run = folder, layout, robot, run
        self._limit = limit_bytes
        self._by_run: dict[str, Stream] = {}
        self.others_at_work = False
        """Whether there are earlier runs in other hands, or too many; adopt() looks again."""
        self._unreadable: dict[str, StorageError] = {}
        self.current = self._by_run[run] = self._open(run)
        self.adopt()
        for error in self._unreadable.values():
            self.close()
            raise error

    def __iter__(self) -> Iterator[tuple[str, Stream]]:
        """Every run and its stream, oldest first."""
        return iter(list(self._by_run.items()))

    def get(self, run: str) -> Stream | None:
        """Stream of a run, when it is one of these."""
        return self._by_run.get(run)

    @property
    def all_done(self) -> bool:
        """Whether the learner has said farewell to every run."""
        return all(stream.done for stream in self._by_run.values())

    @property
    def earlier_done(self) -> bool:
        """Whether nothing is left of earlier runs, in whatever hands."""
        earlier = (one for one in self._by_run.values() if one is not self.current)
        return not self.others_at_work and all(stream.done for stream in earlier)

    @property
    def waiting(self) -> dict[str, Stream]:
        """The runs that the learner has not said farewell to."""
        return {run: stream for run, stream in self._by_run.items() if not stream.done}

    @property
    def pending(self) -> int:
        """Rows that wait for their acknowledgement."""
        return sum(stream.backlog.pending for stream in self.waiting.values())

    @property
    def dropped(self) -> int:
        """Rows of all runs given up unacknowledged since this process began."""
        return sum(stream.backlog.dropped for stream in self._by_run.values())

    def append(self, rows: FloatArray, *, first: int) -> None:
        """Add rows to the present run, if the oldest rows of all must go for them."""
        self._make_room(rows.nbytes + _HEAD)
        self.current.backlog.append(rows, first=first)

    def adopt(self) -> bool:
        """Take over what earlier runs have left behind; whether there was anything.

        The process of a run whose loop was killed may still be at work on it; then it is waited
        for.  Earlier runs come first, so that rows arrive in the order in which they were made.
        One that cannot be read stays on disk as it is, and holds nobody up: the robot may be in
        motion.  Raises StorageError when the folder itself cannot be read.
        """
        self.others_at_work = adopted = False
        try:
            left = Spool.leftovers(self._folder)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            self.others_at_work = True  # one has just been delivered, and deleted
            return False
        for robot, run in left:
            if len(self.waiting) > _ADOPTED_MAX:
                self.others_at_work = True  # nobody is, but this one again, later
                break
            if robot == self._robot and run not in self._by_run.keys() | self._unreadable.keys():
                try:
                    stream = self._inherit(run)
                except LockedError:
                    self.others_at_work = True
                except StorageError as error:
                    self._unreadable[run] = error
                    _log.error("an earlier run stays where it is: %s", error)
                else:
                    self._insert(run, stream)
                    adopted = True
        return adopted

    def absorb(self, stream: Stream) -> None:
        """Take over what the dead loop of a run left in shared memory; that was all of it.

        Raises StorageError.
        """
        backlog = stream.backlog
        first, rows = journal.read(backlog.path, first=backlog.end)
        if len(rows) and rows.shape[1] != self._layout.width:
            raise StorageError(
                backlog.path,
                got=f"rows of {rows.shape[1]} columns in shared memory",
                expected=f"{self._layout.width}",
                advice="move the folder away to go on without them",
            )
        for start in range(0, len(rows), RECORD_ROWS):
            backlog.append(rows[start : start + RECORD_ROWS], first=first + start)
        if not backlog.in_memory:
            journal.remove(backlog.path)
        stream.conclude(backlog.end)

    def close(self) -> None:
        """Make what is on disk durable and close every spool; raises StorageError."""
        for stream in self._by_run.values():
            stream.backlog.close()

    def _open(self, run: str) -> Stream:
        spool = Spool(
            self._folder, self._layout, robot=self._robot, run=run, limit_bytes=self._limit
        )
        return Stream(Backlog(spool))

    def _inherit(self, run: str) -> Stream:
        """Open what an earlier run has left; raises StorageError."""
        stream = self._open(run)
        try:
            self.absorb(stream)
        except BaseException:
            stream.backlog.close()
            raise
        return stream

    def _insert(self, run: str, stream: Stream) -> None:
        """Put an earlier run behind the other earlier ones, and before the present one."""
        del self._by_run[self._run]
        self._by_run |= {run: stream, self._run: self.current}

    def _make_room(self, size: int) -> None:
        """Give up the oldest rows of the oldest runs until this many bytes fit."""
        for stream in self._by_run.values():
            backlog = stream.backlog
            before = None
            while backlog.pending and backlog.size != before and self._size + size > self._limit:
                before = backlog.size
                backlog.drop_oldest()

    @property
    def _size(self) -> int:
        return sum(stream.backlog.size for stream in self._by_run.values() if not stream.done)
