"""What names every kind of driver error, light enough for whoever judges them."""

from __future__ import annotations

import subprocess
import sys

from robots.errors import BusError, HardwareFaultError, RobotError
from robots.imu.errors import ImuLostError

_LIGHT = """
import sys
import robots.errors, robots.imu.errors
heavy = {"serial", "fastcrc", "mujoco"} & set(sys.modules)
assert not heavy, heavy
"""


def test_errors_are_named_without_loading_a_driver() -> None:
    """A guard maps them by type and needs neither the serial port's library nor the CRC's."""
    subprocess.run([sys.executable, "-c", _LIGHT], check=True, timeout=15)


def test_a_hardware_fault_says_what_to_do() -> None:
    """It is an error of the bus, and of the robot side; a lost IMU is one of the latter only."""
    error = HardwareFaultError("knee (servo 3): Hardware Error (70) is 0x20, overload")
    assert isinstance(error, BusError)
    assert "knee (servo 3)" in str(error)
    assert "connect again" in str(error)
    assert issubclass(ImuLostError, RobotError)
    assert not issubclass(ImuLostError, BusError)
