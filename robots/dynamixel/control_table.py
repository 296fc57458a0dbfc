"""Registers of the Dynamixel X series, the models that are supported, and their units.

One table for all: addresses are the same for every model here but for the indirect data of the
XL330.  Sources: ROBOTIS e-Manual, docs/en/dxl/x/{xm430-w350,xm430-w210,xl430-w250,xl330-m288}.md,
and ROBOTIS-GIT/DynamixelSDK, control_table/*.model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, IntFlag, unique

RAD_PER_COUNT = 2.0 * math.pi / 4096
"""One count of a position, rad."""
CENTRE_COUNT = 2048
"""Position of the horn's mark, counts."""
RAD_PER_S_PER_COUNT = 0.0239691227
"""One count of a velocity, rad/s: the model files' figure; 0.229 rpm would be 0.05 % more."""
VOLT_PER_COUNT = 0.1
"""One count of a voltage, V."""
WATCHDOG_S_PER_COUNT = 0.02
"""One count of the bus watchdog, s."""
RETURN_DELAY_S_PER_COUNT = 2e-6
"""One count of the return delay, s."""

BAUD_RATES = (9600, 57600, 115200, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 4_500_000)
"""Baud by the value of register 8; the XL330 lacks the last."""


class Access(Enum):
    """Who may write a register, and when."""

    READ = "read only"
    EEPROM = "kept without power, writable with the torque off"
    RAM = "writable, lost without power"


@unique
class Register(Enum):
    """One item of the control table: address, size, access, smallest and largest value, unit.

    A register whose smallest value is negative is signed.
    """

    MODEL_NUMBER = (0, 2, Access.READ, 0, 0xFFFF, "")
    MODEL_INFORMATION = (2, 4, Access.READ, 0, 0xFFFF_FFFF, "")
    FIRMWARE = (6, 1, Access.READ, 0, 255, "")
    ID = (7, 1, Access.EEPROM, 0, 252, "")
    BAUD_RATE = (8, 1, Access.EEPROM, 0, 7, "code")
    RETURN_DELAY = (9, 1, Access.EEPROM, 0, 254, "2 µs")
    DRIVE_MODE = (10, 1, Access.EEPROM, 0, 13, "bits")
    OPERATING_MODE = (11, 1, Access.EEPROM, 0, 16, "code")
    SHADOW_ID = (12, 1, Access.EEPROM, 0, 255, "")
    PROTOCOL = (13, 1, Access.EEPROM, 1, 22, "code")
    HOMING_OFFSET = (20, 4, Access.EEPROM, -1_044_479, 1_044_479, "counts")
    MOVING_THRESHOLD = (24, 4, Access.EEPROM, 0, 1023, "0.229 rpm")
    TEMPERATURE_LIMIT = (31, 1, Access.EEPROM, 0, 100, "°C")
    MAX_VOLTAGE_LIMIT = (32, 2, Access.EEPROM, 31, 160, "0.1 V")
    MIN_VOLTAGE_LIMIT = (34, 2, Access.EEPROM, 31, 160, "0.1 V")
    PWM_LIMIT = (36, 2, Access.EEPROM, 0, 885, "0.113 %")
    CURRENT_LIMIT = (38, 2, Access.EEPROM, 0, 2047, "counts of the model")
    VELOCITY_LIMIT = (44, 4, Access.EEPROM, 0, 2047, "0.229 rpm")
    MAX_POSITION_LIMIT = (48, 4, Access.EEPROM, 0, 4095, "counts")
    MIN_POSITION_LIMIT = (52, 4, Access.EEPROM, 0, 4095, "counts")
    STARTUP = (60, 1, Access.EEPROM, 0, 3, "bits")
    PWM_SLOPE = (62, 1, Access.EEPROM, 1, 255, "1.977 mV/ms")
    SHUTDOWN = (63, 1, Access.EEPROM, 0, 63, "bits of Hardware Error")
    TORQUE_ENABLE = (64, 1, Access.RAM, 0, 1, "")
    LED = (65, 1, Access.RAM, 0, 1, "")
    STATUS_RETURN_LEVEL = (68, 1, Access.RAM, 0, 2, "code")
    REGISTERED = (69, 1, Access.READ, 0, 1, "")
    HARDWARE_ERROR = (70, 1, Access.READ, 0, 255, "bits")
    VELOCITY_I = (76, 2, Access.RAM, 0, 16383, "1/65536")
    VELOCITY_P = (78, 2, Access.RAM, 0, 16383, "1/128")
    POSITION_D = (80, 2, Access.RAM, 0, 16383, "1/16")
    POSITION_I = (82, 2, Access.RAM, 0, 16383, "1/65536")
    POSITION_P = (84, 2, Access.RAM, 0, 16383, "1/128")
    FEEDFORWARD_2 = (88, 2, Access.RAM, 0, 16383, "1/4")
    FEEDFORWARD_1 = (90, 2, Access.RAM, 0, 16383, "1/4")
    BUS_WATCHDOG = (98, 1, Access.RAM, -1, 127, "20 ms")
    GOAL_PWM = (100, 2, Access.RAM, -885, 885, "0.113 %")
    GOAL_CURRENT = (102, 2, Access.RAM, -2047, 2047, "counts of the model")
    GOAL_VELOCITY = (104, 4, Access.RAM, -2047, 2047, "0.229 rpm")
    PROFILE_ACCELERATION = (108, 4, Access.RAM, 0, 32767, "214.577 rev/min²")
    PROFILE_VELOCITY = (112, 4, Access.RAM, 0, 32767, "0.229 rpm")
    GOAL_POSITION = (116, 4, Access.RAM, -1_048_575, 1_048_575, "counts")
    REALTIME_TICK = (120, 2, Access.READ, 0, 32767, "1 ms")
    MOVING = (122, 1, Access.READ, 0, 1, "")
    MOVING_STATUS = (123, 1, Access.READ, 0, 255, "bits")
    PRESENT_PWM = (124, 2, Access.READ, -32768, 32767, "0.113 %")
    PRESENT_CURRENT = (126, 2, Access.READ, -32768, 32767, "counts of the model")
    PRESENT_VELOCITY = (128, 4, Access.READ, -(2**31), 2**31 - 1, "0.229 rpm")
    PRESENT_POSITION = (132, 4, Access.READ, -(2**31), 2**31 - 1, "counts")
    VELOCITY_TRAJECTORY = (136, 4, Access.READ, -(2**31), 2**31 - 1, "0.229 rpm")
    POSITION_TRAJECTORY = (140, 4, Access.READ, -(2**31), 2**31 - 1, "counts")
    PRESENT_VOLTAGE = (144, 2, Access.READ, 0, 0xFFFF, "0.1 V")
    PRESENT_TEMPERATURE = (146, 1, Access.READ, 0, 255, "°C")
    BACKUP_READY = (147, 1, Access.READ, 0, 1, "")

    def __init__(self, address: int, size: int, access: Access, *rest: int | str) -> None:
        """Name the columns of a row."""
        self.address = address
        self.size = size
        self.access = access
        self.low = int(rest[0])
        self.high = int(rest[1])
        self.unit = str(rest[2])
        self.signed = self.low < 0

    @property
    def label(self) -> str:
        """Name as the e-Manual writes it, with the address."""
        return f"{self.name.replace('_', ' ').title()} ({self.address})"

    def encode(self, value: int) -> bytes:
        """Bytes of a value; ValueError when the register cannot have it."""
        if not self.low <= value <= self.high:
            raise ValueError(
                f"{self.label} = {value}; expected {self.low} to {self.high} {self.unit}".rstrip()
            )
        return value.to_bytes(self.size, "little", signed=self.signed)

    def decode(self, data: bytes) -> int:
        """Value of as many bytes as the register has; ValueError when they are fewer or more."""
        if len(data) != self.size:
            raise ValueError(f"{self.label} from {len(data)} bytes; expected {self.size}")
        return int.from_bytes(data, "little", signed=self.signed)


