"""The uplink process: spools what the control loop recorded, and delivers it to the learner.

`python -m robosac.runner.uplink CONFIG`, started by UplinkLink with one end of a FramePipe.  It
outlives a control loop that is killed, so that nothing recorded is lost.
"""

from __future__ import annotations

import enum
import errno
import logging
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import zmq

from robosac.errors import LockedError, PolicyError, StorageError, WireError
from robosac.replay import RowLayout
from robosac.runner import journal
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_store import PolicyStore, declined
from robosac.runner.spool import Spool
from robosac.runner.stream import Stream
from robosac.wire import messages
from robosac.wire.messages import encode
from robosac.wire.sockets import connect_robot

_log = logging.getLogger(__name__)
_POLL_MS = 20
_RECORD_ROWS = 256
_TOUCH_S = 1.0
_SILENCE_S = 3.0
_GRACE_S = 2.0
_DRAIN_S = 1.0
_DECLINED_KEPT = 16


class ToUplink(enum.IntEnum):
    """Frames from the control loop."""

    ROW = 1
    """A sequence number (NUMBER) and a packed row."""
    EPISODE = 2
    """An Episode message, encoded for the wire."""
    FINISH = 3
    """How many rows the run made (NUMBER)."""
    DECLINED = 4
    """A Declined message, encoded for the wire."""


class FromUplink(enum.IntEnum):
    """Frames to the control loop."""

    SPOOLED = 1
    """Rows below this sequence number (NUMBER) are in the spool."""
    POLICY = 2
    """A PolicyFile."""
    BAD_POLICY = 3
    """Why a policy that arrived was dropped; the learner has been told."""
    CREDIT = 4
    """Rows that the run may make, MessagePack; nil is no bound."""
    REFUSED = 5
    """Why the learner does not want this robot."""
    FAREWELL = 6
    """Every row of the run is durable at the learner, and those of earlier runs are."""
    FAILED = 7
    """Why the uplink has given up."""
    ENOUGH = 8
    """The learner wants no more rows."""


NUMBER = struct.Struct("<Q")


class UplinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is started with."""

    pipe: int
    """Inherited file descriptor of the pipe."""
    endpoint: str
    robot: str
    run: str
    folder: str
    """Where spools and received policies lie."""
    contract: str
    """The contract as JSON."""
    layout: RowLayout
    paced: bool
    """Whether the run waits for credit, as a simulated robot does."""
    keys: str | None = None
    """Folder of this robot's keys; None speaks in the clear."""
    spool_limit: int = 2**30
    """What all runs of this robot together may take on disk, bytes."""


