"""What a robot is: the typed content of robot.toml.

Joints are matched by name here, once; everything after this is in the order of robot.toml.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from robots.dynamixel.config import BusSpec
from robots.dynamixel.config import problems as bus_problems
from robots.errors import RobotSpecError
from robots.imu.config import ImuSpec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

_POSITIVE_LIMITS = (
    "tilt_deg",
    "tilt_s",
    "stale_hold_s",
    "stale_damp_s",
    "hold_s",
    "ramp_speed",
    "damp_kd",
    "damp_s",
    "still_gyro",
    "still_velocity",
    "still_s",
    "deadman_s",
    "late_s",
    "late_stop_s",
    "late_in_a_row",
    "late_in_50",
    "limit_gain",
    "getup_rad",
    "rise_s",
    "effort_share",
    "effort_s",
    "effort_peak",
    "overspeed",
    "stuck_rad",
    "stuck_move",
    "stuck_effort",
    "stuck_s",
    "jump_share",
    "jump_noise",
    "frozen_command_s",
    "frozen_command_move",
    "derate_c",
    "sit_c",
    "voltage_min",
    "voltage_s",
    "voltage_brownout",
)

_LARGEST_LIMITS = {
    "tilt_deg": 179.0,  # the tilt of a robot on its back is 180
    "late_in_a_row": 50,  # ticks that are remembered
    "late_in_50": 50,
    "deadman_s": 10.0,
    "hold_s": 10.0,
    "damp_s": 60.0,
    "sit_c": 120.0,
}

_ORDERED_LIMITS = (
    ("stale_hold_s", "stale_damp_s"),
    ("late_s", "late_stop_s"),
    ("derate_c", "sit_c"),
    ("voltage_brownout", "voltage_min"),
)


class JointSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One actuated joint: hardware limits, stance, gains and the policy's share of its range."""

    name: str
    """Name of the joint in model.xml and on the bus."""
    lower: float
    """Lower mechanical limit, rad."""
    upper: float
    """Upper mechanical limit, rad."""
    stance: float
    """Position while standing, rad; centre of the policy's action box."""
    action_scale: float
    """Half width of the policy's action box around the stance, rad."""
    effort_max: float
    """Stall torque, N·m."""
    velocity_max: float
    """No-load speed, rad/s; also the fastest a target may move."""
    kp: float
    """Position gain while walking, N·m/rad."""
    kd: float
    """Velocity gain while walking, N·m·s/rad."""
    effort_continuous: float | None = None
    """Torque that it bears for long, root mean square, N·m; None where nobody knows."""


class LegSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Geometry of one leg: an abduction joint about x, then thigh and knee about y, m."""

    joints: tuple[str, str, str]
    """Names of abduction, thigh and knee; at zero, all of them, the leg hangs straight down."""
    hip: tuple[float, float, float]
    """A point of the abduction axis in the base frame, in the plane the foot swings in."""
    offset: float
    """From the abduction axis to the thigh, positive to the left."""
    thigh: float
    """From the thigh's joint to the knee."""
    calf: float
    """From the knee to the centre of the foot."""
    sole: float
    """Radius of the foot, which rolls on it."""


class SafetyLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of the guards; times are times, never tick counts."""

    tilt_deg: float = 60.0
    """Largest angle between the body's up axis and the vertical, degrees."""
    tilt_s: float = 0.06
    """How long the tilt may last before the robot is damped, s."""
    stale_hold_s: float = 0.04
    """Sensor age from which the last safe target is held, s."""
    stale_damp_s: float = 0.1
    """Sensor age from which the robot is damped, s."""
    hold_s: float = 0.2
    """Longest time in HOLD before the robot sits, s."""
    soft_limit: float = 0.95
    """Share of each joint's half range, about its centre, that targets may use."""
    ramp_speed: float = 1.0
    """Speed of the scripted moves to the stance and to the crouch, rad/s."""
    damp_kd: float = 8.0
    """Velocity gain while damping, N·m·s/rad."""
    damp_s: float = 3.0
    """Longest time of damping before the torque is taken off, s; sooner when the robot is still."""
    still_gyro: float = 0.2
    """Gyro norm under which a damped robot counts as still, rad/s."""
    still_velocity: float = 0.1
    """Joint speed under which a damped robot counts as still, rad/s."""
    still_s: float = 1.0
    """How long it must be still before damping ends, s."""
    limit_gain: float = 20.0
    """Fastest approach of a target to a limit, per distance that is left: rad/s per rad."""
    getup_rad: float = 0.5
    """Distance of any joint from the stance from which standing up begins with the crouch, rad."""
    rise_s: float = 0.5
    """How long the position gains rise when standing up begins with the crouch, s."""
    fade_in_s: float = 0.0
    """How long commands are faded in once the robot stands, s; where nothing is learned."""
    effort_share: float = 0.8
    """Share of effort_continuous from which a joint's mean torque makes the robot sit."""
    effort_s: float = 1.0
    """Time constant of the mean torque, s."""
    effort_peak: float = 1.2
    """Share of effort_max from which a torque, twice in a row, damps."""
    overspeed: float = 1.3
    """Share of velocity_max from which a speed, twice in a row, damps."""
    stuck_rad: float = 0.3
    """Distance from its target from which a joint may be blocked, rad."""
    stuck_move: float = 0.05
    """Motion under which it counts as blocked, rad."""
    stuck_effort: float = 0.7
    """Share of effort_max that it has to push with."""
    stuck_s: float = 0.3
    """How long a joint may be blocked, or its reading frozen, before the robot sits, s."""
    jump_share: float = 1.5
    """Share of velocity_max that a position cannot change faster than."""
    jump_noise: float = 0.05
    """Change of a position that noise may cause, rad."""
    frozen_command_s: float | None = None
    """How long the same command may repeat while joints move before the robot sits, s; or None."""
    frozen_command_move: float = 0.1
    """Motion of a joint that a repeated command should have answered, rad."""
    derate_c: float = 55.0
    """Temperature of the hottest joint from which targets move slower, °C."""
    sit_c: float = 65.0
    """Temperature of the hottest joint from which the robot sits, °C."""
    voltage_min: float | None = None
    """Mean supply voltage under which the robot sits, V; None where nobody knows."""
    voltage_s: float = 10.0
    """Time constant of the mean voltage, s."""
    voltage_brownout: float | None = None
    """Supply voltage under which one sample damps, V; None where nobody knows."""
    estop: Literal["off", "damp"] = "off"
    """Whether an emergency stop takes the torque off at once or damps to the end first."""
    deadman_s: float = 0.5
    """Longest time without a sign of life from an operator who attends, s."""
    late_s: float = 0.01
    """Lateness from which a tick of the control loop counts as late, s."""
    late_stop_s: float = 0.1
    """Lateness of one tick that stops the robot, s."""
    late_in_a_row: int = 3
    """Number of late ticks in a row that stops the robot."""
    late_in_50: int = 5
    """Number of late ticks among the last 50 that stops the robot."""


class SimSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the simulator drives the model."""

    engine: Literal["mujoco", "dm_control"] = "mujoco"
    """Which simulator the folder is for; dm_control brings its own model, so needs no model.xml."""
    physics_hz: float = 500.0
    """Rate of the physics and of the simulated PD loop, Hz."""
    action_delay_ms: float = 0.0
    """Time from write() until the servos see the new target, ms."""
    supply: float = 1.0
    """Supply voltage as a share of the one that effort_max and velocity_max are stated at."""


class RobotSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A robot folder's robot.toml."""

    name: str
    """Name of the robot; a policy carries it and refuses any other."""
    description: str = ""
    """One sentence about the machine."""
    base: str = "base"
    """Body of the model that carries the free joint."""
    imu: str = "imu"
    """Site of the model where the IMU sits."""
    feet: tuple[str, ...] = ()
    """Geoms of the model that touch the ground when standing."""
    crouch: tuple[float, ...] = ()
    """Joint positions after sitting down, rad, in the order of joints; the stance if empty."""
    joints: tuple[JointSpec, ...]
    """The actuated joints; their order is the order everywhere."""
    mass: float | None = None
    """Mass of the whole robot, kg; None where nobody has weighed it."""
    legs: tuple[LegSpec, ...] = ()
    """Geometry of the legs, for kinematics and odometry; none where nobody has measured it."""
    bus: BusSpec | None = None
    """Servos on a serial bus that drive the joints; None where something else does."""
    imu_device: ImuSpec | None = None
    """The real IMU behind the site, on a serial port of its own; None where there is none."""
    safety: SafetyLimits = SafetyLimits()
    """Numbers of the guards."""
    sim: SimSpec = SimSpec()
    """Numbers of the simulation."""
    tasks: dict[str, dict[str, float]] = {}
    """Numbers of tasks, by the task's name, that are this robot's own; the tasks read them."""

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints in order."""
        return tuple(joint.name for joint in self.joints)

    def column(self, field: str) -> FloatArray:
        """One field of every joint, in order; nan where a joint has none.

        Shape (J,), float32, in the field's unit.
        """
        return np.array([getattr(joint, field) for joint in self.joints], dtype=np.float32)

    def soft_limits(self) -> tuple[FloatArray, FloatArray]:
        """Limits that targets are held to: shrunk about the centre, so never outside the hard ones.

        Two arrays of shape (J,), rad.
        """
        lower, upper = self.column("lower"), self.column("upper")
        centre, half = np.float32(0.5) * (lower + upper), np.float32(0.5) * (upper - lower)
        half *= np.float32(self.safety.soft_limit)
        return centre - half, centre + half


@dataclass(frozen=True)
class RobotFolder:
    """A robot folder on disk: its spec and where its model is."""

    path: Path
    spec: RobotSpec

    @property
    def model_path(self) -> Path:
        """Path of model.xml; it may be absent when the simulator brings its own model."""
        return self.path / "model.xml"

    @cached_property
    def model_sha256(self) -> str:
        """Digest of robot.toml and model.xml together, hexadecimal."""
        digest = hashlib.sha256((self.path / "robot.toml").read_bytes())
        if self.model_path.exists():
            digest.update(self.model_path.read_bytes())
        return digest.hexdigest()


def read_folder(path: Path) -> RobotFolder:
    """Read a robot folder.

    Raises RobotSpecError when robot.toml is missing, has unknown or missing keys, or makes no
    sense.
    """
    source = path / "robot.toml"
    try:
        spec = msgspec.convert(tomllib.loads(source.read_text("utf-8")), RobotSpec)
    except FileNotFoundError:
        raise RobotSpecError(
            path, "no robot.toml here; a robot is a folder with robot.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RobotSpecError(source, str(error)) from None
    for problem in problems(spec):
        raise RobotSpecError(source, problem)
    return RobotFolder(path.resolve(), spec)


def problems(spec: RobotSpec) -> list[str]:
    """Everything that makes a spec unusable, one line each; empty when it is fine."""
    found = []
    if not spec.joints:
        found.append("no joints; expected at least one")
    names = spec.joint_names
    found += [
        f"joint {name} stands twice; names must differ"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    if spec.mass is not None and not (math.isfinite(spec.mass) and spec.mass > 0):
        found.append(f"mass {spec.mass}; expected a positive number, kg")
    for joint in spec.joints:
        found += _joint_problems(joint, spec.safety.soft_limit)
    for leg in spec.legs:
        found += _leg_problems(leg, spec)
    found += _device_problems(spec) + _crouch_problems(spec)
    return found + _safety_problems(spec.safety) + _sim_problems(spec.sim)


def _device_problems(spec: RobotSpec) -> list[str]:
    """What is wrong with the real devices, or does not go with the rest."""
    found = []
    if spec.bus is not None:
        found += bus_problems(spec.bus, spec.joint_names)
        found += [
            f"joint {joint.name}: kp 0; expected a positive number, its servo holds a position"
            for joint in spec.joints
            if joint.kp == 0
        ]
    imu, stale_s = spec.imu_device, spec.safety.stale_hold_s
    if imu is not None and imu.rate_hz * stale_s <= 1:
        found.append(
            f"imu_device.rate_hz {imu.rate_hz:g}; expected a sample more often than every "
            f"safety.stale_hold_s, {stale_s} s"
        )
    return found


def _leg_problems(leg: LegSpec, spec: RobotSpec) -> list[str]:
    """What is wrong with the geometry of one leg."""
    label = f"leg of {', '.join(leg.joints)}"
    found = [
        f"{label}: no joint {name}; expected {' or '.join(_nearest(name, spec.joint_names))}"
        for name in leg.joints
        if name not in spec.joint_names
    ]
    found += [
        f"{label}: names {name} twice; expected three different joints"
        for name in sorted(set(leg.joints))
        if leg.joints.count(name) > 1
    ]
    if any(set(leg.joints) & set(other.joints) for other in spec.legs if other is not leg):
        found.append(f"{label}: shares a joint with another leg; expected three of its own")
    if not all(math.isfinite(number) for number in (*leg.hip, leg.offset)):
        found.append(f"{label}: hip {leg.hip}, offset {leg.offset}; expected finite numbers")
    for field in ("thigh", "calf", "sole"):
        value = getattr(leg, field)
        if not (math.isfinite(value) and value > 0):
            found.append(f"{label}: {field} {value}; expected a positive number")
    return found


def _nearest(name: str, known: tuple[str, ...]) -> list[str] | tuple[str, ...]:
    """What may have been meant."""
    return difflib.get_close_matches(name, known, n=3) or known


def _crouch_problems(spec: RobotSpec) -> list[str]:
    """What is wrong with the crouch."""
    found = []
    if spec.crouch and len(spec.crouch) != len(spec.joints):
        found.append(f"crouch has {len(spec.crouch)} positions for {len(spec.joints)} joints")
    for joint, position in zip(spec.joints, spec.crouch, strict=False):
        if not joint.lower <= position <= joint.upper:
            found.append(
                f"joint {joint.name}: crouch {position} outside [{joint.lower}, {joint.upper}] rad"
            )
    return found


def _safety_problems(safety: SafetyLimits) -> list[str]:
    """What is wrong with the guards' numbers."""
    found = []
    if not 0 < safety.soft_limit <= 1:
        found.append(f"safety.soft_limit {safety.soft_limit} outside (0, 1]")
    for field in _POSITIVE_LIMITS:
        value = getattr(safety, field)
        if value is not None and not (math.isfinite(value) and value > 0):
            found.append(f"safety.{field} {value}; expected a positive number")
    found += [
        f"safety.{field} {getattr(safety, field)}; expected at most {most}"
        for field, most in _LARGEST_LIMITS.items()
        if getattr(safety, field) > most
    ]
    if not 0 <= safety.fade_in_s < math.inf:
        found.append(f"safety.fade_in_s {safety.fade_in_s}; expected zero or more")
    for lower, upper in _ORDERED_LIMITS:
        low, high = getattr(safety, lower), getattr(safety, upper)
        if low is not None and high is not None and low > high:
            found.append(f"safety.{lower} {low} is above {upper} {high}; swap them")
    if safety.derate_c == safety.sit_c:
        found.append(f"safety.derate_c and sit_c are {safety.sit_c}; derate at a lower one")
    return found


