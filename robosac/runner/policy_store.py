"""The policy files that an uplink has received; the newest few are kept."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import PolicyError, StorageError
from robosac.run_folder import write_atomically
from robosac.wire import messages

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 3
_REASON_MAX = 1000


class PolicyFile(msgspec.Struct, frozen=True):
    """Where a policy that has arrived lies."""

    version: int
    path: str


def declined(version: int, reason: str) -> bytes:
    """Word to the learner that a policy is not run, encoded for the wire."""
    (frame,) = messages.encode(messages.Declined(version=version, reason=reason[:_REASON_MAX]))
    return frame


class PolicyStore:
    """Files named after run and version, in a folder that several processes may share in turn.

    What counts as newest is the order of arrival: a learner that has lost its last policies in a
    crash starts again from a lower version.
    """

    def __init__(self, folder: Path, run: str) -> None:
        """Open the folder and delete what earlier runs left in it; raises StorageError."""
        self._folder, self._run = folder, run
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = sorted(folder.glob("*.onnx*"))  # and drafts of processes that were killed
            self._kept = deque(path for path in files if path.name.startswith(run))
            for path in files:
                if path not in self._kept:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.from_os(folder, error) from None

    def keep(self, file: bytes, *, version: int, sha256: str) -> PolicyFile:
        """Write a policy and say where; raises PolicyError when its digest is another."""
        digest = hashlib.sha256(file).hexdigest()
        if digest != sha256:
            raise PolicyError(f"version {version}: SHA-256 is {digest}, expected {sha256}")
        path = self._folder / f"{self._run}-{version:09d}.onnx"
        write_atomically(path, file)
        if path in self._kept:
            self._kept.remove(path)
        self._kept.append(path)
        try:
            while len(self._kept) > KEPT:
                self._kept.popleft().unlink(missing_ok=True)
        except OSError as error:
            raise StorageError.from_os(self._folder, error) from None
        return PolicyFile(version=version, path=str(path))
