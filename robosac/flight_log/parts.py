"""The files of one log: the first has the log's name, every later writer adds one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def part_path(path: Path, part: int) -> Path:
    """Where a part stands: flight.mcap, flight.1.mcap, flight.2.mcap and so on."""
    return path if part == 0 else path.with_name(f"{path.stem}.{part}{path.suffix}")


def is_log(path: Path) -> bool:
    """Whether a file is a part of a log, by its name."""
    return path.suffix == ".mcap" and path.is_file()


def log_of(path: Path) -> Path:
    """The log that a file is a part of, which may be the file itself."""
    stem, _, number = path.stem.rpartition(".")
    log = path.with_name(f"{stem}{path.suffix}")
    return log if stem and number.isdecimal() and log.exists() else path


def parts_of(path: Path) -> list[Path]:
    """Every part of a log that exists, in order.

    A writer that died before it made its file leaves a hole in the numbers.
    """
    found = {one for one in path.parent.glob(f"{path.stem}.*{path.suffix}") if one.is_file()}
    ordered = [part_path(path, part) for part in range(_largest(path, found) + 1)]
    return [one for one in ordered if one.exists()]


def _largest(path: Path, found: set[Path]) -> int:
    numbers = (one.name[len(path.stem) + 1 : -len(path.suffix)] for one in found)
    return max(itertools.chain([0], (int(text) for text in numbers if text.isdecimal())))
