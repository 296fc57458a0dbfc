"""Frames of the Dynamixel Protocol 2.0: encoding, and a receiver that survives any bytes.

instruction  FF FF FD 00 | ID | LEN_L LEN_H | INST | P1..Pn       | CRC_L CRC_H    LEN = n + 3
status       FF FF FD 00 | ID | LEN_L LEN_H | 55   | ERR | P1..Pn | CRC_L CRC_H    LEN = n + 4
fast reply   FF FF FD 00 | FE | LEN_L LEN_H | 55   | {ERR ID D1..DX CRC_L CRC_H}...

LEN counts every byte after itself.  Within a frame FF FF FD is stuffed to FF FF FD FD, but never
in a fast reply, which LEN alone delimits.  Source: ROBOTIS e-Manual, docs/en/dxl/protocol2.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

from fastcrc.crc16 import umts

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
MAX_ID = 252
MAX_FRAME = 1024
"""Longest frame, header and CRC included, bytes; the SDK of the vendor has the same bound."""
STATUS = 0x55
ALERT = 0x80
"""Bit of the error byte: a hardware error is latched, and register 70 says which."""

_PATTERN, _STUFFED = b"\xff\xff\xfd", b"\xff\xff\xfd\xfd"
_PREFIX = 8  # header, ID, LEN, INST
_OUTSIDE_LENGTH = 7  # header, ID, LEN
_FAST_OVERHEAD = 4  # ERR, ID, CRC


class Instruction(IntEnum):
    """What a frame asks of a device."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REG_WRITE = 0x04
    ACTION = 0x05
    FACTORY_RESET = 0x06
    REBOOT = 0x08
    CLEAR = 0x10
    BACKUP = 0x20
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83
    FAST_SYNC_READ = 0x8A
    BULK_READ = 0x92
    BULK_WRITE = 0x93
    FAST_BULK_READ = 0x9A


class ErrorNumber(IntEnum):
    """Lower seven bits of the error byte: a number, not a mask."""

    NONE = 0
    RESULT_FAIL = 1
    INSTRUCTION = 2
    CRC = 3
    DATA_RANGE = 4
    DATA_LENGTH = 5
    DATA_LIMIT = 6
    ACCESS = 7


class Status(NamedTuple):
    """What one device answered."""

    id: int
    error: int
    data: bytes

    @property
    def alert(self) -> bool:
        """Whether the device has latched a hardware error."""
        return bool(self.error & ALERT)

    @property
    def number(self) -> int:
        """Number of the error, an ErrorNumber as far as those are known; 0 is success."""
        return self.error & ~ALERT


class Frame(NamedTuple):
    """One frame that arrived whole: CRC right, stuffing undone."""

    id: int
    instruction: int
    parameters: bytes
    raw: bytes
    """All bytes as they were on the wire."""

    @property
    def status(self) -> Status:
        """The frame as one device's status; not for a fast reply, which holds several."""
        return Status(self.id, self.parameters[0], self.parameters[1:])


def crc16(data: bytes, before: int = 0) -> int:
    """CRC-16/UMTS of data, continued from the CRC of what came before."""
    return umts(data, before)


def encode(device: int, instruction: int, parameters: bytes = b"") -> bytes:
    """Instruction frame for a device or for BROADCAST.

    Raises ValueError for an ID that no device can have or a frame of more than MAX_FRAME bytes.
    """
    return _frame(device, bytes((instruction,)) + parameters)


def encode_status(status: Status) -> bytes:
    """Status frame of one device; ValueError as for encode()."""
    return _frame(status.id, bytes((STATUS, status.error)) + status.data)


def encode_fast(statuses: Iterable[Status]) -> bytes:
    """Fast reply of a chain of devices, whose data must be equally long; it is never stuffed.

    Raises ValueError for data of different lengths or a frame of more than MAX_FRAME bytes.
    """
    blocks = list(statuses)
    if len({len(status.data) for status in blocks}) != 1:
        raise ValueError(
            f"fast reply of data of {[len(status.data) for status in blocks]} bytes; "
            "expected at least one block, all of one length"
        )
    length = 1 + len(blocks) * (len(blocks[0].data) + _FAST_OVERHEAD)
    _check_size(length)
    frame = bytearray(HEADER + bytes((BROADCAST, length & 0xFF, length >> 8, STATUS)))
    for status in blocks:
        frame += bytes((status.error, status.id)) + status.data
        frame += crc16(bytes(frame)).to_bytes(2, "little")
    return bytes(frame)


def fast_statuses(raw: bytes, size: int) -> list[Status]:
    """Blocks of a fast reply with size bytes of data each, up to the first whose CRC is wrong.

    The CRC of a block covers the whole frame up to it, so nothing behind a wrong one is known.
    """
    found = []
    crc = crc16(raw[:_PREFIX])
    step = size + _FAST_OVERHEAD
    for start in range(_PREFIX, len(raw) - step + 1, step):
        end = start + step
        crc = crc16(raw[start : end - 2], crc)
        written = raw[end - 2 : end]
        if written != crc.to_bytes(2, "little"):
            break
        crc = crc16(written, crc)
        found.append(Status(raw[start + 1], raw[start], raw[start + 2 : end - 2]))
    return found


