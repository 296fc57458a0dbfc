"""One emulated Dynamixel servo: instructions in, statuses out, and a shaft that it drives."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from robots.dynamixel.control_table import (
    BAUD_RATES,
    MODELS,
    TORQUE_BY_GOAL_BIT,
    WATCHDOG_TRIPPED,
    Register,
)
from robots.dynamixel.protocol import ALERT, ErrorNumber, Instruction, Status
from sim.emulator.actuator import Actuator
from sim.emulator.controller import EXTENDED_MODE
from sim.emulator.memory import GOALS, Memory, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sim.emulator.motors import Drive

_CLEAR = b"\x01\x44\x58\x4c\x22"
_STORE, _RESTORE = b"\x01CTRL", b"\x02CTRL"
_KEEP = {
    0xFF: (),
    0x01: (Register.ID,),
    0x02: (Register.ID, Register.BAUD_RATE),
}
_ADDRESS = 2
_READ_SIZE = 4
_CLEAR_FIRMWARE = 42
_NS_PER_MS = 1_000_000
_WATCHDOG_NS = 20_000_000
_ONE_PING, _ALL = 0, 2
_STARTUP_TORQUE, _STARTUP_RESTORE = 0x01, 0x02


class ServoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a servo is, and what nobody has established about real ones."""

    id: int = 1
    """ID on the bus."""
    model: int = 1030
    """Model number."""
    firmware: int = 50
    """Firmware version."""
    eeprom: dict[str, int] = {}
    """Changes to the factory's EEPROM contents, by the name of the register in lower case."""
    watchdog_fed_by: Literal["own", "any"] = "own"
    """Whether packets for other servos feed the bus watchdog."""
    runs_away: bool = False
    """Whether a tripped watchdog moves the motor without end, as old firmware does in extended
    position mode with a homing offset."""
    reboot_s: float = 0.5
    """How long a reboot takes, s; unverified, real ones are said to take 0.3 to 1 s."""


