"""The control loop's side of the uplink process."""

from __future__ import annotations

import os
import queue
import select
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import PolicyError, WireError
from robosac.policy import OnnxPolicy
from robosac.policy.contract import encode
from robosac.runner.link import Acting, Link
from robosac.runner.pipe import FramePipe
from robosac.runner.uplink import FromUplink, PolicyFile, ToUplink, UplinkConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from robosac.policy import Contract
    from robosac.wire.messages import Episode

    FloatArray = NDArray[np.float32]

_WAIT_S = 0.2
_encoder = msgspec.msgpack.Encoder()


class UplinkLink(Link):
    """Starts the uplink process and talks to it through a pipe that never blocks."""

    def __init__(
        self,
        contract: Contract,
        *,
        endpoint: str,
        robot: str,
        run: str,
        folder: Path,
        stopped: Callable[[], bool],
    ) -> None:
        """Start the process; `stopped` tells whether waiting has become pointless."""
        self._pipe, theirs = FramePipe.pair()
        self._contract, self._stopped = contract, stopped
        self.credit = 0
        self.refused_policies = 0
        self._acting: Acting | None = None
        self._done = False
        self._arrived: queue.SimpleQueue[PolicyFile] = queue.SimpleQueue()
        config = UplinkConfig(
            pipe=theirs.fileno(),
            endpoint=endpoint,
            robot=robot,
            run=run,
            folder=str(folder),
            contract=encode(contract).decode(),
            layout=contract.row_layout,
        )
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
        threading.Thread(target=self._check_policies, name="policies", daemon=True).start()

    @property
    def acting(self) -> Acting:
        """The newest checked policy; waits for the first one."""
        while self._acting is None:
            self.pause()
        return self._acting

    def record(self, row: FloatArray) -> None:
        """Hand one row to the kernel; what it cannot take now goes with the next tick."""
        self._pipe.send(ToUplink.ROW, row.tobytes())

    def report(self, episode: Episode) -> None:
        """Pass an episode on, already encoded for the wire."""
        self._pipe.send(ToUplink.EPISODE, _encoder.encode(episode))

    def poll(self) -> None:
        """Take in frames; raises WireError when the learner refuses or the uplink has died."""
        for kind, payload in self._pipe.receive():
            if kind == FromUplink.POLICY:
                self._arrived.put(msgspec.msgpack.decode(payload, type=PolicyFile))
            elif kind == FromUplink.CREDIT:
                self.credit = msgspec.msgpack.decode(payload)
            elif kind == FromUplink.REFUSED:
                raise WireError(f"learner refuses this robot: {payload.decode()}")
            elif kind == FromUplink.FAREWELL:
                self._done = True
            elif kind == FromUplink.FAILED:
                raise WireError(f"uplink has failed: {payload.decode()}")
        if self._pipe.closed and not self._done:
            raise WireError("uplink process has died; run again with --resume")

    def pause(self) -> None:
        """Wait for a frame or a short while."""
        if self._stopped():
            raise StoppedError
        select.select([self._pipe], [self._pipe] if self._pipe.unsent else [], [], _WAIT_S)
        self._pipe.flush()
        self.poll()

    def finish(self, made: int) -> None:
        """Wait until everything is durable, or until stopped: the spool keeps the rest."""
        self._pipe.send(ToUplink.FINISH, made.to_bytes(8, "little"))
        while not self._done and not self._stopped():
            self.pause()
        self.close()

    def close(self) -> None:
        """Let the uplink finish on its own: it drains the pipe first."""
        while self._pipe.unsent:
            select.select([], [self._pipe], [], _WAIT_S)
            self._pipe.flush()
        self._pipe.close()
        self._process.wait()

    def _check_policies(self) -> None:
        """Load and check every policy off the control thread; only a good one replaces the old."""
        os.nice(5)
        while True:
            arrived = self._arrived.get()
            while not self._arrived.empty():
                arrived = self._arrived.get()
            try:
                policy = OnnxPolicy.load(arrived.path, here=self._contract)
            except PolicyError:
                self.refused_policies += 1
            else:
                self._acting = Acting(policy, arrived.version)


class StoppedError(Exception):
    """The parent asked to stop while the control loop was waiting."""
