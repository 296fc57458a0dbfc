"""`robosac emulate`: a robot's servo bus and its IMU on pseudo-terminals with physics behind."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import tyro

from robosac.cli.console import say
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE, EXIT_INTERRUPTED
from robosac.lifeline import Lifeline, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robots import RobotFolder
    from robots.imu import ImuSpec
    from sim.emulator.emulation import Emulation

_LOOK_S = 0.1
_IMU_BAUD = 921_600
_IMU_RATE_HZ = 200.0


class Emulate(msgspec.Struct, frozen=True, kw_only=True):
    """Emulate a robot's devices, until Ctrl-C; drivers open the ports that are printed."""

    robot: str = "pup"
    """Robot: a name, or a folder with robot.toml and model.xml."""
    place: Literal["crouch", "stance", "lying"] = "crouch"
    """How it begins, limp: crouching, standing, or lying on its side."""
    hands: bool = False
    """Put it back upright in its crouch when it lies limp: fallen over, or its legs spread."""
    baud: int | None = None
    """Speed of the servos, bit/s; robot.toml's unless given."""
    imu: Literal["vn100", "wt901", "none"] | None = None
    """Emulate an IMU of this model at 921600 bit/s, or none; robot.toml's unless given."""
    fault: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Fault, NAME@SECONDS[,for=1][,p=0.1][,amount=5], and for servos [,id=3][,nth=2], too; may be
    given several times.  Seconds count from the first instruction that a driver sends.  `--fault
    list` shows all names."""
    usb_latency_ms: float = 0.0
    """Replies reach the host at multiples of this time only, ms; 1 and 16 are usual."""
    seed: int = 0
    """Seed of the faults' dice."""
    link: Path | None = None
    """Folder for the links `servos` and `imu`, which lead to the ports whatever they are called."""
    track: Path | None = None
    """Write where the robot really is to this file, twenty lines of JSON a second."""
    json: bool = False
    """Print the ports as one line of JSON, and end when standard input does."""

    def execute(self) -> int:
        """Serve the ports; exit code 130 when interrupted, 0 when standard input has ended."""
        if "list" in self.fault:
            return _list_faults()
        emulation = self._emulation()
        gc.collect()
        gc.freeze()
        try:
            emulation.open()
        except OSError as error:
            raise ConfigError(
                f"--link {self.link}: {error}; expected a folder of its own"
            ) from None
        with contextlib.closing(emulation), _tracked(emulation, self.track) as follow:
            if self.json:
                _serve_parent(emulation, self.link, follow)
                return EXIT_DONE
            with contextlib.suppress(KeyboardInterrupt):
                _serve_people(emulation, follow)
        say("the ports are gone")
        return EXIT_INTERRUPTED

    def _emulation(self) -> Emulation:
        """The robot; raises ConfigError and what the emulator refuses."""
        import robots
        from robots.dynamixel.control_table import BAUD_RATES
        from sim.emulator.emulation import Emulation, EmulationOptions
        from sim.emulator.fault_names import parse_any

        if not (math.isfinite(self.usb_latency_ms) and self.usb_latency_ms >= 0):
            raise ConfigError(
                f"--usb-latency-ms {self.usb_latency_ms}; expected zero or more, such as 1"
            )
        if self.baud is not None and self.baud not in BAUD_RATES:
            raise ConfigError(
                f"--baud {self.baud}; expected one of {', '.join(map(str, BAUD_RATES))}"
            )
        folder = robots.find(self.robot)
        options = EmulationOptions(
            place=self.place,
            baud=self.baud,
            usb_latency_ms=self.usb_latency_ms,
            faults=tuple(parse_any(text) for text in self.fault),
            seed=self.seed,
            hands=self.hands,
            track=self.track is not None,
        )
        return Emulation(folder, options, imu=self._imu_spec(folder), links=self.link)

    def _imu_spec(self, folder: RobotFolder) -> ImuSpec | None:
        """The IMU that is asked for; else the robot's own."""
        from robots.imu import ImuSpec

        if self.imu is None:
            return folder.spec.imu_device
        if self.imu == "none":
            return None
        return ImuSpec(model=self.imu, baud=_IMU_BAUD, rate_hz=_IMU_RATE_HZ)


def _list_faults() -> int:
    """Print every fault in a line."""
    from sim.emulator.fault_names import described

    for name, what in described():
        say(f"{name:<15} {what}")
    return EXIT_DONE


@contextlib.contextmanager
def _tracked(emulation: Emulation, path: Path | None) -> Iterator[Callable[[], None]]:
    """Open the file of the track, and yield what brings it up to date."""
    track = emulation.track
    if path is None or track is None:
        yield lambda: None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise ConfigError(f"--track {path}: {error.strerror}; expected a file to write") from None
    encoder = msgspec.json.Encoder()

    def follow() -> None:
        while track.notes:
            file.write(encoder.encode(track.notes.popleft()) + b"\n")
        file.flush()

    with file:
        yield follow
        follow()


def _serve_people(emulation: Emulation, follow: Callable[[], None]) -> None:
    """Say where the ports are, each time they are somewhere else, until something breaks."""
    shown: dict[str, str] = {}
    while emulation.failure is None:
        for name, line in _ports(emulation).items():
            if shown.get(name) != line:
                shown[name] = line
                say(f"{name} {line}")
        _read_diary(emulation, say)
        follow()
        time.sleep(_LOOK_S)


def _ports(emulation: Emulation) -> dict[str, str]:
    """What is to be said about each port that is plugged in."""
    found = {}
    if emulation.servos.path:
        bus = emulation.servos.bus
        ids = ", ".join(str(servo.id) for servo in bus.bench.servos)
        found["servos"] = f"{emulation.servos.path}  {bus.options.baud} bit/s, ids {ids}"
    if emulation.imu is not None and emulation.imu.path:
        device = emulation.imu.device
        found["imu"] = f"{emulation.imu.path}  {device.baud} bit/s, {device.model}"
    return found


def _serve_parent(emulation: Emulation, link: Path | None, follow: Callable[[], None]) -> None:
    """Tell the ports to the parent process once, and serve until it has had enough."""
    lifeline = Lifeline()
    servos, imu = emulation.servos.path, emulation.imu.path if emulation.imu else None
    if link is not None:
        servos, imu = str(link / "servos"), str(link / "imu") if emulation.imu else None
    tell(servos=servos, imu=imu)
    while emulation.failure is None and not lifeline.cut:
        _read_diary(emulation, _say_aside)
        follow()
        time.sleep(_LOOK_S)


def _read_diary(emulation: Emulation, say_it: Callable[[str], None]) -> None:
    """Say what the hands have done."""
    while emulation.hands is not None and emulation.hands.diary:
        say_it(emulation.hands.diary.popleft())


def _say_aside(text: str) -> None:
    """Print a line where the parent's data is not."""
    sys.stderr.write(text + "\n")
