"""Messages and schemas as Foxglove wants them."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest

from robosac.flight_log.fields import EVENTS, FIELDS, TICK_CHANNELS, TRANSITIONS, row_struct
from robosac.flight_log.log import RowPacker, log_spec
from robosac.flight_log.messages import TickEncoder, schemas
from tests.robosac.flight_log.conftest import SPEC

NAMES = log_spec(SPEC)
KNOWN = {
    "number": 7,
    "stamp_ns": 123,
    "state": 1,
    "guards": 5,
    "position": [0.25, -2.5],
    "reward": 1.5,
}


def messages() -> dict[str, dict[str, Any]]:
    """Messages of a tick of which a little is known."""
    number, stamp_ns, coded = TickEncoder(NAMES).encode(RowPacker(NAMES).pack(KNOWN.items()))
    assert (number, stamp_ns) == (7, 123)
    return {channel: msgspec.json.decode(message) for channel, message in coded.items()}


def objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema and all schemas of objects inside it."""
    inner = [one for one in schema["properties"].values() if one["type"] == "object"]
    return [schema, *(found for one in inner for found in objects(one))]


@pytest.mark.parametrize("channel", [*TICK_CHANNELS, EVENTS, TRANSITIONS])
def test_schemas_use_only_what_foxglove_understands(channel: str) -> None:
    """Each names its draft; every property has one type, and every object says its properties."""
    schema = schemas(NAMES)[channel]
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["title"] == f"robosac.{channel[1:]}"
    types = {one["type"] for part in objects(schema) for one in part["properties"].values()}
    assert types <= {"boolean", "integer", "number", "string", "object"}


def test_every_field_stands_in_its_channel_with_its_unit() -> None:
    """Joints by name, so that a plot is found as /joints.position.knee."""
    made = schemas(NAMES)
    for field in FIELDS:
        assert field.unit in made[field.channel]["properties"][field.name]["description"]
    assert set(made["/joints"]["properties"]["position"]["properties"]) == {"hip", "knee"}
    assert set(made["/imu"]["properties"]["gyro"]["properties"]) == {"x", "y", "z"}


def test_messages_are_of_their_schemas() -> None:
    """Every key is declared and every value has the declared type; nothing is null."""
    kinds = {"boolean": bool, "integer": int, "number": float, "string": str, "object": dict}

    def check(message: dict[str, Any], schema: dict[str, Any]) -> None:
        for name, value in message.items():
            declared = schema["properties"][name]
            assert isinstance(value, kinds[declared["type"]]), name
            if isinstance(value, dict):
                check(value, declared)

    made = schemas(NAMES)
    for channel, message in messages().items():
        check(message, made[channel])


def test_what_is_not_known_is_absent() -> None:
    """JSON has no NaN, and null would be no number."""
    found = messages()
    assert found["/joints"] == {"position": {"hip": 0.25, "knee": -2.5}, "joint_jumps": -1}
    assert found["/imu"] == found["/command"] == found["/motion"] == {}


def test_states_and_guards_are_told_by_name() -> None:
    """As people read them, and the bits besides."""
    fired = [name for name, bit in NAMES.guards.items() if bit & 5]
    assert len(fired) == 2
    assert messages()["/safety"] == {
        "state": NAMES.states[1],
        "guards": 5,
        "guard_names": "+".join(fired),
    }


def test_a_row_is_as_long_as_the_writer_expects() -> None:
    """One layout, from one table, at both ends of the pipe."""
    row = RowPacker(NAMES).pack(())
    assert len(row) == row_struct(NAMES).size
    with pytest.raises(struct.error):
        TickEncoder(NAMES).encode(row + b"\0")


def test_a_name_that_is_no_field_is_an_error() -> None:
    """A caller's mistake must not be logged as nothing."""
    with pytest.raises(KeyError, match="positoin"):
        RowPacker(NAMES).pack([("positoin", 1.0)])
