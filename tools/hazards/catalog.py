"""All hazards, from whatever module."""

from __future__ import annotations

import importlib

from tools.hazards.registry import EXPECTED, HAZARDS, Hazard

MODULES = ("bus", "imu", "policy", "operator", "cables", "host", "wire")


def hazards() -> list[Hazard]:
    """Every hazard, by letter and number."""
    for name in MODULES:
        importlib.import_module(f"tools.hazards.{name}")
    return [HAZARDS[number] for number in EXPECTED if number in HAZARDS]


def parse_numbers(text: str) -> list[str]:
    """Read B1,B2 or B1-B9,I; raises ValueError for what is no hazard."""
    found: list[str] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        group = [number for number in EXPECTED if number.rstrip("0123456789") == part]
        if dash and first in EXPECTED and last in EXPECTED:
            found += EXPECTED[EXPECTED.index(first) : EXPECTED.index(last) + 1]
        elif part in EXPECTED or group:
            found += group or [part]
        else:
            raise ValueError(f"hazard {part!r}; expected numbers as in B1,I4-I9,H")
    return found
