"""A pseudo-terminal with a bus behind it, in real time: a path that any program can open."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Self

from robots.closing import Closing
from sim.emulator.pseudo_terminal import PseudoTerminal
from sim.emulator.urgency import hurry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sim.emulator.bus import Bus
    from sim.emulator.faults import Fault

_TICK_NS = 2_000_000
"""Longest sleep: the mechanics goes on in slices of this length, ns."""
_LAG_MAX_NS = 500_000_000
_JOIN_S = 5.0


class Terminal(Closing):
    """Serves one bus on a thread of its own; a context manager.

    What happens on the thread is lost to nobody: close() raises it.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        link: Path | None = None,
        on_first: Callable[[], None] | None = None,
        prompt_s: float = 0.0,
    ) -> None:
        """Serve this bus; the link always points at the port, which may change its name.

        prompt_s before something happens on the bus the thread stops to sleep and counts the time
        instead, so that neither a sleep that is too long nor the mechanics delays a reply.

        on_first is called on the thread when a client says something for the first time, before
        the bus hears it.
        """
        self.bus = bus
        """The bus behind; only the thread may touch it while the terminal is open."""
        self.overruns = 0
        """Bytes that the host did not fetch in time."""
        self.failure: Exception | None = None
        """What ended the thread before its time."""
        self._pty = PseudoTerminal(link)
        self._on_first = on_first
        self._prompt_ns = round(1e9 * prompt_s)
        self._injected: deque[Fault] = deque()
        self._wake_read, self._wake_write = -1, -1
        self._thread: threading.Thread | None = None
        self._origin_ns = 0

    @property
    def path(self) -> str:
        """Path of the port; empty while it is unplugged."""
        return self._pty.path

    def __enter__(self) -> Self:
        """Open the port."""
        self.open()
        return self

    def open(self) -> None:
        """Make the port and serve it; the bus goes on from where its time is."""
        self._wake_read, self._wake_write = os.pipe()
        self._pty.plug_in()
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
        self._pty.pull_out()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def inject(self, fault: Fault) -> None:
        """Have this fault, too, its time counting from now; from any thread."""
        self._injected.append(fault)

    def _run(self) -> None:
        hurry()
        try:
            while self._serve():
                pass
        except Exception as error:  # noqa: BLE001 -- close() raises it where somebody sees it
            self.failure = error

    def _serve(self) -> bool:
        """Wait for what comes next and see to it; False is the end."""
        now_ns = self._now_ns()
        self._take_injected()
        self._plug(present=not self.bus.bench.faults.present("unplug", now_ns))
        far = self._pty.far
        deaf = far < 0 or self.bus.bench.faults.present("block", now_ns)
        wanted = [self._wake_read] if deaf else [self._wake_read, far]
        due_ns = self.bus.next_ns()
        idle_ns = _TICK_NS if due_ns is None else due_ns - self._prompt_ns - now_ns
        ready = select.select(wanted, [], [], min(max(idle_ns, 0), _TICK_NS) / 1e9)[0]
        if self._wake_read in ready:
            return False
        if far in ready:
            self._take()
        elif due_ns is not None:
            self._count_down(due_ns)
        arrived = self.bus.transmit(self._now_ns())
        if arrived and far >= 0:
            self.overruns += self._pty.give(arrived)
        return True

    def _count_down(self, due_ns: int) -> None:
        """Be awake when something happens that happens soon, with the mechanics done before."""
        now_ns = self._now_ns()
        if due_ns - now_ns > self._prompt_ns:
            return
        self.bus.advance(min(now_ns, due_ns))
        while self._now_ns() < due_ns:
            pass

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
        if present:
            self._pty.plug_in()
        elif self._pty.far >= 0:
            self._pty.pull_out()
            self.bus.hang_up()

    def _take(self) -> None:
        """Hand the bus what the host has written, at the host's speed."""
        data = self._pty.take()
        if self._on_first is not None:
            self._on_first()
            self._on_first = None
            self._take_injected()
        self.bus.host_baud = self._pty.speed()
        self.bus.receive(data, self._now_ns())

    def _take_injected(self) -> None:
        """Pass on faults that have come from other threads."""
        while self._injected:
            self.bus.bench.inject(self._injected.popleft())
