"""The robot's line to its learner: one socket, and a new one when that is the only way on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import zmq

from robosac.wire.monitor import Connection, connect_watched

if TYPE_CHECKING:
    from robosac.wire.keys import RobotKeys
    from robosac.wire.sockets import Context

SILENCE_S = 3.0
"""Silence of a learner, which pongs every second, after which the line is taken for dead, s."""
_RETRY_S = 0.5
_RETRY_MAX_S = 5.0
_PATIENCE_MAX_S = 24.0
_GROWTH_MAX = 64.0


class Line:
    """A connected DEALER; poll with `poller`, which follows it from socket to socket.

    ZeroMQ reconnects by itself when a connection breaks, but not after a failed handshake, and a
    call that the network swallows would take the kernel minutes to repeat.  So after a silence the
    socket is replaced.  Whatever was on its way is lost then, and said again: see Stream.
    """

    def __init__(self, endpoint: str, keys: RobotKeys | None) -> None:
        """Begin to connect."""
        self.poller = zmq.Poller()
        self.heard = time.monotonic()
        """When something last came, or the line was made, monotonic, s."""
        self._endpoint, self._keys = endpoint, keys
        self._context: Context = zmq.Context()
        self._growth = 1.0
        self._open()

    @property
    def connection(self) -> Connection:
        """What is known of the connection, as of the last look_after()."""
        return self._monitor.state

    @property
    def silent(self) -> bool:
        """Whether nothing has come for a while."""
        return time.monotonic() - self.heard > SILENCE_S

    def receive(self) -> list[bytes] | None:
        """Return the frames of one message; None when there is none."""
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        self.heard = time.monotonic()
        self._growth = 1.0
        return frames

    def send(self, frames: list[bytes]) -> bool:
        """Send without waiting; False when nobody takes it now."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def look_after(self) -> bool:
        """Replace the socket when nothing else helps; whether it has been."""
        self._monitor.poll()
        silence = time.monotonic() - max(self.heard, self._opened)
        if silence <= self._patience():
            return False
        self._close_socket()
        self._growth = min(2 * self._growth, _GROWTH_MAX)
        self._open()
        return True

    def close(self) -> None:
        """Hang up."""
        self._close_socket()
        self._context.term()

    def _patience(self) -> float:
        """Silence after which the socket is replaced, s; longer every time nothing comes of it.

        A learner that has been reached and says nothing may just be sending a large policy.
        """
        if self._monitor.given_up:
            return min(_RETRY_S * self._growth, _RETRY_MAX_S)
        reached = self._monitor.state is Connection.CONNECTED
        return min(SILENCE_S * self._growth, _PATIENCE_MAX_S if reached else _RETRY_MAX_S)

    def _open(self) -> None:
        self._socket, self._monitor = connect_watched(self._context, self._endpoint, self._keys)
        self._opened = time.monotonic()
        self.poller.register(self._socket, zmq.POLLIN)

    def _close_socket(self) -> None:
        self.poller.unregister(self._socket)
        self._monitor.close()
        self._socket.close()
