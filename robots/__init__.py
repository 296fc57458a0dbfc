"""Robots: what they are, how they are driven, and what keeps them safe."""

from robots.catalog import find, names
from robots.errors import (
    NotConnectedError,
    OutOfReachError,
    RobotError,
    RobotSpecError,
    SafetyStopError,
    UnknownRobotError,
)
from robots.legs import Legs
from robots.odometry import LegOdometry
from robots.robot import BaseMotion, JointCommand, Robot, RobotState
from robots.safety import Guard, SafeRobot, State
from robots.spec import JointSpec, LegSpec, RobotFolder, RobotSpec, SafetyLimits, SimSpec

__all__ = [
    "BaseMotion",
    "Guard",
    "JointCommand",
    "JointSpec",
    "LegOdometry",
    "LegSpec",
    "Legs",
    "NotConnectedError",
    "OutOfReachError",
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
