"""The uplink process: spools what the control loop recorded, and delivers it to the learner.

`python -m robosac.runner.uplink CONFIG`, started by UplinkLink with one end of a FramePipe.  It
outlives a control loop that is killed, so that nothing recorded is lost.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np
import zmq

from robosac.errors import PolicyError, RobosacError, StorageError, WireError
from robosac.runner import link_state
from robosac.runner.frames import NUMBER, FromUplink, Kept, ToUplink, UplinkConfig
from robosac.runner.line import Line
from robosac.runner.link_state import LinkState, Teller
from robosac.runner.pipe import FramePipe
from robosac.runner.policy_store import PolicyStore, declined
from robosac.runner.streams import RECORD_ROWS, Streams
from robosac.wire import messages
from robosac.wire.keys import RobotKeys
from robosac.wire.messages import encode
from robosac.wire.monitor import Connection
from robosac.wire.names import printable

_log = logging.getLogger(__name__)
_POLL_MS = 20
_TOUCH_S = 1.0
_KNOCK_S = 5.0
_GRACE_S = 2.0
_MEMORY_GRACE_S = 60.0
_DRAIN_S = 1.0
_DECLINED_KEPT = 16
_BURST = 64
"""Messages of the learner that are taken in before it is the control loop's turn again."""
_LOGGED = 200


