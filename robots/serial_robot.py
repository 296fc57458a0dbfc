"""A robot of serial servos and an IMU: what the control loop drives when the machine is real.

Servos regulate their own position with gains of their own, which are those of robot.toml.  So a
command's targets are realised and nothing else: other gains and feed-forward torques are not, and
a command without stiffness but with damping lets the motors brake themselves, which is the damping
of robot.toml whatever was asked for, and one without either takes the torque off.  write() returns
what of a command was realised.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Protocol

import numpy as np

from robots.dynamixel.bus import Bus
from robots.dynamixel.chain import Chain
from robots.dynamixel.control_table import WATCHDOG_TRIPPED
from robots.dynamixel.line import Line
from robots.errors import (
    HardwareFaultError,
    NotConnectedError,
    RobotSpecError,
    ServoEnableError,
)
from robots.imu import ImuSample, create
from robots.odometry import LegOdometry
from robots.robot import JointCommand, Robot, RobotState

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from robots.dynamixel.config import BusSpec
    from robots.imu import Imu
    from robots.robot import BaseMotion
    from robots.spec import RobotSpec

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)


class OwnLine(Line, Protocol):
    """A bus's line that is opened and closed here: robots.dynamixel.port.Port, or an emulated one.

    Its time is the robot's; now_ns() works while it is closed, too.
    """

    def open(self) -> None:
        """Take it for this process alone."""

    def close(self) -> None:
        """Release it; may be called any number of times."""


class SerialRobot(Robot):
    """Servos on one bus and an IMU behind the interface of every robot.

    connect() sets the servos up with their torque off; the first command with stiffness switches
    it on, every joint staying where it is, and so does the first one after disarm().  That takes
    some 0.1 s.  From then on each tick must read or write within the servos' watchdog time.

    A servo that does not answer grows old in joint_age_s, and so does an IMU that is silent or
    frozen in imu_age_s; the caller judges ages.  What no patience mends is raised: the port or the
    IMU is gone, a servo has lost its torque.
    """

    def __init__(
        self,
        spec: RobotSpec,
        *,
        line: OwnLine,
        imu: Imu,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the devices, both closed, and what lets seconds pass on the line's clock.

        Raises RobotSpecError when robot.toml has no bus.
        """
        self._spec = spec
        self._bus_spec = _bus_of(spec)
        self._line, self._imu, self._sleep = line, imu, sleep
        self._chain: Chain | None = None
        known = spec.legs and spec.mass is not None
        self._odometry = LegOdometry(spec) if known else None
        self._motion: BaseMotion | None = None
        self._sampled_ns = self._read_ns = 0

    @property
    def spec(self) -> RobotSpec:
        """The robot's description."""
        return self._spec

    def connect(self) -> None:
        """Open the devices, check them and repair what may be, torque off; again does nothing.

        Raises BusError and ImuError; then everything is closed again.
        """
        if self._chain is not None:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(self._release)
            self._line.open()
            bus = Bus(self._line, usb_latency_s=self._bus_spec.usb_latency_s)
            limits = [(joint.lower, joint.upper) for joint in self._spec.joints]
            chain = Chain(bus, self._bus_spec, limits)
            for repair in chain.open():
                _log.info("%s: %s", self._spec.name, repair)
            self._imu.open()
            undo.pop_all()
        self._chain = chain
        self._motion, self._sampled_ns, self._read_ns = None, 0, 0
        if self._odometry is not None:
            self._odometry.reset()

    def read(self) -> RobotState:
        """Ask every servo once and take the IMU's newest sample.

        Raises PortLostError, WriteBlockedError, ImuLostError, and HardwareFaultError when a driven
        servo has lost its torque, or is about to.
        """
        chain = self._connected()
        joints = chain.read()
        self._check_servos(chain)
        reading = self._imu.latest()
        sample = _NO_SAMPLE if reading is None else reading.sample
        stamp_ns, sampled_ns = self.now(), int(joints.stamp_ns.min())
        slow_known = bool(np.isfinite(joints.temperature).all())
        state = RobotState(
            stamp_ns=stamp_ns,
            position=joints.position.copy(),
            velocity=joints.velocity.copy(),
            effort=joints.effort.copy(),
            quaternion=sample.quaternion.copy(),
            gyro=sample.gyro.copy(),
            accelerometer=sample.accelerometer.copy(),
            temperature=joints.temperature.copy() if slow_known else None,
            voltage=float(joints.voltage.min()) if slow_known else None,
            joint_age_s=(stamp_ns - sampled_ns) / 1e9,
            imu_age_s=(stamp_ns - sample.stamp_ns) / 1e9,
            joint_jumps=int(joints.jumps.max()),
        )
        self._follow(state, sampled_ns)
        return state

    def write(self, command: JointCommand) -> JointCommand:
        """Send targets, the torque on from the first one; without any stiffness, brake or go limp.

        Returns what servos really do: targets within mechanical limits in whole counts with the
        gains of robot.toml and no feed-forward; or its damping alone; or nothing at all, which is
        also what becomes of damping where the torque was off, or a servo did not confirm it.
        Raises ValueError for targets that are not finite and for stiffness in some joints only,
        ServoEnableError, PortLostError, WriteBlockedError.
        """
        chain = self._connected()
        if not command.kp.any():
            return self._without_stiffness(chain, command)
        if not (command.kp > 0).all():
            raise ValueError(f"kp {command.kp}; expected all positive, or all zero for no torque")
        if not np.isfinite(command.position).all():
            raise ValueError(f"positions {command.position}; expected finite ones, rad")
        if not chain.enabled:
            chain.enable()
        return JointCommand.towards(chain.write(command.position), self._spec)

    def _without_stiffness(self, chain: Chain, command: JointCommand) -> JointCommand:
        """Brake if that is asked for and can be had, else go limp; what was realised."""
        damped = bool(command.kd.any()) and chain.damp()
        if not damped:
            self.disarm("a command without stiffness")
        zero = np.zeros_like(command.position)
        kd = self._spec.column("kd") if damped else zero
        return JointCommand(position=command.position.copy(), kp=zero, kd=kd, torque=zero)

    def wait_until(self, deadline_ns: int) -> None:
        """Sleep until the deadline."""
        self._connected()
        while (left_ns := deadline_ns - self.now()) > 0:
            self._sleep(left_ns / 1e9)

    def now(self) -> int:
        """Time of the line, which is the system's monotonic clock, ns."""
        return self._line.now_ns()

    def disarm(self, reason: str) -> None:
        """Take the torque off and read back that it is; nothing to do while not connected.

        Raises ServoEnableError when a servo has not confirmed it.
        """
        if self._chain is None:
            return
        if self._chain.enabled:
            _log.info("%s: torque off: %s", self._spec.name, reason)
        unconfirmed = self._chain.stop()
        if unconfirmed:
            raise ServoEnableError(
                f"servos {', '.join(map(str, unconfirmed))} did not confirm that their torque is "
                "off; cut their power"
            )

    def close(self) -> None:
        """Take the torque off and release the devices, which happens even when the first fails.

        Raises ServoEnableError like disarm(), once.
        """
        try:
            self.disarm("close")
        finally:
            self._release()

    def describe(self) -> list[str]:
        """What connect() has found out about the devices, a line each; none while not connected."""
        if self._chain is None:
            return []
        return [*self._chain.describe(), self._imu.describe()]

    def base_motion(self) -> BaseMotion | None:
        """Estimate of the leg odometry at the last reading; None before it, or without legs."""
        return self._motion

    def place(self, rng: np.random.Generator) -> bool:
        """Do nothing: people place real robots; raises NotConnectedError."""
        self._connected()
        return super().place(rng)

    def _connected(self) -> Chain:
        if self._chain is None:
            raise NotConnectedError(self._spec.name)
        return self._chain

    def _release(self) -> None:
        """Close the devices; each is tried whatever happens to the other."""
        self._chain = None
        with contextlib.ExitStack() as steps:
            steps.callback(self._line.close)
            steps.callback(self._imu.close)

    @staticmethod
    def _check_servos(chain: Chain) -> None:
        """Raise when a driven servo will not go on; a mere error number may be noise, and ages."""
        joints = chain.state
        lost = ~joints.torque | joints.forgetful | joints.alert | (joints.hardware_error != 0)
        lost |= joints.watchdog == WATCHDOG_TRIPPED
        if chain.enabled and lost.any():
            raise HardwareFaultError("; ".join(chain.faults()))

    def _follow(self, state: RobotState, sampled_ns: int) -> None:
        """Let the odometry take a reading whose joints are all new, and else go on by itself.

        Rewards are displacements: a base that stood still while a reply was lost, and caught up
        with the next, would spoil two of them.
        """
        if self._odometry is None:
            return
        if sampled_ns <= self._sampled_ns:
            self._motion = self._odometry.predict(state, (state.stamp_ns - self._read_ns) / 1e9)
            return
        elapsed_s = (sampled_ns - self._sampled_ns) / 1e9 if self._sampled_ns else 0.0
        self._motion = self._odometry.update(state, elapsed_s)
        self._sampled_ns, self._read_ns = sampled_ns, state.stamp_ns


