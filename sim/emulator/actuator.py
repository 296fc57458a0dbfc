"""Motor, encoder and loops of one emulated servo: what its registers say about its shaft."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from robots.dynamixel.control_table import (
    CENTRE_COUNT,
    RAD_PER_COUNT,
    RAD_PER_S_PER_COUNT,
    REVERSE_BIT,
    VOLT_PER_COUNT,
    HardwareError,
    Register,
)
from sim.emulator import controller
from sim.emulator.controller import FULL_PWM, Controller
from sim.emulator.motors import FREE, MOTORS

if TYPE_CHECKING:
    from robots.dynamixel.control_table import Model
    from sim.emulator.memory import Memory
    from sim.emulator.motors import Drive

_TURN = 4096
_HOMING_MAX = 1024  # further than this an offset is not heeded in mode 3
_AMBIENT_C = 25.0
_HEATING_C_PER_S = 0.56
"""Heating at stall current, °C/s: 12 V · 2.3 A into 82 g at 0.6 J/(g·K).  Estimated for the XM430,
not measured; so is the time below, in which 78 cm² at 11 W/(m²·K) give it off to still air."""
_COOLING_S = 570.0
_OVERLOAD_SHARE = 0.8
_OVERLOAD_S = 3.0
_IN_POSITION_COUNTS = 10
_FOLLOWING_COUNTS = 200
_RUNAWAY_DUTY = 0.3
_LOAD_FULL = 1000  # Present Load of the XL430 counts in 0.1 %

Stopped = Literal["watchdog", "runaway"]


class Actuator:
    """The mechanical and electrical side of a servo; counts are those of register 132."""

    def __init__(self, model: Model, memory: Memory) -> None:
        """Rest at the mark of the horn, at room temperature."""
        self._ampere_per_count = model.ampere_per_count
        self._memory = memory
        self._motor = MOTORS[model.number]
        self._controller = Controller(memory)
        self._encoder = float(CENTRE_COUNT)
        self._turns = 0
        self._speed = 0.0
        self._stopped: Stopped | None = None
        self._held = 0.0
        self._overloaded_s = 0.0
        self._volts = self._motor.volts
        self._shown: float | None = None
        self.duty = 0.0
        """Duty cycle of the last step, in [-1, 1]."""
        self.amperes = 0.0
        """Current through the motor in the last step, A."""
        self.temperature = _AMBIENT_C
        """Temperature of the motor, °C."""
        self.heat_rate = 0.0
        """Heating by a fault, °C/s."""
        self.slip = 0.0
        """How far the encoder is off by a fault, counts."""

    @property
    def position(self) -> float:
        """What Present Position shows, counts, before rounding."""
        counts = self._encoder + self.slip - _TURN * self._turns + self._homing
        return counts if self._shown is None else self._shown

    @property
    def supply_amperes(self) -> float:
        """Current drawn from the battery, A: that of the motor for the share of time it is on."""
        return self.amperes * self.duty

    @property
    def moving(self) -> bool:
        """Whether the shaft turns faster than Moving Threshold."""
        threshold = self._memory.get(Register.MOVING_THRESHOLD) * RAD_PER_S_PER_COUNT
        return abs(self._speed) > threshold

    @property
    def shut_down(self) -> bool:
        """Whether a latched hardware error keeps the torque off."""
        latched = self._memory.get(Register.HARDWARE_ERROR)
        return bool(latched & self._memory.get(Register.SHUTDOWN))

    def start(self) -> None:
        """Forget turns, stops and references, as after power-up; temperature stays."""
        self._stopped, self._overloaded_s = None, 0.0
        self.duty = self.amperes = 0.0
        self.back_in_one_turn()
        self._memory.set(Register.GOAL_POSITION, round(self.position))
        self._controller.reset(self.position)

    def enable(self) -> None:
        """Begin to hold, the torque having been switched on."""
        if self._mode == controller.POSITION_MODE:
            self.back_in_one_turn()
        self._controller.reset(self.position)

    def change_mode(self) -> None:
        """Begin anew in another operating mode."""
        self.back_in_one_turn()
        self._controller.reset(self.position)

    def back_in_one_turn(self) -> None:
        """Forget whole turns."""
        self._turns = math.floor((self._encoder + self.slip) / _TURN)

    def stop(self, why: Stopped | None) -> None:
        """Stop where the shaft is, or run away; None ends it."""
        self._stopped, self._held = why, self.position
        self._controller.reset(self.position)

    def freeze(self, *, frozen: bool) -> None:
        """Let the position reading stand still, or go on."""
        self._shown = None
        if frozen:
            self._shown = self.position

    def latch(self, error: int) -> None:
        """Latch hardware errors; those in the Shutdown mask take the torque off."""
        latched = self._memory.get(Register.HARDWARE_ERROR) | error
        self._memory.set(Register.HARDWARE_ERROR, latched)
        if self.shut_down:
            self._memory.set(Register.TORQUE_ENABLE, 0)

    def sense(self, angle: float, speed: float) -> None:
        """Feel the horn, rad and rad/s."""
        sign = self._sign
        self._encoder = CENTRE_COUNT + sign * angle / RAD_PER_COUNT
        self._speed = sign * speed

    def step(self, volts: float, dt: float) -> Drive:
        """Go one step on; the drive is in the direction of the horn."""
        self._volts = volts
        self._heat(dt)
        self._supervise(dt)
        drive = self._drive(volts, dt)
        self.amperes = self._motor.current(drive, self._speed)
        return drive.seen_from(self._sign)

    def show(self) -> None:
        """Bring the registers that can only be read up to date."""
        memory, count = self._memory, RAD_PER_S_PER_COUNT
        goal = memory.get(Register.GOAL_POSITION)
        position, reference = self.position, self._controller.reference
        profiled = reference != goal
        in_position = abs(goal - position) <= _IN_POSITION_COUNTS
        behind = abs(reference - position) > _FOLLOWING_COUNTS
        memory.set(Register.MOVING, int(self.moving))
        memory.set(Register.MOVING_STATUS, in_position | profiled << 1 | behind << 3)
        memory.set(Register.PRESENT_PWM, round(self.duty * FULL_PWM))
        memory.set(Register.PRESENT_CURRENT, self._current_counts())
        memory.set(Register.PRESENT_VELOCITY, round(self._speed / count))
        memory.set(Register.PRESENT_POSITION, round(position))
        speed = self._controller.reference_speed * RAD_PER_COUNT
        memory.set(Register.VELOCITY_TRAJECTORY, round(speed / count))
        memory.set(Register.POSITION_TRAJECTORY, round(reference))
        memory.set(Register.PRESENT_VOLTAGE, round(self._volts / VOLT_PER_COUNT))
        memory.set(Register.PRESENT_TEMPERATURE, round(self.temperature))

    @property
    def _mode(self) -> int:
        return self._memory.get(Register.OPERATING_MODE)

    @property
    def _sign(self) -> float:
        return -1.0 if self._memory.get(Register.DRIVE_MODE) & REVERSE_BIT else 1.0

    @property
    def _homing(self) -> int:
        offset = self._memory.get(Register.HOMING_OFFSET)
        ignored = self._mode == controller.POSITION_MODE and abs(offset) > _HOMING_MAX
        return 0 if ignored else offset

    def _current_counts(self) -> int:
        if self._ampere_per_count is None:
            return round(_LOAD_FULL * self.amperes / self._motor.stall_current)
        return round(self.amperes / self._ampere_per_count)

    def _heat(self, dt: float) -> None:
        """Heat with the square of the current, cool towards the room."""
        share = self.amperes / self._motor.stall_current
        rate = _HEATING_C_PER_S * share * share - (self.temperature - _AMBIENT_C) / _COOLING_S
        self.temperature += dt * (rate + self.heat_rate)

    def _supervise(self, dt: float) -> None:
        """Latch an error when voltage, temperature or load are out of bounds."""
        memory = self._memory
        counts = round(self._volts / VOLT_PER_COUNT)
        low = memory.get(Register.MIN_VOLTAGE_LIMIT)
        if not low <= counts <= memory.get(Register.MAX_VOLTAGE_LIMIT):
            self.latch(HardwareError.VOLTAGE)
        if self.temperature > memory.get(Register.TEMPERATURE_LIMIT):
            self.latch(HardwareError.OVERHEAT)
        overloaded = abs(self.amperes) > _OVERLOAD_SHARE * self._motor.stall_current
        self._overloaded_s = self._overloaded_s + dt if overloaded else 0.0
        if self._overloaded_s > _OVERLOAD_S:
            self.latch(HardwareError.OVERLOAD)

    def _drive(self, volts: float, dt: float) -> Drive:
        """Drive by the operating mode."""
        self.duty = 0.0
        if not self._memory.get(Register.TORQUE_ENABLE):
            return FREE
        if self._mode == controller.CURRENT_MODE:
            if self._stopped:
                return FREE
            return self._regulate(self._goal_amperes(), volts)
        self.duty = self._wanted_duty(dt)
        drive = self._motor.voltage_drive(self.duty, volts)
        if self._mode == controller.CURRENT_POSITION_MODE:
            most = abs(self._goal_amperes())
            current = self._motor.current(drive, self._speed)
            if abs(current) > most:
                return self._regulate(math.copysign(most, current), volts)
        return drive

    def _wanted_duty(self, dt: float) -> float:
        """Duty that the loop of the mode asks for; a stopped servo holds where it was."""
        memory, mode = self._memory, self._mode
        if self._stopped == "runaway":
            return _RUNAWAY_DUTY
        if mode == controller.PWM_MODE:
            return 0.0 if self._stopped else memory.get(Register.GOAL_PWM) / FULL_PWM
        if mode == controller.VELOCITY_MODE:
            goal = 0 if self._stopped else memory.get(Register.GOAL_VELOCITY)
            unit = RAD_PER_S_PER_COUNT / RAD_PER_COUNT
            return self._controller.velocity_duty(goal * unit, self._speed / RAD_PER_COUNT, dt)
        goal_position = self._held if self._stopped else memory.get(Register.GOAL_POSITION)
        return self._controller.position_duty(goal_position, self.position, dt)

    def _regulate(self, amperes: float, volts: float) -> Drive:
        """Drive with the current regulated."""
        drive = self._motor.current_drive(amperes, self._speed, volts)
        back_emf = self._motor.damping * self._speed
        full = volts / self._motor.volts * self._motor.stall_torque
        self.duty = max(-1.0, min(1.0, (drive.torque + back_emf) / full)) if full else 0.0
        return drive

    def _goal_amperes(self) -> float:
        return self._memory.get(Register.GOAL_CURRENT) * (self._ampere_per_count or 0.0)
