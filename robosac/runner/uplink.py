"""The uplink process: spools what the control loop recorded, and delivers it to the learner.

`python -m robosac.runner.uplink CONFIG`, started by UplinkLink with one end of a FramePipe.  It
outlives a control loop that is killed, so that nothing recorded is lost.
"""

from __future__ import annotations

import enum
import hashlib
import logging
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import zmq

from robosac.errors import StorageError, WireError
from robosac.replay import RowLayout
from robosac.runner.pipe import FramePipe
from robosac.runner.spool import Spool
from robosac.wire import messages
from robosac.wire.messages import encode
from robosac.wire.sockets import connect_robot

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger(__name__)
_POLL_MS = 20
_CHUNK_ROWS = 256
_WINDOW_ROWS = 4096
_HELLO_S = 1.0
_SILENCE_S = 3.0
_STALL_S = 2.0
_GRACE_S = 2.0


class ToUplink(enum.IntEnum):
    """Frames from the control loop."""

    ROW = 1
    EPISODE = 2
    FINISH = 3


class FromUplink(enum.IntEnum):
    """Frames to the control loop."""

    POLICY = 1
    CREDIT = 2
    REFUSED = 3
    FAREWELL = 4
    FAILED = 5


class PolicyFile(msgspec.Struct, frozen=True):
    """Where a policy that has arrived lies."""

    version: int
    path: str


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


@dataclass(slots=True)
class Stream:
    """One run on its way to the learner."""

    spool: Spool
    sent: int
    """Sequence number of the next row to send."""
    made: int | None = None
    """Rows the run made, once it is over."""
    done: bool = False
    moved: float = 0.0
    """When the learner last made something of it durable."""