def _sim_problems(sim: SimSpec) -> list[str]:
    """What is wrong with the simulation's numbers."""
    found = []
    if not (math.isfinite(sim.physics_hz) and sim.physics_hz >= 1):
        found.append(f"sim.physics_hz {sim.physics_hz}; expected at least 1")
    if not 0 <= sim.action_delay_ms < math.inf:
        found.append(f"sim.action_delay_ms {sim.action_delay_ms}; expected zero or more")
    if not (math.isfinite(sim.supply) and sim.supply > 0):
        found.append(
            f"sim.supply {sim.supply}; expected a positive number, 1 for the rated voltage"
        )
    return found


def _joint_problems(joint: JointSpec, soft_limit: float) -> list[str]:
    """What is wrong with one joint."""
    label = f"joint {joint.name}"
    fields = {field: getattr(joint, field) for field in joint.__struct_fields__ if field != "name"}
    numbers = {field: value for field, value in fields.items() if value is not None}
    found = [
        f"{label}: {field} is {value}; expected a finite number"
        for field, value in numbers.items()
        if not math.isfinite(value)
    ]
    if found:
        return found
    if joint.lower >= joint.upper:
        return [f"{label}: lower {joint.lower} is not below upper {joint.upper} rad; swap them"]
    centre, half = (joint.lower + joint.upper) / 2, (joint.upper - joint.lower) / 2 * soft_limit
    if abs(joint.stance - centre) > half:
        found.append(
            f"{label}: stance {joint.stance} outside the soft limits "
            f"[{centre - half:.4g}, {centre + half:.4g}] rad; move the stance or widen the limits"
        )
    found += [
        f"{label}: {field} {numbers[field]}; expected a positive number"
        for field in ("action_scale", "effort_max", "velocity_max", "effort_continuous")
        if numbers.get(field, 1) <= 0
    ]
    found += [
        f"{label}: {field} {numbers[field]}; expected zero or more"
        for field in ("kp", "kd")
        if numbers[field] < 0
    ]
    return found
