"""Driver of the WitMotion WT901 family: cheap, without a clock, with a checksum of eight bits.

The sensor's own axes count as x forward, y left, z up; how they point is mounting_deg's business.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from robots.imu.reader import SerialImu
from robots.imu.witmotion_codec import (
    ACCELERATION,
    CONTENT,
    CONTENT_MASK,
    GYRO,
    QUATERNION,
    RATE,
    RATE_CODES,
    SIZE,
    UNLOCK,
    WitMotionDecoder,
    setting,
)

if TYPE_CHECKING:
    from robots.imu.config import ImuSpec
    from robots.imu.port import SerialPort

COMMAND_S = 0.05
"""Pause after each command, s: nothing answers, so nothing says when the next may come."""
FRAMES = (ACCELERATION, GYRO, QUATERNION)


class WitMotion(SerialImu):
    """A WT901 that streams acceleration, gyro and quaternion; nothing it says can be asked for."""

    def __init__(self, spec: ImuSpec, port: str) -> None:
        """Take description and port; raises ValueError if the WT901 cannot deliver that rate."""
        if spec.rate_hz not in RATE_CODES:
            raise ValueError(
                f"imu rate_hz {spec.rate_hz:g}; expected one of "
                f"{', '.join(f'{rate:g}' for rate in RATE_CODES)}"
            )
        needed = len(FRAMES) * SIZE * 10 * spec.rate_hz
        if needed > spec.baud:
            raise ValueError(
                f"imu rate_hz {spec.rate_hz:g} needs {needed:.0f} baud, got {spec.baud}; raise "
                "the baud in the IMU and in robot.toml, or lower the rate"
            )
        super().__init__(spec, port)

    def _make_decoder(self) -> WitMotionDecoder:
        return WitMotionDecoder(self.spec.rate_hz)

    def _set_up(self, port: SerialPort) -> None:
        """Ask for our frames at our rate; whether it obeys shows in what it streams."""
        rate = RATE_CODES[self.spec.rate_hz]
        for command in (UNLOCK, setting(CONTENT, CONTENT_MASK), setting(RATE, rate)):
            port.write(command)
            time.sleep(COMMAND_S)

    def _silence_hint(self) -> str:
        seen = self._decoder.types if isinstance(self._decoder, WitMotionDecoder) else set()
        types = " ".join(f"{kind:02X}" for kind in sorted(seen)) or "none"
        return (
            f"frames of type {types}, expected 51 52 59; check that the IMU is set to "
            f"{self.spec.baud} baud, and its output content"
        )