def serial_robot(spec: RobotSpec, *, port: str, imu_port: str) -> SerialRobot:
    """Robot on two real serial ports, the servos' and the IMU's; connect() opens them.

    Raises RobotSpecError when robot.toml has no bus or no IMU, or one that cannot be so set.
    """
    from robots.dynamixel.port import Port

    bus = _bus_of(spec)
    if spec.imu_device is None:
        problem = "robot.toml has no [imu_device]; expected the robot's IMU, as robots/pup has it"
        raise RobotSpecError(spec.name, problem)
    try:
        imu = create(spec.imu_device, imu_port)
    except ValueError as error:
        raise RobotSpecError(spec.name, f"[imu_device]: {error}") from None
    return SerialRobot(spec, line=Port(port, bus.baud), imu=imu)


def _bus_of(spec: RobotSpec) -> BusSpec:
    """The bus with its servos in the order of the joints."""
    if spec.bus is None:
        raise RobotSpecError(spec.name, "robot.toml has no [bus]; expected the robot's servos")
    return spec.bus.in_order(spec.joint_names)


def _blank(size: int) -> FloatArray:
    return np.full(size, np.nan, dtype=np.float32)


_NO_SAMPLE = ImuSample(
    quaternion=_blank(4), gyro=_blank(3), accelerometer=_blank(3), stamp_ns=0, device_ns=None
)
