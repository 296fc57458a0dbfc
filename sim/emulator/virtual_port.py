"""A port in virtual time: reading waits by turning the clock, so tests are exact and fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.emulator.bus import Bus


class VirtualPort:
    """The host's end of an emulated bus, without a terminal and without real time.

    It is a line to the driver of the bus, which then works in virtual time, too.
    """

    def __init__(self, bus: Bus) -> None:
        """Begin at the time the bench has come to."""
        self.bus = bus
        """The bus behind."""
        self._now_ns = bus.bench.now_ns

    @property
    def baud(self) -> int:
        """Speed of the host, bit/s."""
        return self.bus.host_baud

    def retune(self, baud: int) -> None:
        """Talk at another speed from now on, bit/s."""
        self.bus.host_baud = baud

    @property
    def latency_s(self) -> float:
        """How long the adapter may keep bytes back, s."""
        return self.bus.options.usb_latency_ms / 1000

    def now_ns(self) -> int:
        """Present time, ns."""
        return self._now_ns

    def write(self, data: bytes) -> None:
        """Send bytes; that takes no time here, only on the wire."""
        self.bus.receive(data, self._now_ns)

    def read(self, deadline_ns: int) -> bytes:
        """Bytes that have arrived, at least one unless the deadline passes."""
        while True:
            data = self.bus.transmit(self._now_ns)
            due_ns = self.bus.next_ns()
            if data or self._now_ns >= deadline_ns:
                return data
            self._now_ns = deadline_ns if due_ns is None else min(due_ns, deadline_ns)

    def flush(self) -> int:
        """Throw away what has arrived, and return how many bytes that were."""
        return len(self.bus.transmit(self._now_ns))

    def exchange(self, data: bytes, *, wait_ms: float = 20.0) -> bytes:
        """Send bytes and return everything that arrives until nothing more will, or in time."""
        self.write(data)
        deadline_ns = self._now_ns + round(1e6 * wait_ms)
        answer = b""
        while (due_ns := self.bus.next_ns()) is not None and due_ns <= deadline_ns:
            self._now_ns = max(self._now_ns, due_ns)
            answer += self.bus.transmit(self._now_ns)
        return answer

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        self._now_ns += round(1e9 * seconds)
        self.bus.advance(self._now_ns)
