"""The emulated pup in real time: pseudo-terminals that the real ports open."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import robots
from sim.emulator.faults import parse_fault
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.robot import make_imu
from sim.emulator.terminal import Terminal
from tools.hazards.rig import ROBOT, TruePlant, WatchedBus, watched_bus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from robots import RobotSpec
    from tools.hazards.witness import Witness


@dataclass(frozen=True)
class Devices:
    """Emulated servos and an IMU behind terminals; the paths stay when the port goes and comes."""

    spec: RobotSpec
    plant: TruePlant
    bus: WatchedBus
    terminal: Terminal
    sensor: ImuTerminal
    servos_path: Path
    imu_path: Path

    def watch(self, witness: Witness) -> None:
        """Let a witness see and hear, on the machine's clock."""
        self.plant.listeners.append(lambda _: witness.look(time.monotonic_ns()))
        self.bus.listeners.append(lambda frame, _: witness.hear(frame, time.monotonic_ns()))

    def strike(self, fault: str) -> None:
        """Have a fault of the servos from now on, as on a command line."""
        self.terminal.inject(parse_fault(fault))


@contextlib.contextmanager
def plugged_in(faults: Iterable[str] = ()) -> Iterator[Devices]:
    """Plug them in."""
    folder = robots.find(ROBOT)
    assert folder.spec.imu_device is not None
    plant = TruePlant(folder)
    bus = watched_bus(folder, plant, faults)
    with contextlib.ExitStack() as stack:
        links = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="robosac-")))
        servos, imu = links / "servos", links / "imu"
        terminal = stack.enter_context(Terminal(bus, link=servos))
        sensor = stack.enter_context(
            ImuTerminal(make_imu(plant, folder.spec.imu_device, seed=3), link=imu)
        )
        yield Devices(folder.spec, plant, bus, terminal, sensor, servos, imu)
