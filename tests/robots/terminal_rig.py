"""A serial robot in real time: real drivers on pseudo-terminals, emulated devices behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

import robots
from robots.serial_robot import serial_robot
from sim.emulator.emulation import Emulation, EmulationOptions

if TYPE_CHECKING:
    import contextlib

    from robots.serial_robot import SerialRobot


def terminal_robot(stack: contextlib.ExitStack, *, ramp_speed: float = 1.0) -> SerialRobot:
    """The small quadruped, limp in its crouch; its ports are there until the stack is closed.

    The driver is patient, since tests run on busy machines.
    """
    folder = robots.find("pup")
    assert folder.spec.bus is not None
    safety = msgspec.structs.replace(
        folder.spec.safety, ramp_speed=ramp_speed, stale_hold_s=1.0, stale_damp_s=2.0
    )
    patient = msgspec.structs.replace(folder.spec.bus, usb_latency_s=0.1, watchdog_s=2.0)
    spec = msgspec.structs.replace(folder.spec, bus=patient, safety=safety)
    emulation = Emulation(folder, EmulationOptions(), imu=folder.spec.imu_device)
    stack.enter_context(emulation)
    assert emulation.imu is not None
    return serial_robot(spec, port=emulation.servos.path, imu_port=emulation.imu.path)
