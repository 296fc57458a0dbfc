"""ZeroMQ sockets with every option set before connect or bind: afterwards most are ignored."""

from __future__ import annotations

from typing import TypeAlias

import zmq

from robosac.errors import WireError
from robosac.wire.messages import LEARNER_FRAME_MAX, ROBOT_FRAME_MAX

Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]
Socket: TypeAlias = zmq.Socket[bytes]

PORT_MAX = 65_535

COMMON_OPTIONS = {
    zmq.SNDHWM: 64,  # messages; what finds no room stays in the spool
    zmq.RCVHWM: 64,
    zmq.HANDSHAKE_IVL: 5000,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 5000,
    zmq.TCP_KEEPALIVE: 1,
}
ROBOT_OPTIONS = COMMON_OPTIONS | {
    zmq.LINGER: 0,  # what was not delivered is in the spool
    zmq.MAXMSGSIZE: LEARNER_FRAME_MAX,
    zmq.IMMEDIATE: 1,  # queue nothing for a learner that is not there
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2000,
}
LEARNER_OPTIONS = COMMON_OPTIONS | {
    zmq.LINGER: 500,  # the last farewell should leave before the socket goes
    zmq.MAXMSGSIZE: ROBOT_FRAME_MAX,
    zmq.ROUTER_MANDATORY: 1,  # say so when a robot is gone or does not read
}


def connect_robot(context: Context, endpoint: str) -> Socket:
    """Open the robot's DEALER towards a learner; it reconnects by itself with back-off."""
    socket = _socket(context, zmq.DEALER, ROBOT_OPTIONS)
    socket.connect(endpoint)
    return socket


def bind_learner(context: Context, port: int) -> tuple[Socket, str]:
    """Open the learner's ROUTER on loopback; port 0 takes any free one.

    Returns the socket and its endpoint.  Raises WireError when the port is taken.
    """
    if not 0 <= port <= PORT_MAX:
        raise WireError(f"port {port}; expected 1 to {PORT_MAX}, or 0 for any free one")
    socket = _socket(context, zmq.ROUTER, LEARNER_OPTIONS)
    try:
        socket.bind(f"tcp://127.0.0.1:{port or '*'}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise WireError(
            f"port {port} cannot be used ({zmq.strerror(error.errno or 0).lower()}); "
            "choose another with --port, or 0 for any free one"
        ) from None
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def _socket(context: Context, kind: int, options: dict[zmq.SocketOption, int]) -> Socket:
    socket = context.socket(kind)
    for option, value in options.items():
        socket.setsockopt(option, value)
    return socket
