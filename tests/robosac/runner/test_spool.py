"""The spool loses nothing that it has taken, except what it counts."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robosac.errors import DamagedRecordError, StorageError
from robosac.replay import Chunk, RowLayout, SegmentLog
from robosac.replay.records import encode
from robosac.runner.spool import Spool

FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=2, extra=1, action=1)
RUN, OTHER_RUN = "a" * 32, "b" * 32
ROOT = Path(__file__).parents[3]
RECORD = len(encode(Chunk(robot="go2", run=RUN, first=200, rows=np.zeros((1, 14), np.float32))))

APPENDER = """
import sys
from pathlib import Path
import numpy as np
from robosac.replay import RowLayout
from robosac.runner.spool import Spool

spool = Spool(Path(sys.argv[1]), RowLayout(obs=2, extra=1, action=1), robot="go2", run=sys.argv[2])
while True:
    for count in (1, 1, 1, 2_000):
        numbers = np.arange(spool.end, spool.end + count, dtype=np.float32)
        last = spool.append(np.repeat(numbers[:, None], 14, axis=1))
        print(last, flush=True)
"""


def numbered(first: int, count: int) -> FloatArray:
    """Rows that tell their sequence number in every column."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    return np.repeat(numbers[:, None], LAYOUT.width, axis=1)


def spool_in(directory: Path, *, run: str = RUN, limit_bytes: int = 2**20) -> Spool:
    """Open the spool that these tests use."""
    return Spool(directory, LAYOUT, robot="go2", run=run, limit_bytes=limit_bytes)


def fill(spool: Spool, count: int) -> None:
    """Append rows one by one."""
    for _ in range(count):
        spool.append(numbered(spool.end, 1))


def numbers(chunk: Chunk) -> list[int]:
    """Return the sequence numbers in the rows, having checked that they are the chunk's."""
    np.testing.assert_array_equal(chunk.rows, numbered(chunk.first, len(chunk.rows)))
    return list(range(chunk.first, chunk.end))


def size_on_disk(directory: Path) -> int:
    """Return the bytes of all segments in the folder."""
    return sum(path.stat().st_size for path in directory.rglob("*.rows"))


def test_rows_are_numbered_in_order_and_read_back(tmp_path: Path) -> None:
    """append() tells the number of the last row; read() cuts as it is asked to."""
    with spool_in(tmp_path) as spool:
        assert [spool.append(numbered(first, count)) for first, count in ((0, 1), (1, 5))] == [0, 5]
        assert (spool.oldest, spool.end, spool.pending, spool.dropped) == (0, 6, 6, 0)
        assert numbers(spool.read(0, 100)) == [0, 1, 2, 3, 4, 5]
        assert numbers(spool.read(2, 2)) == [2, 3]
        assert numbers(spool.read(6, 10)) == []
        assert spool.read(0, 1).key == ("go2", RUN)


def test_reading_finds_its_place_in_a_long_spool(tmp_path: Path) -> None:
    """Every start is found through the index, across records and segments."""
    with spool_in(tmp_path) as spool:
        while spool.end < 8_000:
            spool.append(numbered(spool.end, 1 + spool.end % 7))
        assert len(list(tmp_path.rglob("*.rows"))) > 3
        for first in range(0, spool.end, 97):
            assert numbers(spool.read(first, 50)) == list(range(first, min(first + 50, spool.end)))
        assert numbers(spool.read(0, 10_000)) == list(range(spool.end))


