"""A dead-man over the network: the robot's end, which `robosac attend` calls."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

import zmq

from robosac.errors import WireError
from robosac.operator.beats import Report, decode_beat, encode
from robosac.operator.source import Source
from robosac.wire.gatekeeper import Gatekeeper
from robosac.wire.keys import LearnerKeys
from robosac.wire.sockets import LOOPBACK, bind_learner, receive

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.operator.beats import Beat
    from robosac.operator.operator import Operator
    from robosac.wire.sockets import Context, Socket

_log = logging.getLogger(__name__)

OLDEST_S = 0.3
"""A beat that echoes an older report is no sign of life: it was held up, or is sent again."""
SILENT_S = 0.5
"""Who holds and is silent for so long has let go."""
_SESSIONS_MAX = 16


class Heartbeat(Source):
    """Listens for beats; who sends them can hold, stop and stop in an emergency, nothing else.

    To go, to clear and to release stay with who stands beside the robot.  One attendant holds at a
    time: the first, until it lets go or is silent; stops count from everybody who is let in.
    On an address that other machines can reach it demands keys: a folder that `robosac keys` has
    made, here the part called learner, with the people in it who may attend.
    """

    def __init__(
        self, operator: Operator, address: str = LOOPBACK, *, keys: Path | None = None
    ) -> None:
        """Listen on HOST:PORT; port 0 is any free one."""
        super().__init__(operator, "heartbeat")
        self.endpoint = ""
        """Where it listens, tcp://HOST:PORT, once started."""
        self.dropped = 0
        """Messages that came twice, out of order, or could not be read."""
        self._address, self._keys = address, keys
        self._context: Context
        self._socket: Socket
        self._gatekeeper: Gatekeeper | None = None
        self._sequences: dict[str, int] = {}
        self._holder, self._held_at = "", 0.0

    @property
    def held(self) -> bool:
        """Whether somebody holds."""
        return bool(self._holder)

    def _open(self) -> None:
        """Bind, behind a gatekeeper if there are keys; raises WireError."""
        keys = None if self._keys is None else LearnerKeys.load(self._keys)
        with contextlib.ExitStack() as undo:
            self._context = zmq.Context()
            undo.callback(self._context.term)
            if keys is not None:
                self._gatekeeper = Gatekeeper(self._context, keys)
                undo.callback(self._gatekeeper.close)
            self._socket, self.endpoint = bind_learner(self._context, self._address, keys=keys)
            undo.pop_all()

    def _shut(self) -> None:
        self._let_go("closed")
        self._socket.close(linger=0)
        if self._gatekeeper is not None:
            self._gatekeeper.close()
        self._context.term()

    def _listen(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake_end, zmq.POLLIN)
        while not self._closing:
            if dict(poller.poll(int(SILENT_S * 1000))).get(self._socket):
                self._hear()
            if self._holder and time.monotonic() - self._held_at > SILENT_S:
                self._let_go("silent")

    def _hear(self) -> None:
        """Take in one message."""
        identity, user, frames = receive(self._socket)
        try:
            beat = decode_beat(frames)
        except WireError as error:
            self._drop(str(error))
            return
        if beat.sequence <= self._sequences.get(beat.session, 0):
            self._drop(f"beat {beat.sequence} came twice or late")
            return
        self._sequences[beat.session] = beat.sequence
        while len(self._sequences) > _SESSIONS_MAX:
            del self._sequences[next(iter(self._sequences))]
        self._heed(beat, self._name_of(user))
        self._answer(identity, beat)

    def _heed(self, beat: Beat, name: str) -> None:
        """Do what a beat says; stops first, however old they are."""
        if beat.estop:
            self._operator.estop(name)
        if beat.stop:
            self._operator.stop(name)
        if beat.held:
            self._hold(beat, name)
        elif beat.session == self._holder:
            self._let_go(f"let go by {name}")

    def _hold(self, beat: Beat, name: str) -> None:
        """Count a beat as a sign of life, if it is a fresh one of who holds."""
        if not 0 <= time.monotonic_ns() - beat.echo <= OLDEST_S * 1e9:
            return
        if not self._holder:
            _log.info("operator: dead-man held (%s)", name)
            self._holder = beat.session
        if beat.session == self._holder:
            self._held_at = time.monotonic()
            self._operator.alive("attend")

    def _answer(self, identity: bytes, beat: Beat) -> None:
        """Report without waiting; who does not read gets none."""
        report = Report(
            stamp=time.monotonic_ns(),
            heard=beat.sequence,
            state=self._operator.state.value,
            holding=beat.session == self._holder,
        )
        with contextlib.suppress(zmq.ZMQError):  # it is gone, or its queue is full
            self._socket.send_multipart([identity, encode(report)], zmq.NOBLOCK)

    def _name_of(self, user: str | None) -> str:
        """Name for the log of who was let in with a key."""
        name = None
        if self._gatekeeper is not None and user is not None:
            name = self._gatekeeper.name_of(user)
        return self.name if name is None else f"{self.name} of {name}"

    def _let_go(self, why: str) -> None:
        if self._holder:
            _log.info("operator: dead-man released (%s, %s)", self.name, why)
            self._holder = ""

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if self.dropped.bit_count() == 1:  # so few lines that nobody fills the disk
            _log.warning("operator: dropped a beat (%d so far): %s", self.dropped, why)
