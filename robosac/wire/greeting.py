"""The first words of whatever listens at an address: whether it is ZeroMQ, and uses keys.

The monitor of a socket cannot tell this apart: when both ends hang up at once, it is chance which
reason it gives.
"""

from __future__ import annotations

import errno
import queue
import socket as sockets
import threading
import time
from typing import TYPE_CHECKING

from robosac.errors import WireError

if TYPE_CHECKING:
    from robosac.wire.address import Address

PATIENCE_S = 1.5
"""How long every step of getting through may take, s."""
_OPENING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"
"""Signature and major version of ZMTP 3, rfc.zeromq.org/spec/23; all that is said here."""
_GREETING_SIZE = 64
_MECHANISM = slice(12, 32)


def read_mechanism(address: Address) -> str:
    """Return how a ZeroMQ peer wants to be talked to: NULL, or CURVE when it uses keys.

    Raises WireError that says why nothing listens there, or that it is no ZeroMQ.
    """
    with _connect(address) as connection:
        greeting = _read_greeting(connection)
    if greeting is None:
        raise WireError(
            f"{address} accepts connections and says nothing; expected a robosac learner; is it "
            "another program, or a learner that hangs?"
        )
    if len(greeting) < _GREETING_SIZE or (greeting[0], greeting[9]) != (0xFF, 0x7F):
        raise WireError(
            f"{address} is no robosac learner: it says {greeting[:20]!r}; expected ZeroMQ; is the "
            "port right?"
        )
    return greeting[_MECHANISM].rstrip(b"\0").decode(errors="replace")


def _read_greeting(connection: sockets.socket) -> bytes | None:
    """Say who is calling and take in the answer; None when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    greeting = b""
    try:
        connection.sendall(_OPENING)
        while len(greeting) < _GREETING_SIZE:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            part = connection.recv(_GREETING_SIZE - len(greeting))
            if not part:
                break
            greeting += part
    except TimeoutError:
        return greeting or None
    except OSError:  # it has hung up
        return greeting
    return greeting


def _connect(address: Address) -> sockets.socket:
    """Open a TCP connection; raises WireError that says why there is none."""
    target = _look_up(address)
    try:
        return sockets.create_connection(target, timeout=PATIENCE_S)
    except TimeoutError:
        raise WireError(
            f"{address} does not answer; expected a machine that is on, in the same network, with "
            f"TCP port {address.port} open in its firewall"
        ) from None
    except ConnectionRefusedError:
        raise WireError(
            f"nobody listens on port {address.port} of {address.host}; expected a learner; start "
            f"it there with `robosac learn --bind '*:{address.port}' --keys keys/learner`"
        ) from None
    except OSError as error:
        unreachable = error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
        why = "there is no route to it" if unreachable else error.strerror
        raise WireError(
            f"{address} cannot be reached: {why}; expected a machine in the same network"
        ) from None


def _look_up(address: Address) -> tuple[str, int]:
    """IP address of the host as ZeroMQ would find it; raises WireError."""
    family = sockets.AF_INET6 if ":" in address.host else sockets.AF_INET
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = sockets.getaddrinfo(address.host, address.port, family, sockets.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers.put(None)
        else:
            answers.put(str(found[0][4][0]))

    # The resolver of the system cannot be told to hurry; the thread ends when it has.
    threading.Thread(target=ask, name="name lookup", daemon=True).start()
    try:
        host = answers.get(timeout=2 * PATIENCE_S)
    except queue.Empty:
        host = None
    if host is None:
        raise WireError(
            f"the name {address.host!r} is unknown in this network; expected the name of the "
            "learner's machine; try its IP address"
        )
    return host, address.port
