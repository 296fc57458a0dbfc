"""How the base moves, from joints and IMU alone: the feet that stand still tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robots.errors import RobotSpecError
from robots.legs import Legs
from robots.robot import BaseMotion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots.robot import RobotState
    from robots.spec import RobotSpec

    Array = NDArray[np.float64]

_GRAVITY = 9.81
_HEIGHT_M = 0.003
"""Height above the lowest foot at which a foot counts e times less."""
_SPREAD = 0.15
"""Distance from the velocity so far at which a foot counts 0.6 times as much, m/s."""
_LOAD = 0.1
"""Share of the robot's weight that its legs must carry for a foot to be on the ground."""
_LOAD_S = 1.0
"""Time over which the load is averaged, s: friction and inertia of gears come and go in it."""
_DAMPING_M = 0.005
"""Lever under which a joint's torque is not taken for a force, m."""
_FLIGHT = 1.0
"""Specific force under which the robot is falling freely, whatever its torques say, m/s²."""
_COAST_S = 0.5
"""Time in which a velocity that nothing measures falls to 1/e, s."""


class _Look(NamedTuple):
    """What one reading says about the legs."""

    rotation: Array
    """From the base to the world (3, 3)."""
    angles: Array
    """Joint angles (L, 3), rad."""
    feet: Array
    """From the base to the centres of the feet, in the world's directions (L, 3), m."""
    load: float
    """Share of the robot's weight that stands on the feet."""


class LegOdometry:
    """Velocity and displacement of the base, computed from RobotState only; needs no foot sensors.

    A foot that stands, rolling on its round sole, moves the base by the opposite of its own motion.
    Each foot so proposes a displacement over the whole step; the base takes their mean, weighted by
    how low the foot is and how well its proposal goes with the velocity so far.  Torques tell no
    single foot on the ground from one in the air, since the inertia of geared motors is as large as
    the load; their sum over all legs and a second tells whether the robot stands at all.  When it
    does not, or falls, the last velocity is kept and decays.

    Slipping feet are not noticed, and heading is that of the IMU.
    """

    def __init__(self, spec: RobotSpec) -> None:
        """Take geometry and mass; raises RobotSpecError when robot.toml lacks one of them."""
        self._legs = Legs(spec)
        if spec.mass is None:
            raise RobotSpecError(spec.name, "robot.toml has no mass; expected the robot's, kg")
        self._weight = spec.mass * _GRAVITY
        self.reset()

    def reset(self) -> None:
        """Start at the origin, at rest; the next reading is the first."""
        self._before: _Look | None = None
        self._rotation = np.eye(3)
        self._velocity = np.zeros(3)
        self._position = np.zeros(3)
        self._load = 1.0

    def update(self, state: RobotState, dt_s: float) -> BaseMotion:
        """Take the next reading, dt_s after the last one, and return how the base has moved.

        The velocity is the mean over the step.  A reading that is not finite counts as none.
        """
        before, self._before = self._before, None
        if state.is_finite():
            now = self._before = self._look(state)
            self._rotation = now.rotation
            self._load += min(max(dt_s, 0.0) / _LOAD_S, 1.0) * (now.load - self._load)
        if before is None or self._before is None or dt_s <= 0 or self._aloft(state):
            self._velocity *= _left(dt_s)
        else:
            self._velocity = self._measure(before, self._before, dt_s)
        self._position += self._velocity * max(dt_s, 0.0)
        return _motion(self._position, self._velocity, self._rotation)

    def predict(self, state: RobotState, dt_s: float) -> BaseMotion:
        """Return how the base has moved dt_s after the last update, of which only the IMU tells.

        The velocity decays as one that nothing measures; the next update knows nothing of this.
        """
        told = np.isfinite(state.quaternion).all()
        rotation = _rotation(state.quaternion.astype(np.float64)) if told else self._rotation
        left = _left(dt_s)
        position = self._position + self._velocity * _COAST_S * (1 - left)
        return _motion(position, self._velocity * left, rotation)

    def _aloft(self, state: RobotState) -> bool:
        """Whether nothing stands on the ground: held up for a while, or falling now."""
        return self._load < _LOAD or math.hypot(*state.accelerometer.tolist()) < _FLIGHT

    def _look(self, state: RobotState) -> _Look:
        """Where the feet are and what they carry."""
        rotation = _rotation(state.quaternion.astype(np.float64))
        angles = state.position[self._legs.joints].astype(np.float64)
        effort = state.effort[self._legs.joints].astype(np.float64)
        feet, jacobian = self._legs.feet_and_jacobian(angles)
        # Torques of a leg at rest are its Jacobian, transposed, times the force on the ground.  A
        # straight leg tells nothing of the force along it; damping makes that zero, not infinite.
        normal = jacobian @ jacobian.transpose(0, 2, 1) + _DAMPING_M**2 * np.eye(3)
        forces = np.linalg.solve(normal, jacobian @ effort[:, :, None])[:, :, 0]
        load = -float((forces @ rotation[2]).sum()) / self._weight
        return _Look(rotation, angles, feet @ rotation.T, load)

    def _measure(self, before: _Look, now: _Look, dt_s: float) -> Array:
        """Mean velocity of the base over the step (3,), m/s, in the world's directions."""
        proposals = self._proposals(before, now) / dt_s
        soles = 0.5 * (before.feet[:, 2] + now.feet[:, 2]) - self._legs.sole
        off = proposals - self._velocity
        exponent = -soles / _HEIGHT_M - 0.5 * (off * off).sum(axis=1) / _SPREAD**2
        weights = np.exp(exponent - exponent.max())
        velocity: Array = weights @ proposals / weights.sum()
        return velocity

    def _proposals(self, before: _Look, now: _Look) -> Array:
        """Displacement of the base (L, 3), m, if that foot stood through the step."""
        hip = 0.5 * (before.angles[:, 0] + now.angles[:, 0])
        change = now.angles - before.angles
        pitch = change[:, 1] + change[:, 2]
        joints = np.stack([change[:, 0], pitch * np.cos(hip), pitch * np.sin(hip)], axis=1)
        turn = now.rotation @ before.rotation.T
        body = 0.5 * np.array(
            [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
        )
        calf = body + joints @ (0.5 * (before.rotation + now.rotation)).T
        rolled = np.zeros_like(calf)
        rolled[:, 0], rolled[:, 1] = calf[:, 1] * self._legs.sole, -calf[:, 0] * self._legs.sole
        proposals: Array = before.feet - now.feet + rolled
        return proposals


def _left(dt_s: float) -> float:
    """What is left after this time of a velocity that nothing measures, as a share."""
    return math.exp(-max(dt_s, 0.0) / _COAST_S)


def _motion(position: Array, velocity: Array, rotation: Array) -> BaseMotion:
    """Motion of a base with this position and velocity in the world (3,) and rotation (3, 3)."""
    return BaseMotion(
        position=position.astype(np.float32),
        velocity=(velocity @ rotation).astype(np.float32),
        yaw=math.atan2(rotation[1, 0], rotation[0, 0]),
        source="leg odometry",
    )


def _rotation(quaternion: Array) -> Array:
    """Matrix of a unit quaternion, from the body to the world."""
    w, x, y, z = quaternion.tolist()
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
