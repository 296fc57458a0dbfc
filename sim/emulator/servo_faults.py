"""What faults do to one servo, from their beginning to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robots.dynamixel.control_table import Register

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.emulator.servo import Servo


def begin(servo: Servo, name: str, amount: float) -> None:
    """Let a fault strike a servo."""
    _BEGIN[name](servo, amount)


def end(servo: Servo, name: str) -> None:
    """Let a fault be over; what has happened once, as a reboot, stays."""
    if name in _UNDONE:
        _BEGIN[name](servo, 0.0)


def _silence(servo: Servo, amount: float) -> None:
    servo.silent = amount != 0


def _overheat(servo: Servo, amount: float) -> None:
    servo.actuator.heat_rate = amount


def _jump(servo: Servo, amount: float) -> None:
    servo.actuator.slip += amount


def _lock(servo: Servo, amount: float) -> None:
    servo.memory.locked = amount != 0


def _refuse_fast_reads(servo: Servo, amount: float) -> None:
    servo.fast_read = amount == 0 and servo.newer


def _delay(servo: Servo, amount: float) -> None:
    servo.memory.set(Register.RETURN_DELAY, round(amount))


def _listen(servo: Servo, amount: float) -> None:
    servo.baud = round(amount) or None


_BEGIN: dict[str, Callable[[Servo, float], None]] = {
    "silence": _silence,
    "reboot": lambda servo, _: servo.reboot(),
    "watchdog": lambda servo, _: servo.trip(),
    "hardware-error": lambda servo, amount: servo.actuator.latch(round(amount)),
    "overheat": _overheat,
    "jump": _jump,
    "stuck": lambda servo, amount: servo.actuator.freeze(frozen=amount != 0),
    "locked": _lock,
    "no-fast-read": _refuse_fast_reads,
    "return-delay": _delay,
    "baud": _listen,
}
_UNDONE = ("silence", "overheat", "stuck", "locked", "no-fast-read", "baud")
