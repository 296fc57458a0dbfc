"""The learner's replay on disk: every transition once, and the marks that prove it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robosac.errors import StorageError
from robosac.replay.files import (
    FolderWriter,
    LockedFolder,
    SegmentFile,
    intact_chunks,
    numbers_in,
)
from robosac.replay.records import Chunk, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from robosac.replay.layout import RowLayout

    Key = tuple[str, str]

_NAME = re.compile(r"replay-(\d{6,})\.rows")


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What became of a chunk: refused whole for a gap, or every row is accepted or a duplicate."""

    accepted: int
    """Rows written; durable after the next sync()."""
    duplicate: int
    """Rows dropped because the log has them."""
    skipped: int
    """Sequence numbers given up because the robot no longer has them."""
    expected: int
    """Sequence number that must come next; below the chunk's first when that was refused."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequence numbers of one run, as they lie on disk."""

    count: int
    """Rows on disk, doubled ones included."""
    contiguous: bool
    """Whether they are 0, 1, 2, ... in this order, none missing and none twice."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What a log lacks and what it has twice, counted in rows."""

    lost: int
    """Sequence numbers that were made and are not on disk."""
    duplicated: int
    """Rows on disk beyond the first of their sequence number."""


class SegmentLog(FolderWriter):
    """Append-only replay of any number of robots, safe against a crash at any byte.

    A chunk may be acknowledged once sync() has returned after its append().  All calls come from
    one thread; rows(), sequences() and audit() read the files, not the marks.
    """

    def __init__(
        self, directory: Path, layout: RowLayout, *, segment_bytes: int = 64 * 2**20
    ) -> None:
        """Open the log of a folder, an empty one where there is none.

        What a crash left of its last record is cut off.  Raises StorageError when the folder cannot
        be written, is being written by another process, or holds anything but an intact log of this
        layout's width.
        """
        self.directory = directory
        self.layout = layout
        self.marks: dict[Key, int] = {}
        """Next sequence number of every (robot, run); rebuilt from the rows themselves."""
        self.torn_bytes = 0
        """Size of the unfinished record that opening cut off, bytes."""
        self._segment_bytes = segment_bytes
        self._folder = LockedFolder(directory)
        try:
            self._active = self._open()
        except BaseException:
            self._folder.close()
            raise

    def append(self, chunk: Chunk, *, oldest: int = 0) -> AppendResult:
        """Write the rows that the log does not have yet.

        A chunk that begins beyond the mark is refused whole, so that the caller can ask again from
        `expected`; unless the numbers between are below `oldest`, the oldest that the robot still
        has: those are gone for good and are skipped.  Raises StorageError when the width is another
        or the disk fails; nothing of the chunk is in the log then.
        """
        self._check_width(chunk, self.directory)
        mark = self.marks.get(chunk.key, 0)
        if chunk.first > max(mark, oldest):
            return AppendResult(accepted=0, duplicate=0, skipped=0, expected=max(mark, oldest))
        fresh = chunk.since(mark)
        duplicate = len(chunk.rows) - len(fresh.rows)
        if not len(fresh.rows):
            return AppendResult(accepted=0, duplicate=duplicate, skipped=0, expected=mark)
        record = encode(fresh)
        self._roll(len(record))
        self._active.append(record)
        self.marks[chunk.key] = fresh.end
        return AppendResult(
            accepted=len(fresh.rows),
            duplicate=duplicate,
            skipped=fresh.first - mark,
            expected=fresh.end,
        )

    def sync(self) -> None:
        """Make every appended row durable; raises StorageError."""
        self._active.sync()

    def rows(self) -> Iterator[Chunk]:
        """Yield all chunks, oldest first."""
        for path in self._paths():
            for chunk, _ in intact_chunks(path):
                yield chunk

    def sequences(self) -> dict[Key, Sequences]:
        """Read from disk what there is of every (robot, run)."""
        return {
            key: Sequences(sum(end - first for first, end in spans), _contiguous(spans))
            for key, spans in self._spans().items()
        }

    def audit(self, expected: Mapping[Key, int]) -> Audit:
        """Compare the rows on disk with how many every (robot, run) has made."""
        spans = self._spans()
        lost = sum(_missing(spans.get(key, []), count) for key, count in expected.items())
        return Audit(lost=lost, duplicated=sum(map(_doubled, spans.values())))

    def _open(self) -> SegmentFile:
        """Rebuild the marks and return the segment to append to."""
        paths = self._paths()
        if not paths:
            return self._create(0)
        for path in paths:
            size = 0
            for chunk, end in intact_chunks(path, may_be_torn=path == paths[-1]):
                self._check_width(chunk, path)
                self.marks[chunk.key] = max(chunk.end, self.marks.get(chunk.key, 0))
                size = end
        active = SegmentFile(paths[-1], size)
        self.torn_bytes = active.torn_bytes
        # A killed writer leaves its last rows in the page cache, and marks speak of durable rows.
        active.sync()
        self._folder.sync()
        return active

    def _paths(self) -> list[Path]:
        """Return the segment files in order; raises StorageError when one is missing."""
        return segment_paths(self.directory)

    def _create(self, number: int) -> SegmentFile:
        """Begin a segment and make its name durable."""
        segment = SegmentFile(_path(self.directory, number))
        self._folder.sync()
        return segment

    def _roll(self, size: int) -> None:
        """Begin a new segment when a record of this size would overfill the active one."""
        if self._active.size and self._active.size + size > self._segment_bytes:
            self._active.sync()
            full, self._active = self._active, self._create(len(self._paths()))
            full.close()

    def _check_width(self, chunk: Chunk, where: Path) -> None:
        """Refuse rows of another layout."""
        width = chunk.rows.shape[1]
        if width != self.layout.width:
            raise StorageError(
                where,
                got=f"rows of {width} columns from {chunk.robot}",
                expected=f"{self.layout.width} columns, as in {self.layout}",
                advice="start a new run for another observation or action",
            )

    def _spans(self) -> dict[Key, list[tuple[int, int]]]:
        """Read the (first, end) of every record on disk, in the order they lie there."""
        spans: dict[Key, list[tuple[int, int]]] = {}
        for chunk in self.rows():
            spans.setdefault(chunk.key, []).append((chunk.first, chunk.end))
        return spans