class HardwareError(IntFlag):
    """Bits of Hardware Error (70), and of Shutdown (63): which of them take the torque off."""

    VOLTAGE = 0x01
    OVERHEAT = 0x04
    ENCODER = 0x08
    SHOCK = 0x10
    OVERLOAD = 0x20

    @classmethod
    def names_of(cls, bits: int) -> str:
        """The bits by name, as in "overheat and overload"; "none" for none."""
        names = [bit.name.lower() for bit in cls if bits & bit and bit.name]
        unknown = bits & ~sum(cls)
        return " and ".join(names + ([f"unknown bits {unknown:#04x}"] if unknown else [])) or "none"


REVERSE_BIT = 0x01
"""Drive Mode: counts run the other way."""
TORQUE_BY_GOAL_BIT = 0x08
"""Drive Mode: writing a goal switches the torque on."""
POSITION_MODE = 3
"""Operating Mode: position within one turn."""
WATCHDOG_TRIPPED = -1
"""Bus Watchdog: no instruction came in time; goals are ignored until 0 is written."""


@dataclass(frozen=True)
class IndirectMap:
    """Where a servo lets bytes from anywhere in its RAM be read and written side by side."""

    address: int
    """First of the two-byte registers that hold the addresses."""
    data: int
    """First of the bytes that stand for what is at these addresses."""
    count: int
    """How many of them follow each other."""


@dataclass(frozen=True)
class Model:
    """What differs from model to model."""

    number: int
    """Model Number (0), which a ping returns."""
    name: str
    ampere_per_count: float | None
    """Unit of the currents, A; None where Present Current is a load in 0.1 % instead."""
    fast_sync_read_firmware: int | None
    """First firmware that knows Fast Sync Read; None: none does."""
    position_p: int
    """Position P Gain (84) when it is switched on."""
    position_d: int = 0
    """Position D Gain (80) when it is switched on."""
    is_x330: bool = False

    def fast_sync_read(self, firmware: int) -> bool:
        """Whether a servo of this firmware takes part in Fast Sync Read."""
        first = self.fast_sync_read_firmware
        return first is not None and firmware >= first

    def indirect(self, firmware: int) -> IndirectMap:
        """First bank of indirect registers of a servo of this firmware."""
        if self.is_x330 and firmware >= _X330_MOVED_INDIRECT:
            return IndirectMap(address=168, data=208, count=20)
        return IndirectMap(address=168, data=224, count=28)


_X330_MOVED_INDIRECT = 52
_XM430_AMPERE = 0.00269
_X330_AMPERE = 0.001  # the page of the XL330 says 2.69 mA in one place, 1 mA in the others

MODELS = {
    model.number: model
    for model in (
        Model(1020, "XM430-W350", _XM430_AMPERE, 45, position_p=800),
        Model(1030, "XM430-W210", _XM430_AMPERE, 45, position_p=800),
        Model(1060, "XL430-W250", None, 45, position_p=640, position_d=4000),
        Model(1190, "XL330-M077", _X330_AMPERE, 46, position_p=400, is_x330=True),
        Model(1200, "XL330-M288", _X330_AMPERE, 46, position_p=400, is_x330=True),
    )
}
"""Supported models by model number."""


def model_named(name: str) -> Model:
    """Supported model of that name; ValueError naming all when there is none."""
    for model in MODELS.values():
        if model.name == name:
            return model
    known = ", ".join(model.name for model in MODELS.values())
    raise ValueError(f"servo model {name!r}; expected one of {known}")
