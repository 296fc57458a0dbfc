"""What becomes of a robot's connection: ZeroMQ itself reconnects in silence, or in silence not."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import recv_monitor_message

from robosac.wire.sockets import connect, open_robot

if TYPE_CHECKING:
    from robosac.wire.keys import RobotKeys
    from robosac.wire.sockets import Context, Socket

_MECHANISM_MISMATCH = 0x11000002
"""ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH, in zmq.h of libzmq 4.3."""


class Connection(enum.Enum):
    """What is known of a connection; the value says it in words."""

    CONNECTING = "no answer yet"
    NOBODY = "nobody listens there"
    REFUSED = "the learner does not let this robot's key in"
    ONE_SIDED_KEYS = "keys are used on one side only"
    FOREIGN = "what listens there hangs up: its key is not the one expected, or it is no learner"
    CONNECTED = "connected"


_OUTCOMES = {
    zmq.Event.CLOSED: Connection.NOBODY,
    zmq.Event.HANDSHAKE_SUCCEEDED: Connection.CONNECTED,
    zmq.Event.HANDSHAKE_FAILED_AUTH: Connection.REFUSED,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL: Connection.FOREIGN,
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL: Connection.FOREIGN,
}

_FINAL = (zmq.Event.HANDSHAKE_FAILED_AUTH, zmq.Event.HANDSHAKE_FAILED_PROTOCOL)


class ConnectionMonitor:
    """Follows the connection of one robot's socket; poll() and then look at `state`.

    It must be made before the socket connects, which connect_watched does: what happened earlier is
    never told.  ZeroMQ goes on trying by itself unless `given_up`: then the learner has refused the
    handshake, and only a new socket calls again.  Close the monitor before its socket.
    """

    def __init__(self, socket: Socket) -> None:
        """Watch a socket that is not yet connected, from the thread that uses it."""
        self.state = Connection.CONNECTING
        """As of the last poll()."""
        self.given_up = False
        """Whether ZeroMQ will not try again by itself."""
        self._socket = socket
        self._shaking_hands = False
        self._events: Socket = socket.get_monitor_socket()

    def poll(self, timeout_ms: int = 0) -> Connection:
        """Take in what has happened, waiting so long for the first event; returns the state."""
        while not self._events.closed and self._events.poll(timeout_ms):
            event = recv_monitor_message(self._events)
            self._note(zmq.Event(event["event"]), event["value"])
            timeout_ms = 0
        return self.state

    def close(self) -> None:
        """Stop to watch; may be called any number of times."""
        if not self._events.closed:
            self._socket.disable_monitor()
            self._events.close(linger=0)

    def _note(self, event: zmq.Event, value: int) -> None:
        """Move on; a failure is kept until another one or a success follows."""
        if event in _OUTCOMES:
            self.state, self._shaking_hands = _OUTCOMES[event], False
            self.given_up = event in _FINAL
            if value == _MECHANISM_MISMATCH:
                self.state = Connection.ONE_SIDED_KEYS
        elif event == zmq.Event.CONNECTED:
            self._shaking_hands = True
        elif event == zmq.Event.DISCONNECTED:
            if self.state is Connection.CONNECTED:
                self.state = Connection.CONNECTING
            elif self._shaking_hands:  # it spoke ZeroMQ, and was no peer for a robot
                self.state, self.given_up = Connection.FOREIGN, True
            self._shaking_hands = False
        elif event == zmq.Event.CONNECT_RETRIED:
            self.given_up = False


def connect_watched(
    context: Context, endpoint: str, keys: RobotKeys | None = None
) -> tuple[Socket, ConnectionMonitor]:
    """Open a robot's socket as connect_robot does, with a monitor that has seen everything."""
    socket = open_robot(context, keys)
    monitor = ConnectionMonitor(socket)
    connect(socket, endpoint)
    return socket, monitor
