"""The learner's end of the wire: takes rows in, makes them durable, then acknowledges."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import zmq

from robosac.errors import PolicyError, WireError
from robosac.learner.credit import CreditBook
from robosac.policy.contract import check, decode
from robosac.replay import Audit, Chunk, SegmentLog
from robosac.replay.records import check_name
from robosac.wire import messages
from robosac.wire.messages import encode

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.learner.inbox import Inbox
    from robosac.policy import Contract

_log = logging.getLogger(__name__)
_POLL_MS = 10
_BURST = 256
_EPISODES_KEPT = 100
SILENCE_S = 10.0
"""A robot that has not been heard of for this long counts as gone, s; it pings every second."""


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """A policy file on its way to the robots."""

    version: int
    sha256: str
    file: bytes


@dataclass(slots=True)
class Session:
    """One connected robot."""

    identity: bytes
    robot: str
    run: str
    """The run it makes."""
    runs: tuple[str, ...]
    """Every run it still has rows of."""
    heard: float
    """When, monotonic, s."""
    welcomed: bool = False
    sent: int = 0
    """Version of the newest policy that was sent."""
    arrived: int = 0
    """Version of the newest policy that has arrived there."""
    credit: int | None = 0
    """What it was last told it may make."""

    @property
    def key(self) -> tuple[str, str]:
        """What the sequence numbers of its own run are counted in."""
        return self.robot, self.run


@dataclass(slots=True)
class Ledger:
    """What the service counts; read by other threads."""

    rows: int = 0
    """Rows on disk, those of earlier processes included."""
    duplicates: int = 0
    """Rows that came again and were dropped."""
    skipped: int = 0
    """Rows that a robot had to give up before they arrived."""
    malformed: int = 0
    """Messages that were none of ours."""
    made: dict[tuple[str, str], int] = field(default_factory=dict)
    """Rows every finished run has made, by (robot, run)."""
    ended: int = 0
    """Robots whose present run is over."""


class Service:
    """Runs on its own thread; update and publisher threads talk to it through attributes.

    `policy` and `allowed_steps` are plain references that it reads once per turn; `inbox` receives
    durable rows; `contract` is set by the first robot and holds for the whole run.
    """

    def __init__(self, socket: zmq.Socket[bytes], folder: Path, inbox: Inbox) -> None:
        """Serve a bound ROUTER socket; rows go to `folder` first, then to the inbox."""
        self._socket, self._folder, self._inbox = socket, folder, inbox
        self._sessions: dict[bytes, Session] = {}
        self._credit = CreditBook()
        self._log: SegmentLog | None = None
        self._unsynced: list[tuple[Session, Chunk]] = []
        self._stop = threading.Event()
        self.contract: Contract | None = None
        self.contract_known = threading.Event()
        self.policy: PublishedPolicy | None = None
        self.allowed_steps: int | None = None
        """Steps all simulated robots together may have made; None is no bound."""
        self.ledger = Ledger()
        self.episodes: deque[messages.Episode] = deque(maxlen=_EPISODES_KEPT)
        self.found = Audit(lost=0, duplicated=0)
        """What was wrong with the rows on disk when the log was opened."""
        self.error: Exception | None = None
        """What ended the service, when it was not stop()."""
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the socket; raises what went wrong on the thread.

        The log stays open, and with it the folder locked, until close().
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Stop, and close the log; may be called any number of times.

        Raises what went wrong on the thread, StorageError.
        """
        try:
            self.stop()
        finally:
            if self._log is not None:
                self._log.close()

    def audit(self) -> Audit:
        """Compare what is on disk with what the robots have made; after stop().

        Raises StorageError.
        """
        if self._log is None:
            return self.found
        return self._log.audit(self._log.marks | self.ledger.made)

    def open_log(self, contract: Contract) -> None:
        """Take the run's contract, open the log and refill the inbox from it; raises StorageError.

        Called by the service thread itself, or before start().
        """
        self._log = SegmentLog(self._folder, contract.row_layout)
        self.contract = contract
        for chunk in self._log.rows():
            self.ledger.rows += len(chunk.rows)
            self._inbox.put(chunk)
        self.found = self._log.audit(self._log.marks)
        self.contract_known.set()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                poller.poll(_POLL_MS)
                self._turn()
        except Exception as error:  # noqa: BLE001 -- the update thread raises it
            self.error = error
        self._socket.close()
        self.contract_known.set()
        self._inbox.wake()

    def _turn(self) -> None:
        """Take in what has arrived, make it durable in one sync, then answer."""
        for _ in range(_BURST):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._receive(identity, frames)
        self._make_durable()
        self._forget_silent()
        self._welcome()
        self._push_policy()
        self._push_credit()

    def _receive(self, identity: bytes, frames: list[bytes]) -> None:
        """Handle one message; a malformed one is counted and dropped."""
        try:
            message, payload = messages.decode_from_robot(frames)
            self._handle(identity, message, payload)
        except (WireError, ValueError) as error:
            self._drop(error)
            schema = messages.foreign_schema(frames)
            if schema is not None:
                reason = f"it speaks wire schema {schema}, this learner {messages.SCHEMA}"
                self._send(identity, messages.Refused(reason=f"{reason}; install the same robosac"))

    def _drop(self, error: Exception) -> None:
        """Count a malformed message, and log so few of them that no peer can fill the disk."""
        self.ledger.malformed += 1
        if self.ledger.malformed.bit_count() == 1:
            _log.warning("message dropped (%d so far): %s", self.ledger.malformed, error)

    def _handle(self, identity: bytes, message: messages.FromRobot, payload: bytes) -> None:
        if isinstance(message, messages.Hello):
            self._greet(identity, message)
            return
        session = self._sessions.get(identity)
        if session is None:
            self._send(identity, messages.Unknown())
            return
        session.heard = time.monotonic()
        match message:
            case messages.Rows():
                self._append(session, message, payload)
            case messages.Episode():
                self.episodes.append(message)
            case messages.Bye():
                self._part(session, message)
            case messages.Ping():
                session.arrived = message.policy
                self._send(identity, messages.Pong())

    def _greet(self, identity: bytes, hello: messages.Hello) -> None:
        """Let a robot in whose contract is the run's; the welcome waits for a policy."""
        reason = self._objection(hello)
        if reason is not None:
            self._send(identity, messages.Refused(reason=reason))
            return
        # A robot that has reconnected has another identity, and its old one will never speak again.
        stale = [known for known, one in self._sessions.items() if one.run == hello.run]
        for known in stale:
            del self._sessions[known]
        self._sessions[identity] = Session(
            identity, hello.robot, hello.run, tuple(hello.runs), time.monotonic()
        )

    def _objection(self, hello: messages.Hello) -> str | None:
        """Why a robot may not take part; the first contract counts for the run."""
        try:
            check_name(hello.robot, hello.run)
            contract = decode(hello.contract)
            if self.contract is None:
                self.open_log(contract)
            else:
                check(self.contract, contract)
        except (PolicyError, ValueError) as error:
            return str(error)
        assert self.contract is not None
        got, expected = contract.row_layout, self.contract.row_layout
        return None if got == expected else f"its rows are {got}; this run has {expected}"

    def _welcome(self) -> None:
        """Welcome who waits, once there is a policy to act with."""
        policy, log = self.policy, self._log
        if policy is None or log is None:
            return
        for session in list(self._sessions.values()):
            if not session.welcomed:
                expected = {run: log.marks.get((session.robot, run), 0) for run in session.runs}
                welcome = messages.Welcome(
                    expected=expected, version=policy.version, sha256=policy.sha256
                )
                session.welcomed = self._send(session.identity, welcome, policy.file)
                session.sent = policy.version

    def _append(self, session: Session, message: messages.Rows, payload: bytes) -> None:
        """Write one chunk; it is acknowledged after the sync."""
        assert self._log is not None  # a session exists only after its contract
        width = self._log.layout.width
        rows = np.frombuffer(payload, np.float32).reshape(-1, width)
        chunk = Chunk(robot=session.robot, run=message.run, first=message.first, rows=rows)
        result = self._log.append(chunk, oldest=message.oldest)
        self.ledger.duplicates += result.duplicate
        self.ledger.skipped += result.skipped
        self._unsynced.append((session, chunk.since(chunk.end - result.accepted)))

    def _make_durable(self) -> None:
        """One fsync for everything of this turn, then rows to the learner and acks to robots."""
        if not self._unsynced or self._log is None:
            return
        self._log.sync()
        for _, chunk in self._unsynced:
            if len(chunk.rows):
                self.ledger.rows += len(chunk.rows)
                self._inbox.put(chunk)
        for identity, key in {(one.identity, chunk.key) for one, chunk in self._unsynced}:
            expected = self._log.marks.get(key, 0)
            self._send(identity, messages.Ack(run=key[1], expected=expected))
        self._unsynced.clear()

    def _part(self, session: Session, bye: messages.Bye) -> None:
        """Let a run go when all its rows are durable; otherwise say again from where to send."""
        self._make_durable()
        assert self._log is not None
        key = (session.robot, bye.run)
        expected = self._log.marks.get(key, 0)
        if expected < bye.made:
            self._send(session.identity, messages.Ack(run=bye.run, expected=expected))
            return
        if bye.run == session.run and key not in self.ledger.made:
            self.ledger.ended += 1
        self.ledger.made[key] = bye.made
        self._inbox.wake()
        self._send(session.identity, messages.Farewell(run=bye.run))

    def _forget_silent(self) -> None:
        """Forget robots that have gone without a word, so that credit is shared by the living."""
        horizon = time.monotonic() - SILENCE_S
        for identity, session in list(self._sessions.items()):
            if session.heard < horizon:
                del self._sessions[identity]

    def _push_policy(self) -> None:
        """Send the newest policy to every robot that has an older one and nothing on its way."""
        policy = self.policy
        if policy is None:
            return
        for session in list(self._sessions.values()):
            busy = session.arrived != session.sent
            if session.welcomed and not busy and session.sent != policy.version:
                push = messages.Policy(version=policy.version, sha256=policy.sha256)
                if self._send(session.identity, push, policy.file):
                    session.sent = policy.version

    def _push_credit(self) -> None:
        """Share the allowed steps among the runs that are going."""
        if self._log is None:
            return
        going = [
            session
            for session in self._sessions.values()
            if session.welcomed and session.key not in self.ledger.made
        ]
        credit: dict[tuple[str, str], int] | None = None
        if self.allowed_steps is not None:
            marks = {session.key: self._log.marks.get(session.key, 0) for session in going}
            credit = self._credit.share(self.allowed_steps, rows=self.ledger.rows, marks=marks)
        for session in going:
            told = None if credit is None else credit[session.key]
            if session.credit != told:
                message = messages.Credit(run=session.run, credit=told)
                if self._send(session.identity, message):
                    session.credit = told

    def _send(
        self, identity: bytes, message: messages.FromLearner, payload: bytes | None = None
    ) -> bool:
        """Send without waiting; False when the robot does not read or has gone."""
        try:
            self._socket.send_multipart([identity, *encode(message, payload)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._sessions.pop(identity, None)
            return False
        return True
