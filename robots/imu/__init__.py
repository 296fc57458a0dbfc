"""Serial IMUs: attitude, angular rate and specific force of the body, with their true age."""

from robots.imu.catalog import create
from robots.imu.config import ImuSpec
from robots.imu.errors import ImuError, ImuLostError, ImuRefusedError
from robots.imu.sample import Imu, ImuReading, ImuSample

__all__ = [
    "Imu",
    "ImuError",
    "ImuLostError",
    "ImuReading",
    "ImuRefusedError",
    "ImuSample",
    "ImuSpec",
    "create",
]
