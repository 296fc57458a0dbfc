"""What the control loop and the writer process say to each other through a FramePipe."""

from __future__ import annotations

import enum
import struct

from robosac.flight_log.fields import LogSpec
from robosac.runner.pipe import PipeConfig

STAMP = struct.Struct("<qI")
"""Robot time, ns, and number of an event, whose JSON follows, or of a transition with its row."""
KEPT = struct.Struct("<QQ")


class ToWriter(enum.IntEnum):
    """Frames from the control loop."""

    TICK = 1
    """A row, see fields.row_struct()."""
    EVENT = 2
    """STAMP and a message of /events as JSON."""
    TRANSITION = 3
    """STAMP and a packed row, see robosac.replay.layout."""
    END = 4
    """Nothing follows: end the file properly."""


class FromWriter(enum.IntEnum):
    """Frames to the control loop."""

    KEPT = 1
    """How many frames are dealt with, and how many of these are not recorded."""
    STATE = 2
    """How the recording is, in words; empty when all is well."""


class WriterConfig(PipeConfig, frozen=True, kw_only=True):
    """What a writer process is started with."""

    path: str
    """The log; its parts stand beside it."""
    part: int
    """Which file of the log this writer makes; every writer makes one."""
    spec: LogSpec
    info: dict[str, str]
    """What else is known of the flight, for the file's metadata."""
    epoch_ns: int
    """Wall-clock time at robot time zero, ns since 1970."""
    limit_bytes: int
    """What all parts together may take."""
    floor_bytes: int
    """What is left free on the disk."""
