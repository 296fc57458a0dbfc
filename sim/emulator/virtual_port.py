"""A port in virtual time: reading waits by turning the clock, so tests are exact and fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.emulator.bus import Bus


class VirtualPort:
    """The host's end of an emulated bus, without a terminal and without real time."""

    def __init__(self, bus: Bus) -> None:
        """Begin at the time the bench has come to."""
        self.bus = bus
        """The bus behind."""
        self.now_ns = bus.bench.now_ns
        """Present time, ns."""

    def write(self, data: bytes) -> None:
        """Send bytes; that takes no time here, only on the wire."""
        self.bus.receive(data, self.now_ns)

    def read(self, deadline_ns: int) -> bytes:
        """Bytes that have arrived, at least one unless the deadline passes."""
        while True:
            data = self.bus.transmit(self.now_ns)
            due_ns = self.bus.next_ns()
            if data or self.now_ns >= deadline_ns:
                return data
            self.now_ns = deadline_ns if due_ns is None else min(due_ns, deadline_ns)

    def exchange(self, data: bytes, *, wait_ms: float = 20.0) -> bytes:
        """Send bytes and return everything that arrives until nothing more will, or in time."""
        self.write(data)
        deadline_ns = self.now_ns + round(1e6 * wait_ms)
        answer = b""
        while (due_ns := self.bus.next_ns()) is not None and due_ns <= deadline_ns:
            self.now_ns = max(self.now_ns, due_ns)
            answer += self.bus.transmit(self.now_ns)
        return answer

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self.now_ns += round(1e9 * seconds)
        self.bus.advance(self.now_ns)
