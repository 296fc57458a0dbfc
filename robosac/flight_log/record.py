"""Reads a flight log back, whole or torn, for tools, tests and later learning."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
from mcap.records import Channel, Message, Metadata

from robosac.errors import DamagedRecordError, StorageError
from robosac.flight_log.fields import EVENTS, FIELDS, METADATA, TICK_CHANNELS, Field, LogSpec
from robosac.flight_log.mcap_records import McapRecords
from robosac.flight_log.parts import parts_of
from robots import BaseMotion, RobotState

if TYPE_CHECKING:
    from pathlib import Path

    from mcap.records import McapRecord
    from numpy.typing import NDArray


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
        batches = McapRecords(part)
        complete &= batches.complete
        with contextlib.suppress(DamagedRecordError):
            for record in chain.from_iterable(batches):
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
        if isinstance(record, Metadata) and record.name == METADATA:
            known = dict(record.metadata)
            spec = msgspec.json.decode(known.pop("spec"), type=LogSpec)
            if self.spec is None:
                self.spec, self.info = spec, known
        elif isinstance(record, Channel):
            self._topics[record.id] = record.topic
        elif isinstance(record, Message):
            self._add_message(record)

    def _add_message(self, record: Message) -> None:
        topic = self._topics[record.channel_id]
        if topic in TICK_CHANNELS:
            self._ticks.setdefault(record.sequence, {}).update(msgspec.json.decode(record.data))
        elif topic == EVENTS and record.sequence not in self._seen_events:
            self.events.append(LogEvent(record.log_time, **msgspec.json.decode(record.data)))
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
