"""What is checked, and repaired as far as robot.toml allows, before a servo may move."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robots.dynamixel.control_table import (
    BAUD_RATES,
    CENTRE_COUNT,
    MODELS,
    POSITION_MODE,
    RAD_PER_COUNT,
    RETURN_DELAY_S_PER_COUNT,
    VOLT_PER_COUNT,
    HardwareError,
    Register,
    model_named,
)
from robots.errors import ServoSetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots.dynamixel.bus import Bus, Pong
    from robots.dynamixel.config import BusSpec, ServoSpec

_log = logging.getLogger(__name__)

BLOCK = (
    *(Register.PRESENT_CURRENT, Register.PRESENT_VELOCITY, Register.PRESENT_POSITION),
    *(Register.TORQUE_ENABLE, Register.HARDWARE_ERROR, Register.BUS_WATCHDOG),
    Register.STATUS_RETURN_LEVEL,
)
"""Registers that are read each tick, side by side in the indirect data.

The last one tells that they are there: a servo that has restarted forgets the mapping and gives
zeros, while a status return level of 0 or 1 would have kept it silent.
"""
BLOCK_SIZE = sum(register.size for register in BLOCK)
SPARE = Register.PRESENT_TEMPERATURE
"""One byte behind the block, by which a read can be made one longer than the one before."""
ALL_REPLIES = 2
"""Status Return Level at which every instruction is answered."""

_EEPROM_SIZE, _RAM_END = 64, 148
_SHUTDOWN_MINIMUM = HardwareError.OVERHEAT | HardwareError.SHOCK | HardwareError.OVERLOAD
_WATCHDOG_FIRMWARE = 38
_SHADOW_OFF = 253
_MAPPING = b"".join(
    (register.address + byte).to_bytes(2, "little")
    for register in (*BLOCK, SPARE)
    for byte in range(register.size)
)


@dataclass(frozen=True)
class Found:
    """What a servo was when it was set up."""

    label: str
    """ID and joint."""
    model: str
    firmware: int
    temperature: int
    """Temperature, °C."""
    voltage: float
    """Supply voltage, V."""
    return_delay_s: float
    """How long it waits before it answers, after the repair, s."""

    def __str__(self) -> str:
        """All of it in one line."""
        return (
            f"{self.label}: {self.model}, firmware {self.firmware}, {self.temperature} °C, "
            f"{self.voltage:.1f} V, return delay {1e6 * self.return_delay_s:.0f} µs"
        )


@dataclass(frozen=True)
class Setup:
    """What was found out about the servos of a bus."""

    fast: bool
    """Whether all of them know Fast Sync Read."""
    data_address: int
    """Where the block of registers is read that BLOCK lists."""
    position_limits: tuple[tuple[int, int], ...]
    """Min and Max Position Limit of each servo, counts."""
    velocity_limits: tuple[int, ...]
    """Velocity Limit of each servo, counts."""
    pwm_limits: tuple[int, ...]
    """PWM Limit of each servo, counts."""
    repaired: tuple[str, ...]
    """What was written, each with the old and the new value."""
    found: tuple[Found, ...]
    """Each servo as it is now."""


def set_up(bus: Bus, spec: BusSpec, limits: Sequence[tuple[float, float]]) -> Setup:
    """Switch all torque off, find the servos, check them, repair and map what is read each tick.

    The torque goes off before anything can fail: a process that was killed may have left it on.
    The limits are those of the joints, rad.  Raises ServoSetupError with everything that differs.
    """
    bus.torque_off()
    pongs = _find(bus, spec)
    bus.torque_off()  # again, for who was deaf then, as in the middle of a frame cut short
    contents = [_Contents(bus, servo) for servo in spec.servos]
    found = [
        problem
        for content, interval in zip(contents, limits, strict=True)
        for problem in content.problems(spec, interval)
    ]
    maps = {MODELS[pong.model].indirect(pong.firmware) for pong in pongs}
    if len(maps) > 1:
        found.append("servos with indirect data at different addresses; update their firmware")
    if found:
        raise ServoSetupError(found)
    repaired = tuple(text for content in contents for text in content.repair(bus, spec))
    delay = spec.repairs.get(Register.RETURN_DELAY, 0)
    bus.return_delay_s = delay * RETURN_DELAY_S_PER_COUNT
    place = maps.pop()
    for servo in spec.servos:
        bus.write_block(servo.id, place.address, _MAPPING)
        mapped = bus.read_block(servo.id, place.address, len(_MAPPING))
        if mapped != _MAPPING:
            raise ServoSetupError([f"{_label(servo)}: indirect addresses were not taken"])
    return Setup(
        fast=all(MODELS[pong.model].fast_sync_read(pong.firmware) for pong in pongs),
        data_address=place.data,
        position_limits=tuple(
            (content[Register.MIN_POSITION_LIMIT], content[Register.MAX_POSITION_LIMIT])
            for content in contents
        ),
        velocity_limits=tuple(content[Register.VELOCITY_LIMIT] for content in contents),
        pwm_limits=tuple(content[Register.PWM_LIMIT] for content in contents),
        repaired=repaired,
        found=tuple(
            content.found(MODELS[pong.model].name, bus.return_delay_s)
            for content, pong in zip(contents, pongs, strict=True)
        ),
    )


def _find(bus: Bus, spec: BusSpec) -> list[Pong]:
    """Answers of all servos, in order; raises when one is missing, wrong or too many."""
    answers = [bus.ping(servo.id) for servo in spec.servos]
    pongs = [pong for pong in answers if pong is not None]
    if not pongs:
        raise ServoSetupError([_silence(bus, spec)])
    found = [
        problem
        for servo, pong in zip(spec.servos, answers, strict=True)
        for problem in _identity_problems(servo, pong)
    ]
    found += _strangers(bus, spec)
    if found:
        raise ServoSetupError(found)
    return pongs


def _silence(bus: Bus, spec: BusSpec) -> str:
    """What may be wrong when nobody answers; other speeds are tried, with pings only."""
    others = [baud for baud in BAUD_RATES if baud != bus.port.baud]
    heard = bus.speeds(spec.ids, others)
    if heard:
        speeds = " and ".join(map(str, heard))
        return (
            f"no servo answers at {bus.port.baud} baud, but some do at {speeds}; correct baud in "
            "robot.toml, or Baud Rate (8) of the servos (they leave the factory with 57600)"
        )
    return f"no servo answers at {bus.port.baud} baud nor at any other; check power and cable"


def _identity_problems(servo: ServoSpec, pong: Pong | None) -> list[str]:
    """What is wrong with who answers."""
    if pong is None:
        return [f"{_label(servo)} does not answer; check its cable, ID and baud"]
    model = MODELS.get(pong.model)
    name = model.name if model else f"model number {pong.model}"
    if name != servo.model:
        return [f"{_label(servo)} is {name}; expected {servo.model}"]
    if pong.firmware < _WATCHDOG_FIRMWARE:
        expected = f"{_WATCHDOG_FIRMWARE} or later, update it"
        return [
            f"{_label(servo)}: firmware {pong.firmware} has no bus watchdog; expected {expected}"
        ]
    return []


def _strangers(bus: Bus, spec: BusSpec) -> list[str]:
    """Servos that nobody expects, and IDs that two of them have.

    A ping of all takes 0.76 s, because every possible ID is given its time to answer: most of what
    opening takes.
    """
    rejected = bus.stats.rejects.noise_bytes
    ids = [pong.id for pong in bus.ping_all()]
    found = [
        f"servo {device} answers and is not in robot.toml; remove it or add it"
        for device in sorted(set(ids) - set(spec.ids))
    ]
    found += [
        f"two servos answer as ID {device}; give each its own"
        for device in sorted(set(ids))
        if ids.count(device) > 1
    ]
    silent = [str(device) for device in spec.ids if device not in ids]
    if silent and bus.stats.rejects.noise_bytes > rejected:
        found.append(
            f"answers to a ping of all collide (ID {', '.join(silent)}); do two servos share an ID?"
        )
    return found


class _Contents:
    """Registers of one servo as they were read at the beginning."""

    def __init__(self, bus: Bus, servo: ServoSpec) -> None:
        """Read them all."""
        self._servo = servo
        self._bytes = bus.read_block(servo.id, 0, _EEPROM_SIZE)
        self._bytes += bus.read_block(servo.id, _EEPROM_SIZE, _RAM_END - _EEPROM_SIZE)

    def __getitem__(self, register: Register) -> int:
        """Value of a register."""
        return register.decode(self._bytes[register.address : register.address + register.size])

    def found(self, model: str, return_delay_s: float) -> Found:
        """What may be of interest to whoever looks before the robot moves."""
        return Found(
            label=_label(self._servo),
            model=model,
            firmware=self[Register.FIRMWARE],
            temperature=self[Register.PRESENT_TEMPERATURE],
            voltage=VOLT_PER_COUNT * self[Register.PRESENT_VOLTAGE],
            return_delay_s=return_delay_s,
        )

    def problems(self, spec: BusSpec, limits: tuple[float, float]) -> list[str]:
        """What differs from what must be, and may not be repaired."""
        wanted = {
            Register.BAUD_RATE: BAUD_RATES.index(spec.baud),
            Register.DRIVE_MODE: 0,
            Register.OPERATING_MODE: POSITION_MODE,
            Register.HOMING_OFFSET: 0,
            Register.STARTUP: 0,
            Register.TORQUE_ENABLE: 0,
            Register.STATUS_RETURN_LEVEL: ALL_REPLIES,
        }
        model = model_named(self._servo.model)
        usual = {  # what another program has left in RAM would make another robot of it
            Register.RETURN_DELAY: 0,
            Register.POSITION_P: model.position_p,
            Register.POSITION_I: 0,
            Register.POSITION_D: model.position_d,
            Register.FEEDFORWARD_1: 0,
            Register.FEEDFORWARD_2: 0,
            Register.PROFILE_ACCELERATION: 0,
            Register.PROFILE_VELOCITY: 0,
        }
        wanted |= {one: value for one, value in usual.items() if one not in spec.repairs}
        found = [
            self._problem(register, self[register], str(value))
            for register, value in wanted.items()
            if self[register] != value
        ]
        if self[Register.SHADOW_ID] < _SHADOW_OFF:
            found.append(self._problem(Register.SHADOW_ID, self[Register.SHADOW_ID], "255 (off)"))
        return found + self._error_problems() + self._limit_problems(limits)

    def _error_problems(self) -> list[str]:
        """What is wrong with hardware errors, present or future."""
        found = []
        errors, mask = self[Register.HARDWARE_ERROR], self[Register.SHUTDOWN]
        if errors:
            names = HardwareError.names_of(errors)
            found.append(
                self._problem(Register.HARDWARE_ERROR, names, "none; see to it, then reboot it")
            )
        if missing := _SHUTDOWN_MINIMUM & ~mask:
            expected = f"{HardwareError.names_of(missing)}, too"
            found.append(self._problem(Register.SHUTDOWN, HardwareError.names_of(mask), expected))
        return found

    def _limit_problems(self, limits: tuple[float, float]) -> list[str]:
        """What keeps the servo from reaching the joint's limits."""
        low, high = sorted(to_counts(self._servo, limit) for limit in limits)
        found = []
        if self[Register.MIN_POSITION_LIMIT] > round(low):
            value = self[Register.MIN_POSITION_LIMIT]
            found.append(self._problem(Register.MIN_POSITION_LIMIT, value, f"at most {low:.0f}"))
        if self[Register.MAX_POSITION_LIMIT] < round(high):
            value = self[Register.MAX_POSITION_LIMIT]
            found.append(self._problem(Register.MAX_POSITION_LIMIT, value, f"at least {high:.0f}"))
        return found

    def repair(self, bus: Bus, spec: BusSpec) -> list[str]:
        """Write what robot.toml wants and the servo has not; what was written."""
        done = []
        for register, value in spec.repairs.items():
            if self[register] == value or not self._has(register):
                continue
            bus.write(self._servo.id, register, value)
            if (read := bus.read(self._servo.id, register)) != value:
                raise ServoSetupError([self._problem(register, read, f"{value}, as written")])
            done.append(f"{_label(self._servo)}: {register.label} {self[register]} -> {value}")
            _log.info("repaired %s", done[-1])
        return done

    def _has(self, register: Register) -> bool:
        """Whether the model has a register."""
        return register is not Register.PWM_SLOPE or model_named(self._servo.model).is_x330

    def _problem(self, register: Register, got: int | str, expected: str) -> str:
        return f"{_label(self._servo)}: {register.label} is {got}; expected {expected}"


def to_counts(servo: ServoSpec, position: float) -> float:
    """Servo position, counts, at a joint position, rad."""
    return CENTRE_COUNT + servo.sign * (position - servo.offset) / RAD_PER_COUNT


def _label(servo: ServoSpec) -> str:
    return f"servo {servo.id} ({servo.joint})"
