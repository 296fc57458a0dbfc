"""Policies are loaded and checked off the control thread; only a good one replaces the old."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from robosac.policy import OnnxPolicy
from robosac.runner.link import Acting
from robosac.runner.policy_fade import Fade
from robosac.runner.policy_store import declined
from robosac.runner.policy_trial import JUMP_MAX, check_finite, jump

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.runner.policy_store import PolicyFile

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)
_NICE = 5
_SEEN_KEPT = 64
_FADE_S = 0.5
"""How long a policy that jumps takes to take over in motion, s."""
_HZ = 50.0
"""Control rate of an environment that tells none, Hz."""


class Offer(NamedTuple):
    """A policy that is good in itself."""

    acting: Acting
    smooth: bool
    """Whether it may take over in motion."""


class PolicyChecker:
    """A thread that turns files into policies that may act; of several that wait, the newest.

    A robot must not be jerked by a policy that wants something quite different from the one before,
    so one that jumps is refused in motion.  It may take over when an episode begins: from a stand
    at once, in motion little by little.  A learner that has moved on while the robot was away, or
    has begun anew, would be refused for ever otherwise.  Where there are no joints, there is
    nothing to jerk.

    The control thread alone writes `acting`, in swap() and begin(), and `seen`; any thread may read
    the rest.
    """

    def __init__(self, here: Contract) -> None:
        """Start checking against `here`, the contract of this robot and task."""
        self.acting: Acting | None = None
        """The policy that acts; None before the first."""
        self.seen: deque[FloatArray] = deque(maxlen=_SEEN_KEPT)
        """What was observed of late (O,); for the control thread to append to."""
        self.refused = 0
        """Policies that did not pass, or not in motion."""
        self.reason = ""
        """Why the last of them did not."""
        self.declined: deque[bytes] = deque()
        """Declined messages that the learner has not been sent; for one thread to take."""
        self._here = here
        self._offer: Offer | None = None
        self._waiting: queue.SimpleQueue[PolicyFile | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="policies", daemon=True)
        self._thread.start()

    def put(self, file: PolicyFile) -> None:
        """Queue a file; returns at once."""
        self._waiting.put(file)

    def swap(self) -> None:
        """Let the newest policy act that is good in motion."""
        offer = self._offer
        if offer is None or not (offer.smooth or self.acting is None):
            return
        policy = self.acting.policy if self.acting else None
        if not isinstance(policy, Fade) or policy.over:
            self.acting = offer.acting
        elif not self._acts(offer):
            newer, version = offer.acting
            self.acting = Acting(policy.towards(newer), version)

    def begin(self, *, in_motion: bool) -> None:
        """Let the newest good policy act, as an episode begins; in motion one that jumps fades in.

        For a robot that never falls no episode begins in any other way.
        """
        offer = self._offer
        if offer is None or self._acts(offer):
            return
        if self.acting is None or offer.smooth or not in_motion:
            self.acting = offer.acting
            return
        newer, version = offer.acting
        ticks = round(_FADE_S * (self._here.control_hz or _HZ))
        self.acting = Acting(Fade(self.acting.policy, newer, ticks=ticks), version)

    def _acts(self, offer: Offer) -> bool:
        """Whether a policy acts already, alone or on the way."""
        return self.acting is not None and self.acting.version == offer.acting.version

    def note_refusal(self, reason: str) -> None:
        """Count a policy that did not pass, or did not even get here."""
        self.reason = reason
        self.refused += 1

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
        seen = list(self.seen)
        try:
            policy = OnnxPolicy.load(file.path, here=self._here)
            check_finite(policy, seen)
            distance = self._distance(policy, seen)
        except Exception as error:  # noqa: BLE001 -- no policy may end this thread: it is counted
            # A file that has already been deleted has been overtaken by newer ones.
            if Path(file.path).exists():
                self._refuse(file.version, str(error))
            return
        # On offer first: who hears of the refusal may begin an episode at once.
        self._offer = Offer(Acting(policy, file.version), smooth=distance <= JUMP_MAX)
        if distance > JUMP_MAX:
            self._refuse(
                file.version,
                f"actions jump by {distance:.2f} on recent observations, expected at most "
                f"{JUMP_MAX} in motion; it may act from the next episode on",
            )

    def _distance(self, policy: OnnxPolicy, seen: list[FloatArray]) -> float:
        """How far the robot would be jerked, by jump()."""
        distance, acting = 0.0, None
        while self._here.joints and self.acting is not acting:  # it may change at any moment
            acting = self.acting
            assert acting is not None  # never again None
            distance = jump(acting.policy, policy, seen)
        return distance

    def _refuse(self, version: int, reason: str) -> None:
        """Count and report a policy that may not act now, and log so few that no disk fills."""
        reason = f"version {version}: {reason}"
        self.declined.append(declined(version, reason))
        self.note_refusal(reason)
        if self.refused.bit_count() == 1:
            _log.warning("policy refused (%d so far): %s", self.refused, reason)
