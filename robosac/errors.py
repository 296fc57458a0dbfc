"""Errors of the learning side; the robots draw theirs in robots/errors.py.

RobosacError
├── ConfigError              the user's configuration cannot be used
├── WireError                a message or a peer cannot be understood or trusted
├── PolicyError              a policy file cannot drive this robot
│   └── ContractMismatchError   ... because its contract does not fit; one line per field
├── CheckpointError          a checkpoint is incomplete or belongs to another run
├── RankLostError            a process that shared the updates is gone
└── StorageError             a file could not be written, or holds what it should not
    ├── DamagedRecordError   a record of a segment is torn or corrupt; carries where
    └── LockedError          another process is writing the folder
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EFBIG: "file size limit reached",
    errno.EACCES: "not permitted",
    errno.EPERM: "not permitted",
    errno.EROFS: "read-only file system",
    errno.EIO: "device error",
}


_SHOWN = 5
"""Differences of a contract that fit in a line."""


class RobosacError(Exception):
    """Base class of everything the learning side raises on purpose."""


class ConfigError(RobosacError):
    """The user's configuration cannot be used as it stands."""


class WireError(RobosacError):
    """A message or a peer that cannot be understood or trusted."""


class PolicyError(RobosacError):
    """A policy file that cannot drive this robot."""


class ContractMismatchError(PolicyError):
    """A policy whose contract does not fit the robot and task at hand."""

    def __init__(self, differences: Sequence[str]) -> None:
        """Name the fields that differ; all of them are in `differences`."""
        shown = "; ".join(differences[:_SHOWN])
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        super().__init__(
            f"policy does not fit: {shown}{more}; use what it was trained with, or train anew"
        )
        self.differences = tuple(differences)


class CheckpointError(RobosacError):
    """A checkpoint that is incomplete or belongs to another run."""


class RankLostError(RobosacError):
    """A process that shared the updates is gone; what was made since the checkpoint is lost."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "a process that shares the updates is gone; see processes.log, then go on with --resume"
        )


class StorageError(RobosacError):
    """A file that could not be written, or that holds what it should not."""

    def __init__(self, where: Path | str, *, got: str, expected: str, advice: str) -> None:
        """Say in one line where it happened, what was got and expected, and what to do."""
        super().__init__(f"{where}: got {got}; expected {expected}; {advice}")
        self.where = where
        self.got = got
        self.expected = expected
        self.advice = advice
        self.errno: int | None = None

    @classmethod
    def from_os(cls, where: Path | str, error: OSError) -> Self:
        """Wrap an error of the operating system and keep its number in `errno`."""
        reason = _REASONS.get(error.errno or 0, "storage failed")
        storage_error = cls(
            where,
            got=f"{reason}: {error.strerror or error}",
            expected="a place that can be read and written",
            advice="free space or repair access, then run the same command again",
        )
        storage_error.errno = error.errno
        return storage_error


class DamagedRecordError(StorageError):
    """A record that is torn or corrupt; everything before `offset` is intact."""

    def __init__(self, where: Path | str, *, offset: int, got: str, expected: str) -> None:
        """Name the file and the offset in bytes at which the damaged record begins."""
        super().__init__(
            f"{where} at byte {offset}",
            got=got,
            expected=expected,
            advice="restore the file from a copy, or cut it at that byte to give up what follows",
        )
        self.offset = offset


class LockedError(StorageError):
    """A folder that another process is writing."""

    def __init__(self, where: Path | str) -> None:
        """Name the folder."""
        super().__init__(
            where,
            got="a folder that another writer holds",
            expected="one writer",
            advice="stop the other one first",
        )
