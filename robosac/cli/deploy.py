"""`robosac deploy`: a physical robot, checked, under its operator's hand, driven by a policy."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from robosac.cli.checks import at_least
from robosac.cli.console import complain
from robosac.cli.join import machine_name
from robosac.cli.runner_config import SPOOL_MIB
from robosac.errors import ConfigError, PolicyError, RobosacError, StorageError
from robosac.exit_codes import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SAFETY
from robots import RobotError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.deploy.drive import AnyLink
    from robosac.deploy.recorded_robot import RecordedRobot
    from robosac.deploy.voice import Voice
    from robosac.env import RobotEnv
    from robosac.finding import Finding
    from robosac.operator import Operator
    from robosac.policy import Contract, OnnxPolicy
    from robosac.runner.realtime import Granted

_log = logging.getLogger(__name__)
_ECHOED = ("robosac.operator", "robots.safety")
"""Loggers whose records go to the terminal, too, even when they are no warnings."""


class Deploy(msgspec.Struct, frozen=True, kw_only=True):
    """Drive a physical robot: check everything, then wait for the operator, then stand and run.

    Nothing moves before the operator says go; a fault stops the robot and waits for them again.
    Keep a power cut in reach: software promises no emergency stop.
    """

    robot: str = "pup"
    """Robot: a name, or a folder with robot.toml."""
    port: str
    """Serial port of the servos, such as /dev/ttyUSB0."""
    imu: str
    """Serial port of the IMU."""
    policy: Path | None = None
    """Policy file made by `robosac export`; with --learner it acts until the learner's arrives."""
    task: str = "walk"
    """What the robot does."""
    dry_run: bool = False
    """Check everything and end; nothing moves."""
    learner: str | None = None
    """Stream experience to the learner at HOST:PORT, explore, and take its policies."""
    keys: Path | None = None
    """This robot's folder made by `robosac keys`, for --learner."""
    name: str | None = None
    """Name of this robot at the learner; by default its key's or the host's."""
    gamepad: Path | None = None
    """Gamepad such as /dev/input/js0: its held button is a dead-man."""
    attend: str | None = None
    """Wait at this address, HOST:PORT, for the dead-man of `robosac attend`."""
    attend_keys: Path | None = None
    """Folder of keys for --attend, the receiving side's; needed beyond this machine."""
    steps: int | None = None
    """Sit down after so many control steps."""
    run: Path | None = None
    """Folder of this robot's logs and of what the learner has not taken yet."""
    log_limit: int = 1024
    """Disk that one log may take, MiB."""
    spool_limit: int = SPOOL_MIB
    """Disk that rows for the learner may take, MiB."""

    def execute(self) -> int:
        """Deploy; returns the exit code: 3 when the policy was refused or a fault is left."""
        from robosac.deploy.voice import Voice

        _check_options(self)
        place = Place(self)
        try:
            policy = place.load(self.policy)
            with Voice() as voice:
                return _deploy(self, place, policy, voice)
        except PolicyError as error:
            complain(str(error))
            return EXIT_SAFETY
        except KeyboardInterrupt:
            complain("interrupted; the robot is at rest")
            return EXIT_INTERRUPTED


class Place:
    """The robot, closed, what it is to do, and the contract of a policy that can do it."""

    def __init__(self, options: Deploy) -> None:
        """Find them; nothing is opened."""
        import robots
        from robosac.cli.resolve import make_task
        from robosac.deploy.recorded_robot import RecordedRobot
        from robosac.env import RobotEnv
        from robosac.policy.describe import describe_robot
        from robots.serial_robot import serial_robot

        folder = robots.find(options.robot)
        task = make_task(options.task, folder.spec)
        self.device = serial_robot(folder.spec, port=options.port, imu_port=options.imu)
        attended = (options.gamepad is not None) + (options.attend is not None)
        self.robot: RecordedRobot = RecordedRobot(
            self.device, attended=attended, fade_in=options.learner is None
        )
        self.env: RobotEnv = RobotEnv(self.robot, task)
        self.contract: Contract = describe_robot(self.env, model_sha256=folder.model_sha256)
        here = folder.spec.name
        self.name = options.name or (machine_name(options.keys) if options.learner else here)

    def load(self, path: Path | None) -> OnnxPolicy | None:
        """Load a policy and replay its golden vectors, sensors included.

        Raises ConfigError where there is no such file, PolicyError for one that does not fit.
        """
        from robosac.policy import OnnxPolicy
        from robosac.policy.describe import check_golden_sensors

        if path is None:
            return None
        if not path.is_file():
            raise ConfigError(f"--policy {path}: no such file; `robosac export` makes one")
        policy = OnnxPolicy.load(path, here=self.contract)
        check_golden_sensors(self.env, policy.contract)
        return policy


