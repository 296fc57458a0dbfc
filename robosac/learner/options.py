"""How a learner process is started: `python -m robosac.learner JSON`."""

from __future__ import annotations

import msgspec


class LearnerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a learner keeps its run, and who may call it."""

    folder: str
    """Run folder with a config.json."""
    bind: str = "127.0.0.1:0"
    """Address to listen on, HOST:PORT; port 0 takes any free one."""
    keys: str | None = None
    """Folder with the learner's keys and the list of robots it lets in."""
    insecure: bool = False
    """Listen beyond this machine without keys."""
    ranks: int = 1
    """Processes that share every update."""
    device: str = "cpu"
    """Where updates are made: cpu, cuda or cuda:NUMBER."""
    nice: int = 0
    """How far it steps back for whatever else runs on this machine, as in nice(1), 0 to 19."""

    def argument(self) -> str:
        """Return the argument of the process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_argument(cls, argument: str) -> LearnerOptions:
        """Read the argument of the process."""
        return msgspec.json.decode(argument, type=cls)
