"""Bytes of the WitMotion WT901 family: frames of eleven bytes, and commands of five.

After the data sheets of WT901 and WT901SDCL; their checksum formulas sum all ten bytes before it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from robots.imu.stream import Decoder, Measurement

MARK = 0x55
SIZE = 11
"""Length of a frame, bytes."""
ACCELERATION, GYRO, QUATERNION = 0x51, 0x52, 0x59
"""Types of the frames that make a sample, in the order in which they come."""
TYPES = range(0x50, 0x60)
"""Types that a frame can have."""
CONTENT, RATE = 0x02, 0x03
"""Registers: which frames are sent, bit n for type 50 + n; how often."""
CONTENT_MASK = 0x0206
"""Acceleration, gyro and quaternion, nothing else."""
RATE_CODES = {50.0: 0x08, 100.0: 0x09, 200.0: 0x0B}
"""Code of every rate, Hz; unverified on hardware, so the rate is measured at the start."""
UNLOCK = bytes.fromhex("FF AA 69 88 B5")
"""Lets settings be written for ten seconds."""
BURST_SHARE = 0.85
"""Longest time between first and last frame of a sample, in periods: on a full line it is 2/3."""
GRAVITY = 9.80665
"""Unit of the acceleration, m/s²."""
FORCE_UNIT = 16 * GRAVITY / 32768
RATE_UNIT = math.radians(2000) / 32768
TURN_UNIT = 1 / 32768

_FOUR = struct.Struct("<4h")


def checksum(frame: bytes | bytearray) -> int:
    """Low byte of the sum of all bytes."""
    return sum(frame) & 0xFF


def setting(register: int, value: int) -> bytes:
    """Command that writes a register."""
    return struct.pack("<BBBH", 0xFF, 0xAA, register, value)


@dataclass(slots=True)
class _Burst:
    """The frames of one sample, as far as they have come."""

    began_ns: int
    accelerometer: tuple[float, float, float]
    gyro: tuple[float, float, float] | None = None


class WitMotionDecoder(Decoder):
    """Finds the frames and joins those of the same moment, never those of two."""

    def __init__(self, rate_hz: float) -> None:
        """Take the rate of the samples, Hz: parts much of a period apart do not fit."""
        super().__init__()
        self.types = set[int]()
        """Types of all sound frames so far."""
        self._burst_ns = BURST_SHARE * 1e9 / rate_hz
        self._burst: _Burst | None = None

    def reset(self) -> None:
        """Forget the frame and the sample begun."""
        super().reset()
        self._drop_burst()

    def feed(self, data: bytes, stamp_ns: int) -> list[Measurement]:
        """Take bytes, return the measurements they completed."""
        self._buffer += data
        found: list[Measurement] = []
        while (start := self._buffer.find(MARK)) >= 0:
            self._skip(start)
            if len(self._buffer) < SIZE:
                return found
            frame = self._buffer[:SIZE]
            if frame[1] not in TYPES or checksum(frame[:-1]) != frame[-1]:
                self.counts.checksum_errors += frame[1] in TYPES
                self._skip(1)
                continue
            measurement = self._join(self._take(SIZE), stamp_ns)
            if measurement is not None:
                found.append(measurement)
        self._skip(len(self._buffer))
        return found

    def _skip(self, length: int) -> None:
        """Drop bytes that belong to no frame; the sample begun may lack what they were."""
        if length:
            self._drop_burst()
            super()._skip(length)

    def _drop_burst(self) -> None:
        if self._burst is not None:
            self.counts.incomplete += 1
            self._burst = None

    def _join(self, frame: bytes, stamp_ns: int) -> Measurement | None:
        """Add a frame to the sample begun; the sample, if that completes it."""
        kind = frame[1]
        self.types.add(kind)
        a, b, c, d = _FOUR.unpack_from(frame, 2)
        if kind == ACCELERATION:
            self._drop_burst()
            self._burst = _Burst(stamp_ns, (a * FORCE_UNIT, b * FORCE_UNIT, c * FORCE_UNIT))
        elif kind == GYRO:
            burst = self._current(stamp_ns)
            if burst is not None and burst.gyro is None:
                burst.gyro = (a * RATE_UNIT, b * RATE_UNIT, c * RATE_UNIT)
            else:
                self._drop_burst()
        elif kind == QUATERNION:
            return self._complete((a, b, c, d), stamp_ns)
        else:
            self.counts.unexpected += 1
        return None

    def _current(self, stamp_ns: int) -> _Burst | None:
        """The sample begun, unless it began too long ago for this frame to be part of it."""
        if self._burst is not None and stamp_ns - self._burst.began_ns > self._burst_ns:
            self._drop_burst()
        return self._burst

    def _complete(self, turns: tuple[int, int, int, int], stamp_ns: int) -> Measurement | None:
        burst = self._current(stamp_ns)
        if burst is None or burst.gyro is None:
            self._drop_burst()
            return None
        self._burst = None
        w, x, y, z = (turn * TURN_UNIT for turn in turns)
        return Measurement((w, x, y, z), burst.gyro, burst.accelerometer, None)
