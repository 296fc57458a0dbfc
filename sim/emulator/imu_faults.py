"""What can go wrong with an emulated IMU, by name."""

from __future__ import annotations

import math

import msgspec

IMU_FAULTS: dict[str, tuple[str, float]] = {
    "split": ("messages arrive in {} pieces with pauses between", 3),
    "flip": ("{} bits of a message are flipped", 1),
    "drop": ("a message is lost", 0),
    "repeat": ("the message before comes again, clock and all", 0),
    "clock-jump": ("the IMU's clock jumps by {} s, once", 10),
    "nan": ("a field is no number; zeros for an attitude where there are only integers", 0),
    "text": ("a line of text stands before a message", 0),
    "baud": ("the IMU talks at {} bit/s", 57600),
    "silence": ("the IMU says nothing", 0),
    "unplug": ("the adapter is unplugged", 0),
    "drift": ("the rate falls by {} % every second", 10),
}
"""Every fault by the name used on the command line: what it is, and its default amount."""


class ImuFault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: what and when."""

    name: str
    """Name in IMU_FAULTS."""
    at_s: float = 0.0
    """Time from which on it lasts, s, on the emulator's clock."""
    for_s: float = math.inf
    """How long it lasts, s."""
    probability: float = 1.0
    """Chance that it strikes a message."""
    amount: float | None = None
    """How much; None is the default of its name."""

    def __post_init__(self) -> None:
        """Refuse a name that is not in the table; raises ValueError."""
        if self.name not in IMU_FAULTS:
            raise ValueError(
                f"no IMU fault is called {self.name!r}; expected one of {', '.join(IMU_FAULTS)}"
            )

    @property
    def size(self) -> float:
        """The amount, or its default."""
        return IMU_FAULTS[self.name][1] if self.amount is None else self.amount

    def covers(self, now_ns: int) -> bool:
        """Whether the time is within the fault's."""
        return self.at_s <= now_ns / 1e9 < self.at_s + self.for_s