class Uplink:
    """Moves rows from pipe to spool to learner, and policies the other way."""

    def __init__(self, config: UplinkConfig, pipe: FramePipe) -> None:
        """Open the spool of this run and those that earlier runs left behind.

        Raises StorageError, and WireError when the keys cannot be read.
        """
        self._config, self._pipe = config, pipe
        folder = Path(config.folder)
        keys = None if config.keys is None else RobotKeys.load(Path(config.keys))
        self._policies = PolicyStore(folder / "policy", config.run)
        self._streams = Streams(
            folder / "spool",
            config.layout,
            robot=config.robot,
            run=config.run,
            limit_bytes=config.spool_limit,
        )
        self._line = Line(config.endpoint, keys)
        self._teller = Teller(pipe)
        self._told = Kept(0, 0, 0)
        self._welcomed = False
        self._learning = True
        self._refusal = ""
        self._policy_seen = 0
        self._unstored: tuple[messages.Welcome | messages.Policy, bytes] | None = None
        self._policy_trouble = ""
        self._declined: deque[bytes] = deque(maxlen=_DECLINED_KEPT)
        self._malformed = 0
        self._greet_at = self._touch_at = 0.0
        self._gone_since: float | None = None

    def run(self) -> None:
        """Work until the control loop is gone and everything is durable, or nothing moves.

        Raises StorageError.
        """
        self._pipe.send(FromUplink.KEPT, msgspec.msgpack.encode(self._kept()))
        poller = self._line.poller
        poller.register(self._pipe.fileno(), zmq.POLLIN)
        try:
            over = False
            while not over:
                ready = dict(poller.poll(_POLL_MS))
                if self._pipe.fileno() in ready:
                    self._take_from_loop()
                    if self._pipe.closed:
                        poller.unregister(self._pipe.fileno())
                self._take_from_learner()
                self._streams.current.backlog.write()
                self._keep_in_touch()
                if self._welcomed:
                    self._send_declined()
                    self._send_rows()
                self._tell_kept()
                self._pipe.flush()
                over = self._over()
        finally:
            self._close()

    def _over(self) -> bool:
        """Whether there is nothing left to do, or nobody left to do it for."""
        if not self._pipe.closed:
            return False
        if self._streams.all_done:
            return True
        if not self._welcomed and not self._streams.pending:
            return True
        now = time.monotonic()
        if self._gone_since is None:
            self._gone_since = now
        moved = max(stream.acknowledged_at for _, stream in self._streams)
        grace = _MEMORY_GRACE_S if self._streams.current.backlog.in_memory else _GRACE_S
        return now - max(self._gone_since, moved) > grace

    def _take_from_loop(self) -> None:
        """Keep the rows that have come; pass on the rest."""
        rows, made = [], None
        current = self._streams.current
        for kind, payload in self._pipe.receive():
            if kind == ToUplink.ROW:
                rows.append(payload)
            elif kind == ToUplink.EPISODE and self._welcomed:
                self._line.send([payload])
            elif kind == ToUplink.DECLINED:
                self._declined.append(payload)
            elif kind == ToUplink.FINISH:
                (made,) = NUMBER.unpack(payload)
        self._keep(rows)
        if made is not None:
            current.conclude(made)
        if self._pipe.closed and current.made is None:
            self._streams.absorb(current)

    def _keep(self, rows: list[bytes]) -> None:
        """Append what is not there yet: an uplink in place of another is sent some rows again."""
        end = self._streams.current.backlog.end
        numbers = [NUMBER.unpack_from(row)[0] for row in rows]
        start = sum(number < end for number in numbers)
        packed = [np.frombuffer(row, np.float32, offset=NUMBER.size) for row in rows]
        for stop in range(start + 1, len(rows) + 1):
            full = stop - start == RECORD_ROWS
            # The loop gives rows up when nothing takes them for long: then numbers are missing.
            if full or stop == len(rows) or numbers[stop] > numbers[stop - 1] + 1:
                self._streams.append(np.stack(packed[start:stop]), first=numbers[start])
                start = stop

    def _kept(self) -> Kept:
        backlog = self._streams.current.backlog
        return Kept(below=backlog.kept, end=backlog.end, dropped=self._streams.dropped)

    def _tell_kept(self) -> None:
        kept = self._kept()
        if kept != self._told:
            self._told = kept
            self._pipe.send(FromUplink.KEPT, msgspec.msgpack.encode(kept))

    def _take_from_learner(self) -> None:
        for _ in range(_BURST):
            if (frames := self._line.receive()) is None:
                return
            try:
                message, payload = messages.decode_from_learner(frames)
            except WireError as error:
                self._drop(error)
            else:
                self._handle(message, payload)

    def _drop(self, error: WireError) -> None:
        """Count a message that is no use, and log so few of them that no learner fills the disk."""
        self._malformed += 1
        if self._malformed.bit_count() == 1:
            reason = printable(str(error), _LOGGED)
            _log.warning("message dropped (%d so far): %s", self._malformed, reason)

    def _handle(self, message: messages.FromLearner, payload: bytes) -> None:
        match message:
            case messages.Welcome():
                self._begin(message.expected)
                self._receive_policy(message, payload)
            case messages.Policy():
                self._receive_policy(message, payload)
            case messages.Ack() | messages.Farewell():
                self._advance(message)
            case messages.Credit() if message.run == self._config.run:
                self._pipe.send(FromUplink.CREDIT, msgspec.msgpack.encode(message.credit))
            case messages.Pong():
                self._learning = message.learning
            case messages.Enough():
                self._pipe.send(FromUplink.ENOUGH)
            case messages.Unknown() if self._welcomed:
                self._welcomed = False
                self._greet_at = 0.0
            case messages.Refused():
                self._welcomed, self._refusal = False, printable(message.reason)
                self._greet_at = time.monotonic() + _KNOCK_S
                self._pipe.send(FromUplink.REFUSED, self._refusal.encode())
            case _:
                pass

    def _begin(self, expected: dict[str, int]) -> None:
        """Send from where the learner is, when it knows of every run there is to send.

        Otherwise it answers a hello from before the latest runs were adopted, and the next one,
        which names them, is on its way.
        """
        if self._streams.waiting.keys() <= expected.keys():
            self._welcomed, self._refusal = True, ""
            for run, stream in self._streams.waiting.items():
                stream.begin(expected[run])

    def _advance(self, message: messages.Ack | messages.Farewell) -> None:
        """Let go of what the learner has made durable."""
        stream = self._streams.get(message.run)
        if stream is None:
            return
        if isinstance(message, messages.Ack):
            stream.acknowledge(message.expected)
        elif stream.finish() and stream is self._streams.current:
            self._pipe.send(FromUplink.FAREWELL)

    def _receive_policy(self, message: messages.Welcome | messages.Policy, file: bytes) -> None:
        """Take a policy and say that it has arrived, so that the next one may follow.

        Only a welcome may bring an older one: a learner that has begun anew greets everybody.
        """
        if isinstance(message, messages.Policy) and message.version <= self._policy_seen:
            expected = f"expected one newer than {self._policy_seen}, or a welcome"
            self._drop(WireError(f"policy {message.version}; {expected}"))
            return
        self._policy_seen = message.version
        self._unstored = message, file
        self._store_policy()
        self._send(self._ping())

    def _store_policy(self) -> None:
        """Store the newest policy when its digest is right, and tell the control loop where.

        When the disk refuses it, it is tried again, or a newer one in its place.
        """
        if self._unstored is None:
            return
        message, file = self._unstored
        try:
            kept = self._policies.keep(file, version=message.version, sha256=message.sha256)
        except StorageError as error:
            self._policy_trouble = error.got
            return
        except PolicyError as error:
            self._pipe.send(FromUplink.BAD_POLICY, str(error).encode())
            self._declined.append(declined(message.version, str(error)))
        else:
            self._pipe.send(FromUplink.POLICY, msgspec.msgpack.encode(kept))
        self._unstored, self._policy_trouble = None, ""

    def _keep_in_touch(self) -> None:
        """Say hello until welcomed; ping; start again after a silence."""
        now = time.monotonic()
        if self._line.look_after() or self._line.silent:
            self._welcomed = False
        if not self._welcomed and now >= self._greet_at and self._send(self._hello()):
            self._greet_at = now + (_KNOCK_S if self._refusal else _TOUCH_S)
            self._send(self._ping())
        if now < self._touch_at:
            return
        self._touch_at = now + _TOUCH_S
        self._send(self._ping())
        for _, stream in self._streams:
            stream.go_back()
        if self._streams.others_at_work and self._streams.adopt():
            self._welcomed, self._greet_at = False, 0.0  # the learner has to know what comes
        self._store_policy()
        self._teller.tell(self._state())

    def _state(self) -> LinkState:
        backlog = self._streams.current.backlog
        disk = backlog.trouble or self._policy_trouble
        return LinkState(self._learner_state(), disk=disk, in_memory=backlog.in_memory)

    def _learner_state(self) -> str:
        if self._refusal:
            return f"the learner refuses this robot: {self._refusal}"
        if self._welcomed:
            return link_state.CONNECTED if self._learning else link_state.STALLED
        if self._line.connection is not Connection.CONNECTED:
            return f"{self._config.endpoint}: {self._line.connection.value}"
        return link_state.SILENT if self._line.silent else link_state.WARMING_UP

    def _hello(self) -> messages.Hello:
        config = self._config
        return messages.Hello(
            robot=config.robot,
            run=config.run,
            runs={run: stream.held for run, stream in self._streams.waiting.items()},
            contract=config.contract.encode(),
            paced=config.paced,
        )

    def _ping(self) -> messages.Ping:
        return messages.Ping(
            policy=self._policy_seen,
            pending=self._streams.pending,
            dropped=self._streams.dropped,
        )

    def _send_declined(self) -> None:
        """Tell the learner which policies do not act; what nobody takes now is said later."""
        while self._declined and self._line.send([self._declined[0]]):
            self._declined.popleft()

    def _send_rows(self) -> None:
        """Send what is new, oldest run first, and goodbye for every run that is over.

        The present run ends last: with its farewell nothing of this robot is left behind.
        """
        for run, stream in self._streams:
            while (chunk := stream.next_chunk()) is not None:
                message = messages.Rows(run=run, first=chunk.first, oldest=stream.backlog.oldest)
                if not self._send(message, chunk.rows.tobytes()):
                    return
                stream.note_sent(chunk)
            if stream is self._streams.current and not self._streams.earlier_done:
                continue
            if (bye := stream.bye(run)) is not None:
                self._send(bye)

    def _send(self, message: messages.FromRobot, payload: bytes | None = None) -> bool:
        return self._line.send(encode(message, payload))

    def _close(self) -> None:
        """Hang up, and say how many rows go with this process."""
        self._line.close()
        backlog = self._streams.current.backlog
        if backlog.in_memory:
            _log.error("%d rows are lost: %s", backlog.in_memory, backlog.trouble)
        self._streams.close()


def main(argument: str) -> int:
    """Run the process; what it cannot do is told to the control loop.

    It ends by itself when the control loop is gone; a signal to the whole service must not cut off
    the delivery of what was recorded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(format="uplink: %(message)s")
    config = msgspec.json.decode(argument, type=UplinkConfig)
    if config.predecessor:
        _log.warning("in place of a process that %s", config.predecessor)
    pipe = FramePipe(socket.socket(fileno=config.pipe))
    try:
        Uplink(config, pipe).run()
    except RobosacError as error:
        _log.error("%s", error)
        pipe.send(FromUplink.FAILED, str(error).encode())
        pipe.drain(_DRAIN_S)
        return 2
    finally:
        pipe.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
