"""Reads a flight log back, whole or torn, for tools, tests and later learning."""

from __future__ import annotations

import contextlib
import io
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from robosac.errors import StorageError
from robosac.flight_log.fields import EVENTS, FIELDS, METADATA, Field, LogSpec
from robosac.flight_log.parts import parts_of
from robots import BaseMotion, RobotState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcap.records import McapRecord
    from numpy.typing import NDArray

_MAGIC = b"\x89MCAP0\r\n"
_HEAD = struct.Struct("<BQ")
_FOOTER = 2


class LogEvent(NamedTuple):
    """Something that happened."""

    time_ns: int
    """Wall-clock time, ns since 1970."""
    kind: str
    text: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class FlightRecord:
    """What a log holds."""

    spec: LogSpec
    info: dict[str, str]
    """What was known of the flight: versions, digests, settings."""
    ticks: dict[str, NDArray[Any]]
    """Every field of fields.FIELDS: (T,), or (T, J), (T, F), (T, 3), (T, 4); NaN is not known.

    `state` holds names.
    """
    events: list[LogEvent]
    complete: bool
    """Whether every part was ended properly; one that was cut off lacks its last second or so."""

    @property
    def lost(self) -> int:
        """Ticks that are missing between the first and the last one here."""
        numbers = self.ticks["number"]
        return int(numbers[-1] - numbers[0]) + 1 - len(numbers) if len(numbers) else 0

    def reading(self, index: int) -> RobotState:
        """Return the sensor readings of a tick, from which a task makes observations again."""
        found: dict[str, Any] = {
            name: self.ticks[name][index]
            for name in RobotState.__dataclass_fields__
            if name in self.ticks
        }
        for name in ("temperature", "voltage", "foot_contact"):
            if np.isnan(found[name]).all():
                found[name] = None
        if found["foot_contact"] is not None:
            found["foot_contact"] = found["foot_contact"] > 0
        return RobotState(**found)

    def motion(self, index: int) -> BaseMotion | None:
        """Return how the base moved at a tick; None where nothing measured it."""
        position, velocity = self.ticks["base_position"][index], self.ticks["base_velocity"][index]
        yaw = float(self.ticks["base_yaw"][index])
        if math.isnan(yaw):
            return None
        return BaseMotion(position=position, velocity=velocity, yaw=yaw, source="flight log")


def read(path: Path) -> FlightRecord:
    """Read a log with all its parts; a part that is torn is read up to its last whole chunk.

    Raises StorageError when there is none, or nothing in it can be read.
    """
    tables, complete = _Tables(), True
    parts = parts_of(path)
    if not parts:
        raise StorageError(
            path, got="no file", expected="a flight log", advice="name the .mcap file of a run"
        )
    for part in parts:
        try:
            data = part.read_bytes()
        except OSError as error:
            raise StorageError.from_os(part, error) from error
        end, whole = _whole_records(data)
        complete &= whole
        for record in _records(data[:end]):
            tables.add(record)
    if tables.spec is None:
        raise StorageError(
            path,
            got="no record of a robosac flight log",
            expected="an MCAP file that a robot wrote",
            advice="name the log of a run",
        )
    return FlightRecord(
        spec=tables.spec,
        info=tables.info,
        ticks=tables.columns(tables.spec),
        events=sorted(tables.events, key=lambda event: event.time_ns),
        complete=complete,
    )


def _whole_records(data: bytes) -> tuple[int, bool]:
    """Where the last whole record ends, and whether it is the file's proper end.

    A power cut may leave a record cut off, or zeros in place of what was not yet on the disk.
    """
    if not data.startswith(_MAGIC):
        return 0, False
    start = len(_MAGIC)
    while start + _HEAD.size <= len(data):
        kind, size = _HEAD.unpack_from(data, start)
        end = start + _HEAD.size + size
        if not kind or end > len(data):
            break
        start = end
        if kind == _FOOTER:
            return start, True
    return start, False


def _records(data: bytes) -> Iterator[McapRecord]:
    """Every record of an MCAP file up to its end, or up to the first damaged chunk."""
    from mcap.exceptions import McapError
    from mcap.stream_reader import CRCValidationError, StreamReader
    from zstandard import ZstdError

    reader = StreamReader(io.BytesIO(data), validate_crcs=True)
    # Behind the last whole record the reader looks for another one.
    with contextlib.suppress(McapError, CRCValidationError, ZstdError, struct.error):
        yield from reader.records


class _Tables:
    """Gathers messages; an entry that two writers have recorded counts once."""

    def __init__(self) -> None:
        self.spec: LogSpec | None = None
        self.info: dict[str, str] = {}
        self.events: list[LogEvent] = []
        self._topics: dict[int, str] = {}
        self._ticks: dict[int, dict[str, Any]] = {}
        self._seen_events: set[int] = set()

    def add(self, record: McapRecord) -> None:
        """Take one record of a file."""
        from mcap.records import Channel, Message, Metadata

        if isinstance(record, Metadata) and record.name == METADATA:
            known = dict(record.metadata)
            spec = msgspec.json.decode(known.pop("spec"), type=LogSpec)
            if self.spec is None:
                self.spec, self.info = spec, known
        elif isinstance(record, Channel):
            self._topics[record.id] = record.topic
        elif isinstance(record, Message):
            self._add_message(record)

    def _add_message(self, record: Any) -> None:  # noqa: ANN401 -- mcap is optional here
        message = msgspec.json.decode(record.data)
        if self._topics[record.channel_id] != EVENTS:
            self._ticks.setdefault(record.sequence, {}).update(message)
        elif record.sequence not in self._seen_events:
            self.events.append(LogEvent(record.log_time, **message))
            if record.sequence:
                self._seen_events.add(record.sequence)

    def columns(self, spec: LogSpec) -> dict[str, NDArray[Any]]:
        """One array for every field, in the order of the ticks."""
        ticks = [self._ticks[number] for number in sorted(self._ticks)]
        return {field.name: _column(field, spec, ticks) for field in FIELDS}


def _column(field: Field, spec: LogSpec, ticks: list[dict[str, Any]]) -> NDArray[Any]:
    if field.name == "state":
        return np.array([tick["state"] for tick in ticks], dtype=str)
    if field.is_single():
        return np.array([tick.get(field.name, math.nan) for tick in ticks], dtype=field.code)
    names = field.names(spec)
    rows = np.full((len(ticks), len(names)), math.nan, dtype=field.code)
    for row, tick in zip(rows, ticks, strict=True):
        part = tick.get(field.name, {})
        row[:] = [part.get(name, math.nan) for name in names]
    return rows
