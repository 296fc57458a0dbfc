"""The control loop's side of the uplink process."""

from __future__ import annotations

import logging
import subprocess
import time
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import PolicyError, WireError
from robosac.policy.contract import encode
from robosac.runner import journal
from robosac.runner.frames import NUMBER, FromUplink, Kept, ToUplink, UplinkConfig
from robosac.runner.journal import RowJournal
from robosac.runner.link import Acting, Link
from robosac.runner.outbox import Outbox
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_check import PolicyChecker
from robosac.runner.policy_store import PolicyFile
from robosac.runner.spool import folder_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract, OnnxPolicy
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)
_WAIT_S = 0.2
_CLOSE_S = 10.0
_MUTE_DEATHS_MAX = 5
_STUCK_S = 3.0
_RESTART_S = 0.1
_RESTART_MAX_S = 2.0
_OUTBOX_BYTES = 64 * 2**20
_encoder = msgspec.msgpack.Encoder()


class UplinkLink(Link):
    """Starts the uplink process and talks to it through a pipe that never blocks.

    A row is kept here until it is on disk or at the learner, so that an uplink that dies can be
    replaced by another, which is sent what would have died with the first one.  It is kept in a
    journal in shared memory as well: when this process dies too, the next run finds it there.

    Between wait_until_ready() and finish() nothing that happens to uplink, disk, network or learner
    raises: it changes `link_state`, and the robot goes on with the policy it has.  Nor is anything
    logged then, since a log may block; the uplink does that.
    """

    def __init__(
        self,
        contract: Contract,
        *,
        endpoint: str,
        robot: str,
        run: str,
        folder: Path,
        paced: bool,
        stopped: Callable[[], bool],
        keys: Path | None = None,
        spool_limit: int = 2**30,
        first: OnnxPolicy | None = None,
    ) -> None:
        """Start the process; `stopped` tells whether waiting has become pointless.

        `paced` robots, simulated ones, make no row without leave.  `keys` is the folder of this
        robot's keys; `spool_limit` bounds what waits on disk in `folder`, bytes.  The `first`
        policy, if there is one, acts as version 0 until the learner's.
        """
        self.credit = 0 if paced else None
        self.enough = False
        self.refusals = 0
        """How often the learner has refused this robot."""
        self._stopped = stopped
        self._config = UplinkConfig(
            endpoint=endpoint,
            robot=robot,
            run=run,
            folder=str(folder),
            contract=encode(contract).decode(),
            layout=contract.row_layout,
            paced=paced,
            keys=None if keys is None else str(keys),
            spool_limit=spool_limit,
        )
        self._spool_folder = folder_of(folder / "spool", robot=robot, run=run)
        width = contract.row_layout.width
        self._outbox = Outbox(
            RowJournal(self._spool_folder, width), row_bytes=4 * width, limit_bytes=_OUTBOX_BYTES
        )
        self._obs = contract.row_layout.slice("obs")
        self._given_up = self._lenient = self._done = self._spoke = self._said_finish = False
        self._restart_at: float | None = None
        self._made: int | None = None
        self._kept = Kept(0, 0, 0)
        self._dropped_before = 0
        self._mute_deaths = 0
        self._state = "starting"
        self._flowed_at = time.monotonic()
        self._checker = PolicyChecker(contract)
        if first is not None:
            self._checker.acting = Acting(first, 0)
        self._start()

    @property
    def acting(self) -> Acting:
        """The newest checked policy; there is one after wait_until_ready()."""
        assert self._checker.acting is not None
        return self._checker.acting

    @property
    def refused_policies(self) -> int:
        """Policies that arrived and were not allowed to act at once."""
        return self._checker.refused

    @property
    def dropped(self) -> int:
        """Rows given up because neither learner nor disk took them; earlier runs' included."""
        return self._dropped_before + self._kept.dropped + self._outbox.given_up

    @property
    def link_state(self) -> str:
        """How the way to the learner is, in words."""
        stuck_s = time.monotonic() - self._flowed_at
        if stuck_s > _STUCK_S:
            return f"the uplink takes no rows for {stuck_s:.0f} s: {len(self._outbox)} wait"
        return self._state

    @property
    def unspooled(self) -> int:
        """Rows that are neither on disk nor at the learner."""
        return len(self._outbox)

    @property
    def _waiting(self) -> bool:
        return not self._given_up and len(self._outbox) > 0

    @property
    def _ready(self) -> bool:
        return self._checker.acting is not None and self.credit != 0

    def wait_until_ready(self) -> None:
        """Wait for the first policy and the first credit; raises PolicyError, WireError."""
        while not (self._ready or self.enough or self._stopped()):
            if self._checker.acting is None and self._checker.refused:
                raise PolicyError(f"first policy refused: {self._checker.reason}")
            self.pause()
        self._lenient = True

    def record(self, row: FloatArray) -> None:
        """Hand one row to the kernel; what it cannot take now goes with the next ticks."""
        self._checker.seen.append(row[self._obs].copy())
        self._outbox.add(row)
        self._outbox.send(self._pipe)

    def report(self, episode: Episode) -> None:
        """Pass an episode on, already encoded for the wire."""
        self._pipe.send(ToUplink.EPISODE, _encoder.encode(episode))

    def begin(self, *, in_motion: bool) -> None:
        """Now any checked policy may act, also one that would have been a jump."""
        self._checker.begin(in_motion=in_motion)

    def poll(self) -> None:
        """Take in frames, and the newest policy.

        Raises WireError, but never while the robot moves: when the learner refuses this robot, and
        when the uplink cannot do its work.
        """
        for kind, payload in self._pipe.receive():
            self._handle(FromUplink(kind), payload)
        if self._pipe.closed and not self._done:
            self._replace_uplink()
        if not self._pipe.closed:
            self._hand_over()
        self._checker.swap()

    def pause(self) -> None:
        """Wait for a frame or a short while."""
        if self._pipe.closed:
            time.sleep(_RESTART_S / 2)
        else:
            self._pipe.wait(_WAIT_S)
        self.poll()

    def finish(self, made: int) -> None:
        """Wait until everything is durable, or until stopped: the spool keeps the rest."""
        self._lenient = False
        self._made = made
        while not self._done and not self._stopped():
            self.pause()

    def close(self) -> None:
        """Wait until every row outlives this process, and let the uplink finish on its own.

        May be called any number of times.  Raises WireError when rows could not be written.
        """
        self._lenient = True
        try:
            deadline = time.monotonic() + _CLOSE_S
            while self._waiting and time.monotonic() < deadline:
                self.pause()
            if self._waiting:
                raise self._give_up(f"uplink process has written nothing for {_CLOSE_S:g} s")
            if not len(self._outbox):
                journal.remove(self._spool_folder)
        finally:
            self._checker.close()
            self._pipe.close()
            self._wait_for_exit()

    def _hand_over(self) -> None:
        """Send rows that wait; behind the last one, that the run is over."""
        self._outbox.send(self._pipe)
        if self._outbox.all_sent and not self._pipe.unsent:
            self._flowed_at = time.monotonic()
        if self._made is not None and self._outbox.all_sent and not self._said_finish:
            self._said_finish = True
            self._pipe.send(ToUplink.FINISH, NUMBER.pack(self._made))
        while self._checker.declined:
            self._pipe.send(ToUplink.DECLINED, self._checker.declined.popleft())

    def _handle(self, kind: FromUplink, payload: bytes) -> None:
        self._spoke = kind is not FromUplink.FAILED
        match kind:
            case FromUplink.KEPT:
                self._kept = msgspec.msgpack.decode(payload, type=Kept)
                self._outbox.forget(self._kept)
            case FromUplink.POLICY:
                self._checker.put(msgspec.msgpack.decode(payload, type=PolicyFile))
            case FromUplink.BAD_POLICY:
                self._checker.note_refusal(payload.decode())
            case FromUplink.CREDIT if self._config.paced:
                self.credit = msgspec.msgpack.decode(payload)
            case FromUplink.ENOUGH:
                self.enough = True
            case FromUplink.STATE:
                self._state = payload.decode()
            case FromUplink.FAREWELL:
                self._done = True
            case FromUplink.REFUSED | FromUplink.FAILED:
                self._take_bad_news(kind, payload.decode())

    def _take_bad_news(self, kind: FromUplink, reason: str) -> None:
        """Stop for it, unless the robot moves."""
        self._state = f"the uplink has failed: {reason}"
        if kind is FromUplink.REFUSED:
            self._state = f"the learner refuses this robot: {reason}"
            self.refusals += 1
        if self._lenient:
            return
        if kind is FromUplink.REFUSED:
            raise WireError(f"learner refuses this robot: {reason}")
        raise self._give_up(reason)

    def _start(self) -> None:
        """Start a process on a new pipe.

        It inherits standard output, so that whoever reads this process's output sees its end only
        when the uplink has ended as well.
        """
        self._pipe, self._process = FramePipe.to_process("robosac.runner.uplink", self._config)
        self._spoke = self._said_finish = False
        self._restart_at = None

    def _replace_uplink(self) -> None:
        """Start another uplink in place of one that has died, and send what died with it.

        At once when the dead one had got to work: processes may be killed.  One that ends before is
        followed after a pause that grows, and when the robot does not move, not for ever.
        """
        code = self._process.poll()
        if code is None:
            return
        if self._restart_at is None:
            self._restart_at = time.monotonic() + self._note_death(code)
        if time.monotonic() < self._restart_at:
            return
        self._config = msgspec.structs.replace(
            self._config, predecessor=f"has ended with exit code {code}"
        )
        dead = self._pipe
        try:
            self._start()
        except OSError as error:  # no memory for a process; the robot goes on meanwhile
            self._state = f"no uplink starts: {error}; it is tried again"
            self._restart_at = time.monotonic() + _RESTART_MAX_S
            return
        dead.close()
        self._dropped_before += self._kept.dropped
        self._kept = Kept(0, 0, 0)
        self._outbox.send_again()

    def _note_death(self, code: int) -> float:
        """Count a death; returns the pause before the next start, s."""
        self._mute_deaths = 0 if self._spoke else self._mute_deaths + 1
        if not self._mute_deaths:
            self._state = f"the uplink has died with exit code {code}; another one starts"
            return 0.0
        if self._mute_deaths >= _MUTE_DEATHS_MAX and not self._lenient:
            raise self._give_up(
                f"uplink process has died {self._mute_deaths} times before it got to work, last "
                f"with exit code {code}; expected it to outlive this one; see the log of this run"
            )
        return min(_RESTART_S * 2.0**self._mute_deaths, _RESTART_MAX_S)

    def _give_up(self, reason: str) -> WireError:
        """Say why, and how many rows are in the journal only: no uplink is left to wait for."""
        self._given_up = True
        return WireError(
            f"{reason} ({len(self._outbox)} rows wait in memory; they are delivered when this "
            "robot runs again before its computer restarts)"
        )

    def _wait_for_exit(self) -> None:
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            _log.warning("uplink process %d is still delivering", self._process.pid)
