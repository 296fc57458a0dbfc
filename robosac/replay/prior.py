"""Rows of an earlier run, to learn from again; nothing of that run is opened for writing.

A prior is named by the folder of a run, by its replay folder, by one segment file of that, or by
the flight log of a deployed robot.  It is pinned by how many rows it had and by their digest: an
earlier run that goes on meanwhile only grows behind them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from robosac.errors import StorageError
from robosac.flight_log.parts import is_log
from robosac.flight_log.transitions import read_chunks
from robosac.replay.files import intact_chunks
from robosac.replay.segments import segment_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robosac.replay.layout import RowLayout
    from robosac.replay.records import Chunk


class PriorSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a run's prior lies, and what it was when the run began."""

    path: str
    """Absolute path of a folder with segments, of one segment, or of a flight log."""
    rows: int
    """How many of its rows are used: those it had, from the oldest on."""
    sha256: str
    """Digest of these rows, and of whose they are."""


class Survey(NamedTuple):
    """What there is at a place."""

    source: PriorSource
    torn_bytes: int
    """Size of an unfinished record at the end, which is left out, bytes."""


def survey(path: Path, layout: RowLayout) -> Survey:
    """Read through everything at a place; a torn end, as a crash leaves it, is left out.

    Raises StorageError when there are no rows, rows of another width, or damage anywhere else.
    """
    hasher, rows, torn = hashlib.sha256(), 0, list[int]()
    for chunk in _chunks(path, torn.append):
        _check_width(path, chunk, layout)
        _digest(hasher, chunk)
        rows += len(chunk.rows)
    if not rows:
        raise StorageError(
            path, got="no rows", expected="those of an earlier run", advice="name another --prior"
        )
    source = PriorSource(path=str(path.absolute()), rows=rows, sha256=hasher.hexdigest())
    return Survey(source, sum(torn))


def read(source: PriorSource) -> Iterator[Chunk]:
    """Yield the rows that a run began with, oldest first.

    Raises StorageError, at the end at the latest, when they are gone or no longer what they were.
    """
    hasher, lacking = hashlib.sha256(), source.rows
    path = Path(source.path)
    if not path.exists():
        raise _changed(source, "nothing there")
    for chunk in _chunks(path, torn=lambda _: None):
        if lacking <= 0:
            break
        _digest(hasher, chunk)
        lacking -= len(chunk.rows)
        yield chunk
    if lacking > 0:
        raise _changed(source, f"{source.rows - lacking} rows")
    if hasher.hexdigest() != source.sha256:
        raise _changed(source, "other rows")


def _segments(path: Path) -> Iterator[tuple[Path, bool]]:
    """Segment files of a place in order, each with whether its end may be torn."""
    folder = path if path.is_dir() else path.parent
    found = segment_paths(folder)
    for segment in found:
        if path in (folder, segment):
            yield segment, segment == found[-1]


def _chunks(path: Path, torn: Callable[[int], object]) -> Iterator[Chunk]:
    """Everything at a place; `torn` gets the size of every unfinished end, bytes."""
    if is_log(path):
        yield from read_chunks(path, torn)
        return
    for segment, is_last in _segments(path):
        intact = 0
        for chunk, end in intact_chunks(segment, may_be_torn=is_last):
            intact = end
            yield chunk
        torn(segment.stat().st_size - intact)


def _check_width(path: Path, chunk: Chunk, layout: RowLayout) -> None:
    width = chunk.rows.shape[1]
    if width != layout.width:
        raise StorageError(
            path,
            got=f"rows of {width} columns",
            expected=f"{layout.width}, as its contract says",
            advice="name a run whose files belong together",
        )


def _digest(hasher: hashlib._Hash, chunk: Chunk) -> None:
    hasher.update(f"{chunk.robot}/{chunk.run}/{chunk.first}/".encode())
    hasher.update(chunk.rows.data)


def _changed(source: PriorSource, got: str) -> StorageError:
    return StorageError(
        source.path,
        got=got,
        expected=f"the {source.rows} rows that this run has as its prior",
        advice="put them back, or start a new run without",
    )
