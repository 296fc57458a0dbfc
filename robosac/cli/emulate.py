"""`robosac emulate`: a robot's servo bus, and an IMU, on pseudo-terminals with physics behind."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import tyro

from robosac.cli.console import say
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from robots import RobotFolder
    from robots.imu import ImuSpec
    from sim.emulator.bus import Bus
    from sim.emulator.faults import Fault
    from sim.emulator.mujoco_motion import MujocoJoints
    from sim.emulator.terminal import Terminal

_LOOK_S = 0.1
_IMU_BAUD = 921_600
_IMU_RATE_HZ = 200.0


class Emulate(msgspec.Struct, frozen=True, kw_only=True):
    """Emulate a robot's devices, until Ctrl-C; drivers open the ports that are printed."""

    robot: str = "pup"
    """Robot: a name, or a folder with robot.toml and model.xml."""
    baud: int | None = None
    """Speed of the servos, bit/s; robot.toml's unless given."""
    imu: Literal["vn100", "wt901", "none"] | None = None
    """Emulate an IMU of this model at 921600 bit/s, or none; robot.toml's unless given."""
    fault: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Fault of the servo bus, NAME@SECONDS[,id=3][,for=1][,nth=2][,p=0.1][,amount=5]; may be given
    several times."""
    usb_latency_ms: float = 0.0
    """Replies reach the host at multiples of this time only, ms; 1 and 16 are usual."""
    seed: int = 0
    """Seed of the faults' dice."""
    link: Path | None = None
    """Where a link to the servo bus is kept, whatever the port is called."""

    def execute(self) -> int:
        """Serve the ports; exit code 130 when interrupted, which is how it ends."""
        import robots
        from sim.emulator.faults import parse_fault
        from sim.emulator.mujoco_motion import MujocoJoints
        from sim.emulator.terminal import Terminal

        if not (math.isfinite(self.usb_latency_ms) and self.usb_latency_ms >= 0):
            raise ConfigError(
                f"--usb-latency-ms {self.usb_latency_ms}; expected zero or more, such as 1"
            )
        folder = robots.find(self.robot)
        faults = [parse_fault(text) for text in self.fault]
        plant = MujocoJoints(folder)
        bus = self._bus(folder, plant, faults)
        try:
            with contextlib.ExitStack() as stack:
                terminal = stack.enter_context(Terminal(bus, link=self.link))
                self._serve_imu(folder, plant, stack)
                _watch(terminal)
        except KeyboardInterrupt:
            say("the ports are gone")
        return EXIT_INTERRUPTED

    def _bus(self, folder: RobotFolder, plant: MujocoJoints, faults: list[Fault]) -> Bus:
        """The servo bus; raises ConfigError when there is none or its options make no sense."""
        from robots.dynamixel.control_table import BAUD_RATES
        from sim.emulator.bus import WireOptions
        from sim.emulator.robot import make_bus

        spec = folder.spec.bus
        if spec is None:
            raise ConfigError(
                f"robot {folder.spec.name!r} has no servo bus; expected [bus] in "
                f"{folder.path / 'robot.toml'}, as robots/pup has it"
            )
        baud = spec.baud if self.baud is None else self.baud
        if baud not in BAUD_RATES:
            raise ConfigError(f"--baud {baud}; expected one of {', '.join(map(str, BAUD_RATES))}")
        wire = WireOptions(baud=baud, usb_latency_ms=self.usb_latency_ms)
        return make_bus(folder, spec, plant=plant, wire=wire, faults=faults, seed=self.seed)

    def _serve_imu(
        self, folder: RobotFolder, plant: MujocoJoints, stack: contextlib.ExitStack
    ) -> None:
        """Add the IMU, if one is wanted."""
        from sim.emulator.imu_terminal import ImuTerminal
        from sim.emulator.robot import make_imu

        spec = self._imu_spec(folder)
        if spec is None:
            return
        terminal = stack.enter_context(ImuTerminal(make_imu(plant, spec, seed=self.seed)))
        say(f"imu {terminal.path}  {spec.baud} bit/s, {spec.model}")

    def _imu_spec(self, folder: RobotFolder) -> ImuSpec | None:
        """The IMU that is asked for; else the robot's own."""
        from robots.imu import ImuSpec

        if self.imu is None:
            return folder.spec.imu_device
        if self.imu == "none":
            return None
        return ImuSpec(model=self.imu, baud=_IMU_BAUD, rate_hz=_IMU_RATE_HZ)


def _watch(terminal: Terminal) -> None:
    """Say where the servo bus is, each time it is somewhere else, until something breaks."""
    shown = ""
    while terminal.failure is None:
        if terminal.path and terminal.path != shown:
            shown = terminal.path
            bench, options = terminal.bus.bench, terminal.bus.options
            ids = ", ".join(str(servo.id) for servo in bench.servos)
            say(f"servo bus {shown}  {options.baud / 1e6:g} Mbps, ids {ids}")
        time.sleep(_LOOK_S)