def test_reading_does_not_begin_at_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of the last row decodes no more than a stride of the index."""
    with spool_in(tmp_path) as spool:
        fill(spool, 600)
        assert len(list(tmp_path.rglob("*.rows"))) == 1
        decoded: list[int] = []
        frombuffer = np.frombuffer

        def counted(data: bytes, dtype: np.dtype[np.float32], offset: int) -> FloatArray:
            decoded.append(len(data))
            return frombuffer(data, dtype=dtype, offset=offset)

        monkeypatch.setattr(np, "frombuffer", counted)
        assert numbers(spool.read(599, 1)) == [599]
        assert 0 < len(decoded) < 16 * 1024 // RECORD + 3


def test_forgetting_deletes_what_is_wholly_acknowledged(tmp_path: Path) -> None:
    """Whole segments go; the last one stays, because it carries the numbering."""
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        fill(spool, 35)
        assert len(list(tmp_path.rglob("*.rows"))) == 4
        spool.forget(9)
        assert (spool.oldest, spool.pending) == (9, 26)
        assert numbers(spool.read(0, 3)) == [9, 10, 11]
        spool.forget(25)
        assert len(list(tmp_path.rglob("*.rows"))) == 2
        spool.forget(3)
        assert spool.oldest == 25
        spool.forget(35)
        assert (spool.pending, len(list(tmp_path.rglob("*.rows")))) == (0, 1)
        assert numbers(spool.read(0, 5)) == []
        assert spool.dropped == 0


@pytest.mark.parametrize("acknowledged", [0, 10, 20, 35])
def test_reopening_goes_on_with_the_numbering(tmp_path: Path, acknowledged: int) -> None:
    """Also when every row was acknowledged: numbers that start again look like duplicates."""
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        fill(spool, 35)
        spool.forget(acknowledged)
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        assert spool.oldest <= acknowledged
        assert spool.append(numbered(35, 1)) == 35
        assert numbers(spool.read(acknowledged, 100)) == list(range(acknowledged, 36))


def test_a_kill_while_numbering_jumps_to_where_the_learner_is_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new segment is there and the old ones still are; the learner has what they hold."""
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        fill(spool, 35)
        with monkeypatch.context() as patches:
            patches.setattr(Path, "unlink", killed)
            with pytest.raises(StorageError):
                spool.forget(100)
    assert len(list(tmp_path.rglob("*.rows"))) > 2
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        assert (spool.oldest, spool.end, spool.dropped) == (100, 100, 0)
        assert spool.append(numbered(100, 1)) == 100
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        assert numbers(spool.read(0, 100)) == [100]


def killed(path: Path) -> None:
    """As far as the disk can tell."""
    raise OSError(errno.EIO, "killed", str(path))


def test_a_spool_at_its_limit_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    """The disk is never used beyond the limit, and nothing goes silently."""
    limit = 40 * RECORD
    with spool_in(tmp_path, limit_bytes=limit) as spool:
        for _ in range(200):
            fill(spool, 1)
            assert size_on_disk(tmp_path) <= limit
            assert spool.dropped + spool.pending == spool.end
        assert spool.dropped == spool.oldest
        assert 35 <= spool.pending <= 40
        assert numbers(spool.read(0, 1_000)) == list(range(spool.oldest, 200))


def test_rows_that_were_acknowledged_are_not_counted_as_dropped(tmp_path: Path) -> None:
    """Deleting what the learner has is no loss, wherever it happens."""
    with spool_in(tmp_path, limit_bytes=24 * RECORD) as spool:
        fill(spool, 24)
        spool.forget(7)
        fill(spool, 7)
        assert (spool.oldest, spool.dropped) == (9, 2)


def test_a_record_that_no_spool_can_hold_is_refused(tmp_path: Path) -> None:
    """It would drop everything else and still not fit."""
    with spool_in(tmp_path, limit_bytes=3 * RECORD) as spool:
        fill(spool, 2)
        with pytest.raises(StorageError, match="raise the limit or append fewer rows"):
            spool.append(numbered(2, 50))
        assert numbers(spool.read(0, 10)) == [0, 1]
        fill(spool, 1)
        assert spool.end == 3


