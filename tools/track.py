"""What the track of an emulated robot (`robosac emulate --track`) says of its walk."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Note = dict[str, float]


def read_track(path: Path) -> list[Note]:
    """Every note, a line of JSON each."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def forward_m(notes: list[Note]) -> list[float]:
    """How far the robot had gone in the direction it faced, at every note, m."""
    steps = (
        (after["x"] - before["x"]) * math.cos(before["yaw"])
        + (after["y"] - before["y"]) * math.sin(before["yaw"])
        for before, after in itertools.pairwise(notes)
    )
    return list(itertools.accumulate(steps, initial=0.0))


def walked_after(notes: list[Note], speed_mps: float, *, window_s: float) -> float | None:
    """End of the first window in which it went forward this fast, s; None when there is none.

    Time begins when the emulator is switched on.
    """
    forward = forward_m(notes)
    per_s = (len(notes) - 1) / (notes[-1]["t"] - notes[0]["t"])
    width = round(window_s * per_s)
    for end in range(width, len(notes)):
        if forward[end] - forward[end - width] >= speed_mps * window_s:
            return round(notes[end]["t"] - notes[0]["t"], 1)
    return None
