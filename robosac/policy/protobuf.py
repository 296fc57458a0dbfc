"""The little of the Protocol Buffers encoding that a policy file needs.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

_LENGTH_DELIMITED = 2
_GROUP = 0x7F


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field: strings, bytes and embedded messages."""
    return header(number, len(content)) + content


def header(number: int, size: int) -> bytes:
    """What stands before the content of a length-delimited field of `size` bytes."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > _GROUP:
        groups.append(value & _GROUP | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
