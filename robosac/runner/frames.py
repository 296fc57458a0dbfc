"""What the control loop and its uplink process say to each other through a FramePipe."""

from __future__ import annotations

import enum
import struct

import msgspec

from robosac.replay import RowLayout
from robosac.runner.pipe import PipeConfig

NUMBER = struct.Struct("<Q")


class ToUplink(enum.IntEnum):
    """Frames from the control loop."""

    ROW = 1
    """A sequence number (NUMBER) and a packed row."""
    EPISODE = 2
    """An Episode message, encoded for the wire."""
    FINISH = 3
    """How many rows the run made (NUMBER)."""
    DECLINED = 4
    """A Declined message, encoded for the wire."""


class FromUplink(enum.IntEnum):
    """Frames to the control loop."""

    KEPT = 1
    """A Kept: the loop may forget rows."""
    POLICY = 2
    """A PolicyFile."""
    BAD_POLICY = 3
    """Why a policy that arrived was dropped; the learner has been told."""
    CREDIT = 4
    """Rows that the run may make, MessagePack; nil is no bound."""
    REFUSED = 5
    """Why the learner does not want this robot."""
    FAREWELL = 6
    """Every row of the run is durable at the learner, and those of earlier runs are."""
    FAILED = 7
    """Why the uplink has given up."""
    ENOUGH = 8
    """The learner wants no more rows."""
    STATE = 9
    """How the link is, in words."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """How far an uplink process is with the rows of its run."""

    below: int
    """Below this sequence number rows outlive the process, or are counted as dropped."""
    end: int
    """Sequence number that it takes next."""
    dropped: int
    """Rows of all runs that it had to give up."""


class UplinkConfig(PipeConfig, frozen=True, kw_only=True):
    """What an uplink process is started with."""

    endpoint: str
    robot: str
    run: str
    folder: str
    """Where spools and received policies lie."""
    contract: str
    """The contract as JSON."""
    layout: RowLayout
    paced: bool
    """Whether the run waits for credit, as a simulated robot does."""
    keys: str | None = None
    """Folder of this robot's keys; None speaks in the clear."""
    spool_limit: int = 2**30
    """What the backlogs of all runs of this robot together may take, bytes."""
    predecessor: str = ""
    """What became of the process before this one, for the log; empty for the first."""
