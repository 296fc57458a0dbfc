"""What happened on a bus, counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from robots.dynamixel.protocol import Rejects


@dataclass(slots=True)
class Stats:
    """What happened on the bus since it was opened."""

    requests: int = 0
    """Instructions that were sent and want a reply."""
    timeouts: int = 0
    """Replies that did not come in time."""
    unexpected: int = 0
    """Good frames that answer nothing: other ID, other length, twice, out of order, too late."""
    conflicts: int = 0
    """Servos that answered one request twice and differently, so that neither is believed."""
    flushed_bytes: int = 0
    """Bytes that had arrived before a request was sent and were thrown away."""
    retries: int = 0
    """Requests that were sent a second time."""
    fences: int = 0
    """Pings that were sent to let late replies pass."""
    fallbacks: int = 0
    """How often fast sync reads were given up in favour of plain ones."""
    trials: int = 0
    """Fast sync reads that were sent to find out whether they work again."""
    rejects: Rejects = field(default_factory=Rejects)
    """What the receiver did not take."""
