"""Who may talk to a learner: decides at every handshake, by the keys in a folder."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import zmq
from zmq.utils import z85

from robosac.errors import WireError
from robosac.wire.keys import read_public

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.wire.keys import LearnerKeys
    from robosac.wire.sockets import Context, Socket

_log = logging.getLogger(__name__)
_ZAP = "inproc://zeromq.zap.01"
_ZAP_VERSION = b"1.0"
_ZAP_PARTS = 7
"""Version, request id, domain, address, routing id, mechanism, and with CURVE the key."""


class Gatekeeper:
    """Answers ZeroMQ's question about every caller of the sockets of one context.

    It reads the folder of allowed keys at every handshake: a key that is added is let in at once,
    one that is removed is refused when it calls the next time.  Frames of who was let in carry
    their public key as user id, which robosac.wire.sockets.receive returns.  Without a gatekeeper
    a CURVE socket of ours lets nobody in.
    """

    def __init__(self, context: Context, keys: LearnerKeys) -> None:
        """Begin to answer; raises WireError when the context has a gatekeeper already."""
        self.refused = 0
        """Handshakes that were refused."""
        self._allowed = keys.allowed
        self._names: dict[str, str] = {}
        self._questions = context.socket(zmq.REP)
        self._questions.setsockopt(zmq.LINGER, 0)
        try:
            self._questions.bind(_ZAP)
        except zmq.ZMQError:
            self._questions.close()
            raise WireError("context has a gatekeeper; expected none; close the other") from None
        self._end, far_end = _pair(context, f"inproc://gatekeeper-{id(self)}")
        self._thread = threading.Thread(
            target=self._run, args=(far_end,), name="gatekeeper", daemon=True
        )
        self._thread.start()

    def name_of(self, user_id: str) -> str | None:
        """Name of the key that a caller was let in with; None when it was not let in here."""
        return self._names.get(user_id)

    def close(self) -> None:
        """End the thread; may be called any number of times, by one thread."""
        if not self._end.closed:
            self._end.send(b"")
            self._thread.join()
            self._end.close()

    def _run(self, end: Socket) -> None:
        poller = zmq.Poller()
        poller.register(self._questions, zmq.POLLIN)
        poller.register(end, zmq.POLLIN)
        while end not in (ready := dict(poller.poll())):
            if self._questions in ready:
                self._questions.send_multipart(self._answer(self._questions.recv_multipart()))
        self._questions.unbind(_ZAP)  # at once; closing leaves that to a thread of ZeroMQ
        self._questions.close()
        end.close()

    def _answer(self, question: list[bytes]) -> list[bytes]:
        """Let a caller in under the name of its key, or count it as refused."""
        if len(question) == _ZAP_PARTS and question[5] == b"CURVE":
            public = z85.encode(question[6])
            name = _name_of(public, self._allowed)
            if name is not None:
                self._names[public.decode()] = name
                return [_ZAP_VERSION, question[1], b"200", b"", public, b""]
        self.refused += 1
        if self.refused.bit_count() == 1:  # so few lines that no stranger fills the disk
            where = question[3].decode(errors="replace") if len(question) == _ZAP_PARTS else "?"
            _log.warning("refused a caller from %s: unknown key (%d so far)", where, self.refused)
        request = question[1] if len(question) > 1 else b""
        return [_ZAP_VERSION, request, b"400", b"unknown key", b"", b""]


def _name_of(public: bytes, allowed: Path) -> str | None:
    """Name of the allowed key, or None; a damaged file lets nobody in."""
    try:
        files = sorted(allowed.glob("*.key"))
    except OSError as error:
        _log.warning("nobody is let in: %s cannot be read (%s)", allowed, error.strerror)
        return None
    for file in files:
        try:
            if read_public(file) == public:
                return file.stem
        except WireError as error:
            _log.warning("skipped a key: %s", error)
    return None


def _pair(context: Context, endpoint: str) -> tuple[Socket, Socket]:
    """Two connected sockets, one for each thread."""
    here, there = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    here.bind(endpoint)
    there.connect(endpoint)
    return here, there
