"""All runs of a robot within one limit; the oldest rows of the oldest run go first."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.errors import StorageError
from robosac.replay import RowLayout
from robosac.runner import streams as streams_module
from robosac.runner.journal import RowJournal
from robosac.runner.journal import remove as remove_journal
from robosac.runner.spool import Spool, folder_of
from robosac.runner.streams import Streams
from robosac.wire import messages
from robosac.wire.messages import Held

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = RowLayout(obs=20, extra=1, action=4)
WIDER = RowLayout(obs=21, extra=1, action=4)
FIRST, SECOND, THIRD = "a" * 32, "b" * 32, "c" * 32
LIMIT = 80_000


def rows(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Rows of no interest."""
    return np.zeros((count, LAYOUT.width), np.float32)


def open_streams(folder: Path, run: str) -> Streams:
    """A robot's process that makes this run."""
    return Streams(folder, LAYOUT, robot="go2", run=run, limit_bytes=LIMIT)


def make(folder: Path, run: str, count: int) -> None:
    """Make rows in a run that ends before any is delivered."""
    with closing(open_streams(folder, run)) as streams:
        for _ in range(count):
            streams.append(rows(1), first=streams.current.backlog.end)


def size_on_disk(folder: Path) -> int:
    """All spools together, bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*.rows"))


def test_one_limit_bounds_all_runs(tmp_path: Path) -> None:
    """A robot that is restarted again and again without a learner does not fill its disk."""
    for number in range(5):
        make(tmp_path, f"{number}" * 32, 150)
        assert size_on_disk(tmp_path) <= LIMIT
    assert size_on_disk(tmp_path) > LIMIT / 2


def test_the_oldest_run_pays_first_and_every_row_is_counted(tmp_path: Path) -> None:
    """Then the next one; the newest rows are all there."""
    make(tmp_path, FIRST, 120)
    make(tmp_path, SECOND, 120)
    with closing(open_streams(tmp_path, THIRD)) as streams:
        assert streams.pending == 240
        for _ in range(200):
            streams.append(rows(1), first=streams.current.backlog.end)
        held = [stream.held for _, stream in streams]
        assert held[0] == Held(120, 120)
        assert 0 < held[1].oldest < 120
        assert held[2] == Held(0, 200)
        assert streams.dropped == 120 + held[1].oldest
        assert streams.pending + streams.dropped == 440
        assert size_on_disk(tmp_path) <= LIMIT


def test_a_run_that_lost_everything_still_says_goodbye(tmp_path: Path) -> None:
    """And from where on it would have had rows, so that the learner waits for none."""
    make(tmp_path, FIRST, 100)
    with closing(open_streams(tmp_path, THIRD)) as streams:
        for _ in range(300):
            streams.append(rows(1), first=streams.current.backlog.end)
        first = streams.get(FIRST)
        assert first is not None
        assert first.next_chunk() is None
        assert first.bye(FIRST) == messages.Bye(run=FIRST, made=100, oldest=100)
        assert first.finish()
        assert list(streams.waiting) == [THIRD]
        assert streams.earlier_done


def test_what_was_in_memory_counts_as_well(tmp_path: Path) -> None:
    """A gap keeps rows off the disk, not out of the limit."""
    with closing(open_streams(tmp_path, FIRST)) as streams:
        streams.append(rows(10), first=0)
        for first in range(20, 20 + 4000, 10):
            streams.append(rows(10), first=first)
        assert streams.current.backlog.size <= LIMIT
        assert streams.pending + streams.dropped == 4020
        assert streams.current.held.end == 4020


def test_the_journal_of_a_dead_loop_is_taken_over(tmp_path: Path) -> None:
    """Rows that never reached its spool, also when those before were delivered from memory."""
    make(tmp_path, FIRST, 10)
    journal = RowJournal(folder_of(tmp_path, robot="go2", run=FIRST), LAYOUT.width)
    journal.begin(15)
    for _ in range(5):
        journal.add(bytes(4 * LAYOUT.width))
    with closing(open_streams(tmp_path, SECOND)) as streams:
        stream = streams.get(FIRST)
        assert stream is not None
        assert (stream.made, stream.held, stream.backlog.reach) == (20, Held(0, 20), 10)
        stream.acknowledge(10)
        assert stream.held == Held(15, 20)
        stream.acknowledge(20)
        assert stream.finish()
    with closing(open_streams(tmp_path, THIRD)) as streams:
        assert streams.get(FIRST) is None
    with closing(Spool(tmp_path, LAYOUT, robot="go2", run=FIRST)) as spool:
        assert spool.end == 0


def test_a_great_many_runs_are_taken_over_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes open files; the oldest come first, and goodbye waits for the last."""
    monkeypatch.setattr(streams_module, "_ADOPTED_MAX", 3)
    runs = [f"{number:032x}" for number in range(7)]
    for run in runs:
        make(tmp_path, run, 1)
    with closing(open_streams(tmp_path, THIRD)) as streams:
        delivered = []
        while not streams.earlier_done:
            streams.adopt()
            assert len(streams.waiting) <= 4
            for run, stream in streams:
                if run != THIRD and not stream.done:
                    stream.acknowledge(1)
                    assert stream.finish()
                    delivered.append(run)
        assert delivered == runs


def test_an_earlier_run_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start it is refused; in motion it is left as it is, told once, and waited for no more.

    Here it has columns of another task, and its own process was still at work when this one began.
    """
    with closing(Spool(tmp_path, WIDER, robot="go2", run=FIRST)) as spool:
        spool.append(np.zeros((3, WIDER.width), np.float32))
        streams = open_streams(tmp_path, SECOND)
        assert streams.others_at_work
        assert not streams.earlier_done
    (file,) = folder_of(tmp_path, robot="go2", run=FIRST).iterdir()
    before = file.read_bytes()
    with closing(streams):
        assert not streams.adopt()
        assert not streams.adopt()
        assert streams.earlier_done
        assert list(streams.waiting) == [SECOND]
        streams.append(rows(1), first=0)
        assert streams.pending == 1
    (said,) = caplog.messages
    assert "an earlier run stays where it is: " in said
    assert file.read_bytes() == before
    with pytest.raises(StorageError, match="move the folder away"):
        open_streams(tmp_path, THIRD)


def test_an_earlier_run_whose_journal_cannot_be_read(tmp_path: Path) -> None:
    """Its loop and its uplink were killed before a row was in the spool: the same holds."""
    with closing(Spool(tmp_path, WIDER, robot="go2", run=FIRST)):
        journal = RowJournal(folder_of(tmp_path, robot="go2", run=FIRST), WIDER.width)
        journal.add(bytes(4 * WIDER.width))
        streams = open_streams(tmp_path, SECOND)
    with closing(streams):
        assert not streams.adopt()
        assert list(streams.waiting) == [SECOND]
        assert streams.earlier_done
    for _ in range(2):  # and it is not held locked by the first who tried
        with pytest.raises(StorageError, match=f"{WIDER.width} columns in shared memory"):
            open_streams(tmp_path, THIRD)
    remove_journal(folder_of(tmp_path, robot="go2", run=FIRST))
