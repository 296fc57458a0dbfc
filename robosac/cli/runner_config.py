"""What a runner process is told to do: `python -m robosac.cli.runner JSON`."""

from __future__ import annotations

import msgspec

SPOOL_MIB = 1024
"""Disk that the spool of one robot may take, MiB."""


class RunnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulated robot, the learner it serves, and the folder it may write."""

    name: str
    """Name of the robot on the wire."""
    robot: str | None
    """Name or folder of the robot; None when the environment is no robot."""
    task: str | None
    env: str | None
    """Id of the environment; None when it is a robot."""
    endpoint: str
    """Where the learner listens, tcp://HOST:PORT."""
    keys: str | None = None
    """Folder with this robot's keys."""
    folder: str
    """For its spool, the policies it receives and its reports; kept from run to run."""
    seed: tuple[int, int]
    """Seed of the run and number of the runner."""
    realtime: bool = False
    """Whether simulated time keeps to the wall clock."""
    emulate: bool = False
    """Whether to drive the robot's emulated devices instead of simulating it; in real time."""
    steps: int | None = None
    """Most steps to make; None is until the learner has enough."""
    spool_mib: int = SPOOL_MIB
    """Disk that its spool may take, MiB."""

    def arguments(self) -> list[str]:
        """Return what follows `python -m`."""
        return ["robosac.cli.runner", msgspec.json.encode(self).decode()]

    @classmethod
    def from_argument(cls, argument: str) -> RunnerConfig:
        """Read the argument of the process."""
        return msgspec.json.decode(argument, type=cls)
