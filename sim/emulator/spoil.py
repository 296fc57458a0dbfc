"""What faults do to the bytes of one reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robots.dynamixel.protocol import HEADER, crc16

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from sim.emulator.faults import Fault

_ID, _ERROR = 4, 8
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


def spoil(reply: bytes, faults: Iterable[Fault], dice: random.Random) -> Spoilt:
    """Let every one of the faults act on a reply, in their order."""
    late_ns, behind_next = 0, False
    for fault in faults:
        if fault.name == "late":
            late_ns += round(_NS_PER_MS * fault.size)
        elif fault.name == "swap":
            behind_next = True
        else:
            reply = _BYTES[fault.name](reply, round(fault.size), dice)
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


def _wrong_id(reply: bytes, amount: int, dice: random.Random) -> bytes:
    """Answer under another ID, all else being right."""
    del dice
    return _with_byte(reply, _ID, (reply[_ID] + amount) % 253)


def _error(reply: bytes, amount: int, dice: random.Random) -> bytes:
    """Answer with an error number, the Alert bit as it is."""
    del dice
    return _with_byte(reply, _ERROR, (reply[_ERROR] & 0x80) | (amount & 0x7F))


def _duplicate(reply: bytes, amount: int, dice: random.Random) -> bytes:
    del amount, dice
    return reply + reply


def _collision(reply: bytes, amount: int, dice: random.Random) -> bytes:
    """Two servos pull the wire down: it is high where both let it be."""
    del amount
    start = len(HEADER)
    other = dice.randbytes(len(reply) - start)
    return reply[:start] + bytes(a & b for a, b in zip(reply[start:], other, strict=True))


def _with_byte(reply: bytes, place: int, value: int) -> bytes:
    """Change one byte of a status frame and make its CRC right again."""
    changed = reply[:place] + bytes((value,)) + reply[place + 1 : -2]
    return changed + crc16(changed).to_bytes(2, "little")


_BYTES: dict[str, Callable[[bytes, int, random.Random], bytes]] = {
    "drop": _drop,
    "truncate": _truncate,
    "extra": _extra,
    "noise": _noise,
    "flip": _flip,
    "wrong-id": _wrong_id,
    "error": _error,
    "duplicate": _duplicate,
    "collision": _collision,
}