class Uplink:
    """Moves rows from pipe to spool to learner, and policies the other way."""

    def __init__(self, config: UplinkConfig) -> None:
        """Open the spool of this run and those that earlier runs left behind."""
        self._config = config
        self._pipe = FramePipe(socket.socket(fileno=config.pipe))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = connect_robot(self._context, config.endpoint)
        spools = Path(config.folder) / "spool"
        earlier = [run for robot, run in Spool.leftovers(spools) if robot == config.robot]
        self._streams = {run: self._open(spools, run) for run in [*earlier, config.run]}
        for run in earlier:
            self._streams[run].made = self._streams[run].spool.end
        self._welcomed = False
        self._said_hello = self._heard = -1e9
        self._deadline: float | None = None

    def run(self) -> None:
        """Work until the control loop is gone and everything is durable, or time is up."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._pipe.fileno(), zmq.POLLIN)
        while not self._over():
            ready = dict(poller.poll(_POLL_MS))
            if self._pipe.fileno() in ready:
                self._take_from_loop()
                if self._pipe.closed:
                    poller.unregister(self._pipe.fileno())
            self._take_from_learner()
            self._keep_in_touch()
            if self._welcomed:
                self._send_rows()
            self._pipe.flush()
        self._close()

    def _open(self, spools: Path, run: str) -> Stream:
        config = self._config
        spool = Spool(spools, config.layout, robot=config.robot, run=run)
        return Stream(spool, sent=spool.oldest)

    def _over(self) -> bool:
        """Whether there is nothing left to do, or nobody left to do it for."""
        if not self._pipe.closed:
            return False
        if all(stream.done for stream in self._streams.values()):
            return True
        if self._deadline is None:
            self._deadline = time.monotonic() + _GRACE_S
        return time.monotonic() > self._deadline

    def _take_from_loop(self) -> None:
        """Spool the rows that have come; pass on the rest."""
        rows = []
        for kind, payload in self._pipe.receive():
            if kind == ToUplink.ROW:
                rows.append(np.frombuffer(payload, np.float32))
            elif kind == ToUplink.EPISODE:
                self._send_frames([payload])
            elif kind == ToUplink.FINISH:
                self._current.made = int.from_bytes(payload, "little")
        if rows:
            self._current.spool.append(np.stack(rows))
        if self._pipe.closed and self._current.made is None:
            self._current.made = self._current.spool.end

    @property
    def _current(self) -> Stream:
        return self._streams[self._config.run]

    def _take_from_learner(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._heard = time.monotonic()
            try:
                message, payload = messages.decode_from_learner(frames)
                self._handle(message, payload)
            except WireError as error:
                _log.warning("message dropped: %s", error)

    def _handle(self, message: messages.FromLearner, payload: bytes) -> None:
        match message:
            case messages.Welcome():
                self._welcomed = True
                for run, expected in message.expected.items():
                    self._acknowledge(run, expected)
                    self._streams[run].sent = max(expected, self._streams[run].spool.oldest)
                self._credit(message.credit)
                self._receive_policy(message.version, message.sha256, payload)
            case messages.Policy():
                self._receive_policy(message.version, message.sha256, payload)
            case messages.Ack():
                self._acknowledge(message.run, message.expected)
            case messages.Credit() if message.run == self._config.run:
                self._credit(message.credit)
            case messages.Farewell():
                self._finish(message.run)
            case messages.Unknown():
                self._welcomed = False
                self._said_hello = -1e9
            case messages.Refused():
                self._pipe.send(FromUplink.REFUSED, message.reason.encode())
            case _:
                pass

    def _acknowledge(self, run: str, expected: int) -> None:
        """Forget what is durable."""
        stream = self._streams.get(run)
        if stream is None or stream.done or expected <= stream.spool.oldest:
            return
        stream.spool.forget(expected)
        stream.sent = max(stream.sent, expected)
        stream.moved = time.monotonic()

    def _receive_policy(self, version: int, sha256: str, file: bytes) -> None:
        """Store a policy whose digest is right and tell the control loop where."""
        if hashlib.sha256(file).hexdigest() != sha256:
            _log.warning("policy %d dropped: its digest is wrong", version)
            return
        folder = Path(self._config.folder) / "policy"
        folder.mkdir(exist_ok=True)
        path = folder / f"policy-{version:09d}.onnx"
        draft = path.with_suffix(".draft")
        draft.write_bytes(file)
        draft.replace(path)
        for old in sorted(folder.glob("policy-*.onnx"))[:-3]:
            old.unlink()
        self._pipe.send(
            FromUplink.POLICY, msgspec.msgpack.encode(PolicyFile(version=version, path=str(path)))
        )

    def _credit(self, credit: int | None) -> None:
        self._pipe.send(FromUplink.CREDIT, msgspec.msgpack.encode(credit))

    def _finish(self, run: str) -> None:
        """Let go of a run whose rows are all durable."""
        stream = self._streams.get(run)
        if stream is None or stream.done:
            return
        stream.done = True
        stream.spool.forget(stream.spool.end)
        stream.spool.remove()
        if run == self._config.run:
            self._pipe.send(FromUplink.FAREWELL)

    def _keep_in_touch(self) -> None:
        """Say hello until welcomed; ping when it has been quiet; start again after a silence."""
        now = time.monotonic()
        if self._welcomed and now - self._heard > _SILENCE_S:
            self._welcomed = False
        if now - self._said_hello < _HELLO_S:
            return
        self._said_hello = now
        if self._welcomed:
            self._send(messages.Ping())
            self._send_byes()
            self._send_again(now)
            return
        streams = {run: stream for run, stream in self._streams.items() if not stream.done}
        self._send(
            messages.Hello(
                robot=self._config.robot,
                runs={run: stream.spool.oldest for run, stream in streams.items()},
                contract=self._config.contract.encode(),
            )
        )

    def _send_rows(self) -> None:
        """Send what is new, oldest run first, no further than the window beyond what is durable."""
        for run, stream in self._streams.items():
            if stream.done:
                continue
            if not self._send_stream(run, stream):
                return
            if stream.made is not None and stream.sent >= stream.made and not stream.spool.pending:
                self._send_byes()

    def _send_stream(self, run: str, stream: Stream) -> bool:
        """Send chunks of one run; False when the socket takes no more for now."""
        spool = stream.spool
        while stream.sent < min(spool.end, spool.oldest + _WINDOW_ROWS):
            chunk = spool.read(stream.sent, _CHUNK_ROWS)
            message = messages.Rows(run=run, first=chunk.first, oldest=spool.oldest)
            if not self._send(message, chunk.rows.tobytes()):
                return False
            stream.sent = chunk.end
        return True

    def _send_again(self, now: float) -> None:
        """Go back to the first row that is not durable when acknowledgements have stopped.

        ZeroMQ drops what was in flight when a connection breaks; the learner drops what it has.
        """
        for stream in self._streams.values():
            if stream.spool.pending and now - stream.moved > _STALL_S:
                stream.sent = stream.spool.oldest
                stream.moved = now

    def _send_byes(self) -> None:
        """Say of every finished run that it is; the learner answers when all is durable."""
        for run, stream in self._finished():
            self._send(
                messages.Bye(run=run, made=stream.made or 0, current=run == self._config.run)
            )

    def _finished(self) -> Iterator[tuple[str, Stream]]:
        for run, stream in self._streams.items():
            if stream.made is not None and not stream.done and not stream.spool.pending:
                yield run, stream

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
        for stream in self._streams.values():
            stream.spool.close()
        self._socket.close()
        self._context.term()
        self._pipe.close()


def main(argument: str) -> int:
    """Run the process; trouble with the disk is told to the control loop."""
    config = msgspec.json.decode(argument, type=UplinkConfig)
    try:
        Uplink(config).run()
    except StorageError as error:
        pipe = FramePipe(socket.socket(fileno=config.pipe))
        pipe.send(FromUplink.FAILED, str(error).encode())
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
