"""Every message between robot and learner, and how it lies in ZeroMQ frames.

A message is one MessagePack frame (a tagged msgspec struct), followed by one raw frame when it
carries rows (float32, C order) or a policy file.  Nothing is ever unpickled.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from robosac.errors import WireError

SCHEMA = 1
"""Version of the messages; peers of another version refuse each other."""
FRAME_MAX = 64 * 2**20
"""Largest frame that is accepted, bytes."""

T = TypeVar("T")

_Run = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, tag=True, kw_only=True):
    """Base of every message."""


class Hello(_Message):
    """Robot: who I am, what my policy must fit, and which runs I still have rows of."""

    robot: str
    runs: dict[_Run, _Count]
    """Oldest sequence number that the spool still has, by run."""
    contract: bytes
    """JSON of the contract this robot and task would write."""
    schema: int = SCHEMA


class Rows(_Message):
    """Robot: consecutive transitions of one run; the next frame has them packed."""

    run: _Run
    first: _Count
    oldest: _Count
    """Oldest sequence number that the spool still has: what lies before is gone for good."""


class Episode(_Message):
    """Robot: an episode has ended.  For display: what counts is in the rows."""

    run: _Run
    end: _Count
    """Sequence number after its last row."""
    return_: float
    length: int
    fell: bool | None = None
    speed_mps: float | None = None
    rewards: dict[str, float] = {}
    """Mean of every reward term per step."""


class Ping(_Message):
    """Robot: still here, and waiting for the same word."""


class Bye(_Message):
    """Robot: no more rows will be made in this run."""

    run: _Run
    made: _Count
    current: bool
    """Whether it is the run of this process, not one that an earlier process left behind."""
    """Rows the run made in all."""


class Welcome(_Message):
    """Learner: send from these sequence numbers on; the next frame is the current policy."""

    expected: dict[_Run, _Count]
    credit: _Count | None
    version: int
    sha256: str
    schema: int = SCHEMA


class Refused(_Message):
    """Learner: this robot cannot take part, and why."""

    reason: str


class Unknown(_Message):
    """Learner: I do not know you (any more); say hello."""


class Ack(_Message):
    """Learner: every row of this run below `expected` is durable."""

    run: _Run
    expected: _Count


class Credit(_Message):
    """Learner: a simulated robot may make this many rows in its run; None is no bound."""

    run: _Run
    credit: _Count | None


class Policy(_Message):
    """Learner: a newer policy; the next frame is the file."""

    version: int
    sha256: str


class Pong(_Message):
    """Learner: still here."""


class Farewell(_Message):
    """Learner: everything of this run is durable; you may go."""

    run: _Run


FromRobot = Hello | Rows | Episode | Ping | Bye
FromLearner = Welcome | Refused | Unknown | Ack | Credit | Policy | Pong | Farewell
CARRIES_FRAME = (Rows, Welcome, Policy)
_WITH_PAYLOAD = 2

_encoder = msgspec.msgpack.Encoder()
_from_robot = msgspec.msgpack.Decoder(FromRobot)
_from_learner = msgspec.msgpack.Decoder(FromLearner)


def encode(message: FromRobot | FromLearner, payload: bytes | None = None) -> list[bytes]:
    """Return the frames of a message."""
    head = _encoder.encode(message)
    return [head] if payload is None else [head, payload]


def decode_from_robot(frames: list[bytes]) -> tuple[FromRobot, bytes]:
    """Read what a robot sent; raises WireError on anything but a well-formed message."""
    return _decode(frames, _from_robot)


def decode_from_learner(frames: list[bytes]) -> tuple[FromLearner, bytes]:
    """Read what a learner sent; raises WireError on anything but a well-formed message."""
    return _decode(frames, _from_learner)


def _decode(frames: list[bytes], decoder: msgspec.msgpack.Decoder[T]) -> tuple[T, bytes]:
    if len(frames) not in (1, _WITH_PAYLOAD):
        raise WireError(f"message of {len(frames)} frames; expected one or two")
    try:
        message = decoder.decode(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"message cannot be read ({error}); expected schema {SCHEMA}") from None
    if isinstance(message, CARRIES_FRAME) != (len(frames) == _WITH_PAYLOAD):
        raise WireError(f"{type(message).__name__} with {len(frames)} frames")
    return message, frames[1] if len(frames) > 1 else b""
