"""Rows whose every number follows from (robot, run, sequence number): no log is needed to check."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from robosac.policy.contract import Contract, Golden
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

CONTRACT = Contract(
    env="torture",
    action_lower=(-1.0, -1.0),
    action_upper=(1.0, 1.0),
    obs=(Term(name="observation", size=3, unit="", clip=None),),
    extra=2,
    golden=(Golden(sensors={}, obs=[0.1, -0.2, 0.3]), Golden(sensors={}, obs=[1.0, 2.0, 3.0])),
)
LAYOUT = CONTRACT.row_layout
_EPISODE = 100
_BITS = 24
_GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))


def rows_of(robot: str, run: str, first: int, count: int) -> FloatArray:
    """Return rows (count, width) from sequence number `first` on."""
    numbers = np.arange(first * LAYOUT.width, (first + count) * LAYOUT.width, dtype=np.uint64)
    mixed = _mix(numbers * _GOLDEN_RATIO + np.uint64(_key(robot, run)))
    fractions = (mixed >> np.uint64(64 - _BITS)).astype(np.float32) * np.float32(2.0**-_BITS)
    rows: FloatArray = (2 * fractions - 1).reshape(count, LAYOUT.width)
    sequence = np.arange(first, first + count)
    rows[:, LAYOUT.slice("terminated")] = 0
    rows[:, LAYOUT.slice("truncated")] = ((sequence + 1) % _EPISODE == 0)[:, None]
    rows[:, LAYOUT.slice("guards")] = (sequence % 256)[:, None]
    rows[:, LAYOUT.slice("dt")] = 0.02
    rows[:, LAYOUT.slice("policy_version")] = 0
    return rows


def _key(robot: str, run: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{robot}/{run}".encode(), digest_size=8).digest())


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter all bits of every number (the finaliser of splitmix64)."""
    for shift, factor in _MIX:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * factor
    return numbers ^ (numbers >> np.uint64(31))
