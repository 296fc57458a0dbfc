"""The dm_control suite's quadruped behind the Robot interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from robots import BaseMotion, JointCommand, NotConnectedError, Robot, RobotState
from sim.clock import SimClock
from sim.errors import DivergedError, ModelError
from sim.opengl import choose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robots import RobotFolder, RobotSpec

_DOMAIN, _TASK = "quadruped", "walk"
_STANCE_CLEARANCE_M = 0.002
_PLACE_NOISE_RAD = 0.03


class DmControlRobot(Robot):
    """The suite's quadruped; dm_control advances its own physics in wait_until().

    A joint of robot.toml is one actuator of the suite: its position is the actuator's length, its
    effort the actuator's force.  Targets pass a filter of 0.1 s before the servos see them.
    """

    def __init__(self, folder: RobotFolder, *, realtime: bool = False) -> None:
        """Load the suite's model; raises ModelError when it lacks what robot.toml names."""
        self._folder = folder
        self._physics = _load_physics(folder)
        self.model: mujoco.MjModel = self._physics.model.ptr
        self.data: mujoco.MjData = self._physics.data.ptr
        self._servo = _Actuators(self.model, folder)
        self._hinges, self._pose = _leg_poses(self.model, self._servo.ids)
        self._base = _named(self.model.body, folder.spec.base, folder).id
        self._feet = np.array(
            [_named(self.model.geom, foot, folder).id for foot in folder.spec.feet]
        )
        self._clock = SimClock(realtime=realtime)
        self._step_ns = round(1e9 * self.model.opt.timestep)
        self._delay_ns = round(1e6 * folder.spec.sim.action_delay_ms)
        self._pending: list[tuple[int, JointCommand]] = []
        self._connected = False

    @property
    def spec(self) -> RobotSpec:
        """The robot's description."""
        return self._folder.spec

    def connect(self) -> None:
        """Stand in the stance with no force in the actuators."""
        if not self._connected:
            self._connected = True
            self._stand(self.spec.column("stance"), yaw=0.0)

    def read(self) -> RobotState:
        """Return the present state; nothing in it is older than now."""
        self._check_connected()
        data, ids = self.data, self._servo.ids
        return RobotState(
            stamp_ns=self._clock.now_ns,
            position=data.actuator_length[ids].astype(np.float32),
            velocity=data.actuator_velocity[ids].astype(np.float32),
            effort=data.actuator_force[ids].astype(np.float32),
            quaternion=data.xquat[self._base].astype(np.float32),
            gyro=data.sensor("imu_gyro").data.astype(np.float32),
            accelerometer=data.sensor("imu_accel").data.astype(np.float32),
            foot_contact=np.isin(self._feet, data.contact.geom[: data.ncon]),
        )

    def write(self, command: JointCommand) -> JointCommand:
        """Queue the command and return it with its targets inside the suite's control range."""
        self._check_connected()
        applied = self._servo.clip(command)
        self._pending.append((self._clock.read() + self._delay_ns, applied))
        return applied

    def wait_until(self, deadline_ns: int) -> None:
        """Advance physics until the deadline; raises DivergedError when it blows up."""
        self._check_connected()
        from dm_control.rl.control import PhysicsError

        clock = self._clock
        try:
            while clock.now_ns + self._step_ns <= deadline_ns:
                while self._pending and self._pending[0][0] <= clock.now_ns:
                    self._servo.command(self._pending.pop(0)[1], self.data)
                self._physics.step()
                clock.now_ns += self._step_ns
            self._physics.forward()
        except PhysicsError as error:
            raise DivergedError(self.spec.name, clock.now_ns / 1e9, str(error)) from None
        clock.pace()

    def now(self) -> int:
        """Simulated time, ns."""
        return self._clock.read()

    def disarm(self, reason: str) -> None:
        """Take all force out of the actuators; the hinges keep their passive damping."""
        del reason
        self._pending.clear()
        self._servo.off()

    def close(self) -> None:
        """Disarm; the model stays readable."""
        self.disarm("close")
        self._connected = False

    def base_motion(self) -> BaseMotion:
        """The true motion of the torso."""
        axes = self.data.xmat[self._base]
        return BaseMotion(
            position=self.data.xpos[self._base].astype(np.float32),
            velocity=self.data.sensor("velocimeter").data.astype(np.float32),
            yaw=float(np.arctan2(axes[3], axes[0])),
            source="truth",
        )

    def place(self, rng: np.random.Generator) -> bool:
        """Stand at the origin, a little off the stance, facing anywhere, with no force."""
        self._check_connected()
        noise = rng.uniform(-_PLACE_NOISE_RAD, _PLACE_NOISE_RAD, len(self.spec.joints))
        lower, upper = self.spec.soft_limits()
        stance = np.clip(self.spec.column("stance") + noise, lower, upper)
        self._stand(stance, yaw=rng.uniform(-np.pi, np.pi))
        return True

    def _stand(self, lengths: NDArray[np.floating], *, yaw: float) -> None:
        """Put the lowest toe just above the ground, the filters at rest on these lengths."""
        model, data = self.model, self.data
        self.disarm("placed")
        self._clock.begin()
        self._physics.reset()
        root = model.jnt_qposadr[model.body_jntadr[self._base]]
        data.qpos[root : root + 7] = [0, 0, 0, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        data.qpos[self._hinges] = self._pose @ lengths
        self._servo.settle(lengths, data)
        self._physics.forward()
        soles = data.geom_xpos[self._feet, 2] - model.geom_rbound[self._feet]
        data.qpos[root + 2] = _STANCE_CLEARANCE_M - soles.min()
        self._physics.forward()

    def _check_connected(self) -> None:
        if not self._connected:
            raise NotConnectedError(self.spec.name)


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
