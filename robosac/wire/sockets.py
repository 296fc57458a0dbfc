"""ZeroMQ sockets with every option set before connect or bind: afterwards most are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import zmq

from robosac.errors import WireError
from robosac.wire.address import Address, is_loopback, parse_bind_address
from robosac.wire.messages import LEARNER_FRAME_MAX, ROBOT_FRAME_MAX

if TYPE_CHECKING:
    from robosac.wire.keys import LearnerKeys, RobotKeys

Context: TypeAlias = zmq.Context[zmq.Socket[bytes]]
Socket: TypeAlias = zmq.Socket[bytes]
Options: TypeAlias = dict[zmq.SocketOption, int | bytes]

LOOPBACK = "127.0.0.1:0"
"""Any free port that only this machine can reach."""
_FRAMES_KEPT = 3
"""One more than any message has, so that a longer one is seen to be too long."""

COMMON_OPTIONS: Options = {
    zmq.SNDHWM: 64,  # messages; what finds no room stays in the spool
    zmq.RCVHWM: 64,
    zmq.HANDSHAKE_IVL: 5000,
    # No HEARTBEAT_IVL: with it libzmq 4.3.5 aborts the process when a peer goes whose messages wait
    # at RCVHWM.  The messages have their own heartbeat, and the kernel finds connections dead.
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,  # s
    zmq.TCP_KEEPALIVE_INTVL: 5,  # s
    zmq.TCP_KEEPALIVE_CNT: 3,
}
ROBOT_OPTIONS: Options = COMMON_OPTIONS | {
    zmq.LINGER: 0,  # what was not delivered is in the spool
    zmq.MAXMSGSIZE: LEARNER_FRAME_MAX,
    zmq.IMMEDIATE: 1,  # queue nothing for a learner that is not there
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2000,
}
LEARNER_OPTIONS: Options = COMMON_OPTIONS | {
    zmq.LINGER: 500,  # the last farewell should leave before the socket goes
    zmq.MAXMSGSIZE: ROBOT_FRAME_MAX,
    zmq.ROUTER_MANDATORY: 1,  # say so when a robot is gone or does not read
}


def open_robot(context: Context, keys: RobotKeys | None = None) -> Socket:
    """Open the robot's DEALER, not yet connected; with keys it talks to that learner only."""
    options = ROBOT_OPTIONS
    if keys is not None:
        options = options | {
            zmq.CURVE_PUBLICKEY: keys.public,
            zmq.CURVE_SECRETKEY: keys.secret,
            zmq.CURVE_SERVERKEY: keys.learner,
        }
    return _socket(context, zmq.DEALER, options)


def connect_robot(context: Context, endpoint: str, keys: RobotKeys | None = None) -> Socket:
    """Open the robot's DEALER towards a learner, tcp://HOST:PORT; it reconnects with back-off.

    It stays silent for ever once a learner has refused its key: see robosac.wire.monitor.
    """
    socket = open_robot(context, keys)
    connect(socket, endpoint)
    return socket


def connect(socket: Socket, endpoint: str) -> None:
    """Point a socket of open_robot at a learner, tcp://HOST:PORT.

    A name is looked up for IPv4 only: ZeroMQ takes the first answer and never tries the next.
    """
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    socket.connect(endpoint)


def safe_bind_address(address: str, *, keys: LearnerKeys | None, insecure: bool) -> Address:
    """Read HOST:PORT where a learner may listen, with keys or without; raises WireError."""
    here = parse_bind_address(address)
    if keys is None and not insecure and not is_loopback(here):
        raise WireError(
            f"{address} can be reached from other machines and there are no keys; expected "
            "--keys with a folder that `robosac keys` has made, or --insecure to let everybody in"
        )
    return here


def bind_learner(
    context: Context,
    address: str = LOOPBACK,
    *,
    keys: LearnerKeys | None = None,
    insecure: bool = False,
) -> tuple[Socket, str]:
    """Open the learner's ROUTER on HOST:PORT; returns the socket and its endpoint.

    With keys it admits nobody until a Gatekeeper runs on the same context.  Without keys it
    listens where only this machine can reach it, unless told to be insecure.
    Raises WireError when the address cannot be used.
    """
    here = safe_bind_address(address, keys=keys, insecure=insecure)
    options = LEARNER_OPTIONS
    if keys is not None:
        options = options | {
            zmq.CURVE_SERVER: 1,
            zmq.CURVE_PUBLICKEY: keys.public,
            zmq.CURVE_SECRETKEY: keys.secret,
            zmq.ZAP_DOMAIN: b"robosac",
            zmq.ZAP_ENFORCE_DOMAIN: 1,  # without a gatekeeper nobody is let in
        }
    return _bound(_socket(context, zmq.ROUTER, options), here)


def receive(socket: Socket) -> tuple[bytes, str | None, list[bytes]]:
    """Take one message from the learner's socket without waiting; raises zmq.Again.

    Returns the peer's identity, its public key (None without keys), and its frames.  Of a
    message with more frames than any of ours only so many are kept that decoding refuses it.
    """
    identity = socket.recv(zmq.NOBLOCK, copy=False)
    assert isinstance(identity, zmq.Frame)
    frames: list[bytes] = []
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv()
        if len(frames) < _FRAMES_KEPT:
            frames.append(frame)
    return identity.bytes, _user_id(identity), frames


def _user_id(frame: zmq.Frame) -> str | None:
    """Public key that the peer of a frame was let in with."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return None


def _socket(context: Context, kind: int, options: Options) -> Socket:
    socket = context.socket(kind)
    for option, value in options.items():
        socket.setsockopt(option, value)
    return socket


def _bound(socket: Socket, here: Address) -> tuple[Socket, str]:
    """Bind, or close the socket and say why not."""
    socket.setsockopt(zmq.IPV6, int(":" in here.host))
    try:
        socket.bind(here.endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise WireError(
            f"port {here.port} of {here.host} cannot be used "
            f"({zmq.strerror(error.errno or 0).lower()}); choose another port, or 0 for any free "
            "one, on an address of this machine"
        ) from None
    return socket, socket.getsockopt_string(zmq.LAST_ENDPOINT)
