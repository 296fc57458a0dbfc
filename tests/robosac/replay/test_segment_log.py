"""The log takes every row once, knows what it has, and notices what it lacks."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robosac.errors import DamagedRecordError, StorageError
from robosac.replay import AppendResult, Audit, Chunk, ReplayMemory, RowLayout, SegmentLog
from robosac.replay.records import MAGIC, encode
from robosac.replay.segments import Sequences

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=2, extra=1, action=1)
RUN, OTHER_RUN = "a" * 32, "b" * 32


def numbered(first: int, count: int, robot: str = "go2", run: str = RUN) -> Chunk:
    """Rows that tell their sequence number in every column."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    rows = np.repeat(numbers[:, None], LAYOUT.width, axis=1)
    return Chunk(robot=robot, run=run, first=first, rows=rows)


def stored(log: SegmentLog, robot: str = "go2", run: str = RUN) -> list[float]:
    """Return the sequence numbers in the rows on disk of one run, in their order."""
    chunks = [chunk for chunk in log.rows() if chunk.key == (robot, run)]
    for chunk in chunks:
        assert chunk.rows.min(axis=1).tolist() == chunk.rows.max(axis=1).tolist()
        assert chunk.rows[0, 0] == chunk.first
    return [number for chunk in chunks for number in chunk.rows[:, 0].tolist()]


def test_what_was_appended_is_there_after_reopening(tmp_path: Path) -> None:
    """Marks and rows come back from the data alone."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.append(numbered(0, 3)) == AppendResult(3, 0, skipped=0, expected=3)
        assert log.append(numbered(3, 4)) == AppendResult(4, 0, skipped=0, expected=7)
        log.sync()
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.marks == {("go2", RUN): 7}
        assert stored(log) == list(range(7))
        assert log.torn_bytes == 0


def test_rows_that_the_log_has_are_counted_and_dropped(tmp_path: Path) -> None:
    """A robot that sends again after a lost acknowledgement doubles nothing."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        log.append(numbered(0, 5))
        assert log.append(numbered(0, 5)) == AppendResult(0, 5, skipped=0, expected=5)
        assert log.append(numbered(3, 4)) == AppendResult(2, 2, skipped=0, expected=7)
        assert stored(log) == list(range(7))
        assert log.audit({("go2", RUN): 7}) == Audit(lost=0, duplicated=0)


def test_a_learner_restarted_with_its_replay_takes_nothing_twice(tmp_path: Path) -> None:
    """After a reload, agentlace asks from the beginning and doubles its replay."""
    for _ in range(2):
        with SegmentLog(tmp_path, LAYOUT) as log:
            for first in range(0, 3_000, 100):
                log.append(numbered(first, 100))
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert stored(log) == list(range(3_000))


def test_a_chunk_beyond_the_mark_is_refused_whole(tmp_path: Path) -> None:
    """The caller asks again from `expected`; nothing with a hole before it is taken."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.append(numbered(2, 2)) == AppendResult(0, 0, skipped=0, expected=0)
        log.append(numbered(0, 5))
        assert log.append(numbered(6, 2)) == AppendResult(0, 0, skipped=0, expected=5)
        assert log.append(numbered(5, 3)) == AppendResult(3, 0, skipped=0, expected=8)
        assert stored(log) == list(range(8))


def test_rows_that_the_robot_no_longer_has_are_skipped_and_found_lost(tmp_path: Path) -> None:
    """A spool that was full for too long costs its rows, not the rest of the run."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        log.append(numbered(0, 5))
        result = log.append(numbered(12, 2), oldest=9)
        assert result == AppendResult(0, 0, skipped=0, expected=9)
        assert log.append(numbered(9, 5), oldest=9) == AppendResult(5, 0, skipped=4, expected=14)
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.marks == {("go2", RUN): 14}
        assert log.append(numbered(14, 1)).accepted == 1
        assert log.sequences() == {("go2", RUN): Sequences(count=11, contiguous=False)}
        assert log.audit({("go2", RUN): 15}) == Audit(lost=4, duplicated=0)


def test_robots_and_runs_are_counted_apart(tmp_path: Path) -> None:
    """Two robots, and a robot that was restarted, each count from 0."""
    names = [("go2", RUN), ("go2", OTHER_RUN), ("spot", RUN)]
    with SegmentLog(tmp_path, LAYOUT) as log:
        for first in (0, 4):
            for robot, run in names:
                assert log.append(numbered(first, 4, robot, run)).accepted == 4
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.marks == dict.fromkeys(names, 8)
        assert log.sequences() == dict.fromkeys(names, Sequences(count=8, contiguous=True))
        assert log.audit(dict.fromkeys(names, 8)) == Audit(lost=0, duplicated=0)
        for robot, run in names:
            assert stored(log, robot, run) == list(range(8))


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    """No segment is larger than asked, and together they hold every row in order."""
    size = len(encode(numbered(0, 4)))
    with SegmentLog(tmp_path, LAYOUT, segment_bytes=3 * size) as log:
        for first in range(0, 40, 4):
            log.append(numbered(first, 4))
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [f"replay-00000{number}.rows" for number in range(4)]
    assert [path.stat().st_size for path in paths] == [3 * size, 3 * size, 3 * size, size]
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert stored(log) == list(range(40))


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    """The limit of a segment never keeps a row out."""
    with SegmentLog(tmp_path, LAYOUT, segment_bytes=1) as log:
        log.append(numbered(0, 4))
        log.append(numbered(4, 4))
        assert stored(log) == list(range(8))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_memory_is_refilled_from_the_log(tmp_path: Path) -> None:
    """What a resumed learner samples is what it would have sampled."""
    before, after = ReplayMemory(LAYOUT, capacity=10), ReplayMemory(LAYOUT, capacity=10)
    with SegmentLog(tmp_path, LAYOUT) as log:
        for first in range(0, 24, 3):
            chunk = numbered(first, 3)
            log.append(chunk)
            before.extend(chunk.rows)
    with SegmentLog(tmp_path, LAYOUT) as log:
        for chunk in log.rows():
            after.extend(chunk.rows)
    assert after.total == before.total
    np.testing.assert_array_equal(
        after.sample(50, np.random.default_rng(0)), before.sample(50, np.random.default_rng(0))
    )


