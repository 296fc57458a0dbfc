"""Walk forward at a commanded speed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import msgspec
import numpy as np

from robosac.tasks.motion import planar_velocity
from robosac.tasks.observation import Term
from robosac.tasks.task import Task, Tick

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots import RobotSpec

    FloatArray = NDArray[np.float32]

_POSITIVE = ("control_hz", "episode_s", "forward_mps", "velocity_scale")


class WalkConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of the walk task."""

    control_hz: float = 20.0
    """Control steps per second."""
    episode_s: float = 20.0
    """Time limit of an episode, s."""
    forward_mps: float = 0.7
    """Commanded forward speed, m/s."""
    lateral_weight: float = 0.3
    """Cost of sideways speed, per m/s."""
    yaw_weight: float = 0.1
    """Cost of turning, per rad/s."""
    upright_weight: float = 0.5
    """Cost of tilt, per (1 - up)."""
    smooth_weight: float = 1.0
    """Cost of changing the action, per mean square step."""
    alive: float = 0.0
    """Reward of every step that did not end in a fall; while costs outweigh everything else, as
    they do before it walks, a robot would rather fall at once."""
    effort_weight: float = 0.0
    """Cost of torque, per mean square of all joints, (N·m)²; motors heat up by it."""
    velocity_scale: float = 0.05
    """Scale of joint velocities in the observation."""

    def __post_init__(self) -> None:
        """Refuse numbers that no walk could have; raises ValueError."""
        for field, value in msgspec.structs.asdict(self).items():
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"walk: {field} is {value}; expected a finite number, 0 or more")
            if field in _POSITIVE and value == 0:
                raise ValueError(f"walk: {field} is {value}; expected more than 0")


class Walk(Task):
    """Reward: closeness to the commanded speed, less sideways motion, turning, tilt and jerk.

    Speed is displacement over the control step, in the frame the robot faced when the step began;
    the source is BaseMotion: the truth in a simulator, leg odometry on hardware.
    """

    name: ClassVar[str] = "walk"

    def __init__(self, config: WalkConfig | None = None) -> None:
        """Take the numbers; the defaults are those of the published recipe."""
        self.config = config or WalkConfig()
        self.control_hz = self.config.control_hz
        self.episode_s = self.config.episode_s

    def numbers(self) -> dict[str, float]:
        """The task's configuration."""
        return msgspec.structs.asdict(self.config)

    def actor_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        """Gravity, gyro, joints, last action and command: all of it measured on board."""
        joints = len(spec.joints)
        return (
            Term(name="gravity", size=3, unit="1"),
            Term(name="gyro", size=3, unit="rad/s", scale=0.25),
            Term(name="joint_position", size=joints, unit="rad"),
            Term(
                name="joint_velocity", size=joints, unit="rad/s", scale=self.config.velocity_scale
            ),
            Term(name="last_action", size=joints, unit="1"),
            Term(name="command", size=1, unit="m/s"),
        )

    def critic_terms(self, spec: RobotSpec) -> tuple[Term, ...]:
        """The true velocity of the base."""
        del spec
        return (Term(name="base_velocity", size=3, unit="m/s"),)

    def commands(self) -> dict[str, tuple[float, float]]:
        """One speed."""
        return {"forward_mps": (self.config.forward_mps, self.config.forward_mps)}

    def begin(self, tick: Tick, rng: np.random.Generator) -> None:
        """Nothing is drawn: the command is fixed."""

    def readings(self, tick: Tick) -> dict[str, FloatArray]:
        """Readings by term name."""
        state = tick.state
        velocity = np.zeros(3, np.float32) if tick.motion is None else tick.motion.velocity
        return {
            "gravity": state.gravity,
            "gyro": state.gyro,
            "joint_position": state.position,
            "joint_velocity": state.velocity,
            "last_action": tick.action,
            "command": np.array([self.config.forward_mps], np.float32),
            "base_velocity": velocity,
        }

    def rewards(self, before: Tick, after: Tick) -> dict[str, float]:
        """Terms that sum to at most 1 per step, and what it is worth to be alive."""
        config = self.config
        forward, left, turn = planar_velocity(before.motion, after.motion, after.dt_s)
        change = after.action - before.action
        effort = after.state.effort
        return {
            "forward": 1.0 - abs(forward - config.forward_mps) / config.forward_mps,
            "lateral": -config.lateral_weight * abs(left),
            "yaw": -config.yaw_weight * abs(turn),
            "upright": -config.upright_weight * (1.0 + float(after.state.gravity[2])),
            "smooth": -config.smooth_weight * float(np.mean(change * change)),
            "alive": config.alive,
            "effort": -config.effort_weight * float(np.mean(effort * effort)),
        }

    def fallen(self, tick: Tick) -> bool:
        """Never: what the safety wrapper stops on hardware is the only fall here."""
        del tick
        return False
