"""A serial robot whose servos are emulated in virtual time, and whose IMU feels their physics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

import robots
from robots.dynamixel.control_table import Register
from robots.errors import PortLostError
from robots.imu import Imu, ImuLostError, ImuReading, ImuRefusedError, ImuSample
from robots.serial_robot import SerialRobot
from sim.emulator.faults import parse_fault
from sim.emulator.mujoco_motion import MujocoJoints
from sim.emulator.robot import make_bus
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Callable

    from sim.emulator.bench import Bench


class VirtualLine(VirtualPort):
    """A line in virtual time that is opened, closed and pulled out."""

    is_open = lost = False
    refused = 0
    """Attempts to write while it was lost."""

    def open(self) -> None:
        self.is_open = True

    def close(self) -> None:
        self.is_open = False

    def write(self, data: bytes) -> None:
        if self.lost or not self.is_open:
            self.refused += 1
            raise PortLostError("virtual", "a test has pulled it")
        super().write(data)


class SeenJoints(MujocoJoints):
    """Physics whose truth a test may see."""

    @property
    def height(self) -> float:
        """Height of the base above the ground, m."""
        return float(self._data.qpos[2])


class PlantImu(Imu):
    """Feels what the physics does now, on the line's clock, unless it is frozen or pulled out."""

    def __init__(self, plant: MujocoJoints, now_ns: Callable[[], int]) -> None:
        self._plant, self._now_ns = plant, now_ns
        self.is_open = self.lost = self.frozen = False
        self.silent = self.refuses = False
        self._reading: ImuReading | None = None

    def open(self) -> None:
        if self.refuses:
            raise ImuRefusedError("virtual", "a test wants it so")
        self.is_open = True

    def close(self) -> None:
        self.is_open, self._reading = False, None

    def latest(self) -> ImuReading | None:
        assert self.is_open
        if self.lost:
            raise ImuLostError("virtual", "a test has pulled it")
        if self.silent:
            return None
        if self._reading is None or not self.frozen:
            self._reading = ImuReading(sample=self._sample(), age_s=0.0)
        return self._reading

    def _sample(self) -> ImuSample:
        quaternion, gyro, accelerometer = self._plant.felt
        return ImuSample(
            quaternion=np.array(quaternion, dtype=np.float32),
            gyro=np.array(gyro, dtype=np.float32),
            accelerometer=np.array(accelerometer, dtype=np.float32),
            stamp_ns=self._now_ns(),
            device_ns=None,
        )


@dataclass(frozen=True)
class SerialRig:
    """A serial robot and what is behind its lines."""

    robot: SerialRobot
    line: VirtualLine
    imu: PlantImu
    plant: SeenJoints

    @property
    def bench(self) -> Bench:
        """The emulated servos."""
        return self.line.bus.bench

    def torques(self) -> list[int]:
        """Torque Enable of every servo, looked up in the servos themselves."""
        return [servo.memory.get(Register.TORQUE_ENABLE) for servo in self.bench.servos]

    def set(self, register: Register, value: int, servo: int = 0) -> None:
        """Change a register behind the driver's back."""
        self.bench.servos[servo].memory.set(register, value)


def serial_rig(*faults: str, ramp_speed: float = 1.0) -> SerialRig:
    """The small quadruped on emulated servos, limp, not connected; speed in rad/s."""
    folder = robots.find("pup")
    assert folder.spec.bus is not None
    safety = msgspec.structs.replace(folder.spec.safety, ramp_speed=ramp_speed)
    spec = msgspec.structs.replace(folder.spec, safety=safety)
    plant = SeenJoints(folder)
    struck = [parse_fault(text) for text in faults]
    line = VirtualLine(make_bus(folder, folder.spec.bus, plant=plant, faults=struck, seed=3))
    imu = PlantImu(plant, line.now_ns)
    robot = SerialRobot(spec, line=line, imu=imu, sleep=line.sleep)
    return SerialRig(robot, line, imu, plant)
