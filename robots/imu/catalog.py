"""Which driver belongs to which model of IMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robots.imu.config import ImuSpec
    from robots.imu.reader import SerialImu


def create(spec: ImuSpec, port: str) -> SerialImu:
    """Make the driver for this IMU without opening it; raises ValueError if it cannot be so set.

    The port is a path such as /dev/ttyUSB0; one under /dev/serial/by-id survives replugging.

    The serial library is loaded by then, not before.
    """
    if spec.model == "vn100":
        from robots.imu.vectornav import VectorNav

        return VectorNav(spec, port)
    from robots.imu.witmotion import WitMotion

    return WitMotion(spec, port)
