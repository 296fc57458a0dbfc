"""The file of results: a table of evaluations, and beside it where every run comes from."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import json
import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.run_folder import write_atomically
from tools.learning_curves.runs import Row, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = Row.__struct_fields__


class Results:
    """Whole runs only: one is added in one step when it has ended, or not at all."""

    def __init__(self, path: Path) -> None:
        """Name the table; it need not exist."""
        self.path = path
        self.notes_path = path.with_suffix(".json")
        digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
        self._locks = Path(tempfile.gettempdir()) / f"robosac-curves-{digest}"

    def rows(self) -> list[Row]:
        """Every evaluation, run by run."""
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return [_row(record) for record in csv.DictReader(file)]

    def notes(self) -> dict[str, Any]:
        """Where every run comes from, by its name."""
        if not self.notes_path.exists():
            return {}
        notes: dict[str, Any] = json.loads(self.notes_path.read_text("utf-8"))
        return notes

    def has(
        self, run: Run, *, steps: int, speed_mps: float = math.inf, minutes: float = math.inf
    ) -> bool:
        """Whether a run went at least so far or so long, or became so fast that it was over."""
        rows = [row for row in self.rows() if row.run == run]
        return any(
            row.step >= steps or row.ends(speed_mps=speed_mps, minutes=minutes) for row in rows
        )

    def add(self, run: Run, rows: list[Row], note: dict[str, Any]) -> None:
        """Add a run, in the place of an earlier one of the same name."""
        with self._locked("table", wait=True):
            kept = [row for row in self.rows() if row.run != run]
            notes = self.notes() | {run.name: note}
            # A run without its rows is made again, and then noted again.
            _write(self.notes_path, json.dumps(notes, indent=1, sort_keys=True) + "\n")
            _write(self.path, _table([*kept, *rows]))

    @contextmanager
    def claimed(self, run: Run) -> Iterator[bool]:
        """Keep other processes from making the same run; False when one of them is at it.

        The kernel takes a claim back from a process that has died.
        """
        with self._locked(run.name, wait=False) as mine:
            yield mine

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold a lock on this machine; False when another process does and we do not wait."""
        self._locks.mkdir(exist_ok=True)
        path = self._locks / hashlib.sha256(name.encode()).hexdigest()
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


def _row(record: dict[str, str]) -> Row:
    """One evaluation from its line."""
    return msgspec.convert({name: text or None for name, text in record.items()}, Row, strict=False)


def _table(rows: list[Row]) -> str:
    """All lines, with a header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_cell(getattr(row, name)) for name in COLUMNS] for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Six digits are more than any of it is worth."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
