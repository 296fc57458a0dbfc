"""What robot.toml says about the IMU."""

from __future__ import annotations

import math
from typing import Literal

import msgspec


class ImuSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which IMU it is, how it talks and how it sits in the body.

    Its device is not part of the robot and is named when it is opened.
    """

    model: Literal["vn100", "wt901"]
    """VectorNav VN-100, or a WitMotion WT901 or its kin."""
    baud: int
    """Baud rate that the IMU is set to; the driver never changes it."""
    rate_hz: float
    """Samples per second, Hz."""
    mounting_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Roll, pitch, yaw, degrees, that turn the body's axes into the sensor's x forward, y left,
    z up; applied in this order about the body's fixed axes."""
    uart: Literal[1, 2] = 2
    """VN-100 only: which of its two serial ports the cable is on."""

    def __post_init__(self) -> None:
        """Refuse numbers that no IMU can have; raises ValueError."""
        if self.baud <= 0:
            raise ValueError(f"imu baud {self.baud}; expected a positive number")
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ValueError(f"imu rate_hz {self.rate_hz}; expected a positive number")
        if not all(math.isfinite(angle) for angle in self.mounting_deg):
            raise ValueError(f"imu mounting_deg {self.mounting_deg}; expected three finite angles")

    @property
    def period_s(self) -> float:
        """Time from sample to sample, s."""
        return 1.0 / self.rate_hz
