"""The emulated pup in real time: pseudo-terminals that the real ports open."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import robots
from robots import SafetyStopError
from robots.dynamixel.port import Port
from robots.imu import create
from sim.emulator.faults import parse_fault
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.robot import make_imu
from sim.emulator.terminal import Terminal
from tools.hazards.rig import ROBOT, Rig, TappedRobot, TruePlant, WatchedBus, watched_bus
from tools.hazards.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from robots import RobotSpec
    from tools.hazards.witness import Witness

    FloatArray = NDArray[np.float32]

_WALK_TICKS = 20
"""How long it walks before anything happens, ticks."""
_TRIES = 3
_SLACK_S = 0.06
"""How inexactly the time of a goal is known: threads of one process wait for each other."""


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


class LiveTrial(Trial):
    """A trial of the driver on real ports, in real time and in this process."""

    insist_ticks = 30

    def __init__(self, made: Devices) -> None:
        """Put the robot together; it opens the ports when it stands up."""
        spec, line = made.spec, Port(made.servos_path, made.terminal.bus.host_baud)
        assert spec.imu_device is not None
        robot = TappedRobot(spec, line=line, imu=create(spec.imu_device, str(made.imu_path)))
        super().__init__(Rig(spec, robot, made.bus, made.plant, time.sleep), slack_s=_SLACK_S)
        self.judge_readings = False  # what was true when is not known on this clock
        self._made = made

    def stand_up(self, seed: int | None = 0) -> tuple[FloatArray, dict[str, Any]]:
        """Enable the robot, again when the machine was too busy; raises what keeps it from it."""
        for _ in range(_TRIES):
            with contextlib.suppress(SafetyStopError):
                return super().stand_up(seed)
            self.robot.clear()
        return super().stand_up(seed)

    def _watch(self) -> None:
        """Let the witness see and hear, on the machine's clock."""
        self._made.watch(self.witness)


@contextlib.contextmanager
def live_trial(*faults: str) -> Iterator[tuple[LiveTrial, Devices]]:
    """A robot that walks in real time."""
    with plugged_in(faults) as made, LiveTrial(made) as trial:
        trial.stand_up()
        trial.walk(_WALK_TICKS)
        yield trial, made
