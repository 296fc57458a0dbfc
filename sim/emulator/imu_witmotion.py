"""A WitMotion WT901 at byte level, as its driver's reference describes it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from sim.emulator.imu_device import ImuDevice

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sim.emulator.imu_device import ImuSource
    from sim.emulator.imu_faults import ImuFault

_RATES_HZ = {0x06: 10.0, 0x07: 20.0, 0x08: 50.0, 0x09: 100.0, 0x0B: 200.0}
"""Rate of every code, Hz; unverified on hardware."""
_CONTENT, _RATE, _UNLOCK = 0x02, 0x03, 0x69
_KEY = 0xB588
_UNLOCKED_NS = 10_000_000_000
_FRAMES = (0, 1, 2, 3, 4, 9)
"""Bits of the content register that have a frame here."""


class WitMotionDevice(ImuDevice):
    """Frames by content mask at a rate by code; settings behind a lock; it never answers."""

    model = "wt901"
    cannot = frozenset({"clock-jump"})

    def __init__(
        self,
        source: ImuSource,
        *,
        baud: int = 115200,
        noise: float = 1.5,
        faults: Iterable[ImuFault] = (),
        seed: int = 0,
    ) -> None:
        """Begin with the factory's settings, but for the speed.

        The noise is of acceleration and rate, standard deviation in units of their last bit: an
        IMU without a clock shows by nothing else that it lives when the body is at rest.
        """
        super().__init__(source, baud=baud, faults=faults, seed=seed)
        self.registers = {_CONTENT: 0x001E, _RATE: 0x06}
        """Content of the registers that matter here."""
        self.stuck = False
        """Whether settings are not taken, as by a unit that does not know these registers."""
        self._noise = noise
        self._heard = b""
        self._locked_at_ns = 0

    def hear(self, data: bytes, now_ns: int) -> None:
        """Obey every whole command, as long as it is unlocked."""
        self._heard += data
        while (start := self._heard.find(b"\xff\xaa")) >= 0 and len(self._heard) >= start + 5:
            register, value = struct.unpack_from("<BH", self._heard, start + 2)
            self._heard = self._heard[start + 5 :]
            if register == _UNLOCK and value == _KEY:
                self._locked_at_ns = now_ns + _UNLOCKED_NS
            elif register in self.registers and now_ns < self._locked_at_ns and not self.stuck:
                self.registers[register] = value

    def rate_hz(self) -> float:
        """Rate of the bursts."""
        return _RATES_HZ.get(self.registers[_RATE], 0.0)

    def message(self, clock_ns: int, *, broken: bool) -> bytes:
        """The frames of one sample, one behind the other."""
        quaternion, gyro, force = self._source()
        turned = (0.0, 0.0, 0.0, 0.0) if broken else quaternion
        seconds, milliseconds = divmod(clock_ns // 1_000_000, 1000)
        contents = {
            0: struct.pack("<6BH", 26, 1, 1, 0, 0, seconds % 60, milliseconds),
            1: self._noisy([part / 9.80665 / 16 for part in force]) + struct.pack("<h", 2500),
            2: self._noisy([math.degrees(part) / 2000 for part in gyro]) + bytes(2),
            3: _words([angle / math.pi for angle in _angles(quaternion)]) + bytes(2),
            4: bytes(8),
            9: _words(turned),
        }
        mask = self.registers[_CONTENT]
        return b"".join(_frame(0x50 + bit, contents[bit]) for bit in _FRAMES if mask >> bit & 1)

    def text(self) -> bytes:
        """A line as a terminal program or a boot loader would write it."""
        return b"WT901 ready\r\n"

    def _noisy(self, shares: Sequence[float]) -> bytes:
        return _words([share + self.dice.gauss(0.0, self._noise) / 32768 for share in shares])


def _frame(kind: int, content: bytes) -> bytes:
    frame = bytes((0x55, kind)) + content
    return frame + bytes((sum(frame) & 0xFF,))


def _words(shares: Sequence[float]) -> bytes:
    """Shares of full scale as 16-bit integers, as far as these go."""
    words = [max(-32768, min(32767, round(share * 32768))) for share in shares]
    return struct.pack(f"<{len(words)}h", *words)


def _angles(quaternion: Sequence[float]) -> tuple[float, float, float]:
    """Roll, pitch and yaw, rad."""
    w, x, y, z = quaternion
    return (
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        math.asin(max(-1.0, min(1.0, 2 * (w * y - x * z)))),
        math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    )
