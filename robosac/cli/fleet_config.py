"""What a fleet process is told to do: `python -m robosac.cli.fleet JSON`."""

from __future__ import annotations

from pathlib import Path

import msgspec

import robots
from robosac.cli.runner_config import RunnerConfig
from robosac.errors import ConfigError

_ARGUMENT_MAX = 120_000
"""Linux takes 128 KiB for one argument of a process."""


class FleetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Ray cluster, and the runners that it shall run."""

    address: str
    """HOST:PORT, auto for the cluster of this machine, or local for one of the fleet's own."""
    runners: list[RunnerConfig]
    """Their paths are meant as they are on the node; the name of a robot is no path."""

    def arguments(self) -> list[str]:
        """Return what follows `python -m`; raises ConfigError when it is too much for a command."""
        here = FleetConfig(address=self.address, runners=[_absolute(one) for one in self.runners])
        argument = msgspec.json.encode(here)
        if len(argument) > _ARGUMENT_MAX:
            most = len(self.runners) * _ARGUMENT_MAX // len(argument)
            raise ConfigError(
                f"{len(self.runners)} runners are too many for one fleet; expected at most {most}; "
                "start the others with `robosac sim --learner HOST:PORT --fleet`"
            )
        return ["robosac.cli.fleet", argument.decode()]

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
