"""ZeroMQ sockets with every option set before connect or bind: afterwards most are ignored."""

from __future__ import annotations

import zmq

from robosac.errors import WireError
from robosac.wire.messages import FRAME_MAX

_OPTIONS = {
    zmq.LINGER: 0,  # what was not delivered is in the spool
    zmq.SNDHWM: 1000,
    zmq.RCVHWM: 1000,
    zmq.MAXMSGSIZE: FRAME_MAX,
    zmq.HEARTBEAT_IVL: 1000,
    zmq.HEARTBEAT_TIMEOUT: 5000,
    zmq.TCP_KEEPALIVE: 1,
}


def connect_robot(context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """Open the robot's DEALER towards a learner; it reconnects by itself with back-off."""
    socket = context.socket(zmq.DEALER)
    for option, value in _OPTIONS.items():
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a learner that is not there
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
    socket.connect(endpoint)
    return socket


def bind_learner(
    context: zmq.Context[zmq.Socket[bytes]], port: int
) -> tuple[zmq.Socket[bytes], str]:
    """Open the learner's ROUTER on loopback; port 0 takes any free one.

    Returns the socket and its endpoint.  Raises WireError when the port is taken.
    """
    socket = context.socket(zmq.ROUTER)
    for option, value in _OPTIONS.items():
        socket.setsockopt(option, value)
    try:
        socket.bind(f"tcp://127.0.0.1:{port or '*'}")
    except zmq.ZMQError as error:
        socket.close()
        raise WireError(
            f"port {port} cannot be used ({error.strerror.lower()}); "
            "choose another with --port, or 0 for any free one"
        ) from None
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)
