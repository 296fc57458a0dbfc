"""What a fleet process is told to do: `python -m robosac.cli.fleet JSON`."""

from __future__ import annotations

from pathlib import Path

import msgspec

import robots
from robosac.cli.runner_config import RunnerConfig


class FleetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Ray cluster, and the runners that it shall run."""

    address: str
    """HOST:PORT, auto for the cluster of this machine, or local for one of the fleet's own."""
    runners: list[RunnerConfig]
    """Their paths are meant as they are on the node; the name of a robot is no path."""

    def arguments(self) -> list[str]:
        """Return what follows `python -m`."""
        here = FleetConfig(address=self.address, runners=[_absolute(one) for one in self.runners])
        return ["robosac.cli.fleet", msgspec.json.encode(here).decode()]

    @classmethod
    def from_argument(cls, argument: str) -> FleetConfig:
        """Read the argument of the process."""
        return msgspec.json.decode(argument, type=cls)


def _absolute(runner: RunnerConfig) -> RunnerConfig:
    """Return the same runner for a process that works in another folder."""
    robot = runner.robot
    if robot is not None and robot not in robots.names() and Path(robot).expanduser().is_dir():
        robot = str(Path(robot).expanduser().absolute())
    return msgspec.structs.replace(
        runner,
        robot=robot,
        keys=None if runner.keys is None else str(Path(runner.keys).absolute()),
        folder=str(Path(runner.folder).absolute()),
    )
