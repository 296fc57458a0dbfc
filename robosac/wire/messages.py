"""Every message between robot and learner, and how it lies in ZeroMQ frames.

A message is one MessagePack frame (a tagged msgspec struct), followed by one raw frame when it
carries rows (float32, little-endian, C order) or a policy file.  Nothing is ever unpickled.

    robot                                learner
    Hello        who I am                Welcome, Refused    where to go on, the policy; or why not
    Rows         what happened           Ack                 what is durable
    Episode      how it went             Credit, Enough      how far a simulated robot may go
    Ping         still here              Pong, Policy        still here; a newer policy
    Declined     a policy I do not run   Unknown             say hello first
    Bye          that was all            Farewell            all of it is durable

Anybody who is let in may send a Probe without a greeting; the learner answers with its Status.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from robosac.errors import WireError

SCHEMA = 2
"""Version of the messages; peers of another version refuse each other."""
ROBOT_FRAME_MAX = 2 * 2**20
"""Largest frame that a learner accepts, bytes: a chunk of rows or a contract, of 1 MiB each."""
LEARNER_FRAME_MAX = 64 * 2**20
"""Largest frame that a robot accepts, bytes: a policy."""

T = TypeVar("T")

_Run = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Schema = Annotated[int, msgspec.Meta(ge=SCHEMA, le=SCHEMA)]
_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Document = Annotated[bytes, msgspec.Meta(max_length=2**20)]


class _Message(msgspec.Struct, forbid_unknown_fields=True, tag=True, kw_only=True):
    """Base of every message."""


class Held(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The rows of one run that a spool still has."""

    oldest: _Count
    """Sequence number of the first."""
    end: _Count
    """Sequence number after the last."""


class Hello(_Message):
    """Robot: who I am, what my policy must fit, and which runs I still have rows of."""

    robot: _Text
    run: _Run
    """The run that this process makes; the others were left behind by earlier ones."""
    runs: Annotated[dict[_Run, Held], msgspec.Meta(max_length=1000)]
    """What the spool still has, by run."""
    contract: _Document
    """JSON of the contract this robot and task would write."""
    paced: bool = False
    """Whether it waits for credit, as a simulated robot does; a real one never waits."""
    schema: _Schema = SCHEMA


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
    length: _Count
    fell: bool | None = None
    speed_mps: float | None = None
    rewards: Annotated[dict[_Text, float], msgspec.Meta(max_length=100)] = {}
    """Mean of every reward term per step."""


class Ping(_Message):
    """Robot: still here, and waiting for the same word."""

    policy: _Count = 0
    """Version of the newest policy that has arrived; the learner sends no other before this."""
    pending: _Count = 0
    """Rows that wait in the spool for their acknowledgement."""
    dropped: _Count = 0
    """Rows of this run that the spool had to give up because it was full."""


class Declined(_Message):
    """Robot: a policy arrived that I do not run, and why; the one before goes on acting."""

    version: _Count
    reason: _Text


class Bye(_Message):
    """Robot: no more rows will be made in this run."""

    run: _Run
    made: _Count
    """Rows the run made in all."""
    oldest: _Count = 0
    """Oldest sequence number that the spool still has: what lies before is gone for good."""


class Probe(_Message):
    """Anybody: how are you?  The next frame is ballast, whose size the answer repeats."""

    schema: _Schema = SCHEMA


class Welcome(_Message):
    """Learner: send from these sequence numbers on; the next frame is the current policy."""

    expected: dict[_Run, _Count]
    version: _Count
    sha256: _Sha256


class Refused(_Message):
    """Learner: this robot cannot take part, and why."""

    reason: _Text


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


class Enough(_Message):
    """Learner: no more rows are wanted; deliver what there is and say goodbye."""


class Policy(_Message):
    """Learner: a newer policy; the next frame is the file."""

    version: _Count
    sha256: _Sha256


class Pong(_Message):
    """Learner: still here."""

    learning: bool = True
    """Whether the update loop still turns; rows are taken in and acknowledged either way."""


class Farewell(_Message):
    """Learner: everything of this run is durable; you may go."""

    run: _Run


class Status(_Message):
    """Learner: the answer to a probe."""

    robosac: _Text
    """Version of the package."""
    contract: _Document
    """JSON of the run's contract; empty before the first robot has called."""
    rows: _Count
    """Rows on disk."""
    policy: _Count
    """Version of the newest policy; 0 before the first."""
    robots: Annotated[list[_Text], msgspec.Meta(max_length=1000)]
    """Names of the robots that are connected."""
    wall_ns: int
    """Clock of the learner's machine, ns since 1970."""
    received: _Count
    """Size of the probe's ballast, bytes."""


FromRobot = Hello | Rows | Episode | Ping | Declined | Bye | Probe
FromLearner = (
    Welcome | Refused | Unknown | Ack | Credit | Enough | Policy | Pong | Farewell | Status
)
CARRIES_FRAME = (Rows, Probe, Welcome, Policy)
_WITH_PAYLOAD = 2


class _AnyHello(msgspec.Struct, tag="Hello"):
    """What a greeting of any version has."""

    schema: int


class _AnyProbe(msgspec.Struct, tag="Probe"):
    """What a probe of any version has."""

    schema: int


_encoder = msgspec.msgpack.Encoder()
_from_robot = msgspec.msgpack.Decoder(FromRobot)
_from_learner = msgspec.msgpack.Decoder(FromLearner)
_any_greeting = msgspec.msgpack.Decoder(_AnyHello | _AnyProbe)


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


def foreign_schema(frames: list[bytes]) -> int | None:
    """Version of a greeting or probe that is not of ours; None for everything else."""
    try:
        schema = _any_greeting.decode(frames[0]).schema if frames else SCHEMA
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return None if schema == SCHEMA else schema


def _decode(frames: list[bytes], decoder: msgspec.msgpack.Decoder[T]) -> tuple[T, bytes]:
    if len(frames) not in (1, _WITH_PAYLOAD):
        raise WireError(f"message of {len(frames)} frames; expected one or two")
    try:
        message = decoder.decode(frames[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"message cannot be read ({error}); expected schema {SCHEMA}") from None
    if isinstance(message, CARRIES_FRAME) != (len(frames) == _WITH_PAYLOAD):
        expected = _WITH_PAYLOAD if isinstance(message, CARRIES_FRAME) else 1
        raise WireError(
            f"{type(message).__name__} message of {len(frames)} frames; expected {expected}"
        )
    return message, frames[1] if len(frames) > 1 else b""
