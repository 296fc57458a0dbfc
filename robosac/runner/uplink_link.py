"""The control loop's side of the uplink process."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import PolicyError, WireError
from robosac.policy.contract import encode
from robosac.runner import journal
from robosac.runner.journal import RowJournal
from robosac.runner.link import Acting, Link
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_check import PolicyChecker
from robosac.runner.policy_store import PolicyFile
from robosac.runner.spool import folder_of
from robosac.runner.uplink import NUMBER, FromUplink, ToUplink, UplinkConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]

_log = logging.getLogger(__name__)
_WAIT_S = 0.2
_CLOSE_S = 10.0
_RESTARTS = 3
_UNSPOOLED_MAX = 100_000
_encoder = msgspec.msgpack.Encoder()


class UplinkLink(Link):
    """Starts the uplink process and talks to it through a pipe that never blocks.

    A row is kept here until the uplink has it in its spool, so that an uplink that dies can be
    replaced by another, which is sent what the first one had not written.  It is kept in a journal
    in shared memory as well: when this process dies too, the next run of the robot finds it there.
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
    ) -> None:
        """Start the process; `stopped` tells whether waiting has become pointless.

        `paced` robots, simulated ones, make no row without leave.  `keys` is the folder of this
        robot's keys; `spool_limit` bounds what waits on disk in `folder`, bytes.
        """
        self.credit = 0 if paced else None
        self.enough = False
        self._stopped = stopped
        self._config = UplinkConfig(
            pipe=-1,
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
        self._journal = RowJournal(self._spool_folder, contract.row_layout.width)
        self._recorded = 0
        self._unspooled: deque[bytes] = deque()
        self._made: int | None = None
        self._done = False
        self._deaths = 0
        self._checker = PolicyChecker(contract)
        self._start()

    @property
    def acting(self) -> Acting:
        """The newest checked policy; there is one after wait_until_ready()."""
        assert self._checker.acting is not None
        return self._checker.acting

    @property
    def refused_policies(self) -> int:
        """Policies that arrived and were not allowed to act."""
        return self._checker.refused

    def wait_until_ready(self) -> None:
        """Wait for the first policy and the first credit; raises PolicyError, WireError."""
        while not (self._ready or self.enough or self._stopped()):
            if self._checker.acting is None and self._checker.refused:
                raise PolicyError(f"first policy refused: {self._checker.reason}")
            self.pause()

    @property
    def _ready(self) -> bool:
        return self._checker.acting is not None and self.credit != 0

    def record(self, row: FloatArray) -> None:
        """Hand one row to the kernel; what it cannot take now goes with the next tick."""
        payload = NUMBER.pack(self._recorded) + row.tobytes()
        self._recorded += 1
        self._unspooled.append(payload)
        self._write_journal()
        self._pipe.send(ToUplink.ROW, payload)

    def report(self, episode: Episode) -> None:
        """Pass an episode on, already encoded for the wire."""
        self._pipe.send(ToUplink.EPISODE, _encoder.encode(episode))

    def poll(self) -> None:
        """Take in frames.

        Raises WireError when the learner refuses this robot, and when the uplink cannot go on.
        """
        for kind, payload in self._pipe.receive():
            self._handle(FromUplink(kind), payload)
        while self._checker.declined:
            self._pipe.send(ToUplink.DECLINED, self._checker.declined.popleft())
        if self._pipe.closed and not self._done:
            self._replace_uplink()
        if len(self._unspooled) > _UNSPOOLED_MAX:
            raise WireError(
                f"uplink process takes no rows, {len(self._unspooled)} wait; expected it to write "
                "them to its spool; see what holds it up, then run again with --resume"
            )

    def pause(self) -> None:
        """Wait for a frame or a short while."""
        self._pipe.wait(_WAIT_S)
        self.poll()

    def finish(self, made: int) -> None:
        """Wait until everything is durable, or until stopped: the spool keeps the rest."""
        self._made = made
        self._pipe.send(ToUplink.FINISH, NUMBER.pack(made))
        while not self._done and not self._stopped():
            self.pause()

    def close(self) -> None:
        """Wait until the uplink has every row in its spool, and let it finish on its own.

        May be called any number of times.  Raises WireError when rows could not be written.
        """
        try:
            deadline = time.monotonic() + _CLOSE_S
            while self._unspooled and time.monotonic() < deadline:
                self.pause()
            if self._unspooled:
                raise self._give_up(f"uplink process has written nothing for {_CLOSE_S:g} s")
            journal.remove(self._spool_folder)
        finally:
            self._checker.close()
            self._pipe.close()
            self._wait_for_exit()

    def _handle(self, kind: FromUplink, payload: bytes) -> None:
        match kind:
            case FromUplink.SPOOLED:
                (end,) = NUMBER.unpack(payload)
                self._forget(end)
            case FromUplink.POLICY:
                self._checker.put(msgspec.msgpack.decode(payload, type=PolicyFile))
            case FromUplink.BAD_POLICY:
                self._checker.note_refusal(payload.decode())
            case FromUplink.CREDIT if self._config.paced:
                self.credit = msgspec.msgpack.decode(payload)
            case FromUplink.ENOUGH:
                self.enough = True
            case FromUplink.FAREWELL:
                self._done = True
            case FromUplink.REFUSED:
                raise WireError(f"learner refuses this robot: {payload.decode()}")
            case FromUplink.FAILED:
                raise self._give_up(payload.decode())

    def _forget(self, end: int) -> None:
        """Let go of the rows below this sequence number; an uplink that writes is a good one."""
        while self._unspooled and self._recorded - len(self._unspooled) < end:
            self._unspooled.popleft()
            self._deaths = 0
        self._write_journal()

    def _write_journal(self) -> None:
        """Add what there is room for; only rows that are in the spool are overwritten."""
        first = self._recorded - len(self._unspooled)
        if self._journal.end < first:
            self._journal.begin(first)
        for number in range(self._journal.end, min(self._recorded, first + self._journal.capacity)):
            self._journal.add(self._unspooled[number - first][NUMBER.size :])

    def _start(self) -> None:
        """Start a process on a new pipe.

        It inherits standard output, so that whoever reads this process's output sees its end only
        when the uplink has ended as well.
        """
        self._pipe, theirs = FramePipe.pair()
        config = msgspec.structs.replace(self._config, pipe=theirs.fileno())
        command = [
            sys.executable,
            "-m",
            "robosac.runner.uplink",
            msgspec.json.encode(config).decode(),
        ]
        self._process = subprocess.Popen(  # noqa: S603 -- our own module
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()

    def _replace_uplink(self) -> None:
        """Start another uplink in place of one that has died, and send what that one may lack."""
        code = self._process.wait()
        self._deaths += 1
        self._pipe.close()
        if self._deaths > _RESTARTS:
            raise self._give_up(
                f"uplink process has died {self._deaths} times, last with exit code {code}; "
                "expected it to outlive this one; see the log of this run"
            )
        _log.warning("uplink process has died with exit code %d; starting another", code)
        self._start()
        for payload in self._unspooled:
            self._pipe.send(ToUplink.ROW, payload)
        if self._made is not None:
            self._pipe.send(ToUplink.FINISH, NUMBER.pack(self._made))

    def _give_up(self, reason: str) -> WireError:
        """Say why, and how many rows are in the journal only: no uplink is left to wait for."""
        waiting = len(self._unspooled)
        self._unspooled.clear()
        return WireError(
            f"{reason} ({waiting} rows wait in memory; they are delivered when this robot runs "
            "again before its computer restarts)"
        )

    def _wait_for_exit(self) -> None:
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            _log.warning("uplink process %d is still delivering", self._process.pid)
