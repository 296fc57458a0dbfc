"""The learner's end of the wire: takes rows in, makes them durable, then acknowledges."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zmq

from robosac import __version__
from robosac.errors import PolicyError, WireError
from robosac.learner.admission import read_contract
from robosac.learner.credit import CreditBook
from robosac.learner.sessions import Ledger, Session, Sessions, make_room
from robosac.policy import contract as contracts
from robosac.replay import Audit, Chunk, SegmentLog
from robosac.replay.records import check_name
from robosac.wire import messages
from robosac.wire.messages import encode
from robosac.wire.names import printable
from robosac.wire.sockets import receive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.learner.inbox import Inbox
    from robosac.policy import Contract

_log = logging.getLogger(__name__)
_POLL_MS = 10
_BURST = 256
_BURST_BYTES = 8 * 2**20
"""What is taken in before it is made durable and answered: messages, and bytes."""
_SEQUENCE_MAX = 2**53
_LOGGED = 200
_EPISODES_KEPT = 100
_TERMS_MAX = 100
"""Reward terms that a run may have."""
_AHEAD = 1024
"""Rows that all simulated robots together may have on their way when nothing else bounds them."""
SILENCE_S = 10.0
"""A robot that has not been heard of for this long counts as gone, s; it pings every second."""
STALLED_S = 10.0
"""An update loop that has not turned for this long has stopped learning, s."""


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """A policy file on its way to the robots."""

    version: int
    sha256: str
    file: bytes


class Service:
    """Runs on its own thread; update and publisher threads talk to it through attributes.

    `allowed_steps` and `turned_at` are plain values that it reads once per turn; `inbox` receives
    durable rows; `contract` is set by the first robot and holds for the whole run.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        folder: Path,
        inbox: Inbox,
        *,
        steps: int | None = None,
        objection_to_name: Callable[[str | None, str], str | None] | None = None,
        objection_to_contract: Callable[[Contract], str | None] | None = None,
    ) -> None:
        """Serve a bound ROUTER socket; rows go to `folder` first, then to the inbox.

        `objection_to_name` says why a key may not speak for a robot, `objection_to_contract` why a
        contract may not become the run's; None is no objection.
        """
        self._socket, self._folder, self._inbox = socket, folder, inbox
        self.steps = steps
        """Rows after which it is enough; None is never."""
        self._objection_to_name = objection_to_name
        self._objection_to_contract = objection_to_contract or (lambda _: None)
        self._sessions = Sessions()
        self._credit = CreditBook()
        self._log: SegmentLog | None = None
        self._unsynced: list[tuple[Session, Chunk]] = []
        self._leaving: list[tuple[Session, messages.Bye]] = []
        self._terms: set[str] = set()
        self._document = b""
        self._stop = threading.Event()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.contract: Contract | None = None
        self.contract_known = threading.Event()
        self.policy: PublishedPolicy | None = None
        self.allowed_steps: int | None = None
        """Steps all simulated robots together may have made; None is no bound."""
        self.turned_at = time.monotonic()
        """When the update loop last turned, monotonic, s."""
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
            if self._bell >= 0:
                os.close(self._bell)
                self._bell = -1
            if self._log is not None:
                self._log.close()

    def publish(self, policy: PublishedPolicy) -> None:
        """Make this the policy that every robot should have, from now on."""
        self.policy = policy
        os.eventfd_write(self._bell, 1)

    @property
    def enough(self) -> bool:
        """Whether there are as many rows as were asked for."""
        return self.steps is not None and self.ledger.rows >= self.steps

    @property
    def complete(self) -> bool:
        """Whether as many rows as were asked for have come, or are known to be lost."""
        ledger = self.ledger
        return self.steps is not None and ledger.rows + ledger.skipped >= self.steps

    @property
    def present(self) -> int:
        """Robots that are connected, or may call again, and have not been told farewell.

        One whose connection broke while that was on its way says goodbye again on the next.
        """
        return sum(not session.told_farewell for session in self._sessions)

    def audit(self) -> Audit:
        """Compare what is on disk with what the robots have made; after stop().

        Raises StorageError.
        """
        if self._log is None:
            return self.found
        made, marks = self.ledger.made, self._log.marks
        return self._log.audit(
            {key: max(made.get(key, 0), marks.get(key, 0)) for key in made.keys() | marks.keys()}
        )

    def open_log(self, contract: Contract, take: Callable[[Chunk], None] | None = None) -> None:
        """Take the run's contract, open the log and hand over what is in it; raises StorageError.

        Called by the service thread itself, or before start().  `take` gets the chunks one by one,
        which a long log asks for; without it they go to the inbox.
        """
        self._log = SegmentLog(self._folder, contract.row_layout)
        self.contract, self._document = contract, contracts.encode(contract)
        for chunk in self._log.rows():
            self._hand_over(chunk, take or self._inbox.put)
        self.found = self._log.audit(self._log.marks)
        self.contract_known.set()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._bell, zmq.POLLIN)
        try:
            while not self._stop.is_set():
                if self._bell in dict(poller.poll(_POLL_MS)):
                    os.eventfd_read(self._bell)
                self._turn()
        except Exception as error:  # noqa: BLE001 -- the update thread raises it
            self.error = error
        self._socket.close()
        self.contract_known.set()
        self._inbox.wake()

    def _turn(self) -> None:
        """Take in what has arrived, make it durable in one sync, then answer."""
        silent_since = time.monotonic() - SILENCE_S  # what comes during a slow sync is not read yet
        taken = 0
        for _ in range(_BURST):
            try:
                identity, user, frames = receive(self._socket)
            except zmq.Again:
                break
            self._receive(identity, user, frames)
            taken += sum(map(len, frames))
            if taken > _BURST_BYTES:
                break
        self._make_durable()
        self._part()
        self._sessions.forget_silent(silent_since)
        self._welcome()
        self._push_policy()
        self._push_credit()
        self._push_enough()

    def _receive(self, identity: bytes, user: str | None, frames: list[bytes]) -> None:
        """Handle one message; a malformed one is counted and dropped."""
        try:
            message, payload = messages.decode_from_robot(frames)
            match message:
                case messages.Hello():
                    self._greet(identity, user, message)
                case messages.Probe():
                    self._send(identity, self._status(len(payload)))
                case _:
                    self._hear(identity, message, payload)
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
            reason = printable(str(error), _LOGGED)
            _log.warning("message dropped (%d so far): %s", self.ledger.malformed, reason)

    def _hear(self, identity: bytes, message: messages.FromRobot, payload: bytes) -> None:
        """Handle a message of a robot that has been let in."""
        session = self._sessions.get(identity)
        if session is None:
            self._send(identity, messages.Unknown())
            return
        account = self.ledger.account(session.robot)
        account.heard = session.heard = time.monotonic()
        match message:
            case messages.Rows():
                self._append(session, message, payload)
            case messages.Episode():
                self._note_episode(message)
            case messages.Bye():
                make_room((session.robot, message.run), self.ledger.made)
                self._leaving.append((session, message))
            case messages.Declined():
                account.note_refusal(message)
                if account.declined.bit_count() == 1:
                    count, reason = account.declined, account.reason[:_LOGGED]
                    _log.warning("%s declines %d policies: %s", session.robot, count, reason)
            case messages.Ping():
                session.arrived = message.policy
                account.note(message)
                learning = time.monotonic() - self.turned_at < STALLED_S
                self._send(identity, messages.Pong(learning=learning))

    def _greet(self, identity: bytes, user: str | None, hello: messages.Hello) -> None:
        """Let a robot in whose contract is the run's; the welcome waits for a policy."""
        reason = self._objection(user, hello)
        if reason is not None:
            self._send(identity, messages.Refused(reason=reason[:1000]))
            return
        self._sessions.admit(Session.greeted(identity, user, hello))
        self.ledger.account(hello.robot).heard = time.monotonic()
        if (hello.robot, hello.run) not in self.ledger.made:
            self.ledger.parted -= {hello.robot}

    def _objection(self, user: str | None, hello: messages.Hello) -> str | None:
        """Why a robot may not take part; the first contract counts for the run."""
        if self._objection_to_name is not None:
            reason = self._objection_to_name(user, hello.robot)
            if reason is not None:
                return reason
        try:
            check_name(hello.robot, hello.run)
            marks = {} if self._log is None else self._log.marks
            full = self.ledger.objection(hello.robot, hello.run, marks=marks)
            reason = full or self._sessions.objection(user, hello.robot)
            if reason is not None:
                return reason
            contract = read_contract(hello.contract)
            if self.contract is None:
                reason = self._objection_to_contract(contract)
                if reason is not None:
                    return reason
                self.open_log(contract)
            else:
                contracts.check(self.contract, contract)
        except (PolicyError, ValueError) as error:
            return str(error)
        assert self.contract is not None
        got, expected = contract.row_layout, self.contract.row_layout
        return None if got == expected else f"its rows are {got}; this run has {expected}"

    def _status(self, received: int) -> messages.Status:
        """Say how this learner is."""
        return messages.Status(
            robosac=__version__,
            contract=self._document,
            rows=self.ledger.rows,
            policy=0 if self.policy is None else self.policy.version,
            robots=sorted({session.robot for session in self._sessions if not session.gone}),
            wall_ns=time.time_ns(),
            received=received,
        )

    def _welcome(self) -> None:
        """Welcome who waits, once there is a policy to act with."""
        policy, log = self.policy, self._log
        if policy is None or log is None:
            return
        for session in self._sessions:
            if not (session.welcomed or session.gone):
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
        if chunk.end > _SEQUENCE_MAX:
            raise WireError(f"rows up to number {chunk.end}; expected at most {_SEQUENCE_MAX}")
        make_room(chunk.key, self._log.marks)
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
            self._hand_over(chunk, self._inbox.put)
        for identity, key in {(one.identity, chunk.key) for one, chunk in self._unsynced}:
            expected = self._log.marks.get(key, 0)
            self._send(identity, messages.Ack(run=key[1], expected=expected))
        self._unsynced.clear()

    def _hand_over(self, chunk: Chunk, take: Callable[[Chunk], None]) -> None:
        """Count rows that are durable, and let the learner have them."""
        if len(chunk.rows):
            self.ledger.rows += len(chunk.rows)
            self.ledger.account(chunk.robot).rows += len(chunk.rows)
            take(chunk)

    def _note_episode(self, episode: messages.Episode) -> None:
        """Keep an episode for display; raises WireError when its names are more than a task has."""
        terms = self._terms | episode.rewards.keys()
        if len(terms) > _TERMS_MAX:
            raise WireError(f"{len(terms)} reward terms in this run; expected at most {_TERMS_MAX}")
        self._terms = terms
        self.episodes.append(episode)

    def _part(self) -> None:
        """Let runs go whose rows are all durable; of others say again from where to send."""
        leaving, self._leaving = self._leaving, []
        for session, bye in leaving:
            self._let_go(session, bye)

    def _let_go(self, session: Session, bye: messages.Bye) -> None:
        assert self._log is not None
        key = (session.robot, bye.run)
        expected = self._log.marks.get(key, 0)
        if max(expected, bye.oldest) < bye.made:
            self._send(session.identity, messages.Ack(run=bye.run, expected=expected))
            return
        if key not in self.ledger.made:
            self.ledger.skipped += max(0, bye.made - expected)
            self.ledger.made[key] = bye.made
        if not any(one.robot == session.robot for one in self._unfinished()):
            self.ledger.parted |= {session.robot}
        if self._send(session.identity, messages.Farewell(run=bye.run)):
            session.told_farewell |= bye.run == session.run
        self._inbox.wake()

    def _push_policy(self) -> None:
        """Send the newest policy to every robot that has an older one and nothing on its way."""
        policy = self.policy
        if policy is None:
            return
        for session in self._sessions:
            busy = session.arrived != session.sent
            ready = session.welcomed and not (busy or session.gone)
            if ready and session.sent != policy.version:
                push = messages.Policy(version=policy.version, sha256=policy.sha256)
                if self._send(session.identity, push, policy.file):
                    session.sent = policy.version

    def _push_credit(self) -> None:
        """Share the allowed steps among the simulated robots; a real one is never held up."""
        going = self._going()
        paced = [session for session in going if session.paced]
        credit = self._shares(paced)
        for session in going:
            told = credit.get(session.key)
            if session.credit != told:
                message = messages.Credit(run=session.run, credit=told)
                if self._send(session.identity, message):
                    session.credit = told

    def _shares(self, paced: list[Session]) -> dict[tuple[str, str], int]:
        """Credit of every simulated robot; none when nothing bounds them."""
        bounds = [bound for bound in (self.allowed_steps, self.steps) if bound is not None]
        if not paced or self._log is None or not bounds:
            return {}
        log_marks = self._log.marks
        owed = sum(session.owes(log_marks, self.ledger.made) for session in paced)
        allowed = min([*bounds, self.ledger.rows + _AHEAD]) - owed
        marks = {session.key: log_marks.get(session.key, 0) for session in paced}
        made = {session.key: session.has_made(log_marks) for session in paced}
        return self._credit.share(allowed, rows=self.ledger.rows, marks=marks, made=made)

    def _push_enough(self) -> None:
        """Let the robots go when there are as many rows as were asked for."""
        if self.enough:
            for session in self._going():
                if not session.told_enough:
                    session.told_enough = self._send(session.identity, messages.Enough())

    def _going(self) -> list[Session]:
        """Sessions of runs that are welcome and not over."""
        return [session for session in self._unfinished() if session.welcomed]

    def _unfinished(self) -> list[Session]:
        """Sessions whose own run is not over."""
        return [one for one in self._sessions if one.key not in self.ledger.made]

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
            if (session := self._sessions.get(identity)) is not None:
                session.gone = True
            return False
        return True
