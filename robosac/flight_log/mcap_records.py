"""Records of an MCAP file, whole or torn, as they lie there."""

from __future__ import annotations

import contextlib
import os
import struct
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from mcap.exceptions import McapError
from mcap.records import Chunk, McapRecord
from mcap.stream_reader import StreamReader, breakup_chunk
from zstandard import ZstdError

from robosac.errors import DamagedRecordError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_FOOTER = 2
_DAMAGE = (McapError, ZstdError, ValueError, struct.error, OverflowError, MemoryError)


class McapRecords:
    """The records of a file up to where it is cut off; iterating reads them.

    A power cut may leave a record cut off, or zeros in place of what was not yet on the disk.
    """

    def __init__(self, path: Path) -> None:
        """Find the end; raises StorageError when there is nothing to read."""
        self._path = path
        with _opened(path) as file:
            self._size = file.seek(0, os.SEEK_END)
            self._starts_last, self._end, self.complete = _whole_records(file, self._size)
            file.seek(max(self._end, len(_MAGIC), self._size - len(_MAGIC)))
            self._has_end = file.read() == _MAGIC
        self.torn_bytes = 0 if self.complete else self._size - self._end
        """Size of what is unfinished at the end, bytes; known when all else has been read."""

    def __iter__(self) -> Iterator[list[McapRecord]]:
        """Yield every record by itself, and those of a chunk together.

        Raises DamagedRecordError at the first record that is not as it was written, unless it is
        the last of a file that was cut off.
        """
        with _opened(self._path) as file:
            records = StreamReader(file, emit_chunks=True, validate_crcs=True).records
            while (start := file.tell()) < self._end:
                try:
                    batch = [_contents(record) for record in islice(records, 1)]
                except _DAMAGE as error:
                    if self._has_end or start != self._starts_last:
                        raise self._damaged(start, str(error) or type(error).__name__) from None
                    self.torn_bytes = self._size - start
                    return
                yield from batch
        if self._has_end and not self.complete:
            raise self._damaged(self._end, "more than the file has")

    def _damaged(self, offset: int, got: str) -> DamagedRecordError:
        return DamagedRecordError(
            self._path, offset=offset, got=f"damage ({got})", expected="a record as it was written"
        )


def _contents(record: McapRecord) -> list[McapRecord]:
    """The records in a chunk; any other contains itself."""
    return breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]


def _whole_records(file: BinaryIO, size: int) -> tuple[int, int, bool]:
    """Where the last whole record begins and ends, and whether that is the file's proper end."""
    file.seek(0)
    if size <= len(_MAGIC) or file.read(len(_MAGIC)) != _MAGIC:
        return 0, 0, False
    last = start = len(_MAGIC)
    while start + _HEAD.size <= size:
        file.seek(start)
        kind, length = _HEAD.unpack(file.read(_HEAD.size))
        end = start + _HEAD.size + length
        if not kind or end > size:
            break
        last, start = start, end
        if kind == _FOOTER:
            return last, start, True
    return (last, start, False) if start > len(_MAGIC) else (0, 0, False)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; raises StorageError, whatever goes wrong with it."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise StorageError.from_os(path, error) from error
