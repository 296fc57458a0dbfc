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
from robots.safety import Guard, SafeRobot, State
from robots.spec import JointSpec, RobotFolder, RobotSpec, SafetyLimits, SimSpec

__all__ = [
    "BaseMotion",
    "Guard",
    "JointCommand",
    "JointSpec",
    "NotConnectedError",
    "Robot",
    "RobotError",
    "RobotFolder",
    "RobotSpec",
    "RobotSpecError",
    "RobotState",
    "SafeRobot",
    "SafetyLimits",
    "SafetyStopError",
    "SimSpec",
    "State",
    "UnknownRobotError",
    "find",
    "names",
]