class Uplink:
    """Moves rows from pipe to spool to learner, and policies the other way."""

    def __init__(self, config: UplinkConfig, pipe: FramePipe) -> None:
        """Open the spool of this run and those that earlier runs left behind."""
        self._config, self._pipe = config, pipe
        self._others_at_work = False
        folder = Path(config.folder)
        self._policies = PolicyStore(folder / "policy", config.run)
        self._spools = folder / "spool"
        self._current = self._open(config.run)
        self._streams = {config.run: self._current}
        self._adopt()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = connect_robot(self._context, config.endpoint)
        self._welcomed = False
        self._policy_seen = 0
        self._declined: deque[bytes] = deque(maxlen=_DECLINED_KEPT)
        self._touched = self._heard = -_TOUCH_S
        self._gone_since: float | None = None

    def run(self) -> None:
        """Work until the control loop is gone and everything is durable, or nothing moves.

        Raises StorageError.
        """
        self._tell_spooled()
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._pipe.fileno(), zmq.POLLIN)
        try:
            while not self._over():
                ready = dict(poller.poll(_POLL_MS))
                if self._pipe.fileno() in ready:
                    self._take_from_loop()
                    if self._pipe.closed:
                        poller.unregister(self._pipe.fileno())
                self._take_from_learner()
                self._keep_in_touch()
                if self._welcomed:
                    self._send_declined()
                    self._send_rows()
                self._pipe.flush()
        finally:
            self._close()

    def _open(self, run: str) -> Stream:
        config = self._config
        spool = Spool(
            self._spools,
            config.layout,
            robot=config.robot,
            run=run,
            limit_bytes=config.spool_limit,
        )
        return Stream(spool)

    def _adopt(self) -> None:
        """Take over what earlier runs have left behind.

        The uplink of a run whose loop was killed may still be at work on it; then it is waited for.
        Earlier runs come first, so that rows arrive in the order in which they were made.
        """
        self._others_at_work = False
        try:
            left = Spool.leftovers(self._spools)
        except StorageError as error:
            if error.errno != errno.ENOENT:
                raise
            self._others_at_work = True  # one has just been delivered, and deleted
            return
        for robot, run in left:
            if robot == self._config.robot and run not in self._streams:
                try:
                    stream = self._open(run)
                except LockedError:
                    self._others_at_work = True
                else:
                    self._absorb(stream)
                    self._streams = {
                        **self._earlier(),
                        run: stream,
                        self._config.run: self._current,
                    }

    def _absorb(self, stream: Stream) -> None:
        """Take into its spool what the dead loop of a run left in memory; that was all of it."""
        spool = stream.spool
        rows = journal.read(spool.path, first=spool.end)
        for start in range(0, len(rows), _RECORD_ROWS):
            spool.append(rows[start : start + _RECORD_ROWS])
        journal.remove(spool.path)
        stream.made = spool.end

    def _earlier(self) -> dict[str, Stream]:
        return {run: stream for run, stream in self._streams.items() if run != self._config.run}

    def _over(self) -> bool:
        """Whether there is nothing left to do, or nobody left to do it for."""
        if not self._pipe.closed:
            return False
        streams = self._streams.values()
        if all(stream.done for stream in streams):
            return True
        if not self._welcomed and not any(stream.spool.pending for stream in streams):
            return True
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        moved = max(stream.acknowledged_at for stream in streams)
        return now - max(self._gone_since, moved) > _GRACE_S

    def _take_from_loop(self) -> None:
        """Spool the rows that have come; pass on the rest."""
        rows = []
        for kind, payload in self._pipe.receive():
            if kind == ToUplink.ROW:
                rows.append(payload)
            elif kind == ToUplink.EPISODE and self._welcomed:
                self._send_frames([payload])
            elif kind == ToUplink.DECLINED:
                self._declined.append(payload)
            elif kind == ToUplink.FINISH:
                (self._current.made,) = NUMBER.unpack(payload)
        self._spool(rows)
        if self._pipe.closed and self._current.made is None:
            self._absorb(self._current)

    def _spool(self, rows: list[bytes]) -> None:
        """Append what the spool does not have: a restarted uplink is sent some rows again."""
        spool = self._current.spool
        known = sum(NUMBER.unpack_from(row)[0] < spool.end for row in rows)
        for start in range(known, len(rows), _RECORD_ROWS):
            record = rows[start : start + _RECORD_ROWS]
            assert NUMBER.unpack_from(record[0])[0] == spool.end
            packed = [np.frombuffer(row, np.float32, offset=NUMBER.size) for row in record]
            spool.append(np.stack(packed))
        if rows:
            self._tell_spooled()

    def _tell_spooled(self) -> None:
        self._pipe.send(FromUplink.SPOOLED, NUMBER.pack(self._current.spool.end))

    def _take_from_learner(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard = time.monotonic()
            try:
                message, payload = messages.decode_from_learner(frames)
            except WireError as error:
                _log.warning("message dropped: %s", error)
            else:
                self._handle(message, payload)

    def _handle(self, message: messages.FromLearner, payload: bytes) -> None:
        match message:
            case messages.Welcome():
                self._welcomed = True
                for run, stream in self._streams.items():
                    stream.begin(message.expected.get(run, 0))
                self._receive_policy(message, payload)
            case messages.Policy():
                self._receive_policy(message, payload)
            case messages.Ack() | messages.Farewell():
                self._advance(message)
            case messages.Credit() if message.run == self._config.run:
                self._pipe.send(FromUplink.CREDIT, msgspec.msgpack.encode(message.credit))
            case messages.Enough():
                self._pipe.send(FromUplink.ENOUGH)
            case messages.Unknown():
                self._welcomed = False
                self._touched = -_TOUCH_S
            case messages.Refused():
                self._pipe.send(FromUplink.REFUSED, message.reason.encode())
            case _:
                pass

    def _advance(self, message: messages.Ack | messages.Farewell) -> None:
        """Let go of what the learner has made durable."""
        stream = self._streams.get(message.run)
        if stream is None:
            return
        if isinstance(message, messages.Ack):
            stream.acknowledge(message.expected)
        elif stream.finish() and stream is self._current:
            self._pipe.send(FromUplink.FAREWELL)

    def _receive_policy(self, message: messages.Welcome | messages.Policy, file: bytes) -> None:
        """Store a policy whose digest is right and tell the control loop where."""
        self._policy_seen = message.version
        try:
            kept = self._policies.keep(file, version=message.version, sha256=message.sha256)
        except PolicyError as error:
            self._pipe.send(FromUplink.BAD_POLICY, str(error).encode())
            self._declined.append(declined(message.version, str(error)))
        else:
            self._pipe.send(FromUplink.POLICY, msgspec.msgpack.encode(kept))
        self._send(self._ping())

    def _keep_in_touch(self) -> None:
        """Say hello until welcomed; ping afterwards; start again after a silence."""
        now = time.monotonic()
        if self._welcomed and now - self._heard > _SILENCE_S:
            self._welcomed = False
        if now - self._touched < _TOUCH_S:
            return
        for stream in self._streams.values():
            stream.go_back()
        if self._others_at_work:
            self._adopt()
        word = self._ping() if self._welcomed else self._hello()
        if self._send(word):
            self._touched = now

    def _hello(self) -> messages.Hello:
        config = self._config
        waiting = {run: stream for run, stream in self._streams.items() if not stream.done}
        return messages.Hello(
            robot=config.robot,
            run=config.run,
            runs={run: stream.held for run, stream in waiting.items()},
            contract=config.contract.encode(),
            paced=config.paced,
        )

    def _ping(self) -> messages.Ping:
        spools = [stream.spool for stream in self._streams.values() if not stream.done]
        return messages.Ping(
            policy=self._policy_seen,
            pending=sum(spool.pending for spool in spools),
            dropped=sum(stream.spool.dropped for stream in self._streams.values()),
        )

    def _send_declined(self) -> None:
        """Tell the learner which policies do not act; what nobody takes now is said later."""
        while self._declined and self._send_frames([self._declined[0]]):
            self._declined.popleft()

    def _send_rows(self) -> None:
        """Send what is new, oldest run first, and goodbye for every run that is over.

        The present run ends last: with its farewell nothing of this robot is left behind.
        """
        for run, stream in self._streams.items():
            while (chunk := stream.next_chunk()) is not None:
                message = messages.Rows(run=run, first=chunk.first, oldest=stream.spool.oldest)
                if not self._send(message, chunk.rows.tobytes()):
                    return
                stream.note_sent(chunk)
            if run == self._config.run and not self._earlier_done():
                continue
            if (bye := stream.bye(run)) is not None:
                self._send(bye)

    def _earlier_done(self) -> bool:
        return not self._others_at_work and all(one.done for one in self._earlier().values())

    def _send(self, message: messages.FromRobot, payload: bytes | None = None) -> bool:
        return self._send_frames(encode(message, payload))

    def _send_frames(self, frames: list[bytes]) -> bool:
        """Send without waiting; False when nobody takes it now."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _close(self) -> None:
        self._socket.close()
        self._context.term()
        for stream in self._streams.values():
            stream.spool.close()


def main(argument: str) -> int:
    """Run the process; trouble with the disk is told to the control loop.

    It ends by itself when the control loop is gone; a signal to the whole service must not cut off
    the delivery of what was recorded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(format="uplink: %(message)s")
    config = msgspec.json.decode(argument, type=UplinkConfig)
    pipe = FramePipe(socket.socket(fileno=config.pipe))
    try:
        Uplink(config, pipe).run()
    except StorageError as error:
        _log.error("%s", error)
        pipe.send(FromUplink.FAILED, str(error).encode())
        pipe.drain(_DRAIN_S)
        return 2
    finally:
        pipe.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