def _frame(device: int, content: bytes) -> bytes:
    """Frame around instruction and parameters, which are stuffed here."""
    if not (0 <= device <= MAX_ID or device == BROADCAST):
        raise ValueError(f"servo ID {device}; expected 0 to {MAX_ID}, or {BROADCAST} for all")
    content = content.replace(_PATTERN, _STUFFED)
    length = len(content) + 2
    _check_size(length)
    frame = HEADER + bytes((device, length & 0xFF, length >> 8)) + content
    return frame + crc16(frame).to_bytes(2, "little")


def _check_size(length: int) -> None:
    """Raise ValueError when a frame with this LEN is longer than a receiver takes."""
    if length + _OUTSIDE_LENGTH > MAX_FRAME:
        raise ValueError(
            f"frame of {length + _OUTSIDE_LENGTH} bytes; expected at most {MAX_FRAME}, "
            "ask fewer devices at once"
        )


@dataclass(slots=True)
class Rejects:
    """What a receiver did not take, by cause."""

    bad_crc: int = 0
    """Frames whose CRC was wrong."""
    bad_length: int = 0
    """Headers with a LEN that no frame can have."""
    bad_id: int = 0
    """Headers with an ID that no device can have."""
    bad_instruction: int = 0
    """Headers of the other direction: an instruction where a status was due, or the reverse."""
    short: int = 0
    """Frames that were still incomplete when their time was up."""
    noise_bytes: int = 0
    """Bytes that belonged to no good frame."""
    resyncs: int = 0
    """How often a good frame was found behind such bytes."""


class Receiver:
    """Finds frames in a stream of bytes; whatever arrives, it never raises.

    After a reject it searches on one byte behind the header that misled it, so a broken length
    does not swallow the frames that follow.  It keeps at most MAX_FRAME bytes between calls.
    """

    def __init__(self, hears: Literal["status", "instruction"] = "status") -> None:
        """Hear what devices answer, or, on their side of the bus, what they are asked."""
        self.rejects = Rejects()
        self.last_bad: bytes = b""
        """The last frame whose CRC was wrong, as it arrived."""
        self._statuses = hears == "status"
        self._shortest = 4 if self._statuses else 3
        self._buffer = bytearray()
        self._lost = False

    @property
    def waiting(self) -> int:
        """Number of bytes kept for a frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes as they arrived and return the frames that are complete now."""
        self._buffer += data
        return self._complete()

    def expire(self) -> list[Frame]:
        """Give up what is incomplete because its time is up, and return good frames within it."""
        found = []
        while self._buffer:
            if self._buffer.startswith(HEADER):
                self.rejects.short += 1
            self._skip(1)
            found += self._complete()
        return found

    def _complete(self) -> list[Frame]:
        """Frames at the front of the buffer, bytes that cannot become one removed."""
        buffer, found = self._buffer, []
        while self._seek():
            if self._misleading():
                continue
            size = (buffer[5] | buffer[6] << 8) + _OUTSIDE_LENGTH
            if len(buffer) < size:
                break
            raw = bytes(buffer[:size])
            if crc16(raw[:-2]) != raw[-2] | raw[-1] << 8:
                self.rejects.bad_crc += 1
                self.last_bad = raw
                self._skip(1)
                continue
            del buffer[:size]
            self.rejects.resyncs += self._lost
            self._lost = False
            found.append(_decoded(raw))
        return found

    def _seek(self) -> bool:
        """Bring the next header to the front; whether the fields behind it have arrived, too."""
        buffer = self._buffer
        start = buffer.find(HEADER)
        if start < 0:
            start = len(buffer) - _header_begun(buffer)
        if start:
            self._skip(start)
        return len(buffer) >= _PREFIX

    def _misleading(self) -> bool:
        """Whether the header at the front belongs to no frame; it is counted and passed over."""
        buffer, rejects = self._buffer, self.rejects
        length = buffer[5] | buffer[6] << 8
        if (buffer[7] == STATUS) != self._statuses:
            rejects.bad_instruction += 1
        elif buffer[4] > MAX_ID and buffer[4] != BROADCAST:
            rejects.bad_id += 1
        elif not self._shortest <= length <= MAX_FRAME - _OUTSIDE_LENGTH:
            rejects.bad_length += 1
        else:
            return False
        self._skip(1)
        return True

    def _skip(self, count: int) -> None:
        """Drop bytes from the front that are part of no frame."""
        self.rejects.noise_bytes += count
        self._lost = True
        del self._buffer[:count]


def _header_begun(buffer: bytearray) -> int:
    """How many bytes at the end may be the beginning of a header."""
    for length in range(len(HEADER) - 1, 0, -1):
        if buffer.endswith(HEADER[:length]):
            return length
    return 0


def _decoded(raw: bytes) -> Frame:
    """Content of a frame whose CRC is right."""
    parameters = raw[_PREFIX:-2]
    if not (raw[4] == BROADCAST and raw[7] == STATUS):
        parameters = parameters.replace(_STUFFED, _PATTERN)
    return Frame(raw[4], raw[7], parameters, raw)
