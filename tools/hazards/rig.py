"""The emulated pup in virtual time: the real driver on emulated servos, an IMU's bytes, physics."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import robots
from robots.dynamixel.protocol import Receiver
from robots.dynamixel.stats import Stats
from robots.imu import Imu, ImuReading
from robots.imu.mounting import Mounting
from robots.imu.stream import Tracker
from robots.imu.vectornav_codec import FIELDS, GROUPS, SAMPLE_HZ, VectorNavDecoder, encode_line
from robots.serial_robot import SerialRobot
from sim.emulator.bus import Bus
from sim.emulator.faults import parse_fault
from sim.emulator.mujoco_motion import MujocoJoints
from sim.emulator.robot import make_bus, make_imu
from sim.emulator.virtual_port import VirtualPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from robots import RobotFolder, RobotSpec, RobotState
    from robots.dynamixel.protocol import Frame
    from robots.imu import ImuSpec
    from robots.imu.stream import Counts
    from sim.emulator.imu_device import ImuDevice
    from sim.emulator.imu_faults import ImuFault
    from sim.emulator.motion import Plant
    from sim.emulator.motors import Drive

ROBOT = "pup"
_HISTORY_S = 1.0
_SETTLE_S = 0.3


class Truth(NamedTuple):
    """What the joints and the body really did at one moment."""

    now_ns: int
    position: NDArray[np.float64]
    gravity: NDArray[np.float64]
    gyro: NDArray[np.float64]


class TruePlant(MujocoJoints):
    """Physics that remembers the last second, and tells others of every step."""

    def __init__(self, folder: RobotFolder) -> None:
        """Begin limp, in the stance."""
        super().__init__(folder)
        self.listeners: list[Callable[[int], None]] = []
        """Called after every step with the time, ns."""
        self._now_ns = 0
        self.history: deque[Truth] = deque(maxlen=round(_HISTORY_S / self.timestep_s))
        """What was true of late."""
        self._remember()

    def step(self, drives: list[Drive]) -> None:  # type: ignore[override]  # the bench gives lists
        """Go one step on."""
        super().step(drives)
        self._now_ns += round(1e9 * self.timestep_s)
        self._remember()
        for listener in self.listeners:
            listener(self._now_ns)

    def _remember(self) -> None:
        (w, x, y, z), gyro, _ = self.felt
        down = (2 * (w * y - x * z), -2 * (w * x + y * z), 2 * (x * x + y * y) - 1)
        self.history.append(
            Truth(self._now_ns, self.position.copy(), np.array(down), np.array(gyro))
        )


class WatchedBus(Bus):
    """A bus that shows every instruction of the host as it comes."""

    def __init__(self, bus: Bus) -> None:
        """Take the place of a bus that nobody has used yet."""
        super().__init__(bus.bench, options=bus.options)
        self.listeners: list[Callable[[Frame, int], None]] = []
        """Called with every instruction and the time at which the host wrote it, ns."""
        self._ear = Receiver("instruction")

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes that the host has written now."""
        for frame in self._ear.feed(data):
            for listener in self.listeners:
                listener(frame, now_ns)
        super().receive(data, now_ns)


class VirtualLine(VirtualPort):
    """A line in virtual time that is opened and closed as a serial port is."""

    def open(self) -> None:
        """Take it."""

    def close(self) -> None:
        """Release it."""


class TappedRobot(SerialRobot):
    """The driver, with a tap on what it reads and on what it counts."""

    last: RobotState | None = None
    """What was read last; None when reading has failed."""

    def read(self) -> RobotState:
        """Read, and keep it."""
        self.last = None
        self.last = super().read()
        return self.last

    @property
    def stats(self) -> Stats:
        """What the bus has counted; zeros while nothing is connected."""
        return Stats() if self._chain is None else self._chain.bus.stats


class VirtualImu(Imu):
    """An emulated VN-100 in virtual time, read by the driver's own decoder and tracker.

    What the driver does on a thread whenever bytes arrive happens here after every step of the
    physics.
    """

    def __init__(self, device: ImuDevice, spec: ImuSpec, line: VirtualLine) -> None:
        """Read this device on the clock of that line."""
        self._device, self._spec, self._line = device, spec, line
        self._open = False
        self._forget()

    def _forget(self) -> None:
        self._decoder = VectorNavDecoder()
        mounting = Mounting(self._spec.mounting_deg)
        self._tracker = Tracker(mounting, self._decoder.counts, self._spec.rate_hz)

    @property
    def counts(self) -> Counts:
        """What came over the wire."""
        return self._decoder.counts

    def describe(self) -> str:
        """What it is."""
        return "an emulated VN-100"

    def open(self) -> None:
        """Ask for the driver's message at the configured rate, and wait until it comes."""
        self._forget()
        divisor = round(SAMPLE_HZ / self._spec.rate_hz)
        output = f"VNWRG,75,{self._spec.uart},{divisor},{GROUPS:02X},{FIELDS:04X}"
        self._device.hear(encode_line("VNWRG,06,0") + encode_line(output), self._line.now_ns())
        self._open = True
        self._line.sleep(_SETTLE_S)

    def close(self) -> None:
        """Stop reading."""
        self._open = False

    def pump(self, now_ns: int) -> None:
        """Take what has arrived by now."""
        data = self._device.step(now_ns, self._spec.baud)
        if self._open and data:
            for measurement in self._decoder.feed(data, now_ns):
                self._tracker.take(measurement, now_ns)

    def latest(self) -> ImuReading | None:
        """The newest sample."""
        sample = self._tracker.latest
        if sample is None:
            return None
        return ImuReading(sample=sample, age_s=(self._line.now_ns() - sample.stamp_ns) / 1e9)


@dataclass(frozen=True)
class Rig:
    """A robot of the real driver and what is behind its lines."""

    spec: RobotSpec
    robot: TappedRobot
    bus: WatchedBus
    plant: TruePlant
    sleep: Callable[[float], None]
    """Lets seconds pass on the robot's clock."""


@dataclass(frozen=True)
class VirtualRig(Rig):
    """One in virtual time."""

    line: VirtualLine
    imu: VirtualImu


def watched_bus(folder: RobotFolder, plant: Plant, faults: Iterable[str]) -> WatchedBus:
    """The folder's servos on a bus that can be listened to, with faults as on a command line."""
    assert folder.spec.bus is not None
    struck = [parse_fault(text) for text in faults]
    return WatchedBus(make_bus(folder, folder.spec.bus, plant=plant, faults=struck, seed=3))


def make_rig(faults: Iterable[str] = (), imu_faults: Iterable[ImuFault] = ()) -> VirtualRig:
    """The small quadruped, limp, not connected; faults strike at their times."""
    folder = robots.find(ROBOT)
    spec = folder.spec
    assert spec.imu_device is not None
    plant = TruePlant(folder)
    bus = watched_bus(folder, plant, faults)
    line = VirtualLine(bus)
    device = make_imu(plant, spec.imu_device, seed=3)
    for fault in imu_faults:
        device.add(fault)
    imu = VirtualImu(device, spec.imu_device, line)
    plant.listeners.append(imu.pump)
    robot = TappedRobot(spec, line=line, imu=imu, sleep=line.sleep)
    return VirtualRig(spec, robot, bus, plant, line.sleep, line, imu)
