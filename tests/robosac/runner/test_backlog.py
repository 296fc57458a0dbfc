"""A run's rows on disk and, when the disk refuses them, in memory; always in order."""

from __future__ import annotations

import errno
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robosac.errors import StorageError
from robosac.replay import RowLayout
from robosac.runner import backlog as backlog_module
from robosac.runner.backlog import RETRY_S, Backlog
from robosac.runner.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAYOUT = RowLayout(obs=2, extra=1, action=1)
RUN = "a" * 32


class Disk:
    """Refuses or takes what spools append, and tells the time to backlogs."""

    def __init__(self) -> None:
        self.full = False
        self.tries = 0
        self.now = 1000.0

    def monotonic(self) -> float:
        """Present time, s."""
        return self.now

    def check(self) -> None:
        """Fail as a full disk does."""
        self.tries += 1
        if self.full:
            raise StorageError.from_os("spool", OSError(errno.ENOSPC, "No space left on device"))


def disk_of(patch: pytest.MonkeyPatch) -> Disk:
    """Put a disk with room under all spools."""
    disk = Disk()
    append, roll = Spool.append, Spool._roll  # noqa: SLF001 -- both create or grow a file

    def checked_append(spool: Spool, rows: backlog_module.FloatArray) -> int:
        disk.check()
        return append(spool, rows)

    def checked_roll(spool: Spool, first: int) -> None:
        disk.check()
        roll(spool, first)

    patch.setattr(Spool, "append", checked_append)
    patch.setattr(Spool, "_roll", checked_roll)
    patch.setattr(backlog_module, "time", disk)
    return disk


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk with room."""
    return disk_of(monkeypatch)


def open_backlog(folder: Path, *, limit_bytes: int = 2**20) -> Backlog:
    """Backlog of the run, with what its spool has."""
    return Backlog(Spool(folder, LAYOUT, robot="go2", run=RUN, limit_bytes=limit_bytes))


@pytest.fixture
def backlog(tmp_path: Path, disk: Disk) -> Iterator[Backlog]:
    """An empty one."""
    with closing(open_backlog(tmp_path)) as backlog:
        yield backlog


def add(backlog: Backlog, count: int, *, first: int | None = None) -> None:
    """Append rows that tell their number."""
    first = backlog.end if first is None else first
    numbers = np.arange(first, first + count, dtype=np.float32)
    backlog.append(np.repeat(numbers[:, None], LAYOUT.width, axis=1), first=first)


def readable(backlog: Backlog, *, at_once: int = 7) -> list[int]:
    """Numbers of all rows that can be read now."""
    found: list[int] = []
    at = backlog.oldest
    while len((chunk := backlog.read(at, at_once)).rows):
        assert chunk.rows[:, 0].tolist() == list(range(chunk.first, chunk.end))
        found += range(chunk.first, chunk.end)
        at = chunk.end
    return found


def test_rows_go_to_disk(backlog: Backlog, tmp_path: Path) -> None:
    """Nothing is kept in memory while the disk has room."""
    add(backlog, 10)
    assert (backlog.kept, backlog.in_memory, backlog.pending, backlog.trouble) == (10, 0, 10, "")
    backlog.close()
    with closing(open_backlog(tmp_path)) as again:
        assert readable(again) == list(range(10))


def test_a_full_disk_holds_up_no_delivery(backlog: Backlog, disk: Disk) -> None:
    """Rows that it refused are read behind those that it took; what is wrong is said."""
    add(backlog, 10)
    disk.full = True
    add(backlog, 5)
    add(backlog, 5)
    assert readable(backlog) == list(range(20))
    assert (backlog.kept, backlog.in_memory, backlog.pending) == (10, 10, 20)
    assert backlog.trouble == "disk full: No space left on device"
    backlog.forget(13)
    assert (backlog.oldest, backlog.kept, backlog.in_memory) == (13, 13, 7)
    assert readable(backlog) == list(range(13, 20))
    backlog.forget(20)
    disk.now += RETRY_S
    backlog.write()
    assert (backlog.pending, backlog.trouble) == (0, "")


def test_a_disk_that_has_room_again_gets_everything_in_order(
    backlog: Backlog, disk: Disk, tmp_path: Path
) -> None:
    """Also when the learner has taken some of it meanwhile; nothing was dropped."""
    add(backlog, 10)
    disk.full = True
    add(backlog, 10)
    add(backlog, 10)
    backlog.forget(15)
    disk.full = False
    disk.now += RETRY_S
    backlog.write()
    assert (backlog.in_memory, backlog.kept, backlog.trouble) == (0, 30, "")
    backlog.close()
    with closing(open_backlog(tmp_path)) as again:
        assert readable(again) == list(range(15, 30))
        assert again.dropped == backlog.dropped == 0


def test_a_full_disk_is_tried_about_once_a_second(backlog: Backlog, disk: Disk) -> None:
    """Not with every row."""
    disk.full = True
    for _ in range(100):
        add(backlog, 1)
        disk.now += RETRY_S / 50
    assert disk.tries == 2


def test_what_follows_a_gap_waits_for_what_is_before_it(backlog: Backlog) -> None:
    """A learner that is told of it too early takes everything before it for lost."""
    add(backlog, 10)
    add(backlog, 5, first=20)
    assert (backlog.oldest, backlog.reach, backlog.end) == (0, 10, 25)
    assert (backlog.dropped, backlog.pending, backlog.in_memory) == (10, 15, 5)
    assert readable(backlog) == list(range(10))
    backlog.forget(10)
    assert (backlog.oldest, backlog.reach, backlog.kept) == (20, 25, 20)
    assert readable(backlog) == list(range(20, 25))
    backlog.write()
    assert (backlog.in_memory, backlog.kept) == (0, 25)


def test_rows_that_an_earlier_process_delivered_are_not_counted(backlog: Backlog) -> None:
    """They are missing here because a full disk never had them; the learner has them."""
    add(backlog, 10)
    add(backlog, 5, first=20)
    backlog.forget(15)
    assert (backlog.dropped, backlog.oldest) == (5, 20)
    add(backlog, 5, first=30)
    backlog.forget(32)
    assert (backlog.dropped, readable(backlog)) == (5, [32, 33, 34])


def test_gaps_in_memory_are_kept_apart(backlog: Backlog, disk: Disk) -> None:
    """The disk is full, and rows are missing twice."""
    disk.full = True
    add(backlog, 3)
    add(backlog, 3, first=10)
    add(backlog, 3, first=20)
    for first, stop in ((0, 3), (10, 13), (20, 23)):
        assert readable(backlog) == list(range(first, stop))
        backlog.forget(stop)
    assert (backlog.pending, backlog.dropped, backlog.oldest) == (0, 14, 23)


def test_the_oldest_rows_go_first(backlog: Backlog, disk: Disk) -> None:
    """Those on disk, then those in memory; each is counted once."""
    add(backlog, 10)
    disk.full = True
    add(backlog, 5)
    add(backlog, 5)
    disk.full = False
    backlog.drop_oldest()
    assert (backlog.dropped, readable(backlog)) == (10, list(range(10, 20)))
    backlog.drop_oldest()
    assert (backlog.dropped, readable(backlog)) == (15, list(range(15, 20)))
    assert backlog.size == 5 * 4 * LAYOUT.width


def test_a_disk_that_lets_go_of_nothing_is_no_error(backlog: Backlog, disk: Disk) -> None:
    """Dropping and forgetting report it, and the rows stay."""
    add(backlog, 10)
    disk.full = True
    backlog.drop_oldest()
    assert (backlog.dropped, backlog.pending) == (0, 10)
    assert "disk full" in backlog.trouble


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "gap", "acknowledge", "full", "room", "drop", "wait"]),
        st.integers(1, 30),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=100)
@given(steps)
def test_rows_leave_only_acknowledged_or_counted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """Whatever disk, loop and learner do: what is left is read in order, and every row counted."""
    with pytest.MonkeyPatch.context() as patch:
        disk: Disk = disk_of(patch)
        with closing(open_backlog(tmp_path_factory.mktemp("backlog"))) as backlog:
            left: list[int] = []
            missing = 0
            for step, count in steps:
                if step == "add":
                    left += range(backlog.end, backlog.end + count)
                    add(backlog, count)
                elif step == "gap":
                    missing += count
                    left += [backlog.end + count]
                    add(backlog, 1, first=backlog.end + count)
                elif step == "acknowledge":
                    upto = min(backlog.oldest + count, backlog.reach)
                    left = [number for number in left if number >= upto]
                    backlog.forget(upto)
                elif step == "drop":
                    before = backlog.dropped
                    backlog.drop_oldest()
                    missing += backlog.dropped - before
                    left = left[backlog.dropped - before :]
                elif step == "wait":
                    disk.now += RETRY_S
                    backlog.write()
                else:
                    disk.full = step == "full"
                expected = [number for number in left if number < backlog.reach]
                assert readable(backlog) == expected
                assert (backlog.pending, backlog.dropped) == (len(left), missing)
                assert backlog.oldest == (left[0] if left else backlog.end)
