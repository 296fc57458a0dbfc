"""A pseudo-terminal with a bus behind it, in real time: a path that any program can open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import threading
import time
import tty
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from sim.emulator.bus import Bus

_CHUNK = 4096
_TICK_S = 0.002
"""Longest sleep: the mechanics goes on in slices of this length, s."""
_LAG_MAX_NS = 500_000_000
_TCGETS2 = 0x802C542A  # Linux: the only call that tells speeds without a constant of their own
_TERMIOS2 = struct.Struct("=4IB19B2I")
_JOIN_S = 5.0


class Terminal:
    """Serves one bus on a thread of its own; a context manager.

    What happens on the thread is lost to nobody: close() raises it.
    """

    def __init__(self, bus: Bus, *, link: Path | None = None) -> None:
        """Serve this bus; the link always points at the port, which may change its name."""
        self.bus = bus
        """The bus behind; only the thread may touch it while the terminal is open."""
        self.path = ""
        """Path of the port; empty while it is unplugged."""
        self.overruns = 0
        """Bytes that the host did not fetch in time."""
        self.failure: Exception | None = None
        """What ended the thread before its time."""
        self._link = link
        self._far = self._near = -1
        self._wake_read, self._wake_write = -1, -1
        self._thread: threading.Thread | None = None
        self._origin_ns = 0

    def __enter__(self) -> Self:
        """Open the port."""
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the port."""
        self.close()

    def open(self) -> None:
        """Make the port and serve it; the bus goes on from where its time is."""
        self._wake_read, self._wake_write = os.pipe()
        self._plug_in()
        self._origin_ns = time.monotonic_ns() - self.bus.bench.now_ns
        self._thread = threading.Thread(target=self._run, name=f"bus {self.path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Remove the port; raises what ended the thread, once."""
        if self._thread is not None:
            os.write(self._wake_write, b"x")
            self._thread.join(_JOIN_S)
            self._thread = None
            for end in (self._wake_read, self._wake_write):
                os.close(end)
        self._pull_out()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _plug_in(self) -> None:
        self._far, self._near = os.openpty()
        # The near end stays open here, too: without it, the far end fails when a client leaves.
        tty.setraw(self._near)
        os.set_blocking(self._far, False)
        self.path = os.ttyname(self._near)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.path)

    def _pull_out(self) -> None:
        for end in (self._far, self._near):
            if end >= 0:
                os.close(end)
        self._far = self._near = -1
        self.path = ""
        if self._link is not None:
            self._link.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            while self._serve():
                pass
        except Exception as error:  # noqa: BLE001 -- close() raises it where somebody sees it
            self.failure = error

    def _serve(self) -> bool:
        """Wait for what comes next and see to it; False is the end."""
        now_ns = self._now_ns()
        self._plug(present=not self.bus.bench.faults.present("unplug", now_ns))
        deaf = self._far < 0 or self.bus.bench.faults.present("block", now_ns)
        wanted = [self._wake_read] if deaf else [self._wake_read, self._far]
        due_ns = self.bus.next_ns()
        wait_s = _TICK_S if due_ns is None else min(max(due_ns - now_ns, 0) / 1e9, _TICK_S)
        ready = select.select(wanted, [], [], wait_s)[0]
        if self._wake_read in ready:
            return False
        if self._far in ready:
            self._take()
        arrived = self.bus.transmit(self._now_ns())
        if arrived and self._far >= 0:
            self._give(arrived)
        return True

    def _now_ns(self) -> int:
        """Time of the bus, ns; what is far behind, as after a suspension, never happened."""
        now_ns = time.monotonic_ns() - self._origin_ns
        behind_ns = now_ns - self.bus.bench.now_ns
        if behind_ns > _LAG_MAX_NS:
            self._origin_ns += behind_ns
            now_ns -= behind_ns
        return now_ns

    def _plug(self, *, present: bool) -> None:
        """Make the port come and go."""
        if present and self._far < 0:
            self._plug_in()
        elif not present and self._far >= 0:
            self._pull_out()
            self.bus.hang_up()

    def _take(self) -> None:
        """Hand the bus what the host has written, at the host's speed."""
        data = os.read(self._far, _CHUNK)
        self.bus.host_baud = _speed(self._far)
        self.bus.receive(data, self._now_ns())

    def _give(self, data: bytes) -> None:
        """Hand the host what has arrived; what does not fit is lost, as in an adapter."""
        written = 0
        with contextlib.suppress(BlockingIOError):
            written = os.write(self._far, data)
        self.overruns += len(data) - written


def _speed(terminal: int) -> int:
    """Speed that the client has set, bit/s."""
    answer = fcntl.ioctl(terminal, _TCGETS2, bytes(_TERMIOS2.size))
    return int(_TERMIOS2.unpack(answer)[-1])
