"""What an instruction asks of the servos that hear it: who does what, and who answers in turn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from robots.dynamixel.protocol import BROADCAST, Instruction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from robots.dynamixel.protocol import Frame, Status
    from sim.emulator.servo import Servo

_READS = (Instruction.PING, Instruction.READ)
_SYNC_READS = (Instruction.SYNC_READ, Instruction.FAST_SYNC_READ)
_BULK_READS = (Instruction.BULK_READ, Instruction.FAST_BULK_READ)
_FAST = (Instruction.FAST_SYNC_READ, Instruction.FAST_BULK_READ)
_KNOWN = frozenset(Instruction)
_HEAD = 4  # address, length
_RESET_ALL = b"\xff"


@dataclass(frozen=True)
class Turn:
    """One place in the order of answers."""

    id: int
    servo: Servo | None
    """Who answers; None is nobody of that ID."""
    status: Callable[[], Status | None]
    """What it says, asked when its turn has come; None is nothing."""
    size: int = 0
    """Bytes of data that were asked for."""


@dataclass(frozen=True)
class _Part:
    """One servo's share of an instruction for many."""

    id: int
    address: int
    size: int
    data: bytes = b""


def plan(frame: Frame, listeners: Sequence[Servo], now_ns: int) -> list[Turn]:
    """Let the servos do what the instruction says, and return who answers, in order."""
    parts = _parts(frame)
    concerned = {part.id for part in parts} if frame.id == BROADCAST else {frame.id}
    for servo in listeners:
        servo.feed(now_ns, own=servo.id in concerned)
    if frame.instruction in (Instruction.SYNC_WRITE, Instruction.BULK_WRITE):
        _write_all(parts, listeners)
        return []
    if frame.instruction in (*_SYNC_READS, *_BULK_READS):
        return _read_all(parts, listeners, fast=frame.instruction in _FAST)
    if frame.id != BROADCAST:
        return [_answer(servo, frame, now_ns) for servo in listeners if servo.id == frame.id]
    if frame.instruction == Instruction.PING:
        ordered = sorted(listeners, key=lambda servo: servo.id)
        return [Turn(servo.id, servo, servo.ping) for servo in ordered]
    _broadcast(frame, listeners, now_ns)
    return []


def _broadcast(frame: Frame, listeners: Sequence[Servo], now_ns: int) -> None:
    """Let every servo execute what nobody answers; a reset of everything is not heeded."""
    reset_all = frame.instruction == Instruction.FACTORY_RESET and frame.parameters == _RESET_ALL
    if frame.instruction in _KNOWN and frame.instruction not in _READS and not reset_all:
        for servo in listeners:
            servo.execute(frame.instruction, frame.parameters, now_ns)


def _answer(servo: Servo, frame: Frame, now_ns: int) -> Turn:
    """Turn of the one servo that is meant: it acts now, but reads when its turn has come."""
    if not servo.answers(frame.instruction):
        servo.execute(frame.instruction, frame.parameters, now_ns)
        return Turn(frame.id, servo, _nothing)
    if frame.instruction in _READS:
        late = partial(servo.execute, frame.instruction, frame.parameters, now_ns)
        return Turn(frame.id, servo, late)
    status = servo.execute(frame.instruction, frame.parameters, now_ns)
    return Turn(frame.id, servo, partial(status._replace, id=frame.id))


def _write_all(parts: list[_Part], listeners: Sequence[Servo]) -> None:
    for part in parts:
        for servo in listeners:
            if servo.id == part.id:
                servo.write(part.address, part.data)


def _read_all(parts: list[_Part], listeners: Sequence[Servo], *, fast: bool) -> list[Turn]:
    """Turns in the order of the list; servos that know no fast reads are like absent ones."""
    able = [
        servo
        for servo in listeners
        if servo.answers(Instruction.READ) and (servo.fast_read or not fast)
    ]
    turns = []
    for part in parts:
        asked = [
            Turn(part.id, servo, partial(servo.read, part.address, part.size), part.size)
            for servo in able
            if servo.id == part.id
        ]
        turns += asked or [Turn(part.id, None, _nothing, part.size)]
    return turns


def _nothing() -> Status | None:
    return None


def _parts(frame: Frame) -> list[_Part]:
    """Shares of the single servos; none when the parameters do not come out even."""
    data = frame.parameters
    if frame.instruction in _SYNC_READS:
        address, size = _pair(data)
        return [_Part(servo, address, size) for servo in data[_HEAD:]]
    if frame.instruction == Instruction.SYNC_WRITE:
        return _sync_parts(data)
    if frame.instruction in (*_BULK_READS, Instruction.BULK_WRITE):
        return _bulk_parts(data, writes=frame.instruction == Instruction.BULK_WRITE)
    return []


def _pair(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[:2], "little"), int.from_bytes(data[2:_HEAD], "little")


def _sync_parts(data: bytes) -> list[_Part]:
    address, size = _pair(data)
    rest, step = data[_HEAD:], size + 1
    if len(rest) % step:
        return []
    return [
        _Part(rest[start], address, size, rest[start + 1 : start + step])
        for start in range(0, len(rest), step)
    ]


def _bulk_parts(data: bytes, *, writes: bool) -> list[_Part]:
    parts = []
    while data:
        address, size = _pair(data[1:])
        end = 1 + _HEAD + (size if writes else 0)
        if len(data) < end:
            return []
        parts.append(_Part(data[0], address, size, data[1 + _HEAD : end]))
        data = data[end:]
    return parts
