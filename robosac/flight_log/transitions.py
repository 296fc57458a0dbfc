"""Transitions of a flight log, as a learner would have received them, for one to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from mcap.records import Channel, Message, Metadata

from robosac.errors import StorageError
from robosac.flight_log.fields import CONTRACT, METADATA, TRANSITIONS, LogSpec
from robosac.flight_log.mcap_records import McapRecords
from robosac.flight_log.parts import parts_of
from robosac.replay.records import Chunk, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mcap.records import McapRecord

_FLOAT = np.dtype("<f4")


class _Message(msgspec.Struct, frozen=True):
    """A message of /transitions."""

    row: str


class LogHeader(NamedTuple):
    """Whose transitions they are, and what they mean."""

    robot: str
    run: str
    """Hex form of the UUID of the log."""
    contract: str
    """The robot's contract, as JSON."""


def read_header(path: Path) -> LogHeader:
    """Read who has recorded a log.

    Raises StorageError when it is none, or of a version that recorded no transitions.
    """
    for part in parts_of(path):
        for records in McapRecords(part):
            for record in records:
                if isinstance(record, Metadata) and record.name == METADATA:
                    return _header(path, dict(record.metadata))
    raise StorageError(
        path,
        got="no record of a robosac flight log",
        expected="an MCAP file that a robot wrote",
        advice="name another --prior",
    )


def read_chunks(path: Path, torn: Callable[[int], object]) -> Iterator[Chunk]:
    """Yield the transitions of a log with all its parts, oldest first and each of them once.

    A chunk of the file is a chunk here, or several where transitions are missing, so that a log
    that grows only has more of them.  `torn` gets the size of what is unfinished at the end of each
    part, bytes.  Raises StorageError.
    """
    header, expected = read_header(path), 0
    for part in parts_of(path):
        channels: set[int] = set()
        batches = McapRecords(part)
        for records in batches:
            rows = dict(_rows(part, records, channels))
            fresh = {number: row for number, row in rows.items() if number >= expected}
            if fresh:
                expected = max(fresh) + 1
                yield from _without_gaps(part, header, fresh)
        if batches.torn_bytes:
            torn(batches.torn_bytes)


def _header(path: Path, known: dict[str, str]) -> LogHeader:
    """Read the metadata of a log."""
    if CONTRACT not in known:
        version = known.get("robosac", "an unknown version")
        raise StorageError(
            path,
            got=f"a flight log without transitions, of robosac {version}",
            expected="one with transitions, as `robosac deploy` makes them now",
            advice="name another --prior",
        )
    try:
        robot, run = msgspec.json.decode(known["spec"], type=LogSpec).robot, known["log"]
        check_name(robot, run)
    except (KeyError, ValueError) as error:
        raise StorageError(
            path,
            got=f"a header that cannot be read ({error})",
            expected="robot and number of a flight log",
            advice="name another --prior",
        ) from None
    return LogHeader(robot, run, known[CONTRACT])


def _rows(part: Path, records: list[McapRecord], channels: set[int]) -> Iterator[tuple[int, bytes]]:
    """Numbers and rows of the transitions among records; `channels` learns where they are."""
    for record in records:
        if isinstance(record, Channel) and record.topic == TRANSITIONS:
            channels.add(record.id)
        elif isinstance(record, Message) and record.channel_id in channels:
            try:
                row = bytes.fromhex(msgspec.json.decode(record.data, type=_Message).row)
            except ValueError as error:
                raise _no_row(part, str(error)) from None
            yield record.sequence, row


def _without_gaps(part: Path, header: LogHeader, rows: dict[int, bytes]) -> Iterator[Chunk]:
    """Chunks of transitions that follow one another."""
    size = len(next(iter(rows.values())))
    if not size or size % _FLOAT.itemsize or any(len(row) != size for row in rows.values()):
        raise _no_row(part, f"rows of {sorted({len(row) for row in rows.values()})} bytes")
    numbers = np.array(sorted(rows))
    for piece in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
        first = int(piece[0])
        data = b"".join(rows[number] for number in piece.tolist())
        packed = np.frombuffer(data, _FLOAT).reshape(len(piece), -1)
        yield Chunk(robot=header.robot, run=header.run, first=first, rows=packed)


def _no_row(part: Path, got: str) -> StorageError:
    return StorageError(
        part,
        got=f"a transition that cannot be read ({got})",
        expected="rows of float32 numbers, all of a size",
        advice="name another --prior",
    )
