"""`robosac sim --learner`: simulated robots that serve a learner on another machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robosac.cli.checks import at_least
from robosac.cli.console import say
from robosac.cli.runner_config import RunnerConfig
from robosac.cli.supervisor import Supervisor
from robosac.errors import ConfigError, StorageError
from robosac.exit_codes import EXIT_DONE
from robosac.wire.address import parse_address
from robosac.wire.names import robot_name

if TYPE_CHECKING:
    from robosac.cli.sim import Sim
    from robosac.wire.address import Address


def join(options: Sim) -> int:
    """Make steps until the learner has enough; returns the exit code.

    The folder keeps what the learner has not taken yet: the same command delivers it later.
    """
    address = _check(options)
    name = _name(options)
    folder = options.run or Path("runs") / f"robots-{name}"
    _make(folder)
    say(f"robots {name}-* serve the learner at {address}; their rows wait in {folder}")

    def crew(endpoint: str) -> dict[str, list[str]]:
        runners = [
            _runner(options, folder, name, endpoint, index) for index in range(options.runners)
        ]
        if options.fleet is not None:
            from robosac.cli.fleet_config import FleetConfig

            return {"fleet": FleetConfig(address=options.fleet, runners=runners).arguments()}
        return {f"runner-{one.seed[1]}": one.arguments() for one in runners}

    supervisor = Supervisor(folder, learner=None, crew=crew, show=_ignore)
    supervisor.run(address.endpoint)
    say(f"the learner has all of the {supervisor.made} steps made here")
    return EXIT_DONE


def _check(options: Sim) -> Address:
    """Refuse options that would have to be ignored; returns the learner's address."""
    for given, name in (
        (options.resume, "--resume"),
        (options.sync, "--sync"),
        (options.insecure, "--insecure"),
        (options.recipe != "sac", "--recipe"),
        (options.runner_keys is not None, "--runner-keys"),
        (options.bind != "127.0.0.1:0", "--bind"),
    ):
        if given:
            raise ConfigError(f"{name} is the learner's affair; leave it out with --learner")
    at_least(1, "runners", options.runners)
    at_least(1, "spool-limit", options.spool_limit)
    at_least(0, "seed", options.seed)
    if options.steps is not None:
        at_least(1, "steps", options.steps)
    return parse_address(options.learner or "")


def _name(options: Sim) -> str:
    """Name of this machine's robots: asked for, or that of the key, or of the host."""
    if options.name is not None:
        return options.name
    if options.keys is not None:
        from robosac.wire.keys import RobotKeys

        return RobotKeys.load(options.keys).name
    return robot_name(socket.gethostname(), 0).removesuffix("-0")


def _make(folder: Path) -> None:
    if (folder / "config.json").exists():
        raise ConfigError(
            f"run folder {folder} is a learner's; choose another --run for what robots keep"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.from_os(folder, error) from None


def _runner(options: Sim, folder: Path, name: str, endpoint: str, index: int) -> RunnerConfig:
    """One of the robots."""
    return RunnerConfig(
        name=f"{name}-{index}",
        robot=options.robot if options.env is None else None,
        task=options.task if options.env is None else None,
        env=options.env,
        endpoint=endpoint,
        keys=None if options.keys is None else str(options.keys),
        folder=str(folder / f"runner-{index}"),
        seed=(options.seed, index),
        realtime=options.pace == "realtime",
        steps=options.steps,
        spool_mib=options.spool_limit,
    )


def _ignore(figures: dict[str, Any]) -> None:
    """There is no learner here whose figures could be shown."""
