"""How the way from a robot to its learner is, in words."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from robosac.runner.frames import FromUplink

if TYPE_CHECKING:
    from robosac.runner.pipe import FramePipe

CONNECTED = "connected"
WARMING_UP = "connected, the learner has no policy yet"
STALLED = "connected, but the learner has stopped learning"
SILENT = "the learner is silent"
SETTLE_S = 3.0
"""How long trouble lasts before it is worth a line in the log, s."""
_log = logging.getLogger(__name__)


class LinkState(msgspec.Struct, frozen=True):
    """What an uplink knows of its learner and its disk; str() is what people read."""

    learner: str
    """How the learner is."""
    disk: str = ""
    """Why the disk refuses what it is given; empty when it does not."""
    in_memory: int = 0
    """Rows that are on no disk."""

    def __str__(self) -> str:
        """Return one line."""
        if not self.disk:
            return self.learner
        return f"{self.learner}; {self.disk}: {self.in_memory} rows only in memory"

    @property
    def trouble(self) -> tuple[str, str]:
        """What is not as it should be; two empty strings when all is well."""
        return "" if self.learner in (CONNECTED, WARMING_UP) else self.learner, self.disk


class Teller:
    """Tells the control loop how the link is; the log hears of trouble when it comes and goes."""

    def __init__(self, pipe: FramePipe) -> None:
        """Nothing has been told yet."""
        self._pipe = pipe
        self._told = ""
        self._trouble = self._logged = ("", "")
        self._since = time.monotonic()

    def tell(self, state: LinkState) -> None:
        """Take in the present state; to be called about once a second."""
        words = str(state)
        if words != self._told:
            self._told = words
            self._pipe.send(FromUplink.STATE, words.encode())
        now = time.monotonic()
        if state.trouble != self._trouble:
            self._trouble, self._since = state.trouble, now
        settled = now - self._since >= SETTLE_S or not any(state.trouble)
        if settled and state.trouble != self._logged:
            self._logged = state.trouble
            _log.warning("%s", words)
