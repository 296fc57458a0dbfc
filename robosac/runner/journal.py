"""Rows that may not be in the spool yet, where no SIGKILL takes them: in shared memory.

The control loop writes every row here before it hands it to its uplink.  What is on its way between
the two dies with them; the next uplink that opens the spool finds it here.  A power cut takes it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robosac.replay.files import reported

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

_SHARED = Path("/dev/shm")  # noqa: S108 -- the one place that is memory and outlives a process
_SIZE = 2 * 2**20
_HEADER = struct.Struct("<QQQ")
"""Size of a row in bytes, sequence number of the first row, and the one after the last."""
_END = struct.Struct("<Q")
_END_AT = _HEADER.size - _END.size


class RowJournal:
    """A ring of the newest rows of one run; written by its control loop, without ever waiting.

    Only what is in the spool may be overwritten: the writer sees to that.
    """

    def __init__(self, spool: Path, width: int) -> None:
        """Make the journal of a spool's folder for rows of this width; raises StorageError."""
        path = _path(spool)
        self._row_bytes = 4 * width
        self.capacity = (_SIZE - _HEADER.size) // self._row_bytes
        """Rows that it holds."""
        self.end = 0
        """Sequence number of the row to be added next."""
        with reported(path):
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _SIZE)  # now, lest the control loop fault later
                self._memory = mmap.mmap(descriptor, _SIZE)
            finally:
                os.close(descriptor)
        self.begin(0)

    def begin(self, sequence: int) -> None:
        """Go on with this sequence number; what is here already is not needed any more."""
        _HEADER.pack_into(self._memory, 0, self._row_bytes, sequence, sequence)
        self.end = sequence

    def add(self, row: bytes) -> None:
        """Write the next row; it counts only when it is there whole."""
        start = _HEADER.size + self.end % self.capacity * self._row_bytes
        self._memory[start : start + self._row_bytes] = row
        self.end += 1
        _END.pack_into(self._memory, _END_AT, self.end)


def read(spool: Path, *, first: int) -> tuple[int, FloatArray]:
    """Return the rows (n, width) from this sequence number on that the journal of a spool has.

    Before them comes the number of the first, a later one when those before were overwritten: they
    are durable, or were given up.  There are none without a journal.  Raises StorageError.
    """
    path = _path(spool)
    nothing = first, np.empty((0, 1), np.float32)
    with reported(path):
        if not path.exists():
            return nothing
        content = path.read_bytes()
    row_bytes, begun, end = _HEADER.unpack_from(content.ljust(_HEADER.size, b"\0"))
    if len(content) != _SIZE or not row_bytes:
        return nothing  # its writer was killed while making it
    capacity = (_SIZE - _HEADER.size) // row_bytes
    first = max(begun, end - capacity, first)
    if first >= end:
        return nothing
    ring = np.frombuffer(content, np.float32, capacity * row_bytes // 4, _HEADER.size)
    rows: FloatArray = ring.reshape(capacity, -1)[np.arange(first, end) % capacity]
    return first, rows


def remove(spool: Path) -> None:
    """Delete the journal of a spool, if there is one; raises StorageError."""
    path = _path(spool)
    with reported(path):
        path.unlink(missing_ok=True)


def _path(spool: Path) -> Path:
    """Name a journal after the folder of its spool, which nobody else has on this machine."""
    digest = hashlib.sha256(str(spool.absolute()).encode()).hexdigest()
    folder = _SHARED if _SHARED.is_dir() else Path(tempfile.gettempdir())
    return folder / f"robosac-{digest[:32]}.rows"