def segment_paths(directory: Path) -> list[Path]:
    """Return the segment files of a log in order; raises StorageError when one is missing."""
    numbers = numbers_in(directory, _NAME)
    for expected, number in enumerate(numbers):
        if number != expected:
            raise StorageError(
                directory,
                got=f"segment {number} after segment {expected - 1}",
                expected=f"segment {expected}",
                advice="restore the missing file from a copy, or start a new run",
            )
    return [_path(directory, number) for number in numbers]


def _path(directory: Path, number: int) -> Path:
    """Return the path of one segment."""
    return directory / f"replay-{number:06}.rows"


def _contiguous(spans: list[tuple[int, int]]) -> bool:
    """Whether every span begins where the one before ended, the first at 0."""
    return [first for first, _ in spans] == [0] + [end for _, end in spans[:-1]]


def _missing(spans: list[tuple[int, int]], count: int) -> int:
    """Count the numbers from 0 to count - 1 that are in no span."""
    missing = covered = 0
    for first, end in sorted(spans):
        missing += max(min(first, count) - covered, 0)
        covered = max(covered, end)
    return missing + max(count - covered, 0)


def _doubled(spans: list[tuple[int, int]]) -> int:
    """Count the numbers in the spans beyond the first of their kind."""
    doubled = covered = 0
    for first, end in sorted(spans):
        doubled += max(min(covered, end) - first, 0)
        covered = max(covered, end)
    return doubled