def test_the_audit_sees_what_append_would_never_write(tmp_path: Path) -> None:
    """It reads the files: a bug in append() could not hide from it."""
    chunks = [
        numbered(0, 4),
        numbered(2, 4),
        numbered(8, 2),
        numbered(8, 2),
        numbered(0, 1, "spot"),
    ]
    (tmp_path / "replay-000000.rows").write_bytes(b"".join(map(encode, chunks)))
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.sequences() == {
            ("go2", RUN): Sequences(count=12, contiguous=False),
            ("spot", RUN): Sequences(count=1, contiguous=True),
        }
        expected = {("go2", RUN): 12, ("spot", RUN): 3, ("anymal", RUN): 5}
        assert log.audit(expected) == Audit(lost=4 + 2 + 5, duplicated=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    spans=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=8),
    expected=st.integers(0, 40),
)
def test_the_audit_agrees_with_counting_one_by_one(
    tmp_path: Path, spans: list[tuple[int, int]], expected: int
) -> None:
    """Whatever overlaps or is missing."""
    data = b"".join(encode(numbered(first, count)) for first, count in spans)
    (tmp_path / "replay-000000.rows").write_bytes(data)
    seen = collections.Counter(
        number for first, count in spans for number in range(first, first + count)
    )
    with SegmentLog(tmp_path, LAYOUT) as log:
        audit = log.audit({("go2", RUN): expected})
        assert audit.lost == sum(number not in seen for number in range(expected))
        assert audit.duplicated == seen.total() - len(seen)


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    """On the way in and on opening, in one line that says what to do."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        log.append(numbered(0, 2))
    other = RowLayout(obs=3, extra=1, action=1)
    expected = "got rows of 14 columns from go2; expected 16 columns.*; start a new run"
    with pytest.raises(StorageError, match=expected):
        SegmentLog(tmp_path, other)
    with SegmentLog(tmp_path / "new", other) as log:
        with pytest.raises(StorageError, match=expected):
            log.append(numbered(0, 2))
        assert not list(log.rows())


def test_a_damaged_record_in_the_middle_is_refused(tmp_path: Path) -> None:
    """Cutting there would throw intact rows away; a person decides that."""
    with SegmentLog(tmp_path, LAYOUT) as log:
        for first in (0, 2, 4):
            log.append(numbered(first, 2))
    path = tmp_path / "replay-000000.rows"
    data = path.read_bytes()
    size = len(data) // 3
    for position in (size + 3, size + 9, 2 * size - 1):
        spoilt = bytearray(data)
        spoilt[position] ^= 0x10
        path.write_bytes(spoilt)
        with pytest.raises(DamagedRecordError) as caught:
            SegmentLog(tmp_path, LAYOUT)
        assert caught.value.offset == size
        assert str(caught.value).startswith(f"{path} at byte {size}: got ")
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == spoilt


def test_rows_that_look_like_a_record_hide_no_damage(tmp_path: Path) -> None:
    """The search for what follows the damage goes on behind a false beginning."""
    chunks = [numbered(first, 2) for first in (0, 2, 4)]
    chunks[1].rows[1] = np.frombuffer(MAGIC, dtype=np.float32)
    first, second, third = map(encode, chunks)
    (tmp_path / "replay-000000.rows").write_bytes(first + b"X" + second[1:] + third)
    with pytest.raises(DamagedRecordError, match="got b'XSRC'"):
        SegmentLog(tmp_path, LAYOUT)


def test_a_torn_record_in_an_earlier_segment_is_refused(tmp_path: Path) -> None:
    """Only the last segment can end in a crash."""
    with SegmentLog(tmp_path, LAYOUT, segment_bytes=1) as log:
        log.append(numbered(0, 2))
        log.append(numbered(2, 2))
    path = tmp_path / "replay-000000.rows"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedRecordError, match=r"replay-000000\.rows at byte 0"):
        SegmentLog(tmp_path, LAYOUT)


def test_a_missing_segment_is_refused(tmp_path: Path) -> None:
    """A hole in the log is named by the file that is not there."""
    with SegmentLog(tmp_path, LAYOUT, segment_bytes=1) as log:
        for first in (0, 2, 4):
            log.append(numbered(first, 2))
    (tmp_path / "replay-000001.rows").unlink()
    with pytest.raises(StorageError, match="got segment 2 after segment 0; expected segment 1"):
        SegmentLog(tmp_path, LAYOUT)


def test_a_log_has_one_writer(tmp_path: Path) -> None:
    """A learner that is started twice on one run is told so."""
    with (
        SegmentLog(tmp_path, LAYOUT),
        pytest.raises(StorageError, match="another writer holds; expected one writer"),
    ):
        SegmentLog(tmp_path, LAYOUT)
    SegmentLog(tmp_path, LAYOUT).close()


def test_close_may_be_called_again(tmp_path: Path) -> None:
    """And a closed log can be read, but not written."""
    log = SegmentLog(tmp_path, LAYOUT)
    log.append(numbered(0, 2))
    log.close()
    log.close()
    with pytest.raises(StorageError):
        log.append(numbered(2, 2))
