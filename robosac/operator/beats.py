"""Messages between somebody who attends a robot over the network and that robot.

    attendant                            robot
    Beat       I hold, or I do not  ->
                                    <-   Report   what I heard, when, and how I am

A beat echoes the stamp of the last report, which tells the robot how old it is at most: what was
held up on the way, or is sent a second time by somebody else, is no sign of life.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from robosac.errors import WireError

SCHEMA = 1
"""Version of these messages."""

_Schema = Annotated[int, msgspec.Meta(ge=SCHEMA, le=SCHEMA)]
_Session = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Word = Annotated[str, msgspec.Meta(max_length=40)]


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Attendant: still here, ten times a second."""

    session: _Session
    """One run of the attendant's program."""
    sequence: _Count
    """Rises with every beat of a session."""
    echo: _Count = 0
    """Stamp of the last report; 0 when there was none."""
    held: bool = False
    """Whether the attendant holds on."""
    stop: bool = False
    """Sit down; repeated until a report says that it was heard."""
    estop: bool = False
    """Stop in an emergency; repeated like stop."""
    schema: _Schema = SCHEMA


class Report(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Robot: answers every beat that it has heard."""

    stamp: _Count
    """Time of the robot's clock, ns."""
    heard: _Count
    """Sequence number of the beat."""
    state: _Word
    """State of the robot."""
    holding: bool
    """Whether it is this attendant's hold that lets the robot move."""
    schema: _Schema = SCHEMA


_encoder = msgspec.msgpack.Encoder()
_beat, _report = msgspec.msgpack.Decoder(Beat), msgspec.msgpack.Decoder(Report)


def encode(message: Beat | Report) -> bytes:
    """Return the frame of a message."""
    return _encoder.encode(message)


def decode_beat(frames: list[bytes]) -> Beat:
    """Read what an attendant sent; raises WireError."""
    try:
        return _beat.decode(_only(frames))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"beat cannot be read ({error}); expected schema {SCHEMA}") from None


def decode_report(frames: list[bytes]) -> Report:
    """Read what a robot sent; raises WireError."""
    try:
        return _report.decode(_only(frames))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"report cannot be read ({error}); expected schema {SCHEMA}") from None


def _only(frames: list[bytes]) -> bytes:
    if len(frames) != 1:
        raise WireError(f"message of {len(frames)} frames; expected one")
    return frames[0]
