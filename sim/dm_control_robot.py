"""The dm_control suite's quadruped behind the Robot interface."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from robots import BaseMotion, JointCommand, RobotState
from sim.errors import DivergedError, ModelError
from sim.opengl import choose
from sim.simulated_robot import STANCE_CLEARANCE_M, SimulatedRobot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from robots import RobotFolder

_DOMAIN, _TASK = "quadruped", "walk"


class DmControlRobot(SimulatedRobot):
    """The suite's quadruped; dm_control advances its own physics.

    A joint of robot.toml is one actuator of the suite: its position is the actuator's length, its
    effort the actuator's force.  Targets pass a filter of 0.1 s before the servos see them.
    """

    def __init__(self, folder: RobotFolder, *, realtime: bool = False) -> None:
        """Load the suite's model; raises ModelError when it lacks what robot.toml names."""
        self._physics = _load_physics(folder)
        self.model = self._physics.model.ptr
        self.data = self._physics.data.ptr
        super().__init__(folder, timestep_s=self.model.opt.timestep, realtime=realtime)
        self._servo = _Actuators(self.model, folder)
        self._hinges, self._pose = _leg_poses(self.model, self._servo.ids)
        self._base = _named(self.model.body, folder.spec.base, folder).id
        self._feet = np.array(
            [_named(self.model.geom, foot, folder).id for foot in folder.spec.feet]
        )

    def base_motion(self) -> BaseMotion:
        """The true motion of the torso."""
        axes = self.data.xmat[self._base]
        return BaseMotion(
            position=self.data.xpos[self._base].astype(np.float32),
            velocity=self.data.sensor("velocimeter").data.astype(np.float32),
            yaw=float(np.arctan2(axes[3], axes[0])),
            source="truth",
        )

    def _sense(self, stamp_ns: int) -> RobotState:
        data, ids = self.data, self._servo.ids
        return RobotState(
            stamp_ns=stamp_ns,
            position=data.actuator_length[ids].astype(np.float32),
            velocity=data.actuator_velocity[ids].astype(np.float32),
            effort=data.actuator_force[ids].astype(np.float32),
            quaternion=data.xquat[self._base].astype(np.float32),
            gyro=data.sensor("imu_gyro").data.astype(np.float32),
            accelerometer=data.sensor("imu_accel").data.astype(np.float32),
            foot_contact=np.isin(self._feet, data.contact.geom[: data.ncon]),
        )

    def _possible(self, command: JointCommand) -> JointCommand:
        """The command with its targets inside the suite's control range."""
        return self._servo.clip(command)

    def _drive(self, command: JointCommand) -> None:
        self._servo.command(command, self.data)

    def _step(self) -> None:
        with self._diverging():
            self._physics.step()

    def _finish_steps(self) -> None:
        with self._diverging():
            self._physics.forward()

    @contextmanager
    def _diverging(self) -> Iterator[None]:
        """Turn dm_control's own error into ours."""
        from dm_control.rl.control import PhysicsError

        try:
            yield
        except PhysicsError as error:
            seconds = self._clock.now_ns / 1e9
            raise DivergedError(self.spec.name, seconds, str(error)) from None

    def _let_go(self) -> None:
        """The hinges keep their passive damping."""
        self._servo.off()

    def _stand(self, lengths: NDArray[np.floating], *, yaw: float) -> None:
        """Put the lowest toe just above the ground, the filters at rest on these lengths."""
        model, data = self.model, self.data
        self._physics.reset()
        root = model.jnt_qposadr[model.body_jntadr[self._base]]
        data.qpos[root : root + 7] = [0, 0, 0, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        data.qpos[self._hinges] = self._pose @ lengths
        self._servo.settle(lengths, data)
        self._physics.forward()
        soles = data.geom_xpos[self._feet, 2] - model.geom_rbound[self._feet]
        data.qpos[root + 2] = STANCE_CLEARANCE_M - soles.min()
        self._physics.forward()


class _Actuators:
    """The suite's filtered position servos, with the gains of a JointCommand in place of their own.

    force = kp·(filtered target - length) - kd·velocity + torque: their affine bias does just that.
    """

    def __init__(self, model: mujoco.MjModel, folder: RobotFolder) -> None:
        """Find every actuator by name and hold its force to effort_max."""
        names = folder.spec.joint_names
        self.ids = np.array([_named(model.actuator, name, folder).id for name in names])
        self._model = model
        self._filters = model.actuator_actadr[self.ids]
        self._range = model.actuator_ctrlrange[self.ids].astype(np.float32)
        effort_max = folder.spec.column("effort_max")
        model.actuator_forcelimited[self.ids] = 1
        model.actuator_forcerange[self.ids] = np.stack([-effort_max, effort_max], axis=1)
        self.off()

    def clip(self, command: JointCommand) -> JointCommand:
        """The command with its targets inside ctrlrange."""
        return JointCommand(
            position=np.clip(command.position, *self._range.T),
            kp=command.kp,
            kd=command.kd,
            torque=command.torque,
        )

    def command(self, command: JointCommand, data: mujoco.MjData) -> None:
        """Take a new command; it holds until the next one."""
        data.ctrl[self.ids] = command.position
        self._gains(command.kp, command.kd, command.torque)

    def off(self) -> None:
        """Give no force from now on."""
        self._gains(0.0, 0.0, 0.0)

    def settle(self, lengths: NDArray[np.floating], data: mujoco.MjData) -> None:
        """Let the filters rest on these lengths."""
        data.ctrl[self.ids] = lengths
        data.act[self._filters] = lengths

    def _gains(
        self,
        kp: NDArray[np.float32] | float,
        kd: NDArray[np.float32] | float,
        torque: NDArray[np.float32] | float,
    ) -> None:
        self._model.actuator_gainprm[self.ids, 0] = kp
        self._model.actuator_biasprm[self.ids, 0] = torque
        self._model.actuator_biasprm[self.ids, 1] = np.negative(kp)
        self._model.actuator_biasprm[self.ids, 2] = np.negative(kd)


def _load_physics(folder: RobotFolder) -> Any:  # noqa: ANN401 - dm_control has no type information
    """The suite's physics at the rate of robot.toml, on a floor that is drawn without end."""
    choose()
    from dm_control import suite

    physics = suite.load(_DOMAIN, _TASK).physics
    physics.model.opt.timestep = 1.0 / folder.spec.sim.physics_hz
    physics.named.model.geom_size["floor", :2] = 0
    return physics


def _leg_poses(
    model: mujoco.MjModel, actuators: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the hinges lie in qpos (H,), and the map from actuator lengths to their angles (H, J).

    Lengths and couplings are linear in the hinges, so one column each is found by moving one hinge.
    """
    data = mujoco.MjData(model)
    hinges = model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE]
    couplings = model.eq_obj1id[model.eq_type == mujoco.mjtEq.mjEQ_TENDON]
    columns = []
    for hinge in hinges:
        data.qpos[:] = model.qpos0
        data.qpos[hinge] += 1.0
        mujoco.mj_fwdPosition(model, data)
        columns.append([*data.actuator_length[actuators], *data.ten_length[couplings]])
    inverse = np.linalg.inv(np.array(columns).T)
    return hinges, inverse[:, : len(actuators)]


def _named(lookup: Any, name: str, folder: RobotFolder) -> Any:  # noqa: ANN401 - untyped accessors
    """One named part of the suite's model; raises ModelError."""
    try:
        return lookup(name)
    except KeyError:
        kind = lookup.__name__
        raise ModelError(
            folder.path / "robot.toml",
            f"the suite's {_DOMAIN} has no {kind} {name!r}; expected a name of its {_DOMAIN}.xml",
        ) from None
