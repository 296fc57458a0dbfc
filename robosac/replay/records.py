"""Records: how chunks of transitions lie in the files of the replay log and of the robot's spool.

A segment file is records one after another, nothing before, between or after them.  A record is

    offset  size  content, little-endian
    0       4     magic, the bytes "RSRC"
    4       2     version of this format, 1
    6       2     size of the meta, M
    8       4     size of the payload, P, at most 16 MiB
    12      4     CRC-32 (zlib) of bytes 0 to 11 followed by meta and payload
    16      M     meta: MessagePack array [robot, run, first, count, width]
    16+M    P     payload: count rows of width float32 numbers, P = 4 · count · width

`run` is the hex form of a UUID, `first` the sequence number of the first row; the others follow it
one by one.  A replay log is the files replay-000000.rows, replay-000001.rows, ...; the spool of one
run is a folder <robot>.<run> with files named after the sequence number of their first row.  The
end of the last file may be torn by a crash; anywhere else a damaged record is an error.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, BinaryIO, Self

import msgspec
import numpy as np

from robosac.errors import DamagedRecordError
from robosac.replay.layout import MAX_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

MAGIC = b"RSRC"
VERSION = 1
MAX_META = 256
MAX_PAYLOAD = 16 * 2**20
MAX_SEQUENCE = 2**62

_HEADER = struct.Struct("<4sHHI")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size
MAX_RECORD = HEADER_SIZE + MAX_META + MAX_PAYLOAD

_ROBOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_RUN = re.compile(r"[0-9a-f]{32}")
_F4 = np.dtype("<f4")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Consecutive transitions of one run of one robot."""

    robot: str
    """Name of the robot: up to 64 letters, digits, - and _."""
    run: str
    """Hex form of the UUID that the runner drew when it started."""
    first: int
    """Sequence number of the first row; a run counts from 0."""
    rows: FloatArray
    """Packed transitions (n, width)."""

    def __post_init__(self) -> None:
        """Refuse what could not be a file name, a sequence number or rows."""
        check_name(self.robot, self.run)
        if not 0 <= self.first <= MAX_SEQUENCE:
            message = f"sequence number {self.first}; expected 0 to {MAX_SEQUENCE}"
            raise ValueError(message)
        if self.rows.dtype != np.float32 or self.rows.ndim != 2:  # noqa: PLR2004 - rows and columns
            message = f"rows of {self.rows.dtype} {self.rows.shape}; expected float32 (n, width)"
            raise ValueError(message)

    @property
    def key(self) -> tuple[str, str]:
        """What sequence numbers are counted in: (robot, run)."""
        return self.robot, self.run

    @property
    def end(self) -> int:
        """Sequence number that follows the last row."""
        return self.first + len(self.rows)

    def since(self, sequence: int) -> Self:
        """Return the part from this sequence number on, without copying."""
        skip = min(max(sequence - self.first, 0), len(self.rows))
        return type(self)(
            robot=self.robot, run=self.run, first=self.first + skip, rows=self.rows[skip:]
        )


