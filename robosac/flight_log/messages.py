"""The messages of a log as JSON, and the JSON schemas by which Foxglove shows them."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from robosac.flight_log.fields import (
    EVENTS,
    FIELDS,
    TICK_CHANNELS,
    TRANSITIONS,
    Field,
    LogSpec,
    row_struct,
)

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = {"q": "integer", "B": "integer", "f": "number", "d": "number", "?": "boolean"}
_encode = msgspec.json.Encoder().encode


def schemas(spec: LogSpec) -> dict[str, dict[str, Any]]:
    """JSON schema of every channel; only what Foxglove understands, so no null and no unions."""
    made = {channel: _schema(channel) for channel in TICK_CHANNELS}
    for field in FIELDS:
        made[field.channel]["properties"][field.name] = _property(field, spec)
    safety = made["/safety"]["properties"]
    safety["state"] = {"type": "string", "description": f"one of {', '.join(spec.states)}"}
    safety["guard_names"] = {"type": "string", "description": "names of the guards"}
    events = made[EVENTS] = _schema(EVENTS)
    events["properties"] = {
        "kind": {"type": "string", "description": "what sort of event"},
        "text": {"type": "string", "description": "what happened, for people"},
        "fields": {"type": "object", "properties": {}, "description": "its figures"},
    }
    transitions = made[TRANSITIONS] = _schema(TRANSITIONS)
    transitions["properties"] = {
        "row": {"type": "string", "description": "float32 numbers, little-endian, in hex"},
    }
    return made


def _schema(channel: str) -> dict[str, Any]:
    name = channel.removeprefix("/")
    return {"$schema": _DRAFT, "title": f"robosac.{name}", "type": "object", "properties": {}}


def _property(field: Field, spec: LogSpec) -> dict[str, Any]:
    """Schema of one field; the unit stands in its description."""
    about = f"{field.about}, {field.unit}" if field.unit else field.about
    if field.is_single():
        return {"type": _TYPES[field.code], "description": about}
    parts = {name: {"type": _TYPES[field.code]} for name in field.names(spec)}
    return {"type": "object", "properties": parts, "description": about}


def transition_message(row: bytes) -> bytes:
    """Message of a packed row; hex because base64 hides from the compressor what repeats."""
    return _encode({"row": row.hex()})


class TickEncoder:
    """Turns the row of a tick into one message for every channel."""

    def __init__(self, spec: LogSpec) -> None:
        """Compute once where every field stands in a row."""
        self._spec = spec
        self._row = row_struct(spec)
        self._places: list[tuple[Field, tuple[str, ...], int, int]] = []
        start = 0
        for field in FIELDS:
            names = field.names(spec)
            end = start + (1 if field.is_single() else len(names))
            self._places.append((field, names, start, end))
            start = end

    def encode(self, row: bytes) -> tuple[int, int, dict[str, bytes]]:
        """Number of the tick, its robot time, ns, and a message for every channel as JSON.

        What is not finite has no place in JSON and is left out.
        """
        numbers = self._row.unpack(row)
        messages: dict[str, dict[str, Any]] = {channel: {} for channel in TICK_CHANNELS}
        for field, names, start, end in self._places:
            message = messages[field.channel]
            if not field.is_single():
                found = zip(names, numbers[start:end], strict=True)
                if part := {name: _short(one) for name, one in found if math.isfinite(one)}:
                    message[field.name] = part
            elif math.isfinite(numbers[start]):
                message[field.name] = numbers[start]
        self._name(messages["/safety"])
        coded = {channel: _encode(message) for channel, message in messages.items()}
        timing = messages["/timing"]
        return timing["number"], timing["stamp_ns"], coded

    def _name(self, safety: dict[str, Any]) -> None:
        """Say state and guards in words."""
        guards = self._spec.guards
        fired = [name for name, bit in guards.items() if safety["guards"] & bit]
        safety["state"] = self._spec.states[safety["state"]]
        safety["guard_names"] = "+".join(fired)


def _short(number: float) -> float:
    """Nine digits tell every float32 from every other; all seventeen would double the file."""
    return float(f"{number:.9g}")
