"""`robosac sim --learner`: simulated robots that serve a learner on another machine."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from robosac.cli.console import say
from robosac.cli.crew import processes
from robosac.cli.supervisor import Supervisor
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE
from robosac.wire.address import parse_address
from robosac.wire.names import robot_name

if TYPE_CHECKING:
    from robosac.cli.runner_config import RunnerConfig
    from robosac.wire.address import Address


def join(learner: str, like: RunnerConfig, *, runners: int, fleet: str | None) -> int:
    """Make steps until the learner at HOST:PORT has enough; returns the exit code.

    Robots are `like` this one, under its name and in its folder with a number behind.  The folder
    keeps what the learner has not taken yet: the same command delivers it later.  Raises
    ConfigError for a learner's own folder, LockedError for that of robots that are at work.
    """
    from robosac.replay.files import LockedFolder

    address = parse_address(learner)
    folder = Path(like.folder)
    if (folder / "config.json").exists():
        raise ConfigError(
            f"run folder {folder} is a learner's; choose another --run for what robots keep"
        )
    # Two loops of one robot would adopt each other's spools, and wait for each other at the end.
    with closing(LockedFolder(folder)):
        return _serve(address, like, runners=runners, fleet=fleet)


def _serve(address: Address, like: RunnerConfig, *, runners: int, fleet: str | None) -> int:
    folder = Path(like.folder)
    say(f"robots {like.name}-* serve the learner at {address}; their rows wait in {folder}")

    def crew(endpoint: str) -> dict[str, list[str]]:
        return processes([_numbered(like, endpoint, index) for index in range(runners)], fleet)

    supervisor = Supervisor(folder, learner=None, crew=crew, show=_ignore)
    supervisor.run(address.endpoint)
    if supervisor.incomplete:
        say(
            f"stopped before the learner had enough, after {supervisor.made} steps made here; rows "
            f"that it has not taken wait in {folder}, and the same command delivers them"
        )
        return EXIT_INCOMPLETE
    say(f"the learner has all of the {supervisor.made} steps made here")
    return EXIT_DONE


def machine_name(keys: Path | None) -> str:
    """Return what robots of this machine are called at a learner: like their key, or the host."""
    if keys is not None:
        from robosac.wire.keys import RobotKeys

        return RobotKeys.load(keys).name
    return robot_name(socket.gethostname(), 0).removesuffix("-0")


def _numbered(like: RunnerConfig, endpoint: str, index: int) -> RunnerConfig:
    return msgspec.structs.replace(
        like,
        name=f"{like.name}-{index}",
        endpoint=endpoint,
        folder=str(Path(like.folder) / f"runner-{index}"),
        seed=(like.seed[0], index),
    )


def _ignore(figures: dict[str, Any]) -> None:
    """There is no learner here whose figures could be shown."""
