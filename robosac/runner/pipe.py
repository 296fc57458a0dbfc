"""Frames over a local socket between the control loop and a process that works for it.

The kernel holds what was sent: the death of the sender loses nothing, and the sender never waits.
"""

from __future__ import annotations

import select
import socket
import struct
import subprocess
import sys
import time
from collections import deque

import msgspec

_HEAD = struct.Struct("<IB")
_READ = 1 << 18
_WRITE_BUFFER = 1 << 22


class PipeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a process at the other end of a pipe is started with; each kind adds its own."""

    pipe: int = -1
    """Inherited file descriptor of the pipe."""


class FramePipe:
    """One end of a socket pair that carries (kind, payload) frames without ever blocking."""

    def __init__(self, end: socket.socket) -> None:
        """Take over one end of a stream socket pair."""
        end.setblocking(False)  # noqa: FBT003 -- the standard library's signature
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _WRITE_BUFFER)
        self._socket = end
        self._outgoing: deque[memoryview] = deque()
        self._incoming = bytearray()
        self.closed = False
        """Whether the other end is gone and everything it sent has been received."""

    @classmethod
    def pair(cls) -> tuple[FramePipe, socket.socket]:
        """Make a pipe; returns this end and the raw socket for the other process."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    @classmethod
    def to_process(
        cls, module: str, config: PipeConfig
    ) -> tuple[FramePipe, subprocess.Popen[bytes]]:
        """Start `python -m module CONFIG` with the other end of a pipe in its config.

        No signal to the group of this process reaches it, nor does its standard input.  Raises
        OSError.
        """
        pipe, theirs = cls.pair()
        with theirs:
            config = msgspec.structs.replace(config, pipe=theirs.fileno())
            command = [sys.executable, "-m", module, msgspec.json.encode(config).decode()]
            try:
                process = subprocess.Popen(  # noqa: S603 -- our own module
                    command,
                    pass_fds=[config.pipe],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError:
                pipe.close()
                raise
        return pipe, process

    @property
    def unsent(self) -> int:
        """Frames that wait because the kernel's buffer is full."""
        return len(self._outgoing)

    def fileno(self) -> int:
        """File descriptor, for select and poll."""
        return self._socket.fileno()

    def send(self, kind: int, payload: bytes = b"") -> None:
        """Queue a frame and hand the kernel as much as it takes now."""
        self._outgoing.append(memoryview(_HEAD.pack(len(payload), kind) + payload))
        self.flush()

    def flush(self) -> None:
        """Hand the kernel what waits; returns at once.

        When the other end is gone, what waits is dropped; receive() tells by `closed`.
        """
        try:
            while self._outgoing:
                sent = self._socket.send(self._outgoing[0])
                if sent < len(self._outgoing[0]):
                    self._outgoing[0] = self._outgoing[0][sent:]
                else:
                    self._outgoing.popleft()
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._outgoing.clear()

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the frames that have arrived; never waits."""
        try:
            while data := self._socket.recv(_READ):
                self._incoming += data
            self.closed = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            # The other end died with frames of ours unread; its own have all been received.
            self.closed = True
        return self._frames()

    def wait(self, timeout_s: float) -> None:
        """Wait until frames arrive or the kernel takes what waits, and hand it over."""
        select.select([self], [self] if self._outgoing else [], [], timeout_s)
        self.flush()

    def drain(self, timeout_s: float) -> None:
        """Wait until the kernel has everything, as long as `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self._outgoing and (left := deadline - time.monotonic()) > 0:
            select.select([], [self], [], left)
            self.flush()

    def _frames(self) -> list[tuple[int, bytes]]:
        frames, start = [], 0
        while start + _HEAD.size <= len(self._incoming):
            size, kind = _HEAD.unpack_from(self._incoming, start)
            end = start + _HEAD.size + size
            if end > len(self._incoming):
                break
            frames.append((kind, bytes(self._incoming[start + _HEAD.size : end])))
            start = end
        del self._incoming[:start]
        return frames

    def close(self) -> None:
        """Close this end; the other end reads what was sent, then the end."""
        self._socket.close()
