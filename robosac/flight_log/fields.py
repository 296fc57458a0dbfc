"""What is logged of a control tick: one table, from which rows, messages and schemas are made."""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

XYZ = ("x", "y", "z")


class LogSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Names that a log needs; it carries them, so that it can be read without the robot's files."""

    robot: str
    joints: tuple[str, ...]
    feet: tuple[str, ...]
    states: tuple[str, ...]
    """Safety states; a tick says which by index."""
    guards: dict[str, int]
    """Bit of every guard."""


class Field(NamedTuple):
    """One number of a tick, or one for every joint, foot or axis."""

    name: str
    channel: str
    code: str
    """Its type, as a character of the struct module."""
    unit: str
    about: str
    axes: tuple[str, ...] | str = ()
    """Names of the numbers, or the field of LogSpec that holds them; empty for a single one."""

    def names(self, spec: LogSpec) -> tuple[str, ...]:
        """Names of the numbers of this field; empty for a single one."""
        if isinstance(self.axes, str):
            found: tuple[str, ...] = getattr(spec, self.axes)
            return found
        return self.axes

    def is_single(self) -> bool:
        """Whether it is one number, not one for every joint, foot or axis."""
        return self.axes == ()


FIELDS = (
    Field("number", "/timing", "q", "", "ticks before this one; a gap is a lost tick"),
    Field("stamp_ns", "/timing", "q", "ns", "robot time of the reading, monotonic"),
    Field("dt_s", "/timing", "d", "s", "time since the tick before"),
    Field("late_s", "/timing", "d", "s", "how late the tick began"),
    Field("act_s", "/timing", "d", "s", "from the reading to the command that answers it"),
    Field("position", "/joints", "f", "rad", "measured", "joints"),
    Field("velocity", "/joints", "f", "rad/s", "measured", "joints"),
    Field("effort", "/joints", "f", "N·m", "measured", "joints"),
    Field("temperature", "/joints", "f", "°C", "measured", "joints"),
    Field("voltage", "/joints", "d", "V", "supply"),
    Field("joint_age_s", "/joints", "d", "s", "age of the oldest joint sample"),
    Field("joint_jumps", "/joints", "q", "", "samples in a row dropped as impossible; -1 unknown"),
    Field("quaternion", "/imu", "f", "", "attitude in the world", ("w", *XYZ)),
    Field("gyro", "/imu", "f", "rad/s", "angular rate in the body frame", XYZ),
    Field("accelerometer", "/imu", "f", "m/s²", "specific force in the body frame", XYZ),
    Field("imu_age_s", "/imu", "d", "s", "age of the sample"),
    Field("requested", "/command", "f", "", "action of the policy", "joints"),
    Field("executed", "/command", "f", "", "action after the guards", "joints"),
    Field("target", "/command", "f", "rad", "joint positions written", "joints"),
    Field("state", "/safety", "B", "", "state of the safety wrapper"),
    Field("guards", "/safety", "q", "", "guards that fired, one bit each"),
    Field("base_position", "/motion", "f", "m", "in the world", XYZ),
    Field("base_velocity", "/motion", "f", "m/s", "in the body frame", XYZ),
    Field("base_yaw", "/motion", "d", "rad", "heading"),
    Field("foot_contact", "/motion", "f", "", "1 where a foot touches the ground", "feet"),
    Field("policy_version", "/learning", "q", "", "policy that acted; -1 for none"),
    Field("reward", "/learning", "d", "", "of the step that led here"),
    Field("terminated", "/learning", "?", "", "whether the episode ended for good"),
    Field("truncated", "/learning", "?", "", "whether it was cut off"),
)
"""Floating point fields that nobody has measured are NaN in a row and absent from a message."""

TICK_CHANNELS = tuple(dict.fromkeys(field.channel for field in FIELDS))
EVENTS = "/events"
TRANSITIONS = "/transitions"
"""What a learner would have received, one message for every step."""
METADATA = "robosac"
"""Name of the metadata record of a log."""
CONTRACT = "contract"
"""Key in it of the contract that says what the numbers of a transition mean."""


def row_struct(spec: LogSpec) -> struct.Struct:
    """How a tick travels to the writer: the fields in order, little-endian, not padded."""
    codes = (
        field.code if field.is_single() else f"{len(field.names(spec))}{field.code}"
        for field in FIELDS
    )
    return struct.Struct("<" + "".join(codes))
