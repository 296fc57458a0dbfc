"""What the robot keeps on disk until the learner has made it durable."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from robosac.errors import StorageError
from robosac.replay.files import (
    FolderWriter,
    IndexedSegment,
    LockedFolder,
    SegmentFile,
    intact_chunks,
    reported,
)
from robosac.replay.records import Chunk, check_name, encode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.replay.layout import RowLayout

    FloatArray = NDArray[np.float32]

_SEGMENT = re.compile(r"(\d{12,})\.rows")
_FOLDER = re.compile(r"(.+)\.([0-9a-f]{32})")
_SEGMENT_BYTES = 4 * 2**20


def folder_of(directory: Path, *, robot: str, run: str) -> Path:
    """Return the folder of one run's spool inside `directory`."""
    return directory / f"{robot}.{run}"


class Spool(FolderWriter):
    """The transitions of one run that the learner has not acknowledged, oldest first.

    append() hands rows to the operating system before it returns: the death of the process loses
    nothing, a power cut may lose what was appended since the last segment was full.  A process that
    starts draws a new run; the spools of earlier runs are found by leftovers() and read the same
    way.  One process uses a spool, one thread at a time.
    """

    def __init__(
        self, directory: Path, layout: RowLayout, *, robot: str, run: str, limit_bytes: int = 2**30
    ) -> None:
        """Open the spool of a run inside `directory`, an empty one where there is none.

        `limit_bytes` bounds what this run may take on disk.  Raises ValueError for a name or a
        limit that cannot be, StorageError when the folder cannot be written or is damaged.
        """
        check_name(robot, run)
        if limit_bytes < 1:
            message = f"spool limit {limit_bytes} bytes; expected at least 1"
            raise ValueError(message)
        self.robot = robot
        self.run = run
        self.layout = layout
        self.dropped = 0
        """Rows given up unacknowledged since opening, because the spool was at its limit."""
        self._limit = limit_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, limit_bytes // 8)
        self._forgotten = 0
        self.path = folder_of(directory, robot=robot, run=run)
        self._folder = LockedFolder(self.path)
        try:
            self._segments = self._load()
            self._bytes = sum(segment.size for segment in self._segments)
            self._active = self._activate()
            self.torn_bytes = self._active.torn_bytes
            """Size of the unfinished record that opening cut off, bytes."""
        except BaseException:
            self._folder.close()
            raise

    @staticmethod
    def leftovers(directory: Path) -> list[tuple[str, str]]:
        """Return the (robot, run) of every spool in the folder, the longest untouched first."""
        if not directory.is_dir():
            return []
        with reported(directory):
            spools = sorted(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        matches = (_FOLDER.fullmatch(path.name) for path in spools)
        return [(match[1], match[2]) for match in matches if match]

    @property
    def oldest(self) -> int:
        """Sequence number of the oldest row that can still be read."""
        return max(self._segments[0].first, self._forgotten)

    @property
    def end(self) -> int:
        """Sequence number that the next appended row will get."""
        return self._segments[-1].end

    @property
    def pending(self) -> int:
        """Rows that wait for an acknowledgement."""
        return self.end - self.oldest

    @property
    def size(self) -> int:
        """What it takes on disk, bytes."""
        return self._bytes

    def append(self, rows: FloatArray) -> int:
        """Add rows (n, width), n at least 1, and return the sequence number of the last.

        Raises StorageError when the disk fails; none of the rows is in the spool then.
        """
        if rows.shape[1:] != (self.layout.width,):
            message = f"rows {rows.shape}; expected (n, {self.layout.width}) for {self.layout}"
            raise ValueError(message)
        chunk = Chunk(robot=self.robot, run=self.run, first=self.end, rows=rows)
        record = encode(chunk)
        self._make_room(len(record))
        self._active.append(record)
        self._bytes += len(record)
        self._segments[-1].note(chunk.end, self._active.size)
        return chunk.end - 1

    def read(self, first: int, max_rows: int) -> Chunk:
        """Return up to `max_rows` rows from this sequence number on.

        The chunk begins at `oldest` when the rows asked for are gone, and is empty at the end.
        Raises StorageError.
        """
        first = min(max(first, self.oldest), self.end)
        rows = np.empty(
            (max(min(max_rows, self.end - first), 0), self.layout.width), dtype=np.float32
        )
        filled = 0
        while filled < len(rows):
            segment = next(segment for segment in self._segments if segment.end > first + filled)
            for part in segment.read(first + filled):
                taken = part[: len(rows) - filled]
                rows[filled : filled + len(taken)] = taken
                filled += len(taken)
                if filled == len(rows):
                    break
        return Chunk(robot=self.robot, run=self.run, first=first, rows=rows)

    def forget(self, sequence: int) -> None:
        """Let go of every row below this sequence number: the learner has made them durable.

        The learner may be ahead of a spool that a power cut has shortened; numbering then goes on
        where the learner is.  Raises StorageError.
        """
        if sequence > self.end:
            self._roll(sequence)
        self._forgotten = max(self._forgotten, sequence)
        while len(self._segments) > 1 and self._segments[0].end <= self._forgotten:
            self._delete_oldest()

    def drop_oldest(self) -> None:
        """Give up the oldest segment, to make room elsewhere; raises StorageError."""
        if len(self._segments) == 1:
            self._roll(self.end)
        dropped = max(self._segments[0].end - self.oldest, 0)
        self._delete_oldest()
        self.dropped += dropped

    def remove(self, *, lose_pending: bool = False) -> None:
        """Delete the spool of a run that is over, and close it.

        Raises ValueError when rows are pending that may not be lost, StorageError when the disk
        fails.
        """
        if self.pending and not lose_pending:
            message = f"{self.pending} rows are pending in {self._folder.path}; deliver them first"
            raise ValueError(message)
        self.dropped += self.pending
        with reported(self._folder.path):
            for segment in self._segments:
                segment.path.unlink()
            self._folder.path.rmdir()
        self.close()

    def _load(self) -> deque[IndexedSegment]:
        """Read the segments that are there and check that they follow one another."""
        numbers = self._folder.numbers(_SEGMENT)
        segments = deque(IndexedSegment(self._path(number), number) for number in numbers)
        if len(segments) > 1 and self._jumped(segments[-2], segments[-1]):
            while len(segments) > 1:
                with reported(segments[0].path):
                    segments.popleft().path.unlink()
            return segments
        end = numbers[0] if numbers else 0
        for segment in segments:
            self._check(segment.path, got=segment.first, expected=end)
            last = segment is segments[-1]
            for chunk, size in intact_chunks(segment.path, may_be_torn=last):
                self._check(
                    segment.path,
                    got=(*chunk.key, chunk.rows.shape[1], chunk.first),
                    expected=(self.robot, self.run, self.layout.width, segment.end),
                )
                segment.note(chunk.end, size)
            end = segment.end
        return segments

    def _jumped(self, before: IndexedSegment, last: IndexedSegment) -> bool:
        """Whether forget() was ended in the middle, by a kill: the learner was ahead of the spool.

        The last segment, where numbering was to go on, is there and empty; what lies before it is
        at the learner.
        """
        with reported(last.path):
            if last.path.stat().st_size:
                return False
        end = before.first
        for chunk, _ in intact_chunks(before.path, may_be_torn=False):
            end = chunk.end
        return end < last.first

    def _check(self, path: Path, *, got: object, expected: object) -> None:
        """Refuse a segment that is not the next of this run."""
        if got != expected:
            raise StorageError(
                path,
                got=f"{got} (robot, run, columns, sequence number)",
                expected=f"{expected}",
                advice="move the folder away to go on without its rows",
            )

    def _path(self, first: int) -> Path:
        """Return the path of the segment that begins with this sequence number."""
        return self._folder.path / f"{first:012}.rows"

    def _activate(self) -> SegmentFile:
        """Open the last segment for appending, a first one where there is none."""
        if self._segments:
            return SegmentFile(self._segments[-1].path, self._segments[-1].size)
        self._segments.append(IndexedSegment(self._path(0), 0))
        return SegmentFile(self._path(0))

    def _roll(self, first: int) -> None:
        """Begin a new segment with this sequence number."""
        self._active.sync()
        full, self._active = self._active, SegmentFile(self._path(first))
        self._segments.append(IndexedSegment(self._path(first), first))
        full.close()

    def _make_room(self, size: int) -> None:
        """See to it that a record of this size fits, if the oldest segments must go for it."""
        if size > self._limit:
            raise StorageError(
                self._folder.path,
                got=f"a record of {size} bytes",
                expected=f"at most the limit of {self._limit}",
                advice="raise the limit or append fewer rows at a time",
            )
        if self._active.size and self._active.size + size > self._segment_bytes:
            self._roll(self.end)
        while self._bytes + size > self._limit:
            self.drop_oldest()

    def _delete_oldest(self) -> None:
        """Delete the oldest segment from disk."""
        with reported(self._segments[0].path):
            self._segments[0].path.unlink()
        self._bytes -= self._segments.popleft().size
