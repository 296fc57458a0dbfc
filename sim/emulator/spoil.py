"""What faults do to one reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robots.dynamixel.protocol import ALERT, HEADER, MAX_ID, Status

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from sim.emulator.faults import Fault

_IDS = MAX_ID + 1
_NS_PER_MS = 1_000_000


@dataclass(frozen=True)
class Spoilt:
    """What becomes of a reply: the bytes that arrive, and when they do."""

    data: bytes
    """The bytes; empty when nothing arrives."""
    late_ns: int = 0
    """How much later than they should, ns."""
    behind_next: bool = False
    """Whether they arrive behind the next reply only."""


def misreport(status: Status, faults: Iterable[Fault]) -> Status:
    """Let faults act on what a servo says, in a frame that is whole."""
    for fault in faults:
        amount = round(fault.size)
        if fault.name == "wrong-id":
            status = status._replace(id=(status.id + amount) % _IDS)
        else:
            status = status._replace(error=(status.error & ALERT) | (amount & ~ALERT & 0xFF))
    return status


def spoil(reply: bytes, faults: Iterable[Fault], dice: random.Random) -> Spoilt:
    """Let every one of the faults act on a reply, in their order."""
    late_ns, behind_next = 0, False
    for fault in faults:
        if fault.name == "late":
            late_ns += round(_NS_PER_MS * fault.size)
        elif fault.name == "swap":
            behind_next = True
        else:
            reply = _BYTES[fault.name](reply, max(round(fault.size), 0), dice)
    return Spoilt(reply, late_ns, behind_next)


def _drop(reply: bytes, amount: int, dice: random.Random) -> bytes:
    del reply, amount, dice
    return b""


def _truncate(reply: bytes, amount: int, dice: random.Random) -> bytes:
    del dice
    return reply[: max(len(reply) - amount, 0)]


def _extra(reply: bytes, amount: int, dice: random.Random) -> bytes:
    return reply + dice.randbytes(amount)


def _noise(reply: bytes, amount: int, dice: random.Random) -> bytes:
    return dice.randbytes(amount) + reply


def _flip(reply: bytes, amount: int, dice: random.Random) -> bytes:
    """Flip so many different bits, wherever they are."""
    bits = int.from_bytes(reply, "little")
    for place in dice.sample(range(8 * len(reply)), min(amount, 8 * len(reply))):
        bits ^= 1 << place
    return bits.to_bytes(len(reply), "little")


def _duplicate(reply: bytes, amount: int, dice: random.Random) -> bytes:
    del amount, dice
    return reply + reply


def _collision(reply: bytes, amount: int, dice: random.Random) -> bytes:
    """Two servos pull the wire down: it is high where both let it be."""
    del amount
    start = len(HEADER)
    other = dice.randbytes(len(reply) - start)
    return reply[:start] + bytes(a & b for a, b in zip(reply[start:], other, strict=True))


_BYTES: dict[str, Callable[[bytes, int, random.Random], bytes]] = {
    "drop": _drop,
    "truncate": _truncate,
    "extra": _extra,
    "noise": _noise,
    "flip": _flip,
    "duplicate": _duplicate,
    "collision": _collision,
}
