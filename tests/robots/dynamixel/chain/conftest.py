"""A chain of three servos, emulated in virtual time, for tests of what the driver makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pytest

from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.config import BusSpec, ServoSpec
from robots.dynamixel.control_table import Register
from robots.errors import PortLostError, ServoSetupError
from sim.emulator.bench import Bench, Mount
from sim.emulator.bus import Bus as EmulatedBus
from sim.emulator.bus import WireOptions
from sim.emulator.faults import Faults, parse_fault
from sim.emulator.motion import SimpleJoints
from sim.emulator.servo import Servo, ServoOptions
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TICK_S = 0.02
SIGNS: tuple[int, ...] = (1, -1, 1)
OFFSETS = (0.0, 0.3, -0.2)
IDS = (11, 12, 13)
LIMITS = ((-1.0, 1.0), (-1.2, 0.8), (-0.5, 0.5))
EEPROM = {"baud_rate": 3, "return_delay": 0}


class VirtualLine(VirtualPort):
    """A port in virtual time that keeps what is written, and can be lost."""

    def __init__(self, bus: EmulatedBus) -> None:
        super().__init__(bus)
        self.lost = False
        self.written: list[bytes] = []
        self.before: dict[int, Callable[[], object]] = {}

    def write(self, data: bytes) -> None:
        if self.lost:
            raise PortLostError("virtual", "a test has pulled it")
        if action := self.before.pop(len(self.written), None):
            action()
        self.written.append(data)
        super().write(data)


@dataclass
class Rig:
    """A chain, the bus under it, and the servos behind that."""

    chain: Chain
    bus: Bus
    line: VirtualLine
    bench: Bench

    def set(self, register: Register, value: int, servo: int = 0) -> None:
        """Change a register behind the driver's back."""
        self.bench.servos[servo].memory.set(register, value)

    def get(self, register: Register, servo: int = 0) -> int:
        """Look into a register."""
        return self.bench.servos[servo].memory.get(register)

    def torques(self) -> list[int]:
        """Torque Enable of every servo."""
        return [self.get(Register.TORQUE_ENABLE, index) for index in range(len(IDS))]

    def tick(self, goals: Sequence[float], times: int = 1) -> None:
        """Write and read, a control period apart."""
        for _ in range(times):
            self.chain.write(goals)
            self.line.sleep(TICK_S)
            self.chain.read()


def rig(
    *faults: str,
    changes: dict[int, ServoOptions] | None = None,
    strangers: Sequence[ServoOptions] = (),
    **spec: object,
) -> Rig:
    """Servos of three joints, some of them replaced, perhaps with strangers on the bus."""
    options = [ServoOptions(id=device, eeprom=EEPROM) for device in IDS]
    for index, changed in (changes or {}).items():
        options[index] = changed
    servos = [Servo(one) for one in (*options, *strangers)]
    mounts = [
        Mount(direction=sign, offset=offset) for sign, offset in zip(SIGNS, OFFSETS, strict=True)
    ]
    mounts += [Mount()] * len(strangers)
    bench = Bench(
        servos,
        plant=SimpleJoints(len(servos)),
        mounts=mounts,
        faults=Faults([parse_fault(text) for text in faults], seed=1),
    )
    line = VirtualLine(EmulatedBus(bench, options=WireOptions(baud=1_000_000)))
    bus = Bus(line)
    chain = Chain(bus, bus_spec(**spec), LIMITS)
    return Rig(chain, bus, line, bench)


def twelve(*faults: str) -> Rig:
    """Twelve servos as they should be, torque on."""
    ids = range(1, 13)
    servos = [Servo(ServoOptions(id=device, eeprom=EEPROM)) for device in ids]
    bench = Bench(servos, faults=Faults([parse_fault(text) for text in faults], seed=1))
    line = VirtualLine(EmulatedBus(bench, options=WireOptions(baud=1_000_000)))
    specs = tuple(
        ServoSpec(joint=f"joint{device}", id=device, model="XM430-W210", torque_constant=1.3)
        for device in ids
    )
    bus = Bus(line)
    chain = Chain(bus, BusSpec(servos=specs), [(-1.0, 1.0)] * 12)
    chain.open()
    chain.enable()
    return Rig(chain, bus, line, bench)


def bus_spec(**changes: object) -> BusSpec:
    """What robot.toml says about the three servos."""
    servos = tuple(
        ServoSpec(
            joint=f"joint{index}",
            id=device,
            model="XM430-W210",
            sign=1 if sign > 0 else -1,
            offset=offset,
            torque_constant=1.3,
        )
        for index, (device, sign, offset) in enumerate(zip(IDS, SIGNS, OFFSETS, strict=True))
    )
    return msgspec.structs.replace(BusSpec(servos=servos), **changes)


def ready(*faults: str) -> Rig:
    """A chain with its torque on."""
    made = rig(*faults)
    made.chain.open()
    made.chain.enable()
    return made


def refused(made: Rig) -> str:
    """Why open() refuses."""
    with pytest.raises(ServoSetupError) as caught:
        made.chain.open()
    assert made.torques() == [0] * len(IDS)
    return str(caught.value)


def replaced(device: int = 11, **changes: object) -> dict[int, ServoOptions]:
    """The first servo, with another EEPROM or other options."""
    eeprom = EEPROM | {key: value for key, value in changes.items() if key.lower() in _EEPROM}
    rest = {key: value for key, value in changes.items() if key not in eeprom}
    return {0: msgspec.convert({"id": device, "eeprom": eeprom} | rest, ServoOptions)}


_EEPROM = {register.name.lower() for register in Register}
