"""Append-only segment files and the folder that owns them."""

from __future__ import annotations

import bisect
import contextlib
import fcntl
import io
import os
from typing import TYPE_CHECKING, Self

from robosac.errors import DamagedRecordError, LockedError, StorageError
from robosac.replay.records import MAGIC, MAX_RECORD, Chunk, scan

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

_STRIDE = 16 * 2**10


@contextlib.contextmanager
def reported(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into a StorageError about this path."""
    try:
        yield
    except OSError as error:
        raise StorageError.from_os(path, error) from error


def numbers_in(folder: Path, name: re.Pattern[str]) -> list[int]:
    """Return the numbers in the names of a folder's files that match, in order."""
    with reported(folder):
        matches = [name.fullmatch(entry.name) for entry in folder.iterdir()]
    return sorted(int(match[1]) for match in matches if match)


class LockedFolder:
    """A folder of segment files with one writer at a time; the lock dies with the process."""

    def __init__(self, path: Path) -> None:
        """Make the folder where there is none, and lock it; raises StorageError, LockedError."""
        self.path = path
        with reported(path):
            path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise LockedError(path) from None

    def numbers(self, name: re.Pattern[str]) -> list[int]:
        """Return the numbers in the names of the files that match, in order."""
        return numbers_in(self.path, name)

    def sync(self) -> None:
        """Make the names in the folder durable; raises StorageError."""
        with reported(self.path):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Release the lock; may be called any number of times."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class SegmentFile:
    """A file that only grows, by whole records or not at all."""

    def __init__(self, path: Path, size: int | None = None) -> None:
        """Create the file, or reopen it and cut it to its intact `size` in bytes.

        Raises StorageError.
        """
        self.path = path
        self.size = size or 0
        self.torn_bytes = 0
        """What reopening cut off, bytes."""
        self._broken = False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        with reported(path):
            if size is None:
                self._descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
            else:
                self._descriptor = os.open(path, flags)
                self.torn_bytes = os.fstat(self._descriptor).st_size - size
                os.ftruncate(self._descriptor, size)

    def append(self, record: bytes) -> int:
        """Write a record to the page cache and return the offset at which it begins.

        After a failure the file ends where it did before; when even that cannot be restored, every
        later append is refused.  Raises StorageError.
        """
        self._refuse_when_broken()
        offset = self.size
        try:
            written = os.write(self._descriptor, record)
            while written < len(record):
                written += os.write(self._descriptor, memoryview(record)[written:])
        except BaseException as error:
            self._roll_back()
            if isinstance(error, OSError):
                raise StorageError.from_os(self.path, error) from error
            raise
        self.size = offset + len(record)
        return offset

    def sync(self) -> None:
        """Make everything appended durable; raises StorageError, and refuses all use after that.

        The kernel may forget which pages it failed to write, so a second fsync proves nothing.
        """
        self._refuse_when_broken()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = True
            raise StorageError.from_os(self.path, error) from error

    def close(self) -> None:
        """Make everything durable and close; may be called any number of times.

        A file in doubt is closed as it is: its failure has been raised.  Raises StorageError.
        """
        if self._descriptor < 0:
            return
        try:
            if not self._broken:
                self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _roll_back(self) -> None:
        """Cut a partial record."""
        self._broken = True
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self.size)
            self._broken = False

    def _refuse_when_broken(self) -> None:
        """Never write after a record that may be partial, nor vouch for pages that may be lost."""
        if self._broken:
            raise StorageError(
                self.path,
                got="a file that an earlier failure left in doubt",
                expected="a file whose end is known",
                advice="run the same command again: opening keeps what is intact",
            )


class FolderWriter:
    """Appends to segments in a folder of its own, and lets go of both in the right order."""

    _folder: LockedFolder
    _active: SegmentFile

    def close(self) -> None:
        """Make everything durable and close; may be called any number of times."""
        try:
            self._active.close()
        finally:
            self._folder.close()

    def __enter__(self) -> Self:
        """Return the open writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()


class IndexedSegment:
    """What is known of a segment file that holds one run, and a sparse index to read it by."""

    def __init__(self, path: Path, first: int) -> None:
        """Begin without rows; `first` is the sequence number of the first to come."""
        self.path = path
        self.first = first
        self.end = first
        self.size = 0
        self._sequences: list[int] = []
        self._offsets: list[int] = []

    def note(self, end: int, size: int) -> None:
        """Take in that the file has a record more, up to this sequence number and size in bytes."""
        if not self._offsets or self.size - self._offsets[-1] >= _STRIDE:
            self._sequences.append(self.end)
            self._offsets.append(self.size)
        self.end, self.size = end, size

    def read(self, first: int) -> Iterator[FloatArray]:
        """Yield the rows from this sequence number on, record by record; raises StorageError."""
        nearest = bisect.bisect_right(self._sequences, first) - 1
        with reported(self.path), self.path.open("rb") as file:
            file.seek(self._offsets[nearest])
            for chunk, _ in scan(file):
                if chunk.end > first:
                    yield chunk.since(first).rows


def intact_chunks(path: Path, *, may_be_torn: bool = False) -> Iterator[tuple[Chunk, int]]:
    """Yield the chunks of a segment file, each with the offset at which its record ends.

    Where `may_be_torn`, a damaged end is what a crash leaves and just ends the iteration; with
    intact records behind it, it is no end.  Raises DamagedRecordError and StorageError.
    """
    with reported(path), path.open("rb") as file:
        try:
            yield from scan(file)
        except DamagedRecordError as damage:
            if not may_be_torn or _record_follows(file, damage.offset + 1):
                raise


def _record_follows(file: io.BufferedReader, start: int) -> bool:
    """Whether an intact record begins anywhere from this offset on."""
    file.seek(start)
    rest = file.read()
    at = rest.find(MAGIC)
    while at >= 0:
        with contextlib.suppress(DamagedRecordError):
            next(scan(io.BytesIO(rest[at : at + MAX_RECORD])))
            return True
        at = rest.find(MAGIC, at + 1)
    return False
