"""The half-duplex wire between the host and the servos: who talks when, and what arrives.

Nothing here waits: every call carries the present time, so the same bus runs in real time behind a
pseudo-terminal and in virtual time in tests, where all times are exact.
"""

from __future__ import annotations

import functools
import heapq
import math
import operator
from collections import deque
from typing import TYPE_CHECKING, Literal

import msgspec

from robots.dynamixel.protocol import (
    BROADCAST,
    HEADER,
    MAX_FRAME,
    STATUS,
    ErrorNumber,
    Instruction,
    Receiver,
    Status,
    crc16,
    encode_status,
)
from sim.emulator.requests import Turn, plan
from sim.emulator.spoil import misreport, spoil

if TYPE_CHECKING:
    from collections.abc import Callable

    from robots.dynamixel.protocol import Frame
    from sim.emulator.bench import Bench

TURNAROUND_NS = 20_000
"""Time a servo takes to answer, besides its return delay, ns; assumed."""
_ABSENT_NS = 2_000_000
"""How long the next servo in a chain waits for an absent one, if it answers at all, ns; assumed."""
_STALE_NS = 50_000_000
"""Age at which a servo forgets an incomplete instruction, ns; assumed."""
_BITS_PER_BYTE = 10
_FAST_HEAD, _FAST_BLOCK, _OUTSIDE_LENGTH = 8, 4, 7
_FAST = (Instruction.FAST_SYNC_READ, Instruction.FAST_BULK_READ)


class WireOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What nobody has established about real wires, and what adapters add."""

    baud: int = 1_000_000
    """Speed of the host until it changes it, bit/s."""
    usb_latency_ms: float = 0.0
    """Replies reach the host at multiples of this only, ms; 0 is at once."""
    split: bool = False
    """Whether replies arrive in pieces, cut at random."""
    behind_absent: Literal["answer", "silent"] = "answer"
    """What servos do that stand in a sync read behind one that says nothing."""
    bad_crc: Literal["error", "silent"] = "silent"
    """How a servo takes an instruction for it whose CRC is wrong."""


class Bus:
    """One wire with servos on it; times are ns of a clock that the caller keeps."""

    def __init__(self, bench: Bench, *, options: WireOptions | None = None) -> None:
        """Connect the servos of the bench to an idle wire."""
        self.options = options or WireOptions()
        self.host_baud = self.options.baud
        """Speed at which the host talks, bit/s; only servos of the same speed hear it."""
        self.bench = bench
        self._faults = bench.faults
        self._receiver = Receiver("instruction")
        self._waiting: deque[tuple[Frame, int]] = deque()
        self._events: list[tuple[int, int, Callable[[int], None]]] = []
        self._arrivals: list[tuple[int, int, bytes]] = []
        self._count = 0
        self._busy = False
        self._free_ns = 0
        self._heard_ns = 0
        self._held = b""

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes that the host has written now."""
        self.advance(now_ns)
        if self._receiver.waiting and now_ns - self._heard_ns > _STALE_NS:
            self._queue(self._receiver.expire(), now_ns)
        self._heard_ns = now_ns
        if any(fault.covers(now_ns) for fault in self._faults.at("request")):
            self._deliver(data, now_ns + self._duration_ns(len(data)))
        bad = self._receiver.rejects.bad_crc
        self._queue(self._receiver.feed(data), now_ns)
        if self._receiver.rejects.bad_crc > bad and self.options.bad_crc == "error":
            self._complain(self._receiver.last_bad, now_ns)

    def advance(self, now_ns: int) -> None:
        """Let everything happen that is due by now."""
        while self._events and self._events[0][0] <= now_ns:
            due_ns, _, action = heapq.heappop(self._events)
            self.bench.advance(due_ns)
            action(due_ns)
        self.bench.advance(now_ns)

    def transmit(self, now_ns: int) -> bytes:
        """Bytes that have reached the host by now and were not asked for before."""
        self.advance(now_ns)
        arrived = bytearray()
        while self._arrivals and self._arrivals[0][0] <= now_ns:
            arrived += heapq.heappop(self._arrivals)[2]
        return bytes(arrived)

    def next_ns(self) -> int | None:
        """When something happens next if the host says nothing more; None is never."""
        due = [queue[0][0] for queue in (self._events, self._arrivals) if queue]
        return min(due, default=None)

    def hang_up(self) -> None:
        """Forget what is under way, as when the adapter is pulled out."""
        self._receiver = Receiver("instruction")
        self._busy, self._held = False, b""
        for queue in (self._waiting, self._events, self._arrivals):
            queue.clear()

    def _duration_ns(self, size: int) -> int:
        """How long so many bytes take on the wire."""
        return round(size * _BITS_PER_BYTE * 1e9 / self.host_baud)

    def _at(self, due_ns: int, action: Callable[[int], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (due_ns, self._count, action))

    def _queue(self, frames: list[Frame], now_ns: int) -> None:
        """Send the host's frames one after the other, each when the wire is free."""
        self._waiting.extend((frame, now_ns) for frame in frames)
        self._send()

    def _send(self) -> None:
        if self._busy or not self._waiting:
            return
        frame, arrived_ns = self._waiting.popleft()
        self._busy = True
        start_ns = max(arrived_ns, self._free_ns)
        self._at(start_ns + self._duration_ns(len(frame.raw)), functools.partial(self._hear, frame))

    def _hear(self, frame: Frame, now_ns: int) -> None:
        """Let the servos take an instruction whose last byte has gone by."""
        listeners = [one for one in self.bench.servos if one.hears(self.host_baud, now_ns)]
        turns = plan(frame, listeners, now_ns)
        if frame.instruction in _FAST:
            self._begin_fast(turns, frame.instruction, now_ns)
        else:
            self._answer(deque(turns), frame, now_ns)

    def _complain(self, bad: bytes, now_ns: int) -> None:
        """Answer an instruction whose CRC was wrong, if it was for one servo."""
        for servo in self.bench.servos:
            if servo.id == bad[len(HEADER)] and servo.hears(self.host_baud, now_ns):
                reply = encode_status(servo.status(ErrorNumber.CRC))
                start_ns = (
                    now_ns + self._duration_ns(len(bad)) + self._delay_ns(servo.return_delay_us)
                )
                self._deliver(reply, start_ns + self._duration_ns(len(reply)))

    def _delay_ns(self, return_delay_us: int) -> int:
        return TURNAROUND_NS + 1000 * return_delay_us

    def _answer(self, turns: deque[Turn], frame: Frame, now_ns: int) -> None:
        """Give the word to the next servo in order; the last one gives the wire back."""
        if not turns:
            self._finish(now_ns)
            return
        turn = turns.popleft()
        if turn.servo is None:
            if self.options.behind_absent == "silent":
                turns.clear()
            wait_ns = _ABSENT_NS if turns else 0
            self._at(now_ns + wait_ns, functools.partial(self._answer, turns, frame))
            return
        speakers = [turn]
        while turns and turns[0].id == turn.id and turns[0].servo not in (None, turn.servo):
            speakers.append(turns.popleft())
        start_ns = now_ns + self._delay_ns(turn.servo.return_delay_us)
        self._at(start_ns, functools.partial(self._speak, speakers, turns, frame))

    def _speak(self, speakers: list[Turn], turns: deque[Turn], frame: Frame, now_ns: int) -> None:
        """Let one servo answer with what it knows now; servos of one ID talk at the same time."""
        statuses = [status for turn in speakers if (status := turn.status()) is not None]
        if not statuses:
            self._answer(turns, frame, now_ns)
            return
        reply = _overlay(
            [
                encode_status(self._misreported(status, frame.instruction, now_ns))
                for status in statuses
            ]
        )
        end_ns = self._put(reply, [statuses[0].id], frame.instruction, now_ns)
        self._at(end_ns, functools.partial(self._answer, turns, frame))

    def _finish(self, now_ns: int) -> None:
        """Give the wire back to the host."""
        if self._held:
            self._deliver(self._held, now_ns)
            self._held = b""
        self._busy, self._free_ns = False, now_ns
        self._send()

    def _begin_fast(self, turns: list[Turn], instruction: int, now_ns: int) -> None:
        """Start the one packet that all servos of a fast read write together."""
        first = turns[0].servo if turns else None
        if first is None or _fast_size(turns) > MAX_FRAME:
            self._finish(now_ns)
            return
        start_ns = now_ns + self._delay_ns(first.return_delay_us)
        self._at(start_ns, functools.partial(self._speak_fast, turns, instruction))

    def _speak_fast(self, turns: list[Turn], instruction: int, now_ns: int) -> None:
        """Write the packet as far as the chain holds: one absent servo cuts it off there."""
        length = _fast_size(turns) - _OUTSIDE_LENGTH
        packet = bytearray(HEADER + bytes((BROADCAST, length & 0xFF, length >> 8, STATUS)))
        for turn in turns:
            status = turn.status()
            if turn.servo is None or status is None or len(status.data) != turn.size:
                break
            packet += _block(self._misreported(status, instruction, now_ns))
            packet += crc16(bytes(packet)).to_bytes(2, "little")
        end_ns = self._put(bytes(packet), [turn.id for turn in turns], instruction, now_ns)
        self._at(end_ns, self._finish)

    def _misreported(self, status: Status, instruction: int, now_ns: int) -> Status:
        """What a servo says, with the faults that strike it."""
        struck = self._faults.strike("status", now_ns, [status.id], instruction)
        return misreport(status, struck)

    def _put(self, reply: bytes, servos: list[int], instruction: int, now_ns: int) -> int:
        """Put a reply on the wire, with the faults that strike it; returns when it is over."""
        struck = self._faults.strike("reply", now_ns, servos, instruction)
        spoilt = spoil(reply, struck, self._faults.random)
        end_ns = now_ns + self._duration_ns(max(len(reply), len(spoilt.data)))
        data = spoilt.data
        if spoilt.behind_next:
            self._held += data
            return end_ns
        if self._held:
            data, self._held = data + self._held, b""
        self._deliver(data, end_ns + spoilt.late_ns, began_ns=now_ns)
        return end_ns

    def _deliver(self, data: bytes, due_ns: int, *, began_ns: int | None = None) -> None:
        """Let bytes arrive at the host, in pieces if the adapter cuts them."""
        cut = len(data)
        if self.options.split and began_ns is not None and len(data) > 1:
            cut = self._faults.random.randint(1, len(data) - 1)
        if data[:cut] != data:
            self._arrive(data[:cut], due_ns - self._duration_ns(len(data) - cut))
        self._arrive(data[cut:] or data, due_ns)

    def _arrive(self, data: bytes, due_ns: int) -> None:
        quantum_ns = round(1e6 * self.options.usb_latency_ms)
        if quantum_ns:
            due_ns = math.ceil(due_ns / quantum_ns) * quantum_ns
        self._count += 1
        heapq.heappush(self._arrivals, (due_ns, self._count, data))


def _fast_size(turns: list[Turn]) -> int:
    """Size of a fast reply, bytes."""
    return _FAST_HEAD + sum(_FAST_BLOCK + turn.size for turn in turns)


def _block(status: Status) -> bytes:
    """What one servo writes into a fast reply, without its CRC."""
    return bytes((status.error, status.id)) + status.data


def _overlay(replies: list[bytes]) -> bytes:
    """What several servos say at once: the wire is high where all of them let it be."""
    size = max(map(len, replies))
    columns = zip(*(reply.ljust(size, b"\xff") for reply in replies), strict=True)
    return bytes(functools.reduce(operator.and_, column) for column in columns)
