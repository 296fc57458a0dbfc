"""Fast sync reads: a request prepared once, its reply checked at once, and when to do without.

The reply to a fast sync read is one frame of a block for each servo; protocol.py draws it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from robots.dynamixel.protocol import (
    BROADCAST,
    HEADER,
    STATUS,
    Instruction,
    Status,
    crc16,
    encode,
    fast_statuses,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD_BYTES = 8
"""Fast reply before its blocks: header, ID, LEN, INST."""
BEFORE_DATA, AROUND_DATA = 2, 4
"""Bytes of a block before its data, and before and behind it: ERR, ID, CRC."""
FAILURES = 2
"""Failed fast reads in a row after which plain ones are used."""
SHORTEST_PAUSE, LONGEST_PAUSE = 50, 1600
"""For how many reads fast ones are given up, which doubles as long as they do not last."""

_OUTSIDE_LENGTH = 7  # header, ID, LEN


class FastRead:
    """One fast sync read of the same bytes of the same servos."""

    def __init__(self, block: bytes, size: int, devices: Sequence[int]) -> None:
        """Ask devices for a block: address and size as parameters, size bytes of data each."""
        count, step = len(devices), AROUND_DATA + size
        self.request = encode(BROADCAST, Instruction.FAST_SYNC_READ, block + bytes(devices))
        self.length = HEAD_BYTES + count * step
        """Of the whole reply, bytes."""
        self.errors = dict.fromkeys(devices, 0)
        """Error byte of every servo in a whole reply."""
        self.latest = b""
        """Reply that was whole last."""
        self.last = devices[-1]
        """ID of the last servo."""
        length = self.length - _OUTSIDE_LENGTH
        self._size = size
        self._devices = devices
        self._head = HEADER + bytes((BROADCAST, length & 0xFF, length >> 8, STATUS))
        self._each_error = slice(HEAD_BYTES, None, step), bytes(count)
        self._each_id = slice(HEAD_BYTES + 1, None, step), bytes(devices)
        self._each_crc = struct.Struct(f"<{HEAD_BYTES}x" + f"{step - 2}xH" * count)
        ends = [HEAD_BYTES + step * place - 2 for place in range(1, count + 1)]
        self._parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def whole(self, raw: bytes) -> bool:
        """Whether this is the reply of all servos in order, each CRC right, no error, no alert."""
        if len(raw) != self.length or not raw.startswith(self._head):
            return False
        (errors, none), (ids, expected) = self._each_error, self._each_id
        if raw[errors] != none or raw[ids] != expected:
            return False
        crc = 0
        for part, written in zip(self._parts, self._each_crc.unpack(raw), strict=True):
            crc = crc16(raw[part], crc)  # from the CRC of the block before, which counts, too
            if crc != written:
                return False
        return True

    def statuses(self, raw: bytes) -> tuple[list[Status | None], int]:
        """What each servo said, as far as the reply is good; number of blocks of anybody else."""
        found: list[Status | None] = [None] * len(self._devices)
        strangers = 0
        for index, status in enumerate(fast_statuses(raw, self._size)):
            if status.id == self._devices[index]:
                found[index] = status
            else:
                strangers += 1
        return found, strangers


class FastTrust:
    """Whether fast reads of some servos are worth trying.

    Two that fail in a row are followed by plain ones for a while, as the machine may have been
    busy; for good when no fast read has ever been answered, as somebody may not know them.
    """

    def __init__(self) -> None:
        """Begin by trying."""
        self._failures = 0
        self._successes = 0
        self._answered = False
        self._left = 0
        self._pause = SHORTEST_PAUSE

    @property
    def given_up(self) -> bool:
        """Whether reads are plain ones at present, but for trials."""
        return self._failures >= FAILURES

    @property
    def left(self) -> int | None:
        """How many plain reads come before the next fast one; None when none will come."""
        return self._left if self._answered else None

    def due(self) -> bool:
        """Whether the next read shall be a fast one; ask once for each read."""
        if not self.given_up:
            return True
        if self._left and self._answered:
            self._left -= 1
            return False
        return self._answered

    def succeeded(self) -> None:
        """A fast read was answered by all; enough of them in a row, and the past is forgotten."""
        self._answered = True
        self._failures = 0
        self._successes += 1
        if self._successes > self._pause:
            self._pause = SHORTEST_PAUSE

    def failed(self) -> None:
        """A fast read was not answered by all."""
        self._successes = 0
        self._failures += 1
        if self.given_up:
            self._left = self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
