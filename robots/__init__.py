"""Robots: what they are, how they are driven, and what keeps them safe."""

from robots.catalog import find, names
from robots.errors import (
    NotConnectedError,
    RobotError,
    RobotSpecError,
    SafetyStopError,
    UnknownRobotError,
)
from robots.robot import BaseMotion, JointCommand, Robot, RobotState
from robots.spec import JointSpec, RobotFolder, RobotSpec, SafetyLimits, SimSpec

__all__ = [
    "BaseMotion",
    "JointCommand",
    "JointSpec",
    "NotConnectedError",
    "Robot",
    "RobotError",
    "RobotFolder",
    "RobotSpec",
    "RobotSpecError",
    "RobotState",
    "SafetyLimits",
    "SafetyStopError",
    "SimSpec",
    "UnknownRobotError",
    "find",
    "names",
]