def _check_options(options: Deploy) -> None:
    """Refuse what could only be ignored."""
    if options.policy is None and options.learner is None:
        raise ConfigError("nothing to act by; give --policy FILE, or --learner HOST:PORT, or both")
    for given, name, needed in (
        (options.keys, "--keys", options.learner),
        (options.name, "--name", options.learner),
        (options.attend_keys, "--attend-keys", options.attend),
    ):
        if given is not None and needed is None:
            other = "--attend" if name == "--attend-keys" else "--learner"
            raise ConfigError(f"{name} means nothing without {other}; leave it out or give both")
    at_least(1, "log-limit", options.log_limit)
    at_least(1, "spool-limit", options.spool_limit)
    if options.steps is not None:
        at_least(1, "steps", options.steps)


def _deploy(options: Deploy, place: Place, policy: OnnxPolicy | None, voice: Voice) -> int:
    """Check everything, then let the operator decide; raises ConfigError when a check fails."""
    from robosac.finding import show
    from robosac.runner.realtime import realtime

    with contextlib.ExitStack() as stack:
        stack.enter_context(_logging_waits_for_nobody())
        stack.callback(place.env.close)
        place.robot.connect()
        granted = stack.enter_context(realtime())
        errors = show(_findings(options, place, policy, granted), voice.say)
        if errors:
            count = "1 error" if errors == 1 else f"{errors} errors"
            raise ConfigError(f"{count} in the checks above; nothing has moved")
        if options.dry_run:
            voice.say("dry run: nothing has moved")
            return EXIT_DONE
        return _drive(options, place, policy, voice)


def _findings(
    options: Deploy, place: Place, policy: OnnxPolicy | None, granted: Granted
) -> Iterator[Finding]:
    """Everything there is to know before the robot moves."""
    from robosac.deploy import preflight
    from robosac.finding import Finding

    hertz, robot = place.env.task.control_hz, place.robot
    for line in place.device.describe():
        yield Finding("ok", "device", line)
    yield from preflight.check_readings(robot)
    yield from preflight.check_cycle(place.env)
    yield from preflight.check_clock(
        granted, control_hz=hertz, now_ns=robot.now, wait=robot.wait_until
    )
    if policy is not None:
        yield from preflight.check_policy(policy)
        yield from preflight.check_inference(policy, control_hz=hertz)
    if options.learner is not None:
        yield from _learner(options, options.learner, place.contract)


def _learner(options: Deploy, learner: str, here: Contract) -> Iterator[Finding]:
    """How the way to the learner is; one that is away is no obstacle to who has a policy."""
    from robosac.cli.doctor_learner import findings
    from robosac.deploy.preflight import check_presence
    from robosac.wire.address import parse_address
    from robosac.wire.keys import RobotKeys

    address = parse_address(learner)
    keys = None if options.keys is None else RobotKeys.load(options.keys)
    away = check_presence(address, needed=options.policy is None)
    if away is not None:
        yield away
    else:
        yield from findings(address, keys, here)


