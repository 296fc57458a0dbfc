"""The journal keeps what is on its way, for a spool that takes it over at any moment."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.runner import journal
from robosac.runner.journal import RowJournal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH = 5


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    """A spool's folder, which need not be there."""
    folder = tmp_path / "robot.run"
    yield folder
    journal.remove(folder)


def row(sequence: int) -> bytes:
    """A row that tells its number."""
    return np.full(WIDTH, sequence, np.float32).tobytes()


def numbers(spool: Path, first: int) -> list[float]:
    """What is read from there on."""
    return [float(one[0]) for one in journal.read(spool, first=first)[1]]


def test_rows_are_read_from_where_the_spool_ends(spool: Path) -> None:
    """By whoever knows the folder, while the writer is there and after."""
    writer = RowJournal(spool, WIDTH)
    assert numbers(spool, 0) == []
    for sequence in range(10):
        writer.add(row(sequence))
    assert numbers(spool, 0) == list(range(10))
    assert numbers(spool, 7) == [7, 8, 9]
    assert numbers(spool, 10) == []
    assert journal.read(spool, first=3)[1].shape == (7, WIDTH)


def test_a_ring_keeps_the_newest(spool: Path) -> None:
    """What was overwritten is not made up, and rows with a gap before them say where they begin."""
    writer = RowJournal(spool, WIDTH)
    count = writer.capacity + 3
    for sequence in range(count):
        writer.add(row(sequence))
    assert numbers(spool, 3) == list(range(3, count))
    assert numbers(spool, 2) == list(range(3, count))
    assert journal.read(spool, first=2)[0] == 3
    writer.begin(count + 5)
    writer.add(row(count + 5))
    first, rows = journal.read(spool, first=count)
    assert (first, rows[:, 0].tolist()) == (count + 5, [count + 5])


def test_a_killed_writer_leaves_whole_rows(spool: Path) -> None:
    """SIGKILL in the middle of writing: what is counted is there."""
    code = f"""
import os, signal, threading
import numpy as np
from pathlib import Path
from robosac.runner.journal import RowJournal
writer = RowJournal(Path({str(spool)!r}), {WIDTH})
writer.add(np.zeros({WIDTH}, np.float32).tobytes())
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
while True:
    writer.add(np.full({WIDTH}, writer.end % 1000, np.float32).tobytes())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    capacity = RowJournal(spool.with_name("other"), WIDTH).capacity
    journal.remove(spool.with_name("other"))
    first, rows = journal.read(spool, first=0)
    assert capacity >= len(rows) > 0
    expected = np.arange(first, first + len(rows)) % 1000
    assert (rows == expected[:, None]).all()


def test_journals_are_apart_and_begin_empty(spool: Path) -> None:
    """Another spool has another one; a new one of the same name does not go on with the old."""
    RowJournal(spool, WIDTH).add(row(0))
    assert numbers(spool.with_name("robot.other"), 0) == []
    RowJournal(spool, WIDTH)
    assert numbers(spool, 0) == []


def test_without_a_whole_journal_there_is_nothing(spool: Path) -> None:
    """None yet, removed, removed twice, or half made when its writer was killed."""
    assert numbers(spool, 0) == []
    RowJournal(spool, WIDTH).add(row(0))
    path = journal._path(spool)  # noqa: SLF001 -- damage is done from outside
    for size in (10, 0):
        with path.open("r+b") as file:
            file.truncate(size)
        assert numbers(spool, 0) == []
    journal.remove(spool)
    journal.remove(spool)
    assert numbers(spool, 0) == []


def test_a_journal_that_was_never_begun_has_nothing(spool: Path) -> None:
    """Its file has its size before it has its header."""
    RowJournal(spool, WIDTH)
    path = journal._path(spool)  # noqa: SLF001 -- as above
    path.write_bytes(bytes(path.stat().st_size))
    assert numbers(spool, 0) == []