@settings(max_examples=25)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 12)),
            st.tuples(st.just("forget"), st.integers(0, 120)),
            st.tuples(st.just("reopen"), st.just(0)),
        ),
        max_size=25,
    )
)
def test_any_use_keeps_every_row_that_is_not_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Appending, acknowledging and reopening in any order, without reaching the limit."""
    end = acknowledged = 0
    with tempfile.TemporaryDirectory() as directory:
        spool = spool_in(Path(directory), limit_bytes=64 * 1024)
        for step, number in steps:
            if step == "append":
                spool.append(numbered(end, number))
                end += number
            elif step == "forget":
                acknowledged = max(acknowledged, min(number, end))
                spool.forget(min(number, end))
            else:
                spool.close()
                spool = spool_in(Path(directory), limit_bytes=64 * 1024)
            assert (spool.end, spool.dropped) == (end, 0)
            assert spool.oldest <= acknowledged
            assert numbers(spool.read(acknowledged, 1_000)) == list(range(acknowledged, end))
        spool.close()


def test_killed_while_appending(tmp_path: Path) -> None:
    """After SIGKILL, every row that append() had returned for can be read, by its number."""
    last = 0
    for lines in (1, 30, 75):
        command = [sys.executable, "-c", APPENDER, str(tmp_path), RUN]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            for _ in range(lines):
                last = int(process.stdout.readline())
            process.kill()
            last = max([last, *map(int, process.stdout.read().splitlines())])
        assert Spool.leftovers(tmp_path) == [("go2", RUN)]
        with spool_in(tmp_path, limit_bytes=2**30) as spool:
            assert (spool.oldest, spool.dropped) == (0, 0)
            assert spool.end > last
            assert numbers(spool.read(0, 10**7)) == list(range(spool.end))


def test_a_spool_cut_at_any_byte_opens_with_what_was_complete(tmp_path: Path) -> None:
    """A power cut may cost the end of the last segment, never more."""
    with spool_in(tmp_path) as spool:
        fill(spool, 3)
    (path,) = tmp_path.rglob("*.rows")
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with spool_in(tmp_path) as spool:
            assert spool.end == size * 3 // len(data)
            assert spool.torn_bytes == size % (len(data) // 3)
            assert numbers(spool.read(0, 5)) == list(range(spool.end))


def test_a_full_segment_is_durable_before_the_next_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a power cut can tear only the last segment; rows in it cost no sync."""
    files_at_sync: list[int] = []
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool, monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda _: files_at_sync.append(len(list(tmp_path.rglob("*.rows"))))
        )
        fill(spool, 10)
        assert files_at_sync == []
        fill(spool, 1)
        assert files_at_sync[0] == 1


def test_a_learner_that_is_ahead_sets_the_numbering(tmp_path: Path) -> None:
    """Rows lost to a power cut may have been delivered: their numbers are not used again."""
    with spool_in(tmp_path) as spool:
        fill(spool, 4)
        spool.forget(9)
        assert (spool.oldest, spool.end, spool.pending) == (9, 9, 0)
        assert spool.append(numbered(9, 2)) == 10
    with spool_in(tmp_path) as spool:
        assert numbers(spool.read(0, 5)) == [9, 10]


def test_spools_of_earlier_runs_are_found_delivered_and_removed(tmp_path: Path) -> None:
    """A runner that was killed and restarted under a new run delivers 2,000 and 2,500 rows."""
    runner, learner = tmp_path / "spool", tmp_path / "replay"
    assert Spool.leftovers(runner) == []
    for run, count in ((RUN, 2_000), (OTHER_RUN, 2_500)):
        with spool_in(runner, run=run) as spool:
            for first in range(0, count, 50):
                spool.append(numbered(first, 50))
    (runner / "notes.txt").touch()
    assert sorted(Spool.leftovers(runner)) == [("go2", RUN), ("go2", OTHER_RUN)]
    with SegmentLog(learner, LAYOUT) as log:
        for _, run in Spool.leftovers(runner):
            spool = spool_in(runner, run=run)
            while spool.pending:
                log.append(spool.read(spool.oldest, 64), oldest=spool.oldest)
                log.sync()
                spool.forget(log.marks["go2", run])
            spool.remove()
            spool.close()
        assert log.marks == {("go2", RUN): 2_000, ("go2", OTHER_RUN): 2_500}
    assert Spool.leftovers(runner) == []


