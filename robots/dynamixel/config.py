"""What robot.toml says about the servos: the bus, and one servo for each joint.

[bus]
baud = 1000000

[bus.repair]            # written where servos differ; whatever else differs is refused
return_delay = 0
position_p = 800

[[bus.servos]]          # one for each joint
joint = "front_left_knee"
id = 3
model = "XM430-W210"
sign = -1
offset = 0.1            # rad
torque_constant = 1.3   # N·m/A
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from robots.dynamixel.control_table import (
    BAUD_RATES,
    MODELS,
    WATCHDOG_S_PER_COUNT,
    Register,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

REPAIRABLE = (
    *(Register.RETURN_DELAY, Register.PWM_SLOPE),
    *(Register.PROFILE_ACCELERATION, Register.PROFILE_VELOCITY),
    *(Register.POSITION_P, Register.POSITION_I, Register.POSITION_D),
    *(Register.FEEDFORWARD_1, Register.FEEDFORWARD_2),
    *(Register.VELOCITY_P, Register.VELOCITY_I),
)
"""Registers that the driver may write to make servos as robot.toml wants them."""


class ServoSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One servo and how it sits on its joint: joint angle = sign * servo angle + offset."""

    joint: str
    """Name of the joint it drives."""
    id: int
    """Its ID on the bus."""
    model: str
    """Its model, as in XM430-W210."""
    sign: Literal[1, -1] = 1
    """-1 where the servo turns against the joint."""
    offset: float = 0.0
    """Joint angle when the servo's horn is at its mark, which is 2048 counts, rad."""
    torque_constant: float
    """Torque per current at the horn, N·m/A; for servos without current, per load of 100 %, N·m."""


class BusSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bus of servos; its device is not part of the robot and is named when it is opened."""

    baud: int = 1_000_000
    """Speed, bit/s."""
    watchdog_s: float = 0.1
    """Time without instructions after which servos stop on their own, s, at 20 ms each."""
    usb_latency_s: float = 0.001
    """How long the adapter may keep a reply back, s."""
    repair: dict[str, int] = msgspec.field(default_factory=lambda: {"return_delay": 0})
    """Registers that are written where servos have another value, by name, in their own units."""
    servos: tuple[ServoSpec, ...]
    """One servo for each joint."""

    @property
    def ids(self) -> tuple[int, ...]:
        """IDs in the order of the servos."""
        return tuple(servo.id for servo in self.servos)

    @property
    def repairs(self) -> dict[Register, int]:
        """Wanted values by register."""
        return {Register[name.upper()]: value for name, value in self.repair.items()}

    @property
    def watchdog_counts(self) -> int:
        """Wanted value of the bus watchdog."""
        return round(self.watchdog_s / WATCHDOG_S_PER_COUNT)

    def in_order(self, joints: Sequence[str]) -> BusSpec:
        """The same bus with its servos in the order of these joints, which it must have."""
        by_joint = {servo.joint: servo for servo in self.servos}
        return msgspec.structs.replace(self, servos=tuple(by_joint[name] for name in joints))


def problems(spec: BusSpec, joints: Sequence[str]) -> list[str]:
    """Everything that makes a bus unusable for these joints, one line each."""
    found = []
    if spec.baud not in BAUD_RATES:
        known = ", ".join(map(str, BAUD_RATES))
        found.append(f"bus.baud {spec.baud}; expected one of {known}")
    if not 1 <= spec.watchdog_s / WATCHDOG_S_PER_COUNT <= Register.BUS_WATCHDOG.high:
        found.append(f"bus.watchdog_s {spec.watchdog_s}; expected 0.02 to 2.54 s")
    if not (math.isfinite(spec.usb_latency_s) and spec.usb_latency_s >= 0):
        found.append(f"bus.usb_latency_s {spec.usb_latency_s}; expected zero or more")
    found += _repair_problems(spec.repair)
    names = [servo.joint for servo in spec.servos]
    found += [f"joint {name} has no servo in bus.servos" for name in joints if name not in names]
    found += [f"servo of {name}: no such joint" for name in names if name not in joints]
    found += [f"joint {name} has two servos" for name in _twice(names)]
    ids = [servo.id for servo in spec.servos]
    found += [f"ID {number} stands at two servos; IDs must differ" for number in _twice(ids)]
    for servo in spec.servos:
        found += _servo_problems(servo)
    return found


def _repair_problems(repair: dict[str, int]) -> list[str]:
    """What is wrong with the values to be written."""
    found = []
    known = {register.name.lower(): register for register in REPAIRABLE}
    for name, value in repair.items():
        if name not in known:
            found.append(f"bus.repair.{name}; expected one of {', '.join(known)}")
        elif not known[name].low <= value <= known[name].high:
            limits = f"{known[name].low} to {known[name].high}"
            found.append(f"bus.repair.{name} = {value}; expected {limits}")
    return found


def _servo_problems(servo: ServoSpec) -> list[str]:
    """What is wrong with one servo."""
    label, found = f"servo of {servo.joint}", []
    if not Register.ID.low <= servo.id <= Register.ID.high:
        found.append(f"{label}: id {servo.id}; expected 0 to {Register.ID.high}")
    models = [model.name for model in MODELS.values()]
    if servo.model not in models:
        found.append(f"{label}: model {servo.model!r}; expected one of {', '.join(models)}")
    if not math.isfinite(servo.offset):
        found.append(f"{label}: offset {servo.offset}; expected a finite number")
    if not (math.isfinite(servo.torque_constant) and servo.torque_constant > 0):
        found.append(
            f"{label}: torque_constant {servo.torque_constant}; expected a positive number"
        )
    return found


def _twice(values: Sequence[object]) -> list[object]:
    """Values that stand more than once, each once."""
    return [value for at, value in enumerate(values) if values[:at].count(value) == 1]
