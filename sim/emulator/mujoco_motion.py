"""A robot folder's MuJoCo model behind the servos of a bus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import mujoco
import numpy as np

from sim.emulator.motion import Plant
from sim.errors import DivergedError
from sim.mujoco_robot import ModelIndex, MujocoRobot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots import RobotFolder
    from sim.emulator.motion import Array
    from sim.emulator.motors import Drive

    Felt = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]

_GRAVITY = 9.81
_BLOWN_UP = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


Place = Literal["stance", "crouch", "lying"]
"""How a robot begins: standing, crouching, or on its side in its crouch."""

_CLEARANCE_M = 0.002


class MujocoJoints(Plant):
    """The joints of a robot folder, in its order; the robot begins limp, in its stance."""

    def __init__(self, folder: RobotFolder) -> None:
        """Load the model; raises ModelError when it does not fit robot.toml."""
        robot = MujocoRobot(folder)
        robot.connect()
        self._spec = robot.spec
        self._model, self._data = robot.model, robot.data
        self._index = ModelIndex(self._model, folder)
        self.timestep_s = float(self._model.opt.timestep)
        self._damping = self._model.dof_damping[self._index.velocity].copy()
        self._steps = 0
        self._held: Array | None = None
        self.felt: Felt = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        """What an IMU on the robot feels: orientation (w, x, y, z), gyro, rad/s, and specific
        force, m/s²; replaced as a whole, so other threads may look."""
        self._look()

    def step(self, drives: Sequence[Drive]) -> None:
        """Go one step on; back-EMF is damping to MuJoCo, which integrates it implicitly.

        Raises DivergedError when the physics blows up.
        """
        if self._held is not None:
            return
        model, data, joints = self._model, self._data, self._index.velocity
        data.qfrc_applied[joints] = [drive.torque for drive in drives]
        model.dof_damping[joints] = self._damping + [drive.damping for drive in drives]
        mujoco.mj_step(model, data)
        self._steps += 1
        for kind in _BLOWN_UP:
            if data.warning[kind.value].number:
                time_s = self._steps * self.timestep_s
                raise DivergedError(self._spec.name, time_s, kind.name)
        self._look()

    @property
    def crouch(self) -> Array:
        """Joint positions of the crouch (N,), rad; the stance where robot.toml has none."""
        return np.array(self._spec.crouch or self._spec.column("stance"), dtype=np.float64)

    @property
    def tilt(self) -> float:
        """Angle between the body's up axis and the vertical, rad."""
        _, x, y, _ = self._data.qpos[self._index.base_quaternion]
        return float(np.arccos(np.clip(1 - 2 * (x * x + y * y), -1, 1)))

    @property
    def pose(self) -> tuple[float, float, float, float]:
        """Position of the base in the world, m, and its heading, rad."""
        x, y, z = self._data.qpos[self._index.base_position].tolist()
        w, i, j, k = self._data.qpos[self._index.base_quaternion].tolist()
        return x, y, z, math.atan2(2 * (w * k + i * j), 1 - 2 * (j * j + k * k))

    @property
    def spread(self) -> float:
        """How far the joint that is furthest from its crouch is from it, rad."""
        return float(np.abs(self.position - self.crouch).max())

    def place(self, place: Place) -> None:
        """Put the robot on the ground, at rest, where it is."""
        joints = self._spec.column("stance") if place == "stance" else self.crouch
        self._put(np.asarray(joints, dtype=np.float64), roll=np.pi / 2 if place == "lying" else 0)

    def hold(self, joints: Array) -> None:
        """Hold the robot upright by hand, its legs so, rad; physics rests until let_go()."""
        self._held = joints
        self._put(joints, roll=0.0)
        self.felt = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, _GRAVITY))

    def let_go(self) -> None:
        """Leave it to physics again, on the ground."""
        self._held = None

    def _put(self, joints: Array, *, roll: float) -> None:
        """Stand it on its feet, or with whatever is lowest on the ground when it is rolled over."""
        model, data, index = self._model, self._data, self._index
        data.qpos[index.position], data.qvel[:] = joints, 0
        data.qpos[index.base_quaternion] = [np.cos(roll / 2), np.sin(roll / 2), 0, 0]
        mujoco.mj_forward(model, data)
        own = np.flatnonzero(model.geom_bodyid)
        low = index.feet if index.feet.size and not roll else own
        lowest = (data.geom_xpos[low, 2] - model.geom_rbound[low]).min()
        data.qpos[index.base_position[2]] += _CLEARANCE_M - lowest
        mujoco.mj_forward(model, data)
        self._look()

    def _look(self) -> None:
        self.position = self._data.qpos[self._index.position].astype(np.float64)
        self.velocity = self._data.qvel[self._index.velocity].astype(np.float64)
        sensed, index = self._data.sensordata, self._index
        self.felt = (
            tuple(sensed[index.quaternion].tolist()),
            tuple(sensed[index.gyro].tolist()),
            tuple(sensed[index.accelerometer].tolist()),
        )
