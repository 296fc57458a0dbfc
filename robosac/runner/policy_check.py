"""Policies are loaded and checked off the control thread; only a good one replaces the old."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from robosac.policy import OnnxPolicy
from robosac.runner.link import Acting
from robosac.runner.policy_store import declined

if TYPE_CHECKING:
    from robosac.policy import Contract
    from robosac.runner.policy_store import PolicyFile

_log = logging.getLogger(__name__)
_NICE = 5


class PolicyChecker:
    """A thread that turns files into policies that may act; of several that wait, the newest.

    `acting` and `refused` may be read by any thread at any time.
    """

    def __init__(self, here: Contract) -> None:
        """Start checking against `here`, the contract of this robot and task."""
        self.acting: Acting | None = None
        """The newest policy that passed; None before the first."""
        self.refused = 0
        """Policies that did not pass."""
        self.reason = ""
        """Why the last of them did not."""
        self.declined: deque[bytes] = deque()
        """Declined messages that the learner has not been sent; for one thread to take."""
        self._here = here
        self._waiting: queue.SimpleQueue[PolicyFile | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="policies", daemon=True)
        self._thread.start()

    def put(self, file: PolicyFile) -> None:
        """Queue a file; returns at once."""
        self._waiting.put(file)

    def note_refusal(self, reason: str) -> None:
        """Count a policy that did not pass, or did not even get here."""
        self.reason = reason
        self.refused += 1
        _log.warning("policy refused: %s", reason)

    def close(self) -> None:
        """End the thread; a daemon left inside onnxruntime would abort the process at its exit."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        os.nice(_NICE)  # on Linux of this thread alone
        while (file := self._waiting.get()) is not None:
            while not self._waiting.empty() and file is not None:
                file = self._waiting.get()
            if file is None:
                return
            self._check(file)

    def _check(self, file: PolicyFile) -> None:
        try:
            policy = OnnxPolicy.load(file.path, here=self._here)
        except Exception as error:  # noqa: BLE001 -- no policy may end this thread: it is counted
            # A file that has already been deleted has been overtaken by newer ones.
            if Path(file.path).exists():
                reason = f"version {file.version}: {error}"
                self.declined.append(declined(file.version, reason))
                self.note_refusal(reason)
        else:
            self.acting = Acting(policy, file.version)