class _Meta(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Whose rows they are and how many."""

    robot: Annotated[str, msgspec.Meta(pattern=rf"\A{_ROBOT.pattern}\Z")]
    run: Annotated[str, msgspec.Meta(pattern=rf"\A{_RUN.pattern}\Z")]
    first: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQUENCE)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAYLOAD)]
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Meta)


def check_name(robot: str, run: str) -> None:
    """Raise ValueError unless both can name a robot and its run, on the wire and in files."""
    if not _ROBOT.fullmatch(robot):
        message = f"robot name {robot!r}; expected 1 to 64 letters, digits, - and _, as in go2-lab"
        raise ValueError(message)
    if not _RUN.fullmatch(run):
        message = f"run {run!r}; expected the 32 hex digits of uuid.uuid4().hex"
        raise ValueError(message)


def encode(chunk: Chunk) -> bytes:
    """Return the record of a chunk; raises ValueError when it has no rows or too many."""
    count, width = chunk.rows.shape
    size = chunk.rows.size * _F4.itemsize
    if not (0 < size <= MAX_PAYLOAD and width <= MAX_WIDTH):
        message = (
            f"record of {count} rows by {width} columns; expected at least one row, at most "
            f"{MAX_WIDTH} columns and {MAX_PAYLOAD} bytes; split the chunk"
        )
        raise ValueError(message)
    meta = _encoder.encode(_Meta(chunk.robot, chunk.run, chunk.first, count, width))
    payload = chunk.rows.astype(_F4, copy=False).tobytes()
    header = _HEADER.pack(MAGIC, VERSION, len(meta), len(payload))
    crc = zlib.crc32(payload, zlib.crc32(meta, zlib.crc32(header)))
    return b"".join((header, _CRC.pack(crc), meta, payload))


def scan(file: BinaryIO) -> Iterator[tuple[Chunk, int]]:
    """Yield every chunk from the file's position on, with the offset at which its record ends.

    Raises DamagedRecordError at the first record that is torn or corrupt; its `offset` is where the
    intact part of the file ends.
    """
    offset = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(offset)
    while offset < end:
        try:
            chunk, size = _read(file, end - offset)
        except _Damage as damage:
            where = str(getattr(file, "name", "record"))
            raise DamagedRecordError(
                where, offset=offset, got=damage.got, expected=damage.expected
            ) from None
        offset += size
        yield chunk, offset


class _Damage(Exception):  # noqa: N818 - never leaves this module
    """Why bytes are no record."""

    def __init__(self, got: str, expected: str) -> None:
        """Say what was got and expected."""
        super().__init__(got, expected)
        self.got = got
        self.expected = expected


def _read(file: BinaryIO, available: int) -> tuple[Chunk, int]:
    """Read one record of a file of which `available` bytes are left; raises _Damage."""
    if available < HEADER_SIZE:
        raise _Damage(f"{available} bytes", f"a header of {HEADER_SIZE}")
    header = file.read(HEADER_SIZE)
    magic, version, meta_size, payload_size = _HEADER.unpack_from(header)
    if magic != MAGIC:
        raise _Damage(f"{magic!r}", f"the magic {MAGIC!r}")
    if version != VERSION:
        raise _Damage(f"format version {version}", f"version {VERSION}")
    if meta_size > MAX_META or payload_size > MAX_PAYLOAD:
        raise _Damage(
            f"sizes {meta_size} and {payload_size}", f"at most {MAX_META} and {MAX_PAYLOAD} bytes"
        )
    size = HEADER_SIZE + meta_size + payload_size
    if size > available:
        raise _Damage(f"{available} bytes", f"a record of {size}")
    body = file.read(size - HEADER_SIZE)
    (crc,) = _CRC.unpack_from(header, _HEADER.size)
    if zlib.crc32(body, zlib.crc32(header[: _HEADER.size])) != crc:
        raise _Damage("a wrong CRC-32", f"{crc:#010x}")
    return _chunk(body, meta_size), size


def _chunk(body: bytes, meta_size: int) -> Chunk:
    """Decode meta and payload whose checksum holds; raises _Damage."""
    try:
        meta = _decoder.decode(memoryview(body)[:meta_size])
    except ValueError as error:
        raise _Damage(
            f"meta that is refused ({error})", "[robot, run, first, count, width]"
        ) from None
    payload_size = len(body) - meta_size
    if payload_size != meta.count * meta.width * _F4.itemsize:
        raise _Damage(f"{payload_size} bytes of rows", f"{meta.count} rows of {meta.width} numbers")
    rows = np.frombuffer(body, dtype=_F4, offset=meta_size).reshape(meta.count, meta.width)
    return Chunk(robot=meta.robot, run=meta.run, first=meta.first, rows=rows)
