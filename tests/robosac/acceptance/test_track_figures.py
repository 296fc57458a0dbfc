"""What the tools make of an emulated robot's track: how far it went, and when it began to walk."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from tools.track import forward_m, read_track, walked_after

if TYPE_CHECKING:
    from pathlib import Path

Note = dict[str, float]
WINDOW_S = 20.0


def track(speeds: list[float], *, yaw: float = 0.0) -> list[Note]:
    """Ten notes a second of a robot that faces `yaw` and goes forward at these speeds, 1 s each."""
    notes, x = [{"t": 0.0, "x": 0.0, "y": 0.0, "yaw": yaw}], 0.0
    for speed in speeds:
        for _ in range(10):
            x += speed / 10
            time = notes[-1]["t"] + 0.1
            notes.append({"t": time, "x": x * math.cos(yaw), "y": x * math.sin(yaw), "yaw": yaw})
    return notes


def test_only_the_way_it_faced_counts(tmp_path: Path) -> None:
    """Turned by hand in between, forward stays forward; what goes back is taken off."""
    path = tmp_path / "track.jsonl"
    for yaw in (0.0, 2.0):
        notes = track([0.2] * 5 + [-0.1] * 2, yaw=yaw)
        path.write_text("\n".join(map(json.dumps, notes)) + "\n")
        assert forward_m(read_track(path))[-1] == pytest.approx(0.8)


def test_it_walks_when_a_whole_window_was_fast_enough() -> None:
    """From the eleventh second on at twice the speed: half a window of it does."""
    notes = track([0.0] * 10 + [0.3] * 40)
    assert walked_after(notes, 0.15, window_s=WINDOW_S) == pytest.approx(10 + WINDOW_S / 2, abs=0.2)


def test_a_robot_that_never_walks_has_no_such_moment() -> None:
    """Nor has one that makes one leap and lies."""
    assert walked_after(track([0.01] * 60), 0.15, window_s=WINDOW_S) is None
    assert walked_after(track([1.0] + [0.0] * 60), 0.15, window_s=WINDOW_S) is None
