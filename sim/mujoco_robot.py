"""Any robot folder with a model.xml, simulated by MuJoCo behind the Robot interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from robots import BaseMotion, RobotState
from sim.errors import DivergedError, ModelError
from sim.servo import Servo
from sim.simulated_robot import STANCE_CLEARANCE_M, SimulatedRobot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots import JointCommand, RobotFolder


class MujocoRobot(SimulatedRobot):
    """A robot folder in MuJoCo, with the servos of robot.toml on its joints."""

    def __init__(self, folder: RobotFolder, *, realtime: bool = False) -> None:
        """Load the model; raises ModelError when it does not fit robot.toml."""
        self.model = load_model(folder)
        super().__init__(folder, timestep_s=self.model.opt.timestep, realtime=realtime)
        self.data = mujoco.MjData(self.model)
        self._index = ModelIndex(self.model, folder)
        self._servo = Servo(folder.spec)

    def base_motion(self) -> BaseMotion:
        """The true motion of the base."""
        base = self.data.qpos[self._index.base_position]
        w, x, y, z = self.data.qpos[self._index.base_quaternion]
        world = np.zeros(3)
        mujoco.mju_rotVecQuat(
            world, self.data.qvel[self._index.base_velocity], np.array([w, -x, -y, -z])
        )
        return BaseMotion(
            position=base.astype(np.float32),
            velocity=world.astype(np.float32),
            yaw=float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))),
            source="truth",
        )

    def _sense(self, stamp_ns: int) -> RobotState:
        index, data = self._index, self.data
        return RobotState(
            stamp_ns=stamp_ns,
            position=data.qpos[index.position].astype(np.float32),
            velocity=data.qvel[index.velocity].astype(np.float32),
            effort=data.qfrc_applied[index.velocity].astype(np.float32),
            quaternion=data.sensordata[index.quaternion].astype(np.float32),
            gyro=data.sensordata[index.gyro].astype(np.float32),
            accelerometer=data.sensordata[index.accelerometer].astype(np.float32),
            foot_contact=self._foot_contact(),
        )

    def _drive(self, command: JointCommand) -> None:
        self._servo.command(command)

    def _step(self) -> None:
        data, index = self.data, self._index
        data.qfrc_applied[index.velocity] = self._servo.torque(
            data.qpos[index.position], data.qvel[index.velocity]
        )
        mujoco.mj_step(self.model, data)

    def _finish_steps(self) -> None:
        mujoco.mj_forward(self.model, self.data)
        # MuJoCo starts anew by itself when it diverges; it only leaves a warning behind.
        kinds = mujoco.mjtWarning
        for kind in (kinds.mjWARN_BADQPOS, kinds.mjWARN_BADQVEL, kinds.mjWARN_BADQACC):
            if self.data.warning[kind.value].number:
                raise DivergedError(self.spec.name, self._clock.now_ns / 1e9, kind.name)

    def _let_go(self) -> None:
        self._servo.off()
        self.data.qfrc_applied[self._index.velocity] = 0

    def _stand(self, joints: NDArray[np.floating], *, yaw: float) -> None:
        data, index = self.data, self._index
        mujoco.mj_resetData(self.model, data)
        data.qpos[index.position] = joints
        data.qpos[index.base_quaternion] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        mujoco.mj_forward(self.model, data)
        if index.feet.size:
            soles = data.geom_xpos[index.feet, 2] - self.model.geom_rbound[index.feet]
            data.qpos[index.base_position[2]] += STANCE_CLEARANCE_M - soles.min()
        mujoco.mj_forward(self.model, data)

    def _foot_contact(self) -> NDArray[np.bool_]:
        """Which feet touch anything."""
        touching = self.data.contact.geom[: self.data.ncon].ravel()
        return np.isin(self._index.feet, touching)


class ModelIndex:
    """Where the named parts of a robot lie in MuJoCo's arrays; names are matched only here."""

    def __init__(self, model: mujoco.MjModel, folder: RobotFolder) -> None:
        """Look every name up once; raises ModelError with the name that is missing."""
        spec, source = folder.spec, folder.model_path

        def number(kind: mujoco.mjtObj, name: str, what: str) -> int:
            found = mujoco.mj_name2id(model, kind, name)
            if found < 0:
                raise ModelError(
                    source,
                    f"no {what} named {name!r}, which robot.toml names; add it or rename it there",
                )
            return int(found)

        joints = [number(mujoco.mjtObj.mjOBJ_JOINT, name, "joint") for name in spec.joint_names]
        body = number(mujoco.mjtObj.mjOBJ_BODY, spec.base, "body")
        root = int(model.body_jntadr[body])
        if root < 0 or model.jnt_type[root] != mujoco.mjtJoint.mjJNT_FREE:
            raise ModelError(
                source, f"body {spec.base!r} has no free joint; expected <freejoint/> in it"
            )
        start, dof = int(model.jnt_qposadr[root]), int(model.jnt_dofadr[root])
        self.position = model.jnt_qposadr[joints].copy()
        self.velocity = model.jnt_dofadr[joints].copy()
        self.base_position = np.arange(start, start + 3)
        self.base_quaternion = np.arange(start + 3, start + 7)
        self.base_velocity = np.arange(dof, dof + 3)
        self.feet = np.array(
            [number(mujoco.mjtObj.mjOBJ_GEOM, name, "geom") for name in spec.feet], dtype=np.int64
        )
        self.quaternion = self._sensor(model, "robosac_quaternion", 4)
        self.gyro = self._sensor(model, "robosac_gyro", 3)
        self.accelerometer = self._sensor(model, "robosac_accelerometer", 3)

    @staticmethod
    def _sensor(model: mujoco.MjModel, name: str, size: int) -> NDArray[np.int64]:
        start = int(model.sensor(name).adr[0])
        return np.arange(start, start + size)


def load_model(folder: RobotFolder) -> mujoco.MjModel:
    """Compile model.xml with the IMU of robot.toml added and the model's own actuators off.

    The servos of robot.toml act through applied joint torques, so models written for any kind of
    actuator work unchanged.  Raises ModelError.
    """
    source = folder.model_path
    try:
        model_spec = mujoco.MjSpec.from_file(str(source))
    except ValueError as error:
        raise ModelError(source, str(error).splitlines()[0]) from None
    if model_spec.site(folder.spec.imu) is None:
        raise ModelError(
            source,
            f"no site named {folder.spec.imu!r} for the IMU; add it or rename it in robot.toml",
        )
    kinds = mujoco.mjtSensor
    for name, kind in (
        ("robosac_quaternion", kinds.mjSENS_FRAMEQUAT),
        ("robosac_gyro", kinds.mjSENS_GYRO),
        ("robosac_accelerometer", kinds.mjSENS_ACCELEROMETER),
    ):
        model_spec.add_sensor(
            name=name, type=kind, objtype=mujoco.mjtObj.mjOBJ_SITE, objname=folder.spec.imu
        )
    try:
        model: mujoco.MjModel = model_spec.compile()
    except ValueError as error:
        raise ModelError(source, str(error).splitlines()[0]) from None
    model.opt.timestep = 1.0 / folder.spec.sim.physics_hz
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
    return model
