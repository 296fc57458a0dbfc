"""A robot folder's MuJoCo model behind the servos of a bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from sim.emulator.motion import Plant
from sim.errors import DivergedError
from sim.mujoco_robot import ModelIndex, MujocoRobot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robots import RobotFolder
    from sim.emulator.motors import Drive

    Felt = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]

_BLOWN_UP = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


class MujocoJoints(Plant):
    """The joints of a robot folder, in its order; the robot begins limp, in its stance."""

    def __init__(self, folder: RobotFolder) -> None:
        """Load the model; raises ModelError when it does not fit robot.toml."""
        robot = MujocoRobot(folder)
        robot.connect()
        self._name = robot.spec.name
        self._model, self._data = robot.model, robot.data
        self._index = ModelIndex(self._model, folder)
        self.timestep_s = float(self._model.opt.timestep)
        self._damping = self._model.dof_damping[self._index.velocity].copy()
        self._steps = 0
        self.felt: Felt = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
        """What an IMU on the robot feels: orientation (w, x, y, z), gyro, rad/s, and specific
        force, m/s²; replaced as a whole, so other threads may look."""
        self._look()

    def step(self, drives: Sequence[Drive]) -> None:
        """Go one step on; back-EMF is damping to MuJoCo, which integrates it implicitly.

        Raises DivergedError when the physics blows up.
        """
        model, data, joints = self._model, self._data, self._index.velocity
        data.qfrc_applied[joints] = [drive.torque for drive in drives]
        model.dof_damping[joints] = self._damping + [drive.damping for drive in drives]
        mujoco.mj_step(model, data)
        self._steps += 1
        for kind in _BLOWN_UP:
            if data.warning[kind.value].number:
                time_s = self._steps * self.timestep_s
                raise DivergedError(self._name, time_s, kind.name)
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
