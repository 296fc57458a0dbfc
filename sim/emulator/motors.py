"""The motors inside the servos: torque, speed and current of every model.

Figures of the vendor's data sheets at the voltage given, unverified on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Drive(NamedTuple):
    """What a servo does to its shaft until the next step: torque - damping * speed."""

    torque: float
    """Torque at standstill, N·m."""
    damping: float
    """Torque lost per speed, N·m·s/rad."""

    def seen_from(self, direction: float) -> Drive:
        """The same drive in the direction of a joint: -1.0 where it turns against the servo."""
        return Drive(direction * self.torque, self.damping)


FREE = Drive(0.0, 0.0)
"""No current flows: the shaft turns freely."""


@dataclass(frozen=True)
class Motor:
    """A geared DC motor: torque falls along a straight line from stall to no-load speed."""

    volts: float
    """Voltage of the figures below, V."""
    stall_torque: float
    """Torque at standstill and full duty, N·m."""
    no_load_speed: float
    """Speed without load at full duty, rad/s."""
    stall_current: float
    """Current at standstill and full duty, A."""

    @property
    def damping(self) -> float:
        """Torque that the speed takes away, by back-EMF, N·m·s/rad."""
        return self.stall_torque / self.no_load_speed

    def voltage_drive(self, duty: float, volts: float) -> Drive:
        """Drive at a duty cycle in [-1, 1] of the supply voltage, V; zero duty brakes."""
        return Drive(duty * volts / self.volts * self.stall_torque, self.damping)

    def current_drive(self, current: float, speed: float, volts: float) -> Drive:
        """Drive at a regulated current, A, as far as the supply can push it at this speed."""
        available = volts / self.volts * self.stall_torque
        lost = self.damping * speed
        wanted = current / self.stall_current * self.stall_torque
        return Drive(min(max(wanted, -available - lost), available - lost), 0.0)

    def current(self, drive: Drive, speed: float) -> float:
        """Current through the motor at this speed, A."""
        torque = drive.torque - drive.damping * speed
        return torque / self.stall_torque * self.stall_current


MOTORS = {
    1020: Motor(12.0, 4.1, 4.82, 2.3),  # XM430-W350
    1030: Motor(12.0, 3.0, 8.06, 2.3),  # XM430-W210
    1060: Motor(12.0, 1.5, 6.39, 1.4),  # XL430-W250
    1190: Motor(5.0, 0.22, 40.1, 1.47),  # XL330-M077
    1200: Motor(5.0, 0.52, 10.8, 1.47),  # XL330-M288
}
"""Motor of every model number that can be emulated."""
