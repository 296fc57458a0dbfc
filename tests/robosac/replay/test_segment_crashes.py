"""Whatever kills the learner or fills its disk, the log opens with everything that was durable."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.errors import StorageError
from robosac.replay import Audit, Chunk, RowLayout, SegmentLog
from robosac.replay.records import encode

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYOUT = RowLayout(obs=2, extra=1, action=1)
KEY = ("go2", "a" * 32)
ROOT = Path(__file__).parents[3]

APPENDER = """
import sys
from pathlib import Path
import numpy as np
from robosac.replay import Chunk, RowLayout, SegmentLog

log = SegmentLog(Path(sys.argv[1]), RowLayout(obs=2, extra=1, action=1), segment_bytes=2**20)
count = 2_000
while True:
    first = log.marks.get(("go2", "a" * 32), 0)
    numbers = np.arange(first, first + count, dtype=np.float32)
    rows = np.repeat(numbers[:, None], 14, axis=1)
    log.append(Chunk(robot="go2", run="a" * 32, first=first, rows=rows))
    print(first + count, flush=True)
"""

LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from robosac.errors import StorageError
from robosac.replay import Chunk, RowLayout, SegmentLog

log = SegmentLog(Path(sys.argv[1]), RowLayout(obs=2, extra=1, action=1))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))

def chunk():
    first = log.marks.get(("go2", "a" * 32), 0)
    numbers = np.arange(first, first + 10, dtype=np.float32)
    rows = np.repeat(numbers[:, None], 14, axis=1)
    return Chunk(robot="go2", run="a" * 32, first=first, rows=rows)

try:
    while True:
        log.append(chunk())
except StorageError as error:
    size = (log.directory / "replay-000000.rows").stat().st_size
    print(log.marks["go2", "a" * 32], size, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
log.append(chunk())
log.close()
"""


def numbered(first: int, count: int) -> Chunk:
    """Rows that tell their sequence number in every column."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    rows = np.repeat(numbers[:, None], LAYOUT.width, axis=1)
    return Chunk(robot=KEY[0], run=KEY[1], first=first, rows=rows)


def stored(log: SegmentLog) -> list[float]:
    """Return the sequence numbers in the rows on disk, in their order."""
    return [number for chunk in log.rows() for number in chunk.rows[:, 0].tolist()]


def fill(log: SegmentLog) -> None:
    """Append far more than a small disk can hold."""
    for first in range(0, 10_000, 50):
        log.append(numbered(first, 50))


def child(program: str, directory: Path) -> subprocess.Popen[str]:
    """Start a process that writes to the log in this folder."""
    command = [sys.executable, "-c", program, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Return a folder in which this user may not create files."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        if os.geteuid():
            yield Path(name)
        else:
            os.seteuid(65534)  # permissions do not stop root
            try:
                yield Path(name)
            finally:
                os.seteuid(0)
        Path(name).chmod(0o755)


def test_a_log_cut_at_any_byte_opens_with_what_was_complete(tmp_path: Path) -> None:
    """A crash while appending costs the unfinished record only, and appending goes on after it."""
    records = [encode(numbered(0, 3)), encode(numbered(3, 2))]
    path = tmp_path / "replay-000000.rows"
    for size in range(len(records[1])):
        path.write_bytes(records[0] + records[1][:size])
        with SegmentLog(tmp_path, LAYOUT) as log:
            assert log.marks == {KEY: 3}
            assert log.torn_bytes == size
            assert log.append(numbered(3, 2)).accepted == 2
            assert stored(log) == [0, 1, 2, 3, 4]
        assert path.read_bytes() == b"".join(records)


def test_a_tail_of_zeros_is_cut(tmp_path: Path) -> None:
    """Some file systems leave the new size and no data after a power cut."""
    record = encode(numbered(0, 3))
    (tmp_path / "replay-000000.rows").write_bytes(record + bytes(5_000))
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert (log.marks, log.torn_bytes) == ({KEY: 3}, 5_000)


def test_a_log_that_was_killed_before_its_first_record_is_empty(tmp_path: Path) -> None:
    """The moment between creating a segment and writing to it is a place to crash, too."""
    (tmp_path / "replay-000000.rows").write_bytes(encode(numbered(0, 3)))
    (tmp_path / "replay-000001.rows").touch()
    with SegmentLog(tmp_path, LAYOUT) as log:
        log.append(numbered(3, 2))
        assert stored(log) == [0, 1, 2, 3, 4]


def test_killed_while_appending(tmp_path: Path) -> None:
    """After SIGKILL, everything that append() had returned for is there, once and in order."""
    reported = 0
    for lines in (1, 40, 7, 90):
        with child(APPENDER, tmp_path) as process:
            assert process.stdout is not None
            for _ in range(lines):
                reported = int(process.stdout.readline())
            process.kill()
            reported = max([reported, *map(int, process.stdout.read().splitlines())])
        with SegmentLog(tmp_path, LAYOUT) as log:
            assert log.marks[KEY] >= reported
            assert stored(log) == list(range(log.marks[KEY]))
            assert log.audit(log.marks) == Audit(lost=0, duplicated=0)
    assert len(list(tmp_path.iterdir())) > 3


def test_a_file_size_limit_rolls_the_record_back(tmp_path: Path) -> None:
    """The partial record is cut, the reason is told, and appending goes on when there is room."""
    with child(LIMITED, tmp_path) as process:
        assert process.stdout is not None
        (line,) = process.stdout.read().splitlines()
    assert process.returncode == 0
    mark, size, message = line.split(maxsplit=2)
    assert int(size) < 5_000
    assert "got file size limit reached: File too large" in message
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.torn_bytes == 0
        assert stored(log) == list(range(int(mark) + 10))


def test_a_full_disk_is_told_and_survived(small_disk: Path) -> None:
    """What was durable stays readable, and the log goes on once there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(16_384))
    log = SegmentLog(small_disk / "replay", LAYOUT)
    with pytest.raises(StorageError, match="got disk full: No space left on device") as caught:
        fill(log)
    assert caught.value.errno == errno.ENOSPC
    mark = log.marks[KEY]
    assert stored(log) == list(range(mark))
    ballast.unlink()
    assert log.append(numbered(mark, 50)).accepted == 50
    log.close()
    with SegmentLog(small_disk / "replay", LAYOUT) as log:
        assert stored(log) == list(range(mark + 50))