def _drive(options: Deploy, place: Place, policy: OnnxPolicy | None, voice: Voice) -> int:
    """Run under the operator's hand, then say how it went; returns the exit code.

    What goes wrong once the robot has moved is told in the summary, too.
    """
    from robosac.deploy.drive import Mission, drive
    from robosac.deploy.journey import Journey
    from robosac.deploy.recording import recording
    from robosac.deploy.report import conclude
    from robosac.deploy.signals import signals_to
    from robosac.operator import Operator

    folder, run = _own_folder(options, place.name), uuid.uuid4().hex
    stem = f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}"
    robot = place.robot
    operator, journey = Operator(robot), Journey()
    mission = Mission(
        *(run, place.contract.row_layout),
        explore=options.learner is not None,
        steps=options.steps,
        seed=int(run[:8], 16),
    )
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(signals_to(operator))
            link = _link(options, place, policy, operator, folder=folder, run=run)
            stack.callback(link.close)
            log = stack.enter_context(
                recording(
                    folder / f"{stem}.mcap", robot, place.contract, limit_mib=options.log_limit
                )
            )
            robot.record_to(log, version=lambda: link.acting.version)
            _listen(options, operator, voice, stack)
            if policy is None:
                voice.say("waiting for the learner's first policy; q quits")
            drive(place.env, link, operator, journey, mission=mission, log=log, tell=voice.say)
    except Exception as error:
        if journey.limp and not journey.steps:
            raise
        ours = isinstance(error, RobosacError | RobotError)
        journey.error = str(error) if ours else repr(error)
        if not ours:
            _log.exception("this is a bug of robosac; the robot is at rest")
    voice.say(
        f"log      {folder / stem}.mcap" + (f" ({log.lost} entries lost)" if log.lost else "")
    )
    figures = {"seed": mission.seed, "log_lost": log.lost, "rows_dropped": link.dropped}
    cut_short = options.steps is not None and journey.steps < options.steps and not link.enough
    return conclude(
        folder / f"{stem}.json",
        place.env,
        journey,
        voice.say,
        steps_short_of=options.steps if cut_short else None,
        **figures,
    )


def _own_folder(options: Deploy, name: str) -> Path:
    """Make the folder of this robot; raises StorageError."""
    folder = options.run or Path("runs") / f"robots-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.from_os(folder, error) from None
    return folder


def _link(
    options: Deploy,
    place: Place,
    policy: OnnxPolicy | None,
    operator: Operator,
    *,
    folder: Path,
    run: str,
) -> AnyLink:
    """The way to the learner, or to nobody."""
    from robosac.runner.solo_link import SoloLink
    from robosac.runner.uplink_link import UplinkLink
    from robosac.wire.address import parse_address

    if options.learner is None:
        assert policy is not None
        return SoloLink(policy)
    return UplinkLink(
        place.contract,
        endpoint=parse_address(options.learner).endpoint,
        robot=place.name,
        run=run,
        folder=folder,
        paced=False,
        keys=options.keys,
        spool_limit=options.spool_limit * 2**20,
        stopped=lambda: operator.quitting,
        first=policy,
    )


def _listen(options: Deploy, operator: Operator, voice: Voice, stack: contextlib.ExitStack) -> None:
    """Open whatever speaks for the operator, and say how."""
    from robosac.operator.keyboard import HELP, standard_input

    elsewhere = options.gamepad is not None or options.attend is not None
    if not (elsewhere and _is_nothing(sys.stdin.fileno())):
        voice.say(HELP)
        stack.enter_context(standard_input(operator, voice.say))
    if options.gamepad is not None:
        from robosac.operator.gamepad import Gamepad

        stack.enter_context(Gamepad(operator, options.gamepad))
        voice.say(f"gamepad  {options.gamepad}: the robot moves only while its R1 is held")
    if options.attend is not None:
        from robosac.operator.heartbeat import Heartbeat

        heartbeat = Heartbeat(operator, options.attend, keys=options.attend_keys)
        stack.enter_context(heartbeat)
        voice.say(
            f"attend   {heartbeat.endpoint}: the robot moves only while somebody holds it there"
        )


def _is_nothing(descriptor: int) -> bool:
    """Whether this is /dev/null, as services have it: no operator who has gone, but none at all."""
    return os.fstat(descriptor).st_rdev == Path(os.devnull).stat().st_rdev


def _worth_saying(record: logging.LogRecord) -> bool:
    """Whether a record is for people; the rest is told by the status, and stands in the log."""
    return record.levelno >= logging.WARNING or record.name.startswith(_ECHOED)


@contextlib.contextmanager
def _logging_waits_for_nobody() -> Iterator[None]:
    """Let another thread write to the terminal, which may be slow or stopped."""
    root, records = logging.getLogger(), queue.SimpleQueue[logging.LogRecord]()
    usual = root.handlers[:]
    listener = logging.handlers.QueueListener(records, *usual, respect_handler_level=True)
    handler = logging.handlers.QueueHandler(records)
    handler.addFilter(_worth_saying)
    root.handlers[:] = [handler]
    listener.start()
    try:
        yield
    finally:
        listener.stop()
        root.handlers[:] = usual
