"""Transitions: how they are packed, kept in memory, and kept on disk."""

from robosac.replay.layout import RowLayout, Transition
from robosac.replay.memory import ReplayMemory
from robosac.replay.records import Chunk
from robosac.replay.segments import AppendResult, Audit, SegmentLog

__all__ = [
    "AppendResult",
    "Audit",
    "Chunk",
    "ReplayMemory",
    "RowLayout",
    "SegmentLog",
    "Transition",
]
