"""Faults by name: which replies, servos or ports they strike, when, and how often."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

import msgspec

from sim.errors import FaultError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

Place = Literal["status", "reply", "request", "servo", "supply", "port"]


class Kind(msgspec.Struct, frozen=True):
    """What a fault is: where it strikes, and the meaning of its amount."""

    place: Place
    """Part of the emulator that is at fault."""
    what: str
    """One line for the user; {} stands for the amount."""
    amount: float = 0.0
    """Amount unless the user says otherwise."""


KINDS: dict[str, Kind] = {
    "drop": Kind("reply", "the reply is lost"),
    "truncate": Kind("reply", "the last {} bytes of the reply are lost", 3),
    "extra": Kind("reply", "{} random bytes follow the reply", 3),
    "flip": Kind("reply", "{} bits of the reply are flipped", 1),
    "wrong-id": Kind("status", "the reply carries an ID that is {} higher", 1),
    "duplicate": Kind("reply", "the reply comes twice"),
    "late": Kind("reply", "the reply comes {} ms late", 20),
    "swap": Kind("reply", "the reply comes after the next one"),
    "noise": Kind("reply", "{} random bytes stand before the reply", 5),
    "collision": Kind("reply", "a second servo of the same ID answers at the same time"),
    "error": Kind("status", "the reply carries error number {}", 1),
    "echo": Kind("request", "whatever the host sends comes back"),
    "silence": Kind("servo", "the servo neither hears nor says anything", 1),
    "reboot": Kind("servo", "the servo starts anew"),
    "watchdog": Kind("servo", "the bus watchdog trips"),
    "hardware-error": Kind("servo", "hardware error bits {} are latched", 32),
    "overheat": Kind("servo", "the servo heats up by {} °C/s", 5),
    "jump": Kind("servo", "the encoder jumps by {} counts", 512),
    "stuck": Kind("servo", "the position reading stands still", 1),
    "locked": Kind("servo", "writes to EEPROM are refused", 1),
    "no-fast-read": Kind("servo", "fast reads are unknown to the servo", 1),
    "return-delay": Kind("servo", "register 9 is {}", 250),
    "baud": Kind("servo", "the servo listens at {} bit/s", 57600),
    "sag": Kind("supply", "the battery gives {} V less", 3),
    "unplug": Kind("port", "the adapter is unplugged"),
    "block": Kind("port", "the adapter takes no bytes from the host"),
}
"""Every fault by the name used on the command line."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: what, when and to whom."""

    name: str
    """Name in KINDS."""
    at_s: float = 0.0
    """Time from which on it may strike, s."""
    for_s: float = math.inf
    """How long it may strike or lasts, s."""
    id: int | None = None
    """Servo it strikes; None is every servo."""
    instruction: int | None = None
    """Instruction whose replies it strikes; None is any."""
    nth: int | None = None
    """Strikes the nth matching reply only, counted from 1; None is all of them."""
    probability: float = 1.0
    """Chance to strike a matching reply."""
    amount: float | None = None
    """How much; None is the default of its kind."""

    @property
    def kind(self) -> Kind:
        """What the fault is."""
        return KINDS[self.name]

    @property
    def size(self) -> float:
        """The amount, or its default."""
        return self.kind.amount if self.amount is None else self.amount

    def covers(self, now_ns: int) -> bool:
        """Whether the time is within the fault's."""
        return self.at_s <= now_ns / 1e9 < self.at_s + self.for_s

    def concerns(self, servo: int) -> bool:
        """Whether the fault strikes this servo."""
        return self.id is None or self.id == servo


_KEYS = {"id": "id", "instruction": "instruction", "nth": "nth", "p": "probability"}
_KEYS |= {"for": "for_s", "amount": "amount"}
_WHOLE = ("id", "instruction", "nth")


def parse_fault(text: str) -> Fault:
    """Read NAME@SECONDS[,id=3][,for=0.5][,nth=1][,p=0.1][,instruction=0x82][,amount=2].

    Raises FaultError.
    """
    name = text.split(",", maxsplit=1)[0].partition("@")[0]
    if name not in KINDS:
        raise FaultError(text, f"no fault is called {name!r}; expected one of {', '.join(KINDS)}")
    return msgspec.convert({"name": name} | parse_options(text, tuple(_KEYS)), Fault)


def parse_options(text: str, keys: Sequence[str]) -> dict[str, float]:
    """Time and options of a fault by the names of their fields; raises FaultError."""
    head, *options = text.split(",")
    values: dict[str, float] = {"at_s": _number("time", head.partition("@")[2] or "0", text)}
    for option in options:
        key, _, value = option.partition("=")
        if key not in keys:
            raise FaultError(text, f"got {key!r}; expected one of {', '.join(keys)}, as in for=3")
        field = _KEYS[key]
        values[field] = _whole(key, value, text) if field in _WHOLE else _number(key, value, text)
    return values


def _number(key: str, value: str, text: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (number < 0 and key != "amount"):
        raise FaultError(text, f"{key} is {value!r}; expected a number, zero or more")
    return number


def _whole(key: str, value: str, text: str) -> int:
    try:
        number = int(value, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise FaultError(text, f"{key} is {value!r}; expected a whole number, zero or more")
    return number


class Faults:
    """All faults of a bus, with the dice and the counts they need."""

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        """Keep them; the same seed and the same traffic give the same strikes."""
        self._faults = list(faults)
        self._seen = [0] * len(self._faults)
        self.random = random.Random(seed)  # noqa: S311 -- dice, not secrets
        """The dice; whoever spoils bytes uses these."""

    def add(self, fault: Fault) -> None:
        """Keep one more."""
        self._faults.append(fault)
        self._seen.append(0)

    def at(self, place: Place) -> list[Fault]:
        """Every fault of one place, whatever its time."""
        return [fault for fault in self._faults if fault.kind.place == place]

    def present(self, name: str, now_ns: int) -> bool:
        """Whether a fault of this name lasts now, for any servo."""
        return any(fault.name == name and fault.covers(now_ns) for fault in self._faults)

    def strike(
        self, place: Place, now_ns: int, servos: Collection[int], instruction: int
    ) -> list[Fault]:
        """Faults that strike an answer of these servos; counts it and throws the dice."""
        struck = []
        for index, fault in enumerate(self._faults):
            if fault.kind.place != place or not fault.covers(now_ns):
                continue
            if fault.id not in (None, *servos) or fault.instruction not in (None, instruction):
                continue
            self._seen[index] += 1
            if fault.nth in (None, self._seen[index]) and self._hit(fault.probability):
                struck.append(fault)
        return struck

    def _hit(self, probability: float) -> bool:
        return probability >= 1 or self.random.random() < probability
