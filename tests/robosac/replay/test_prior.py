"""Rows of an earlier run: read as they were when the run that uses them began, and left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.errors import DamagedRecordError, StorageError
from robosac.replay import Chunk, RowLayout, SegmentLog
from robosac.replay.prior import PriorSource, read, survey
from robosac.replay.records import encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT = RowLayout(obs=2, extra=1, action=1)
ROWS = 60
RUNS = ("a" * 32, "b" * 32)


def numbered(first: int, count: int, run: str = RUNS[0]) -> Chunk:
    """Rows that tell their sequence number in every column."""
    numbers = np.arange(first, first + count, dtype=np.float32)
    rows = np.repeat(numbers[:, None], LAYOUT.width, axis=1)
    return Chunk(robot="go2", run=run, first=first, rows=rows)


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Two robots' runs in turns, in several segments."""
    folder = tmp_path / "replay"
    with SegmentLog(folder, LAYOUT, segment_bytes=1500) as log:
        for first in range(0, ROWS // 2, 5):
            for run in RUNS:
                log.append(numbered(first, 5, run))
    assert len(list(folder.iterdir())) > 2
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def taken(source: PriorSource) -> list[tuple[str, float]]:
    """Run and number of every row, in order."""
    return [(one.run, number) for one in read(source) for number in one.rows[:, 0].tolist()]


def test_everything_is_read_in_order_and_nothing_is_touched(replay: Path) -> None:
    """From all segments, of all runs, while somebody may even be writing there."""
    before = content(replay)
    with SegmentLog(replay, LAYOUT) as log:
        source, torn_bytes = survey(replay, LAYOUT)
        expected = [(one.run, number) for one in log.rows() for number in one.rows[:, 0].tolist()]
        assert taken(source) == expected
    assert (source.rows, torn_bytes) == (ROWS, 0)
    assert source.path == str(replay)
    assert content(replay) == before


def test_one_segment_is_what_is_in_it(replay: Path) -> None:
    """The parts are the whole."""
    parts = [survey(path, LAYOUT).source for path in sorted(replay.iterdir())]
    assert sum(part.rows for part in parts) == ROWS
    together = [row for part in parts for row in taken(part)]
    assert together == taken(survey(replay, LAYOUT).source)


@pytest.mark.parametrize("torn", [1, 15, 40, 200])
def test_of_a_torn_end_what_is_whole_is_used(replay: Path, torn: int) -> None:
    """As a crash leaves it, and as the log itself would open; but nothing is cut off."""
    whole = survey(replay, LAYOUT).source
    last = max(replay.iterdir())
    last.write_bytes(last.read_bytes() + encode(numbered(30, 3))[:torn])
    before = content(replay)
    source, torn_bytes = survey(replay, LAYOUT)
    assert (source, torn_bytes) == (whole, torn)
    assert len(taken(source)) == ROWS
    assert content(replay) == before


def test_damage_with_rows_behind_it_is_no_torn_end(replay: Path) -> None:
    """One bit in the middle: the file and the byte are named."""
    first = min(replay.iterdir())
    spoilt = bytearray(first.read_bytes())
    spoilt[30] ^= 1
    first.write_bytes(spoilt)
    with pytest.raises(DamagedRecordError, match=r"replay-000000\.rows at byte 0"):
        survey(replay, LAYOUT)


def test_a_torn_end_with_segments_behind_it_is_damage(replay: Path) -> None:
    """No crash leaves that, and the log would not open either."""
    first = min(replay.iterdir())
    first.write_bytes(first.read_bytes()[:-5])
    with pytest.raises(DamagedRecordError, match=r"replay-000000\.rows at byte \d+"):
        survey(replay, LAYOUT)


def test_a_missing_segment_is_named(replay: Path) -> None:
    """The rows of a run cannot be had without it."""
    (replay / "replay-000001.rows").unlink()
    with pytest.raises(StorageError, match="expected segment 1"):
        survey(replay, LAYOUT)


def test_rows_of_another_width_are_refused(replay: Path) -> None:
    """Whatever the contract beside them says."""
    with pytest.raises(StorageError, match=r"rows of 14 columns; expected 18"):
        survey(replay, RowLayout(obs=4, extra=1, action=1))


@pytest.mark.parametrize("name", [None, "replay-000000.rows", "notes.txt"])
def test_a_place_without_rows_is_refused(tmp_path: Path, name: str | None) -> None:
    """An empty folder, an empty segment, another file."""
    path = tmp_path if name is None else tmp_path / name
    if name is not None:
        path.write_text("")
    with pytest.raises(StorageError, match="got no rows; expected those of an earlier run"):
        survey(path, LAYOUT)


def test_a_run_that_has_gone_on_is_the_prior_that_it_was(replay: Path) -> None:
    """New rows lie behind those that were there."""
    source = survey(replay, LAYOUT).source
    before = taken(source)
    with SegmentLog(replay, LAYOUT) as log:
        log.append(numbered(30, 200))
    assert survey(replay, LAYOUT).source.rows == ROWS + 200
    assert taken(source) == before


def _gone(replay: Path) -> None:
    replay.rename(replay.with_name("elsewhere"))


def _shorter(replay: Path) -> None:
    max(replay.iterdir()).unlink()


def _begun_anew(replay: Path) -> None:
    """As many rows, of another run."""
    for path in replay.iterdir():
        path.unlink()
    with SegmentLog(replay, LAYOUT) as log:
        log.append(numbered(0, ROWS))


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (_gone, "got nothing there"),
        (_shorter, r"got \d\d rows"),
        (_begun_anew, "got other rows"),
    ],
)
def test_what_is_no_longer_as_it_was_is_refused(
    replay: Path, change: Callable[[Path], None], got: str
) -> None:
    """With how many rows there were, and what to do."""
    source = survey(replay, LAYOUT).source
    change(replay)
    expected = f"{got}; expected the 60 rows that this run has as its prior; put them back"
    with pytest.raises(StorageError, match=expected):
        taken(source)


def test_it_is_pinned_in_json(replay: Path) -> None:
    """As config.json has it."""
    source = survey(replay, LAYOUT).source
    assert msgspec.json.decode(msgspec.json.encode(source), type=PriorSource) == source
    assert len(source.sha256) == 64
