"""What a bus needs of whatever carries its bytes."""

from __future__ import annotations

from typing import Protocol


class Line(Protocol):
    """What a bus needs of a port: robots.dynamixel.port.Port, or an emulated one with its own time.

    The errors are those of Port.
    """

    @property
    def baud(self) -> int:
        """Speed, bit/s."""

    @property
    def latency_s(self) -> float:
        """How long the adapter says that it keeps bytes back, s."""

    def retune(self, baud: int) -> None:
        """Talk at another speed from now on, bit/s."""

    def now_ns(self) -> int:
        """Time that deadlines refer to, ns."""

    def write(self, data: bytes) -> None:
        """Hand on all bytes."""

    def read(self, deadline_ns: int) -> bytes:
        """Bytes that have arrived, at least one unless the deadline passes."""

    def flush(self) -> int:
        """Throw away what has arrived, and return how many bytes that were."""
