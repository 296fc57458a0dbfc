"""The learner's end of the wire: takes rows in, makes them durable, then acknowledges."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import zmq

from robosac.errors import ContractMismatchError, PolicyError, StorageError, WireError
from robosac.policy.contract import check, decode
from robosac.replay import Audit, Chunk, SegmentLog
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
    runs: set[str]
    version: int = 0
    credit: dict[str, int | None] = field(default_factory=dict)


@dataclass(slots=True)
class Ledger:
    """What the service counts; read by other threads."""

    rows: int = 0
    duplicates: int = 0
    """Rows that came again and were dropped."""
    skipped: int = 0
    """Rows that a robot had to give up before they arrived."""
    malformed: int = 0
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
        self._waiting: dict[bytes, messages.Hello] = {}
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
        self.audit = Audit(lost=0, duplicated=0)
        self.error: Exception | None = None
        """What ended the service, when it was not stop()."""
        self._thread = threading.Thread(target=self._run, name="service", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> Audit:
        """End the thread, close log and socket, and audit the rows on disk."""
        self._stop.set()
        self._thread.join()
        return self.audit

    def open_log(self, contract: Contract) -> None:
        """Take the first robot's contract, open the log and refill the inbox from it.

        Called by the service thread itself, or before start().
        """
        self._log = SegmentLog(self._folder, contract.row_layout)
        self.contract = contract
        for chunk in self._log.rows():
            self.ledger.rows += len(chunk.rows)
            self._inbox.put(chunk.rows)
        self.contract_known.set()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                poller.poll(_POLL_MS)
                self._turn()
        except Exception as error:  # noqa: BLE001 -- the update thread reports it
            self.error = error
            self.contract_known.set()
            self._inbox.wake()
        finally:
            self._close()

    def _turn(self) -> None:
        """Take in what has arrived, make it durable in one sync, then answer."""
        for _ in range(_BURST):
            try:
                identity, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._receive(identity, frames)
        self._make_durable()
        self._welcome_waiting()
        self._push_policy()
        self._push_credit()

    def _receive(self, identity: bytes, frames: list[bytes]) -> None:
        """Handle one message; a malformed one is counted and dropped."""
        try:
            message, payload = messages.decode_from_robot(frames)
            self._handle(identity, message, payload)
        except (WireError, ValueError) as error:
            self.ledger.malformed += 1
            _log.warning("message dropped: %s", error)

    def _handle(self, identity: bytes, message: messages.FromRobot, payload: bytes) -> None:
        if isinstance(message, messages.Hello):
            self._greet(identity, message)
            return
        session = self._sessions.get(identity)
        if session is None:
            if identity not in self._waiting:
                self._send(identity, messages.Unknown())
            return
        match message:
            case messages.Rows():
                self._append(session, message, payload)
            case messages.Episode():
                self.episodes.append(message)
            case messages.Bye():
                self._part(session, message)
            case messages.Ping():
                self._send(identity, messages.Pong())

    def _greet(self, identity: bytes, hello: messages.Hello) -> None:
        """Check the contract; the first one counts for the run.  The welcome waits for a policy."""
        if hello.schema != messages.SCHEMA:
            reason = f"wire schema {hello.schema}; this learner speaks {messages.SCHEMA}"
            self._send(identity, messages.Refused(reason=reason))
            return
        try:
            contract = decode(hello.contract)
            if self.contract is None:
                self.open_log(contract)
            else:
                check(contract, self.contract)
        except (PolicyError, ContractMismatchError) as error:
            self._send(identity, messages.Refused(reason=str(error)))
            return
        self._waiting[identity] = hello

    def _welcome_waiting(self) -> None:
        policy, log = self.policy, self._log
        if policy is None or log is None:
            return
        for identity, hello in self._waiting.items():
            self._sessions[identity] = Session(
                identity, hello.robot, set(hello.runs), policy.version
            )
            welcome = messages.Welcome(
                expected={run: log.marks.get((hello.robot, run), 0) for run in hello.runs},
                credit=None if self.allowed_steps is None else 0,
                version=policy.version,
                sha256=policy.sha256,
            )
            self._send(identity, welcome, policy.file)
        self._waiting.clear()

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
        for session, chunk in self._unsynced:
            if len(chunk.rows):
                self.ledger.rows += len(chunk.rows)
                self._inbox.put(chunk.rows)
            expected = self._log.marks.get((session.robot, chunk.run), 0)
            self._send(session.identity, messages.Ack(run=chunk.run, expected=expected))
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
        if bye.current and key not in self.ledger.made:
            self.ledger.ended += 1
        self.ledger.made[key] = bye.made
        self._inbox.wake()
        self._send(session.identity, messages.Farewell(run=bye.run))

    def _push_policy(self) -> None:
        """Send the newest policy to every robot that has an older one."""
        policy = self.policy
        if policy is None:
            return
        for session in self._sessions.values():
            if session.version != policy.version:
                session.version = policy.version
                push = messages.Policy(version=policy.version, sha256=policy.sha256)
                self._send(session.identity, push, policy.file)

    def _push_credit(self) -> None:
        """Share the allowed steps among the runs that are still going."""
        if self._log is None:
            return
        going = [
            (session, run)
            for session in self._sessions.values()
            for run in session.runs
            if (session.robot, run) not in self.ledger.made
        ]
        for session, run in going:
            credit = None
            if self.allowed_steps is not None:
                ahead = max(0, self.allowed_steps - self.ledger.rows) // len(going)
                credit = self._log.marks.get((session.robot, run), 0) + ahead
            if session.credit.get(run, 0) != credit:
                session.credit[run] = credit
                self._send(session.identity, messages.Credit(run=run, credit=credit))

    def _send(
        self, identity: bytes, message: messages.FromLearner, payload: bytes | None = None
    ) -> None:
        """Send without waiting; a robot that does not read asks again when it does."""
        try:
            self._socket.send_multipart([identity, *encode(message, payload)], zmq.NOBLOCK)
        except zmq.Again:
            _log.warning("robot %s does not read; message dropped", identity.hex())

    def _close(self) -> None:
        self._socket.close()
        if self._log is not None:
            try:
                self.audit = self._log.audit(self._log.marks | self.ledger.made)
                self._log.close()
            except StorageError as error:
                self.error = self.error or error
