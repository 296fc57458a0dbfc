"""Registers of every servo at one moment, from torque to position: what became of a write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.control_table import Register
from robots.errors import ServoEnableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots.dynamixel.bus import Bus
    from robots.dynamixel.protocol import Status

_FIRST, _LAST = Register.TORQUE_ENABLE, Register.PRESENT_POSITION
_SIZE = _LAST.address + _LAST.size - _FIRST.address


class Snapshot:
    """Registers of one servo, read together."""

    def __init__(self, status: Status) -> None:
        """Keep the answer."""
        self.label = f"servo {status.id}"
        self._data = status.data

    def __getitem__(self, register: Register) -> int:
        """Value of a register."""
        start = register.address - _FIRST.address
        return register.decode(self._data[start : start + register.size])

    def expect(self, register: Register, value: int) -> None:
        """Raise ServoEnableError unless a register has this value."""
        if self[register] != value:
            raise ServoEnableError(
                f"{self.label}: {register.label} is {self[register]}; expected {value}"
            )


def ask(bus: Bus, devices: Sequence[int]) -> list[Snapshot | None]:
    """Registers of these servos; None for who gives no usable answer."""
    found = bus.sync_read(_FIRST.address, _SIZE, devices, retry=True)
    return [None if status is None or status.number else Snapshot(status) for status in found]


def snapshots(bus: Bus, devices: Sequence[int]) -> list[Snapshot]:
    """Registers of these servos; raises ServoEnableError when one gives no usable answer."""
    found = ask(bus, devices)
    missing = [str(one) for one, got in zip(devices, found, strict=True) if got is None]
    if missing:
        raise ServoEnableError(f"servos {', '.join(missing)} do not answer; check the cable")
    return [one for one in found if one is not None]
