"""A whole emulated robot in real time: ports, physics, faults, and hands that put it back."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Self

import msgspec

from robots.closing import Closing
from robots.errors import RobotSpecError
from sim.emulator.bus import WireOptions
from sim.emulator.faults import Fault
from sim.emulator.hands import Hands
from sim.emulator.imu_faults import ImuFault
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.mujoco_motion import MujocoJoints, Place
from sim.emulator.robot import make_bus, make_imu
from sim.emulator.terminal import Terminal
from sim.emulator.track import Track
from sim.errors import FaultError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from robots import RobotFolder
    from robots.imu import ImuSpec
    from sim.emulator.imu_device import ImuDevice

SERVOS_LINK, IMU_LINK = "servos", "imu"


class EmulationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the robot and its wires are, and what befalls them."""

    place: Place = "crouch"
    """How the robot begins, limp."""
    baud: int | None = None
    """Speed of the servos, bit/s; None is robot.toml's."""
    usb_latency_ms: float = 0.0
    """Replies reach the host at multiples of this time only, ms."""
    faults: tuple[Fault | ImuFault, ...] = ()
    """What goes wrong; times count from the first instruction that any host sends."""
    seed: int = 0
    """Seed of the faults' dice."""
    hands: bool = False
    """Whether hands put the robot back when it lies limp."""
    track: bool = False
    """Whether to note where the robot is."""


class Emulation(Closing):
    """The devices of one robot on pseudo-terminals; a context manager, to be opened once.

    What breaks on its threads is raised by close(); failure tells it before.
    """

    def __init__(
        self,
        folder: RobotFolder,
        options: EmulationOptions,
        *,
        imu: ImuSpec | None,
        links: Path | None = None,
    ) -> None:
        """Build everything; the ports appear with open().

        links is a folder for links that always lead to the ports.  Raises RobotSpecError when
        robot.toml has no bus, ModelError, and FaultError for faults that this IMU cannot have.
        """
        bus_spec = folder.spec.bus
        if bus_spec is None:
            problem = "no [bus], so no servos to emulate; expected one as in robots/pup"
            raise RobotSpecError(folder.path / "robot.toml", problem)
        self.plant = MujocoJoints(folder)
        """The physics; only the bus's thread may touch it while the ports are open."""
        self.plant.place(options.place)
        wire = WireOptions(
            baud=options.baud or bus_spec.baud, usb_latency_ms=options.usb_latency_ms
        )
        bus = make_bus(folder, bus_spec, plant=self.plant, wire=wire, seed=options.seed)
        self.hands = Hands(self.plant) if options.hands else None
        """Whoever puts it back; None where nobody does."""
        if self.hands is not None:
            bus.bench.helpers.append(self.hands.step)
        self.track = Track(self.plant) if options.track else None
        """Where the robot really is; None where nobody wants to know."""
        if self.track is not None:
            bus.bench.helpers.append(self.track.step)
        self._links = links
        self._faults = options.faults
        self._once = threading.Lock()
        self.servos = Terminal(bus, link=_inside(links, SERVOS_LINK), on_first=self._begin)
        """The port of the servos."""
        self.imu: ImuTerminal | None = None
        """The port of the IMU; None where there is none."""
        if imu is not None:
            device = make_imu(self.plant, imu, seed=options.seed)
            self.imu = ImuTerminal(device, link=_inside(links, IMU_LINK), on_first=self._begin)
        _check(options.faults, None if self.imu is None else self.imu.device)
        self._open = contextlib.ExitStack()

    @property
    def failure(self) -> Exception | None:
        """What has ended one of the ports before its time."""
        return self.servos.failure or (self.imu.failure if self.imu else None)

    def open(self) -> None:
        """Make the ports; raises OSError when a link cannot be made."""
        with contextlib.ExitStack() as undo:
            if self._links is not None:
                self._links.mkdir(parents=True, exist_ok=True)
            undo.enter_context(self.servos)
            if self.imu is not None:
                undo.enter_context(self.imu)
            self._open = undo.pop_all()

    def close(self) -> None:
        """Remove the ports and their links; raises what broke, once."""
        self._open.close()

    def __enter__(self) -> Self:
        """Make the ports."""
        self.open()
        return self

    def _begin(self) -> None:
        """A host has spoken: from now on the faults' times count.  Runs on either port's thread."""
        if not self._once.acquire(blocking=False):
            return
        for fault in self._faults:
            self.inject(fault)

    def inject(self, *faults: Fault | ImuFault) -> None:
        """Have faults, their times counting from now; from any thread."""
        for fault in faults:
            if isinstance(fault, Fault):
                self.servos.inject(fault)
            elif self.imu is not None:
                self.imu.add(fault)


def _check(faults: Sequence[Fault | ImuFault], device: ImuDevice | None) -> None:
    """Refuse faults of an IMU that is not there, or is of another kind."""
    for fault in faults:
        if isinstance(fault, Fault):
            continue
        if device is None:
            raise FaultError(fault.name, "is an IMU's and there is none; expected one, see --imu")
        if fault.name in device.cannot:
            kind = type(device).__name__
            raise FaultError(fault.name, f"{kind} cannot have it; expected another one")


def _inside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name
