"""A pup that bears a busy machine: emulated in real time, where whoever answers may be held up."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import robots

if TYPE_CHECKING:
    from pathlib import Path

CONTROL_HZ = 20.0
"""Reading all sensors of the emulation takes 5 ms on a free core; 35 ms are as good here."""

PATIENT = {
    "frozen_command_s = 0.5": "stale_hold_s = 1.0\nstale_damp_s = 2.0\nramp_speed = 1.5\n"
    "late_s = 2.0\nlate_stop_s = 3.0\nfade_in_s = 0.0",
    "fade_in_s = 1.0\n": "",
    "control_hz = 50.0": f"control_hz = {CONTROL_HZ}",
    "baud = 1000000\n": "baud = 1000000\nusb_latency_s = 0.05\nwatchdog_s = 1.0\n",
}
"""What makes it so, in robot.toml."""


def patient_pup(folder: Path, changes: dict[str, str] | None = None) -> Path:
    """Make a robot folder like pup's that is patient; with further changes of its robot.toml."""
    return changed_pup(folder, PATIENT | (changes or {}))


def changed_pup(folder: Path, changes: dict[str, str]) -> Path:
    """Make a robot folder like pup's, with other text in its robot.toml."""
    shutil.copytree(robots.find("pup").path, folder)
    path = folder / "robot.toml"
    text = path.read_text("utf-8")
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after, 1)
    path.write_text(text, "utf-8")
    return folder
