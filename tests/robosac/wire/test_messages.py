"""Messages: bytes that stay as they are, and decoders that no bytes can break."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robosac.errors import WireError
from robosac.wire import messages
from robosac.wire.messages import decode_from_learner, decode_from_robot, encode, foreign_schema

RUN, OTHER = "0123456789abcdef" * 2, "f" * 32
RUN_FIELD = b"\xa3run\xd9\x20" + RUN.encode()
SHA256 = "ab" * 32
SHA256_FIELD = b"\xa6sha256\xd9\x40" + SHA256.encode()

FROM_ROBOT: list[tuple[messages.FromRobot, bytes | None, bytes]] = [
    (
        messages.Hello(
            robot="go2-0",
            run=RUN,
            runs={RUN: messages.Held(0, 12), OTHER: messages.Held(7, 300)},
            contract=b"{}",
            paced=True,
        ),
        None,
        b"\x87\xa4type\xa5Hello\xa5robot\xa5go2-0%b"
        b"\xa4runs\x82\xd9\x20%b\x92\x00\x0c\xd9\x20%b\x92\x07\xcd\x01\x2c"
        b"\xa8contract\xc4\x02{}\xa5paced\xc3\xa6schema\x02"
        % (RUN_FIELD, RUN.encode(), OTHER.encode()),
    ),
    (
        messages.Rows(run=RUN, first=300, oldest=299),
        b"\0\0\x80?",
        b"\x84\xa4type\xa4Rows%b\xa5first\xcd\x01\x2c\xa6oldest\xcd\x01\x2b" % RUN_FIELD,
    ),
    (
        messages.Episode(
            run=RUN, end=40, return_=-1.5, length=40, fell=True, speed_mps=0.25, rewards={"a": 1.0}
        ),
        None,
        b"\x88\xa4type\xa7Episode%b\xa3end\x28\xa7return_\xcb\xbf\xf8\0\0\0\0\0\0\xa6length\x28"
        b"\xa4fell\xc3\xa9speed_mps\xcb\x3f\xd0\0\0\0\0\0\0"
        b"\xa7rewards\x81\xa1a\xcb\x3f\xf0\0\0\0\0\0\0" % RUN_FIELD,
    ),
    (
        messages.Ping(policy=4, pending=300, dropped=2),
        None,
        b"\x84\xa4type\xa4Ping\xa6policy\x04\xa7pending\xcd\x01\x2c\xa7dropped\x02",
    ),
    (
        messages.Declined(version=3, reason="jump"),
        None,
        b"\x83\xa4type\xa8Declined\xa7version\x03\xa6reason\xa4jump",
    ),
    (messages.Probe(), b"ballast", b"\x82\xa4type\xa5Probe\xa6schema\x02"),
    (
        messages.Bye(run=RUN, made=2**33, oldest=300),
        None,
        b"\x84\xa4type\xa3Bye%b\xa4made\xcf\0\0\0\x02\0\0\0\0\xa6oldest\xcd\x01\x2c" % RUN_FIELD,
    ),
]
FROM_LEARNER: list[tuple[messages.FromLearner, bytes | None, bytes]] = [
    (
        messages.Welcome(expected={RUN: 5}, version=3, sha256=SHA256),
        b"onnx",
        b"\x84\xa4type\xa7Welcome\xa8expected\x81\xd9\x20%b\x05\xa7version\x03%b"
        % (RUN.encode(), SHA256_FIELD),
    ),
    (messages.Refused(reason="no"), None, b"\x82\xa4type\xa7Refused\xa6reason\xa2no"),
    (messages.Unknown(), None, b"\x81\xa4type\xa7Unknown"),
    (
        messages.Ack(run=RUN, expected=70_000),
        None,
        b"\x83\xa4type\xa3Ack%b\xa8expected\xce\0\x01\x11\x70" % RUN_FIELD,
    ),
    (
        messages.Credit(run=RUN, credit=64),
        None,
        b"\x83\xa4type\xa6Credit%b\xa6credit\x40" % RUN_FIELD,
    ),
    (
        messages.Credit(run=RUN, credit=None),
        None,
        b"\x83\xa4type\xa6Credit%b\xa6credit\xc0" % RUN_FIELD,
    ),
    (messages.Enough(), None, b"\x81\xa4type\xa6Enough"),
    (
        messages.Policy(version=9, sha256=SHA256),
        b"onnx",
        b"\x83\xa4type\xa6Policy\xa7version\x09%b" % SHA256_FIELD,
    ),
    (messages.Pong(learning=False), None, b"\x82\xa4type\xa4Pong\xa8learning\xc2"),
    (messages.Farewell(run=RUN), None, b"\x82\xa4type\xa8Farewell%b" % RUN_FIELD),
    (
        messages.Status(
            robosac="0.1.0",
            contract=b"{}",
            rows=5,
            policy=2,
            robots=["go2-0"],
            wall_ns=2**60,
            received=1000,
        ),
        None,
        b"\x88\xa4type\xa6Status\xa7robosac\xa50.1.0%b\xa4rows\x05\xa6policy\x02%b"
        % (
            b"\xa8contract\xc4\x02{}",
            b"\xa6robots\x91\xa5go2-0\xa7wall_ns\xcf\x10\0\0\0\0\0\0\0\xa8received\xcd\x03\xe8",
        ),
    ),
]
HELLO = {"robot": "go2-0", "run": RUN, "runs": {}, "contract": b"{}", "schema": 2}
EPISODE = {"type": "Episode", "run": RUN, "end": 1, "return_": 0.0, "length": 1}
STATUS = msgspec.to_builtins(
    messages.Status(robosac="0", contract=b"", rows=0, policy=0, robots=[], wall_ns=0, received=0),
    builtin_types=(bytes,),
)
MALFORMED: dict[str, object] = {
    "nothing": None,
    "no type": {"policy": 0},
    "a type of ours, the other direction": {"type": "Pong"},
    "an unknown field": {"type": "Ping", "pickle": b"cos\nsystem"},
    "a run that is no UUID": {"type": "Bye", "run": "../etc", "made": 0},
    "a run with a line behind it": {"type": "Bye", "run": RUN + "\n", "made": 0},
    "a negative count": {"type": "Bye", "run": RUN, "made": -1},
    "a count beyond what a float holds": {"type": "Bye", "run": RUN, "made": 2**53 + 1},
    "text for a number": {"type": "Bye", "run": RUN, "made": "1"},
    "a missing field": {"type": "Bye", "run": RUN},
    "a held span that is no pair": {"type": "Hello", **HELLO, "runs": {RUN: [0]}},
    "a name that is too long": {"type": "Hello", **HELLO, "robot": "r" * 1001},
    "too many runs": {
        "type": "Hello",
        **HELLO,
        "runs": {f"{run:032x}": [0, 1] for run in range(1001)},
    },
    "a contract that is too long": {"type": "Hello", **HELLO, "contract": bytes(2**20 + 1)},
    "a reason that is too long": {"type": "Declined", "version": 1, "reason": "r" * 1001},
    "too many rewards": {**EPISODE, "rewards": {str(name): 0.0 for name in range(101)}},
    "a reward whose name is too long": {**EPISODE, "rewards": {"r" * 1001: 0.0}},
    "a greeting of another version": {"type": "Hello", **HELLO, "schema": 3},
    "a probe of another version": {"type": "Probe", "schema": 1},
}
MALFORMED_BY_A_LEARNER: dict[str, object] = {
    "a reason that is too long": {"type": "Refused", "reason": "r" * 1001},
    "a digest that is none": {"type": "Policy", "version": 1, "sha256": "ab"},
    "a status of too many robots": {**STATUS, "robots": ["r"] * 1001},
    "a status with a contract that is too long": {**STATUS, "contract": bytes(2**20 + 1)},
    "a type of ours, the other direction": {"type": "Ping"},
}


def test_this_is_schema_2() -> None:
    """Whoever changes golden bytes below must raise the version that peers compare."""
    assert messages.SCHEMA == 2


@pytest.mark.parametrize("case", FROM_ROBOT, ids=lambda case: type(case[0]).__name__)
def test_robot_messages_keep_their_bytes(
    case: tuple[messages.FromRobot, bytes | None, bytes],
) -> None:
    """A learner of last month reads a robot of today, and the other way round."""
    message, payload, golden = case
    frames = encode(message, payload)
    assert frames == [golden] + ([] if payload is None else [payload])
    assert decode_from_robot(frames) == (message, payload or b"")


@pytest.mark.parametrize("case", FROM_LEARNER, ids=lambda case: type(case[0]).__name__)
def test_learner_messages_keep_their_bytes(
    case: tuple[messages.FromLearner, bytes | None, bytes],
) -> None:
    """As for robots."""
    message, payload, golden = case
    frames = encode(message, payload)
    assert frames == [golden] + ([] if payload is None else [payload])
    assert decode_from_learner(frames) == (message, payload or b"")


def test_every_message_has_golden_bytes() -> None:
    """A message that is added is added here as well."""
    assert {type(case[0]) for case in FROM_ROBOT} == set(get_args(messages.FromRobot))
    assert {type(case[0]) for case in FROM_LEARNER} == set(get_args(messages.FromLearner))


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_messages_are_refused(content: object) -> None:
    """Types, names, bounds and unknown fields are checked before anything is done."""
    with pytest.raises(WireError, match="expected schema 2"):
        decode_from_robot([msgspec.msgpack.encode(content)])


@pytest.mark.parametrize(
    "content", MALFORMED_BY_A_LEARNER.values(), ids=MALFORMED_BY_A_LEARNER.keys()
)
def test_malformed_answers_are_refused(content: object) -> None:
    """A robot trusts a learner no further than its messages are well-formed."""
    with pytest.raises(WireError, match="expected schema 2"):
        decode_from_learner([msgspec.msgpack.encode(content)])


def test_what_the_malformed_are_made_from_is_well_formed() -> None:
    """So that each of them is refused for the one thing that is wrong with it."""
    decode_from_robot([msgspec.msgpack.encode({"type": "Hello", **HELLO})])
    decode_from_robot([msgspec.msgpack.encode(EPISODE)])
    decode_from_learner([msgspec.msgpack.encode(STATUS)])
    runs = {f"{run:032x}": [0, 1] for run in range(1000)}
    decode_from_robot([msgspec.msgpack.encode({"type": "Hello", **HELLO, "runs": runs})])


def test_a_message_has_the_frames_of_its_kind() -> None:
    """Rows without rows, a ping with a payload, and any other number of frames are refused."""
    rows = encode(messages.Rows(run=RUN, first=0, oldest=0))
    with pytest.raises(WireError, match="Rows message of 1 frames; expected 2"):
        decode_from_robot(rows)
    with pytest.raises(WireError, match="Ping message of 2 frames; expected 1"):
        decode_from_robot(encode(messages.Ping(), b"payload"))
    for frames in ([], [*rows, b"", b""]):
        with pytest.raises(WireError, match="expected one or two"):
            decode_from_robot(frames)


def test_deep_nesting_is_refused() -> None:
    """A bomb of brackets ends in WireError, not in a full stack."""
    with pytest.raises(WireError):
        decode_from_robot([b"\x91" * 1_000_000])


def test_a_greeting_of_another_version_is_recognised() -> None:
    """Its other fields may be anything: the answer names both versions."""
    hello = {"type": "Hello", "schema": 1, "who": ["any", "thing"]}
    assert foreign_schema([msgspec.msgpack.encode(hello)]) == 1
    assert foreign_schema([msgspec.msgpack.encode(hello | {"type": "Probe"}), b"ballast"]) == 1
    assert foreign_schema([FROM_ROBOT[0][2]]) is None
    assert foreign_schema([msgspec.msgpack.encode(hello | {"type": "Bye"})]) is None
    assert foreign_schema([b"\xc1"]) is None
    assert foreign_schema([]) is None


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_raise_only_wire_errors(frames: list[bytes]) -> None:
    """Decoders read what strangers send."""
    _decode_all(frames)


@given(
    golden=st.sampled_from([case[2] for case in [*FROM_ROBOT, *FROM_LEARNER]]),
    at=st.integers(0, 300),
    what=st.binary(max_size=6),
    cut=st.integers(0, 6),
)
def test_damaged_messages_raise_only_wire_errors(
    golden: bytes, at: int, what: bytes, cut: int
) -> None:
    """Flipped, cut and inserted bytes, where they come closest to being understood."""
    at %= len(golden)
    damaged = golden[:at] + what + golden[at + cut :]
    _decode_all([damaged])
    _decode_all([damaged, b"payload"])


def _decode_all(frames: list[bytes]) -> None:
    """Let everything that decodes see the frames."""
    for decode in (decode_from_robot, decode_from_learner):
        try:
            message, _ = decode(frames)
        except WireError:
            continue
        assert isinstance(message, get_args(messages.FromRobot) + get_args(messages.FromLearner))
    foreign_schema(frames)