def test_pending_rows_are_removed_only_by_name_of_the_danger(tmp_path: Path) -> None:
    """And they are counted."""
    spool = spool_in(tmp_path)
    fill(spool, 3)
    with pytest.raises(ValueError, match=r"3 rows are pending in .*; deliver them first"):
        spool.remove()
    spool.remove(lose_pending=True)
    assert spool.dropped == 3
    assert Spool.leftovers(tmp_path) == []


def test_a_failed_append_takes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may try the same rows again."""
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < RECORD:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:50])

    with spool_in(tmp_path) as spool:
        fill(spool, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(StorageError, match="got disk full: No space left on device"):
                fill(spool, 1)
        assert (spool.end, spool.pending) == (2, 2)
        fill(spool, 1)
        assert numbers(spool.read(0, 5)) == [0, 1, 2]


def test_a_damaged_spool_is_refused_in_one_line(tmp_path: Path) -> None:
    """Rows are not given up without a person who says so."""
    with spool_in(tmp_path) as spool:
        fill(spool, 3)
    (path,) = tmp_path.rglob("*.rows")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedRecordError) as caught:
        spool_in(tmp_path)
    assert caught.value.offset == len(data) // 3
    assert "\n" not in str(caught.value)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    """A hole is found when the spool opens, not when the learner refuses what follows it."""
    with spool_in(tmp_path, limit_bytes=80 * RECORD) as spool:
        fill(spool, 35)
    sorted(tmp_path.rglob("*.rows"))[1].unlink()
    with pytest.raises(StorageError, match=r"got 20 .*; expected 10; move the folder away"):
        spool_in(tmp_path)


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(robot="spot", run=RUN, first=0, rows=np.zeros((1, 14), np.float32)),
        Chunk(robot="go2", run=OTHER_RUN, first=0, rows=np.zeros((1, 14), np.float32)),
        Chunk(robot="go2", run=RUN, first=1, rows=np.zeros((1, 14), np.float32)),
        Chunk(robot="go2", run=RUN, first=0, rows=np.zeros((1, 16), np.float32)),
    ],
)
def test_a_segment_of_something_else_is_refused(tmp_path: Path, chunk: Chunk) -> None:
    """Another robot's, run's or layout's rows are not sent as this run's."""
    folder = tmp_path / f"go2.{RUN}"
    folder.mkdir()
    (folder / "000000000000.rows").write_bytes(encode(chunk))
    with pytest.raises(StorageError, match="move the folder away to go on without its rows"):
        spool_in(tmp_path)


def test_a_spool_has_one_owner(tmp_path: Path) -> None:
    """Two runners under one run would number their rows alike."""
    with spool_in(tmp_path), pytest.raises(StorageError, match="expected one writer"):
        spool_in(tmp_path)


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    with spool_in(tmp_path) as spool:
        with pytest.raises(ValueError, match=r"rows \(2, 15\); expected \(n, 14\)"):
            spool.append(np.zeros((2, 15), np.float32))
        assert spool.end == 0


@pytest.mark.parametrize(
    ("robot", "run", "limit_bytes"), [("../x", RUN, 1), ("go2", "run", 1), ("go2", RUN, 0)]
)
def test_names_and_limits_are_checked(
    tmp_path: Path, robot: str, run: str, limit_bytes: int
) -> None:
    """A name becomes a folder: nothing leaves the directory."""
    with pytest.raises(ValueError, match="expected"):
        Spool(tmp_path, LAYOUT, robot=robot, run=run, limit_bytes=limit_bytes)
    assert not list(tmp_path.iterdir())
