"""The interface that simulators, serial robots and wrappers all implement."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from robots.closing import Closing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RobotState:
    """One reading of every sensor; joints in the order of robot.toml."""

    stamp_ns: int
    """Robot time of the reading, monotonic, ns."""
    position: FloatArray
    """Joint positions (J,), rad."""
    velocity: FloatArray
    """Joint velocities (J,), rad/s."""
    effort: FloatArray
    """Joint torques (J,), N·m."""
    quaternion: FloatArray
    """Attitude of the IMU frame in the world (4,), w x y z."""
    gyro: FloatArray
    """Angular rate in the body frame (3,), rad/s."""
    accelerometer: FloatArray
    """Specific force in the body frame (3,), m/s²; +9.81 on z at rest."""
    temperature: FloatArray | None = None
    """Joint temperatures (J,), °C; None when not measured."""
    voltage: float | None = None
    """Supply voltage, V; None when not measured."""
    foot_contact: NDArray[np.bool_] | None = None
    """Which feet touch the ground (F,); None when not measured."""
    joint_age_s: float = 0.0
    """Age of the oldest joint sample at stamp_ns, s."""
    imu_age_s: float = 0.0
    """Age of the IMU sample at stamp_ns, s."""
    joint_jumps: int = 0
    """How many joint samples in a row were dropped because no joint gets so far so soon."""

    @property
    def gravity(self) -> FloatArray:
        """Unit vector of gravity in the body frame (3,); (0, 0, -1) when level.

        Means nothing when the quaternion has not norm 1.
        """
        w, x, y, z = self.quaternion
        return np.array(
            [2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1], dtype=np.float32
        )

    def is_finite(self) -> bool:
        """Whether all that every robot measures is finite."""
        joints = (self.position, self.velocity, self.effort)
        imu = (self.quaternion, self.gyro, self.accelerometer)
        return all(np.isfinite(part).all() for part in (*joints, *imu))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointCommand:
    """What every joint servo is asked to do: torque = kp·(position - q) - kd·dq + torque."""

    position: FloatArray
    """Target positions (J,), rad."""
    kp: FloatArray
    """Position gains (J,), N·m/rad."""
    kd: FloatArray
    """Velocity gains (J,), N·m·s/rad."""
    torque: FloatArray
    """Feed-forward torques (J,), N·m."""

    @classmethod
    def towards(cls, position: FloatArray, spec: RobotSpec) -> JointCommand:
        """Command these target positions with the gains of robot.toml."""
        return cls(
            position=np.asarray(position, dtype=np.float32),
            kp=spec.column("kp"),
            kd=spec.column("kd"),
            torque=np.zeros(len(spec.joints), dtype=np.float32),
        )

    @classmethod
    def damping(cls, position: FloatArray, spec: RobotSpec) -> JointCommand:
        """No stiffness, only damping; the positions are kept for the record."""
        joints = len(spec.joints)
        return cls(
            position=np.asarray(position, dtype=np.float32),
            kp=np.zeros(joints, dtype=np.float32),
            kd=np.full(joints, spec.safety.damp_kd, dtype=np.float32),
            torque=np.zeros(joints, dtype=np.float32),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseMotion:
    """Where the body is and how it moves: the truth in a simulator, an estimate on hardware."""

    position: FloatArray
    """Position of the base in the world (3,), m."""
    velocity: FloatArray
    """Linear velocity of the base in the body frame (3,), m/s."""
    yaw: float
    """Heading, rad."""
    source: str
    """Where it comes from: "truth" or the name of the estimator."""

    def __eq__(self, other: object) -> bool:
        """Whether every number is the same; gymnasium compares what stands in info."""
        if not isinstance(other, BaseMotion):
            return NotImplemented
        return (
            np.array_equal(self.position, other.position)
            and np.array_equal(self.velocity, other.velocity)
            and (self.yaw, self.source) == (other.yaw, other.source)
        )

    def __hash__(self) -> int:
        """Equal motions have equal headings."""
        return hash((self.yaw, self.source))


class Robot(Closing):
    """A robot as the control loop sees it; RobotEnv and SafeRobot are the callers.

    Time belongs to the robot: a simulated one advances physics in wait_until(), a real one sleeps
    to an absolute deadline.  So one loop serves both.
    """

    @property
    @abc.abstractmethod
    def spec(self) -> RobotSpec:
        """The robot's description, readable before connect()."""

    @abc.abstractmethod
    def connect(self) -> None:
        """Open the robot; nothing moves because of it."""

    @abc.abstractmethod
    def read(self) -> RobotState:
        """Return the newest sensor readings; raises NotConnectedError."""

    @abc.abstractmethod
    def write(self, command: JointCommand) -> JointCommand:
        """Command the joints and return what was really applied; raises NotConnectedError."""

    @abc.abstractmethod
    def wait_until(self, deadline_ns: int) -> None:
        """Let time pass until robot time reaches the deadline; at once if it has passed.

        Raises NotConnectedError.
        """

    @abc.abstractmethod
    def now(self) -> int:
        """Robot time, monotonic, ns."""

    @abc.abstractmethod
    def disarm(self, reason: str) -> None:
        """Take all torque off the joints; allowed at any time, also when not connected."""

    @abc.abstractmethod
    def close(self) -> None:
        """Disarm and release everything; may be called any number of times."""

    def base_motion(self) -> BaseMotion | None:
        """Return how the base moves, or None when nothing measures it."""
        return None

    def place(self, rng: np.random.Generator) -> bool:
        """Put the robot into its stance; False when it cannot (only simulators can)."""
        del rng
        return False

    def __enter__(self) -> Self:
        """Connect."""
        self.connect()
        return self
