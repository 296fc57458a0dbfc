"""All faults of an emulated robot by one name each, those of its servos and of its IMU.

What both can have is called as it is for the servos, and imu-... for the IMU.
"""

from __future__ import annotations

import difflib
import math

import msgspec

from sim.emulator.faults import KINDS, Fault, parse_fault, parse_options
from sim.emulator.imu_faults import IMU_FAULTS, ImuFault
from sim.errors import FaultError

_PREFIX = "imu-"
IMU_NAMES: dict[str, str] = {
    (f"{_PREFIX}{name}" if name in KINDS else name): name for name in IMU_FAULTS
}
"""Names of the IMU's faults on the command line, and in IMU_FAULTS."""


def parse_any(text: str) -> Fault | ImuFault:
    """Read NAME@SECONDS[,for=0.5][,p=0.1][,amount=2], and for servos ,id= ,nth= ,instruction= too.

    Raises FaultError, with the nearest names.
    """
    name = text.split(",", maxsplit=1)[0].partition("@")[0]
    if name in KINDS:
        return parse_fault(text)
    if name not in IMU_NAMES:
        known = (*KINDS, *IMU_NAMES)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        expected = f"one of {', '.join(near)}" if near else "a name that `--fault list` shows"
        raise FaultError(text, f"no fault is called {name!r}; expected {expected}")
    options = parse_options(text, ("for", "p", "amount"))
    return msgspec.convert({"name": IMU_NAMES[name]} | options, ImuFault)


def described() -> list[tuple[str, str]]:
    """Every name with what it does, in one line each."""
    servos = [(name, kind.what.format(_short(kind.amount))) for name, kind in KINDS.items()]
    imu = [
        (name, f"IMU: {IMU_FAULTS[own][0].format(_short(IMU_FAULTS[own][1]))}")
        for name, own in IMU_NAMES.items()
    ]
    return servos + imu


def _short(amount: float) -> str:
    """A number without needless digits."""
    return str(math.trunc(amount)) if amount == math.trunc(amount) else str(amount)