class Servo:
    """A servo; the bench steps it, the bus gives it instructions."""

    def __init__(self, options: ServoOptions | None = None) -> None:
        """Take a servo from its box; the bench switches it on."""
        self.options = options or ServoOptions()
        changes = {Register.ID: self.options.id} | _by_register(self.options.eeprom)
        self._model = MODELS[self.options.model]
        self.memory = Memory(self._model, self.options.firmware, changes)
        """The control table; tests look into it."""
        self.actuator = Actuator(self._model, self.memory)
        """Motor, encoder and loops."""
        self.silent = False
        """Whether it neither hears nor speaks."""
        self.fast_read = self._model.fast_sync_read(self.options.firmware)
        """Whether it takes part in fast reads."""
        self.baud: int | None = None
        """Speed it listens at whatever register 8 says, bit/s."""
        self._now_ns = 0
        self._booted_ns = 0
        self._fed_ns = 0
        self._registered: bytes | None = None
        self._restarts = False

    @property
    def id(self) -> int:
        """ID it answers to."""
        return self.memory.get(Register.ID)

    @property
    def return_delay_us(self) -> int:
        """Time it waits before it answers, µs."""
        return 2 * self.memory.get(Register.RETURN_DELAY)

    @property
    def newer(self) -> bool:
        """Whether its firmware knows backups and torque by goal writes."""
        return self._model.fast_sync_read(self.options.firmware)

    def hears(self, baud: int, now_ns: int) -> bool:
        """Whether it is on the bus and listens at this speed."""
        own = self.baud or BAUD_RATES[self.memory.get(Register.BAUD_RATE)]
        return not self.silent and now_ns >= self._booted_ns and own == baud

    def answers(self, instruction: int) -> bool:
        """Whether Status Return Level lets it answer."""
        level = self.memory.get(Register.STATUS_RETURN_LEVEL)
        if instruction == Instruction.PING:
            return True
        return level == _ALL or (level > _ONE_PING and instruction == Instruction.READ)

    def feed(self, now_ns: int, *, own: bool) -> None:
        """Hear an instruction, for itself or for others."""
        self._now_ns = max(self._now_ns, now_ns)
        if own or self.options.watchdog_fed_by == "any":
            self._fed_ns = now_ns

    def status(self, number: int, data: bytes = b"") -> Status:
        """Status with this error number, and the Alert bit if a hardware error is latched."""
        alert = ALERT if self.memory.get(Register.HARDWARE_ERROR) else 0
        return Status(self.id, alert | number, data)

    def ping(self) -> Status:
        """Say model and firmware."""
        return self.status(ErrorNumber.NONE, self._identity(b""))

    def read(self, address: int, size: int) -> Status:
        """Answer a read."""
        return self._try(partial(self._load, address, size))

    def write(self, address: int, data: bytes) -> Status:
        """Carry out a write."""
        return self._try(partial(self._store, address, data))

    def execute(self, instruction: int, parameters: bytes, now_ns: int) -> Status:
        """Carry out an instruction that is meant for this servo alone or for all."""
        self._now_ns = max(self._now_ns, now_ns)
        status = self._try(partial(self._perform, instruction, parameters))
        if self._restarts:
            self._restarts = False
            self.reboot()
        return status

    def power_on(self) -> None:
        """Start with everything that is not EEPROM as after power-up."""
        self.memory.power_on()
        startup = self.memory.get(Register.STARTUP) if self.newer else 0
        if startup & _STARTUP_RESTORE:
            self.memory.restore_ram()
        self._registered = None
        self._fed_ns = self._now_ns
        self.actuator.start()
        if startup & _STARTUP_TORQUE:
            self.memory.set(Register.TORQUE_ENABLE, 1)

    def sense(self, angle: float, speed: float) -> None:
        """Feel the horn at this angle, rad from its mark, and at this speed, rad/s."""
        self.actuator.sense(angle, speed)

    def step(self, now_ns: int, volts: float, dt: float) -> Drive:
        """Go one step of dt seconds on at this supply voltage, V, and return the drive."""
        self._now_ns = max(self._now_ns, now_ns)
        limit_ns = self.memory.get(Register.BUS_WATCHDOG) * _WATCHDOG_NS
        torque = self.memory.get(Register.TORQUE_ENABLE)
        if torque and limit_ns > 0 and self._now_ns - self._fed_ns >= limit_ns:
            self.trip()
        return self.actuator.step(volts, dt)

    def trip(self) -> None:
        """Stop because the bus watchdog has seen no instruction in time."""
        self.memory.set(Register.BUS_WATCHDOG, WATCHDOG_TRIPPED)
        mode = self.memory.get(Register.OPERATING_MODE)
        offset = self.memory.get(Register.HOMING_OFFSET)
        runs = self.options.runs_away and mode == EXTENDED_MODE and offset != 0
        self.actuator.stop("runaway" if runs else "watchdog")

    def reboot(self) -> None:
        """Go off the bus and come back as after power-up."""
        self.power_on()
        self._booted_ns = self._now_ns + round(1e9 * self.options.reboot_s)

    def _try(self, action: Callable[[], bytes]) -> Status:
        """Status with the data of an action, or with the number of its error."""
        try:
            return self.status(ErrorNumber.NONE, action())
        except RefusedError as error:
            return self.status(error.number)

    def _perform(self, instruction: int, parameters: bytes) -> bytes:
        """Data of the answer to an instruction."""
        actions: dict[int, Callable[[bytes], bytes]] = {
            Instruction.PING: self._identity,
            Instruction.READ: self._read,
            Instruction.WRITE: self._write,
            Instruction.REG_WRITE: self._register,
            Instruction.ACTION: self._act,
            Instruction.REBOOT: self._restart,
            Instruction.FACTORY_RESET: self._factory_reset,
        }
        if self.options.firmware >= _CLEAR_FIRMWARE:
            actions[Instruction.CLEAR] = self._clear
        if self.newer:
            actions[Instruction.BACKUP] = self._back_up
        if instruction not in actions:
            raise RefusedError(ErrorNumber.INSTRUCTION)
        return actions[instruction](parameters)

    def _identity(self, parameters: bytes) -> bytes:
        del parameters
        return self.memory.read(Register.MODEL_NUMBER.address, 2) + self.memory.read(
            Register.FIRMWARE.address, 1
        )

    def _read(self, parameters: bytes) -> bytes:
        if len(parameters) != _READ_SIZE:
            raise RefusedError(ErrorNumber.DATA_LENGTH)
        return self._load(_word(parameters), _word(parameters[_ADDRESS:]))

    def _write(self, parameters: bytes) -> bytes:
        return self._store(_word(parameters), parameters[_ADDRESS:])

    def _load(self, address: int, size: int) -> bytes:
        """Read registers as they are now."""
        self.actuator.show()
        tick_ms = (self._now_ns - self._booted_ns) // _NS_PER_MS
        self.memory.set(Register.REALTIME_TICK, tick_ms % (Register.REALTIME_TICK.high + 1))
        return self.memory.read(address, size)

    def _store(self, address: int, data: bytes) -> bytes:
        """Write registers, with all that follows from it."""
        values = self.memory.check(address, data)
        if values.get(Register.TORQUE_ENABLE) and self.actuator.shut_down:
            raise RefusedError(ErrorNumber.RESULT_FAIL)  # which number real ones give is unknown
        before = {register: self.memory.get(register) for register in values}
        self.memory.write(address, data)
        for register, value in values.items():
            self._take_effect(register, value, before[register])
        return b""

    def _take_effect(self, register: Register, value: int, before: int) -> None:
        """Do what a write does besides storing a value."""
        if register is Register.TORQUE_ENABLE and value and not before:
            self._torque_on()
        elif register is Register.OPERATING_MODE and value != before:
            self.memory.reset_gains()
            self.actuator.change_mode()
        elif register is Register.BUS_WATCHDOG:
            self._fed_ns = self._now_ns
            if value == 0:
                self.actuator.stop(None)
        elif register in GOALS and self._torque_follows_goal:
            self._torque_on()

    @property
    def _torque_follows_goal(self) -> bool:
        bit = self.memory.get(Register.DRIVE_MODE) & TORQUE_BY_GOAL_BIT
        idle = not self.memory.get(Register.TORQUE_ENABLE)
        return bool(bit) and idle and self.newer and not self.actuator.shut_down

    def _torque_on(self) -> None:
        self.memory.set(Register.TORQUE_ENABLE, 1)
        self._fed_ns = self._now_ns
        self.actuator.enable()

    def _register(self, parameters: bytes) -> bytes:
        """Keep a write until Action."""
        self.memory.check(_word(parameters), parameters[_ADDRESS:])
        self._registered = parameters
        self.memory.set(Register.REGISTERED, 1)
        return b""

    def _act(self, parameters: bytes) -> bytes:
        del parameters
        if self._registered is None:
            raise RefusedError(ErrorNumber.INSTRUCTION)
        registered, self._registered = self._registered, None
        self.memory.set(Register.REGISTERED, 0)
        return self._write(registered)

    def _restart(self, parameters: bytes) -> bytes:
        """Reboot as soon as the answer is out."""
        del parameters
        self._restarts = True
        return b""

    def _factory_reset(self, parameters: bytes) -> bytes:
        if len(parameters) != 1 or parameters[0] not in _KEEP:
            raise RefusedError(ErrorNumber.DATA_RANGE)
        if self.memory.get(Register.TORQUE_ENABLE):
            raise RefusedError(ErrorNumber.ACCESS)
        self.memory.factory_reset(keep=_KEEP[parameters[0]])
        return self._restart(b"")

    def _clear(self, parameters: bytes) -> bytes:
        """Drop the count of turns; only at rest."""
        if parameters != _CLEAR:
            raise RefusedError(ErrorNumber.DATA_RANGE)
        if self.actuator.moving:
            raise RefusedError(ErrorNumber.RESULT_FAIL)
        self.actuator.back_in_one_turn()
        return b""

    def _back_up(self, parameters: bytes) -> bytes:
        if parameters not in (_STORE, _RESTORE):
            raise RefusedError(ErrorNumber.DATA_RANGE)
        if self.memory.get(Register.TORQUE_ENABLE):
            raise RefusedError(ErrorNumber.RESULT_FAIL)
        if parameters == _STORE:
            self.memory.store_backup()
            return b""
        if not self.memory.restore_eeprom():
            raise RefusedError(ErrorNumber.RESULT_FAIL)
        return self._restart(b"")


def _word(data: bytes) -> int:
    return int.from_bytes(data[:2], "little")


def _by_register(changes: Mapping[str, int]) -> dict[Register, int]:
    """Changes of the EEPROM by register; raises ValueError for a name that is none."""
    known = {register.name.lower(): register for register in Register if register.address < 64}  # noqa: PLR2004
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(
            f"no register {unknown[0]!r} in EEPROM; expected one of {', '.join(known)}"
        )
    return {known[name]: value for name, value in changes.items()}