def test_nothing_is_written_behind_a_record_that_could_not_be_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When even the roll-back fails, every later append is refused; opening again repairs it."""
    log = SegmentLog(tmp_path, LAYOUT)
    log.append(numbered(0, 3))
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.EIO, "Input/output error")
        return write(descriptor, data[:100])

    def refuse(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(StorageError, match="got device error: Input/output error"):
            log.append(numbered(3, 2))
    assert log.marks == {KEY: 3}
    for use in (lambda: log.append(numbered(3, 2)), log.sync):
        with pytest.raises(StorageError, match="left in doubt"):
            use()
    log.close()
    with SegmentLog(tmp_path, LAYOUT) as log:
        assert log.torn_bytes == 100
        assert stored(log) == [0, 1, 2]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take less than it is given."""
    write = os.write
    with SegmentLog(tmp_path, LAYOUT) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
            log.append(numbered(0, 3))
        assert stored(log) == [0, 1, 2]


def test_an_interrupt_between_two_writes_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may strike anywhere; the log stays usable."""
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        write(descriptor, data)
        raise KeyboardInterrupt

    with SegmentLog(tmp_path, LAYOUT) as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                log.append(numbered(0, 3))
        assert stored(log) == []
        assert log.append(numbered(0, 3)).accepted == 3
        assert stored(log) == [0, 1, 2]


def test_a_failed_sync_vouches_for_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reports a lost page once: a second fsync that succeeds must not be believed."""
    log = SegmentLog(tmp_path, LAYOUT)
    log.append(numbered(0, 3))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="device error"):
            log.sync()
    with pytest.raises(StorageError, match="left in doubt"):
        log.sync()
    log.close()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the name of every file and folder that is synced."""
    names: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        names.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return names


def test_every_mark_is_durable_when_the_log_opens(tmp_path: Path, synced: list[str]) -> None:
    """Rows that a killed learner left in the page cache are synced before marks promise them."""
    (tmp_path / "replay-000000.rows").write_bytes(encode(numbered(0, 3)))
    with SegmentLog(tmp_path, LAYOUT):
        assert synced == ["replay-000000.rows", tmp_path.name]


def test_a_full_segment_is_durable_before_the_next_begins(
    tmp_path: Path, synced: list[str]
) -> None:
    """Then only the last segment can be torn by a power cut."""
    with SegmentLog(tmp_path, LAYOUT, segment_bytes=1) as log:
        log.append(numbered(0, 3))
        synced.clear()
        log.append(numbered(3, 2))
        assert synced[:2] == ["replay-000000.rows", tmp_path.name]
        log.sync()
        assert synced[-1] == "replay-000001.rows"


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(read_only: Path) -> None:
    """The learner says so when it starts, not after an hour."""
    for directory in (read_only, read_only / "replay"):
        with pytest.raises(StorageError, match="got not permitted: Permission denied") as caught:
            SegmentLog(directory, LAYOUT)
        assert "\n" not in str(caught.value)
