"""The control table of one emulated servo: what may be read and written, and what is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.control_table import WATCHDOG_TRIPPED, Access, IndirectMap, Register
from robots.dynamixel.protocol import ErrorNumber
from sim.emulator import factory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from robots.dynamixel.control_table import Model

RAM_START = 64
"""First address that is lost without power."""
GOALS = (
    Register.GOAL_PWM,
    Register.GOAL_CURRENT,
    Register.GOAL_VELOCITY,
    Register.GOAL_POSITION,
)
"""Registers that move the servo; read-only while the bus watchdog is tripped."""
_SECOND_INDIRECT = IndirectMap(address=578, data=634, count=28)
_X330_BAUD_MAX = 6
_PROTOCOLS = (2, 20, 21, 22)
_NOT_BACKED_UP = (*GOALS, Register.TORQUE_ENABLE, Register.BUS_WATCHDOG)


class RefusedError(Exception):
    """A read or write that the servo answers with an error number."""

    def __init__(self, number: ErrorNumber) -> None:
        """Carry the number."""
        super().__init__(f"refused with error {number.value} ({number.name})")
        self.number = number


class Memory:
    """Bytes of the control table, by the rules of one model and firmware."""

    def __init__(self, model: Model, firmware: int, changes: Mapping[Register, int]) -> None:
        """Take the factory's contents, with changes to registers of the EEPROM area."""
        self.model = model
        self._banks = [model.indirect(firmware)]
        if not model.is_x330:
            self._banks.append(_SECOND_INDIRECT)
        self._size = max(bank.data + bank.count for bank in self._banks)
        self._bytes = bytearray(self._size)
        self._known: dict[int, int] = {}  # values by address, as long as the bytes are the same
        self._owner: dict[int, Register] = {
            register.address + index: register
            for register in factory.registers_of(model, firmware)
            for index in range(register.size)
        }
        for register, value in factory.contents_of(model).items():
            self.set(register, value)
        self.set(Register.FIRMWARE, firmware)
        self._factory = bytes(self._bytes)
        for register, value in changes.items():
            self.set(register, value)
        self._backup: bytes | None = None
        self.locked = False
        """Whether nothing can be written to EEPROM."""
        self.power_on()

    def get(self, register: Register) -> int:
        """Value of a register."""
        start = register.address
        value = self._known.get(start)
        if value is None:
            data = self._bytes[start : start + register.size]
            value = int.from_bytes(data, "little", signed=register.signed)
            self._known[start] = value
        return value

    def set(self, register: Register, value: int) -> None:
        """Give a register a value as the servo itself does: clipped to its range, not refused."""
        value = min(max(value, register.low), register.high)
        start = register.address
        if self._known.get(start) == value:
            return
        data = value.to_bytes(register.size, "little", signed=register.signed)
        self._bytes[start : start + register.size] = data
        self._known[start] = value

    def has(self, register: Register) -> bool:
        """Whether this model has the register."""
        return register.address in self._owner

    def power_on(self) -> None:
        """Fill the RAM area with what it holds after power-up."""
        self._bytes[RAM_START:] = self._factory[RAM_START:]
        self._known.clear()
        self.set(Register.GOAL_PWM, self.get(Register.PWM_LIMIT))
        self.set(Register.GOAL_VELOCITY, self.get(Register.VELOCITY_LIMIT))
        if self.has(Register.GOAL_CURRENT):
            self.set(Register.GOAL_CURRENT, self.get(Register.CURRENT_LIMIT))
        for bank in self._banks:
            for index in range(bank.count):
                place = bank.address + 2 * index
                self._bytes[place : place + 2] = (bank.data + index).to_bytes(2, "little")
        self.set(Register.BACKUP_READY, int(self._backup is not None))

    def factory_reset(self, *, keep: tuple[Register, ...]) -> None:
        """Bring the EEPROM area back to the factory's contents but for some registers."""
        kept = {register: self.get(register) for register in keep}
        self._bytes[:RAM_START] = self._factory[:RAM_START]
        self._known.clear()
        for register, value in kept.items():
            self.set(register, value)

    def reset_gains(self) -> None:
        """Bring gains, profile and limits of effort to what they are after a change of mode."""
        contents = factory.contents_of(self.model)
        for register in factory.GAINS:
            self.set(register, contents.get(register, 0))
        self.set(Register.PROFILE_ACCELERATION, 0)
        self.set(Register.PROFILE_VELOCITY, 0)
        self.set(Register.GOAL_PWM, self.get(Register.PWM_LIMIT))
        if self.has(Register.GOAL_CURRENT):
            self.set(Register.GOAL_CURRENT, self.get(Register.CURRENT_LIMIT))

    def store_backup(self) -> None:
        """Keep a copy of everything that may be written."""
        self._backup = bytes(self._bytes)
        self.set(Register.BACKUP_READY, 1)

    def restore_eeprom(self) -> bool:
        """Bring the copy of the EEPROM area back; False when there is none."""
        if self._backup is None:
            return False
        self._bytes[:RAM_START] = self._backup[:RAM_START]
        self._known.clear()
        return True

    def restore_ram(self) -> None:
        """Bring the copy of settings in RAM back, if there is one."""
        for register in set(self._owner.values()).difference(_NOT_BACKED_UP):
            if self._backup and register.access is Access.RAM:
                start, end = register.address, register.address + register.size
                self._bytes[start:end] = self._backup[start:end]
        self._known.clear()

    def read(self, address: int, size: int) -> bytes:
        """Bytes from an address on, those between registers being zero; raises RefusedError."""
        if size == 0:
            raise RefusedError(ErrorNumber.DATA_LENGTH)
        if address + size > self._size:
            raise RefusedError(ErrorNumber.ACCESS)
        return bytes(self._bytes[self._target(address + index)] for index in range(size))

    def check(self, address: int, data: bytes) -> dict[Register, int]:
        """Values that a write would give to registers; raises RefusedError when it must not.

        Indirect registers are bytes without a meaning of their own; write() stores them.
        """
        if not data:
            raise RefusedError(ErrorNumber.DATA_LENGTH)
        if address + len(data) > self._size:
            raise RefusedError(ErrorNumber.ACCESS)
        self._check_indirect(address, data)
        written = {self._target(address + index): byte for index, byte in enumerate(data)}
        registers = {self._owner[place]: None for place in written if place in self._owner}
        if any(place not in self._owner and not self._is_indirect(place) for place in written):
            raise RefusedError(ErrorNumber.ACCESS)
        for register in registers:
            self._check_access(register)
        values = {register: _value(register, written) for register in registers}
        for register, value in values.items():
            self._check_value(register, value)
        return values

    def write(self, address: int, data: bytes) -> None:
        """Store bytes that check() has let pass."""
        for index, byte in enumerate(data):
            self._bytes[self._target(address + index)] = byte
        self._known.clear()

    def _target(self, address: int) -> int:
        """Address that really holds a byte: that of an indirect register is elsewhere."""
        for bank in self._banks:
            index = address - bank.data
            if 0 <= index < bank.count:
                place = bank.address + 2 * index
                return int.from_bytes(self._bytes[place : place + 2], "little")
        return address

    def _is_indirect(self, place: int) -> bool:
        """Whether an address belongs to a bank of indirect registers."""
        return self._holds_addresses(place) or any(
            bank.data <= place < bank.data + bank.count for bank in self._banks
        )

    def _holds_addresses(self, place: int) -> bool:
        """Whether an address belongs to an indirect address."""
        return any(bank.address <= place < bank.address + 2 * bank.count for bank in self._banks)

    def _check_indirect(self, address: int, data: bytes) -> None:
        """Refuse indirect addresses that are cut in two or point out of the RAM area."""
        for bank in self._banks:
            end = bank.address + 2 * bank.count
            first, last = max(address, bank.address), min(address + len(data), end)
            if first >= last:
                continue
            if (first - bank.address) % 2 or (last - first) % 2:
                raise RefusedError(ErrorNumber.DATA_LENGTH)
            for place in range(first, last, 2):
                target = int.from_bytes(data[place - address :][:2], "little")
                if not RAM_START <= target < self._size or self._holds_addresses(target):
                    raise RefusedError(ErrorNumber.DATA_RANGE)

    def _check_access(self, register: Register) -> None:
        eeprom = register.access is Access.EEPROM
        if register.access is Access.READ:
            raise RefusedError(ErrorNumber.ACCESS)
        if eeprom and (self.locked or self.get(Register.TORQUE_ENABLE)):
            raise RefusedError(ErrorNumber.ACCESS)
        if register in GOALS and self.get(Register.BUS_WATCHDOG) == WATCHDOG_TRIPPED:
            raise RefusedError(ErrorNumber.DATA_RANGE)

    def _check_value(self, register: Register, value: int) -> None:
        """Refuse what the register cannot have at all, or not as the servo is configured."""
        wrong = not register.low <= value <= register.high
        if register is Register.OPERATING_MODE:
            wrong = value not in factory.modes_of(self.model)
        elif register is Register.BAUD_RATE:
            wrong = wrong or (self.model.is_x330 and value > _X330_BAUD_MAX)
        elif register is Register.PROTOCOL:
            wrong = value not in _PROTOCOLS
        elif register is Register.BUS_WATCHDOG:
            wrong = wrong or value == WATCHDOG_TRIPPED
        elif register is Register.CURRENT_LIMIT:
            wrong = value > factory.contents_of(self.model)[register]
        if wrong:
            raise RefusedError(ErrorNumber.DATA_RANGE)
        low, high = self._limits(register)
        if not low <= value <= high:
            raise RefusedError(ErrorNumber.DATA_LIMIT)

    def _limits(self, register: Register) -> tuple[int, int]:
        """Limits of a goal by the present configuration; the register's own elsewhere."""
        limit = _LIMIT_OF.get(register)
        if limit is not None:
            return -self.get(limit), self.get(limit)
        if register is Register.GOAL_POSITION and self.get(Register.OPERATING_MODE) == _ONE_TURN:
            return self.get(Register.MIN_POSITION_LIMIT), self.get(Register.MAX_POSITION_LIMIT)
        return register.low, register.high


_ONE_TURN = 3
_LIMIT_OF = {
    Register.GOAL_PWM: Register.PWM_LIMIT,
    Register.GOAL_CURRENT: Register.CURRENT_LIMIT,
    Register.GOAL_VELOCITY: Register.VELOCITY_LIMIT,
}


def _value(register: Register, written: Mapping[int, int]) -> int:
    """Value of a register from the bytes that are written, of which none may lack."""
    places = range(register.address, register.address + register.size)
    if any(place not in written for place in places):
        raise RefusedError(ErrorNumber.DATA_LENGTH)
    data = bytes(written[place] for place in places)
    return int.from_bytes(data, "little", signed=register.signed)
