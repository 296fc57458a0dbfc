"""A robot whose devices are emulated by a process of their own, driven as if it were a machine."""

from __future__ import annotations

import contextlib
import logging
import select
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from robosac.cli.supervisor import ChildDiedError
from robosac.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from robosac.cli.resolve import Filming, Workplace

_log = logging.getLogger(__name__)
_PATIENCE_S = 20.0


class Ports(msgspec.Struct, frozen=True):
    """What `robosac emulate --json` says when it is ready."""

    servos: str
    imu: str


class Emulator:
    """Where the devices of an emulated robot are, and whether they are still there."""

    def __init__(self, process: subprocess.Popen[bytes], ports: Ports) -> None:
        """Know the process that serves these ports."""
        self.ports = ports
        self._process = process

    def check(self) -> None:
        """Raise ChildDiedError when the process has ended: no clear would bring its ports back."""
        code = self._process.poll()
        if code is not None:
            raise ChildDiedError(f"the emulator has ended with exit code {code}")


def check_devices(robot: str) -> None:
    """Raise ConfigError when a robot has nothing that could be emulated."""
    import robots

    folder = robots.find(robot)
    for name, device in (("[bus]", folder.spec.bus), ("[imu_device]", folder.spec.imu_device)):
        if device is None:
            raise ConfigError(
                f"robot {folder.spec.name!r} has no devices to emulate; expected {name} in "
                f"{folder.path / 'robot.toml'}, as robots/pup has it; leave out --emulate"
            )


@contextlib.contextmanager
def emulated(robot: str, *, seed: int, track: Path) -> Iterator[Emulator]:
    """Run the emulator of a robot until the end.

    Its physics goes on in real time; hands put the robot on its feet when it has fallen.  Where it
    really is goes to the file `track`.
    """
    command = [sys.executable, "-m", "robosac", "emulate", "--robot", robot, "--json", "--hands"]
    process = subprocess.Popen(  # noqa: S603 -- our own command
        [*command, "--seed", str(seed), "--track", str(track)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not select.select([process.stdout], [], [], _PATIENCE_S)[0]:
            raise ChildDiedError(f"the emulator was not ready within {_PATIENCE_S:g} s")
        line = process.stdout.readline()
        if not line:
            code = process.wait(_PATIENCE_S)
            raise ChildDiedError(f"the emulator ended with exit code {code} before it was ready")
        yield Emulator(process, msgspec.json.decode(line, type=Ports))
    finally:
        process.stdin.close()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def driven(
    robot: str, task_name: str, emulator: Emulator, *, log: Path, stopped: Callable[[], bool]
) -> Iterator[Workplace]:
    """Connect the robot that is emulated, with a stand-in for its operator, and keep a flight log.

    Raises BusError, ImuError and StorageError.
    """
    import robots
    from robosac.cli.resolve import Workplace, make_task
    from robosac.deploy.journey import Journey
    from robosac.deploy.recorded_robot import RecordedRobot
    from robosac.deploy.recording import recording
    from robosac.deploy.session import Session
    from robosac.deploy.stand_in import StandIn
    from robosac.env import RobotEnv
    from robosac.policy.describe import describe_robot
    from robots.serial_robot import serial_robot

    folder = robots.find(robot)
    task = make_task(task_name, folder.spec)
    ports = emulator.ports
    device = serial_robot(folder.spec, port=ports.servos, imu_port=ports.imu)
    safe = RecordedRobot(device)
    env = RobotEnv(safe, task)
    contract = describe_robot(env, model_sha256=folder.model_sha256)
    with recording(log, safe, contract) as flight:

        def idle() -> None:
            emulator.check()
            flight.poll()

        safe.record_to(flight)
        safe.connect()
        session = Session(
            env, StandIn(safe, stopped=stopped), journey=Journey(), idle=idle, tell=_log.info
        )
        yield Workplace(session, contract, frame_hz=task.control_hz, camera=_no_camera)


def _no_camera() -> Filming:
    from sim.errors import RenderingError

    raise RenderingError("an emulated robot cannot be seen; film the policy in simulation")
