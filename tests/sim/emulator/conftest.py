"""An emulated bus in virtual time, for every test of servos and wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from robots.dynamixel.protocol import BROADCAST, Instruction, Receiver, Status, encode
from sim.emulator.bench import Battery, Bench
from sim.emulator.bus import Bus, WireOptions
from sim.emulator.faults import Faults, parse_fault
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robots.dynamixel.control_table import Register
    from sim.emulator.motion import Plant


@dataclass(frozen=True)
class Rig:
    """A bus with what is on it and a host that talks in virtual time."""

    bench: Bench
    bus: Bus
    port: VirtualPort

    @property
    def servo(self) -> Servo:
        """The first servo."""
        return self.bench.servos[0]

    def ask(self, device: int, instruction: int, parameters: bytes = b"") -> Status:
        """Status of the one servo that answers."""
        (status,) = self.ask_all(device, instruction, parameters)
        return status

    def ask_all(self, device: int, instruction: int, parameters: bytes = b"") -> list[Status]:
        """Statuses of everybody who answers, in the order in which they do."""
        answer = self.port.exchange(encode(device, instruction, parameters), wait_ms=100)
        return [frame.status for frame in Receiver().feed(answer)]

    def read(self, register: Register, device: int = 1) -> int:
        """Value of a register."""
        status = self.ask(device, Instruction.READ, words(register.address, register.size))
        assert status.number == 0, f"{register.label}: error {status.number}"
        return register.decode(status.data)

    def write(self, register: Register, value: int, device: int = 1) -> int:
        """Error number that the servo answers a write with."""
        data = value.to_bytes(register.size, "little", signed=value < 0)
        return self.ask(device, Instruction.WRITE, words(register.address) + data).number

    def sync_read(self, ids: Sequence[int], address: int = 126, size: int = 10) -> list[Status]:
        """Statuses of a sync read."""
        return self.ask_all(BROADCAST, Instruction.SYNC_READ, words(address, size) + bytes(ids))


def words(*values: int) -> bytes:
    """16-bit numbers as they stand in parameters."""
    return b"".join(value.to_bytes(2, "little") for value in values)


def make_rig(
    ids: Sequence[int] = (1,),
    *,
    faults: Sequence[str] = (),
    wire: WireOptions | None = None,
    plant: Plant | None = None,
    volts: float = 12.0,
    **options: Any,  # noqa: ANN401 -- fields of ServoOptions
) -> Rig:
    """Servos at 1 Mbit/s without return delay, unless the options say otherwise."""
    eeprom = {"baud_rate": 3, "return_delay": 0} | options.pop("eeprom", {})
    servos = [Servo(ServoOptions(id=one, eeprom=eeprom, **options)) for one in ids]
    struck = Faults([parse_fault(text) for text in faults], seed=1)
    bench = Bench(servos, plant=plant, faults=struck, battery=Battery(volts=volts))
    bus = Bus(bench, options=wire)
    return Rig(bench, bus, VirtualPort(bus))


@pytest.fixture
def rig() -> Callable[..., Rig]:
    """Maker of buses from IDs, faults, wire, plant, and fields of ServoOptions."""
    return make_rig
