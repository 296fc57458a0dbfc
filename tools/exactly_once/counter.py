"""How many rows every run has recorded, kept where no SIGKILL can take it: in a shared mapping."""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    Key = tuple[str, str]

_NUMBER = struct.Struct("<Q")


class Counter:
    """The number of one run; the kernel keeps what a killed process has written."""

    def __init__(self, folder: Path, *, robot: str, run: str) -> None:
        """Make the file <robot>.<run> with 0 in it."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{robot}.{run}").open("x+b") as file:
            file.write(_NUMBER.pack(0))
            file.flush()
            self._memory = mmap.mmap(file.fileno(), _NUMBER.size)

    def set(self, count: int) -> None:
        """Note that so many rows have been recorded."""
        _NUMBER.pack_into(self._memory, 0, count)


def read_counters(folder: Path) -> dict[Key, int]:
    """Return what every (robot, run) has recorded."""
    counts = {}
    for path in sorted(folder.iterdir()):
        robot, _, run = path.name.rpartition(".")
        # Empty when its runner was killed while making it.
        (counts[robot, run],) = _NUMBER.unpack(path.read_bytes().ljust(_NUMBER.size, b"\0"))
    return counts
