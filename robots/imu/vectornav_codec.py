"""Bytes of the VectorNav VN-100: text commands, and the binary message that robosac asks for.

After VectorNav's user manual UM001 and the parser in Cheetah-Software (third-party/vectornav).
"""

from __future__ import annotations

import struct

import fastcrc

from robots.imu.stream import Decoder, Measurement

GROUPS = 0x01
"""Groups of the message: Common only."""
FIELDS = 0x0131
"""Fields of the Common group: time, quaternion, angular rate, acceleration."""
SAMPLE_HZ = 800
"""Rate that the VN-100 divides for its output, Hz."""
HEAD = struct.pack("<BBH", 0xFA, GROUPS, FIELDS)
PAYLOAD = struct.Struct("<Q4f3f3f")
"""Time, ns; quaternion x y z w; angular rate, rad/s; acceleration, m/s²; in x forward, y right,
z down, against North-East-Down."""
SIZE = len(HEAD) + PAYLOAD.size + 2
"""Length of the whole message with its CRC, bytes."""


def encode_line(body: str) -> bytes:
    """Frame a text command or answer: `VNRRG,01` becomes `$VNRRG,01*72` and a line end."""
    return f"${body}*{_xor(body.encode()):02X}\r\n".encode()


def decode_line(line: bytes) -> str | None:
    """Body of a framed line; None if the checksum does not fit.

    Two hex digits are the XOR of all characters, four are the CRC that the binary messages have.
    """
    body, star, digits = line.strip().removeprefix(b"$").partition(b"*")
    expected = {2: _xor, 4: fastcrc.crc16.xmodem}.get(len(digits))
    try:
        sound = star and expected is not None and int(digits, 16) == expected(body)
        return body.decode("ascii") if sound else None
    except ValueError:
        return None


def _xor(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total


class VectorNavDecoder(Decoder):
    """Finds the binary messages, whatever stands between them."""

    def feed(self, data: bytes, stamp_ns: int) -> list[Measurement]:
        """Take bytes, return the measurements they completed."""
        del stamp_ns
        self._buffer += data
        found = []
        while (start := self._next_head()) is not None:
            self._skip(start)
            if len(self._buffer) < SIZE:
                break
            if fastcrc.crc16.xmodem(bytes(self._buffer[1:SIZE])):
                self.counts.checksum_errors += 1
                self._skip(1)
                continue
            found.append(_measurement(self._take(SIZE)))
        return found

    def _next_head(self) -> int | None:
        """Where a message begins, or may begin at the buffer's end; None when it is used up."""
        start = self._buffer.find(HEAD)
        if start >= 0:
            return start
        for length in range(min(len(HEAD) - 1, len(self._buffer)), 0, -1):
            if self._buffer.endswith(HEAD[:length]):
                return len(self._buffer) - length
        self._skip(len(self._buffer))
        return None


def _measurement(message: bytes) -> Measurement:
    """Turn a sound message from x forward, y right, z down into x forward, y left, z up."""
    time_ns, x, y, z, w, gx, gy, gz, ax, ay, az = PAYLOAD.unpack_from(message, len(HEAD))
    return Measurement((w, x, -y, -z), (gx, -gy, -gz), (ax, -ay, -az), time_ns)
