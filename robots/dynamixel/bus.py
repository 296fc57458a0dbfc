"""Transactions on one bus: who is asked what, who answered in time, and what else arrived.

A reply says neither which register nor which request it answers.  So a reply is taken only when
its ID, length and place in the order fit the request, and after a request that was not answered
completely the next one waits behind a fence: a ping whose reply, of a length of its own, comes
after everything that was still on its way.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from robots.dynamixel import control_table
from robots.dynamixel.answers import Answers
from robots.dynamixel.control_table import Register
from robots.dynamixel.fast_read import FAILURES, FastRead, FastTrust
from robots.dynamixel.protocol import (
    BROADCAST,
    MAX_ID,
    Instruction,
    Receiver,
    Status,
    encode,
)
from robots.dynamixel.stats import Stats
from robots.errors import NoReplyError, ServoRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from robots.dynamixel.line import Line
    from robots.dynamixel.protocol import Frame

_log = logging.getLogger(__name__)

_BITS_PER_BYTE = 10  # start, eight data bits, stop
_STATUS_BYTES = 11  # status frame without data
_PONG_BYTES = 3
_TURNAROUND_S = 20e-6  # from request to reply beyond the return delay; assumed, not measured
_PING_SLOT_S = 0.003  # that the vendor's SDK allows each ID to answer a broadcast ping
_PATIENCE_S = 0.05  # beyond the deadline of a second attempt, which nobody makes within a tick
_REHEARSAL_NS = 100_000  # before a reply is due
_STOP_FRAMES = 3
_STOP = encode(BROADCAST, Instruction.WRITE, b"\x40\x00\x00")
_WORST_RETURN_DELAY_S = Register.RETURN_DELAY.high * control_table.RETURN_DELAY_S_PER_COUNT


class Pong(NamedTuple):
    """What a servo says to a ping."""

    id: int
    model: int
    firmware: int


class Bus:
    """One half-duplex bus of servos; every exchange is bounded in time.

    Nothing here raises for what servos do in a sync read: a servo that did not answer is None in
    the result.  What addresses a single servo raises NoReplyError or ServoRefusedError.
    Everything raises what Port raises when the port is lost.
    """

    def __init__(
        self, port: Line, *, usb_latency_s: float = 0.001, margin_s: float = 0.001
    ) -> None:
        """Use an open port.

        usb_latency_s is how long adapter and driver may keep a reply back, and margin_s how late
        this process may be, s; an adapter that tells its own, larger latency is believed.
        """
        self.port = port
        self.return_delay_s = _WORST_RETURN_DELAY_S
        """How long servos wait before they answer, s; lower it once the registers are known."""
        self.errors: dict[int, int] = {}
        """Error byte of the last reply of each servo: alert bit and error number."""
        self.rehearse: Callable[[], None] = lambda: None
        """Called shortly before a fast reply is due; what runs twice runs faster then."""
        self._slack_s = max(usb_latency_s, port.latency_s) + margin_s
        self._receiver = Receiver()
        self._stats = Stats()
        self._suspect = False
        self._sent_ns = 0
        self._alive: int | None = None
        self._fast: dict[tuple[int, int, tuple[int, ...]], FastRead] = {}
        self._trust: dict[tuple[int, tuple[int, ...]], FastTrust] = {}

    @property
    def stats(self) -> Stats:
        """Counts so far; a copy."""
        return replace(self._stats, rejects=replace(self._receiver.rejects))

    def ping(self, device: int) -> Pong | None:
        """Model and firmware of a servo, or None when it does not answer."""
        for attempt in range(2):
            self._stats.retries += attempt
            wait_s = attempt * _PATIENCE_S
            status = self._ask(device, Instruction.PING, b"", size=_PONG_BYTES, wait_s=wait_s)
            if status is not None:
                return _pong(status)
        return None

    def speeds(self, devices: Sequence[int], bauds: Sequence[int]) -> list[int]:
        """At which of these speeds any of the servos answers a ping; then back at the old speed.

        Pings change nothing, and at a wrong speed they are noise.
        """
        usual = self.port.baud
        found = []
        for baud in bauds:
            try:
                self.port.retune(baud)
            except OSError:  # a speed that the adapter does not know
                continue
            self._alive = None
            if any(self._ask(one, Instruction.PING, b"", size=_PONG_BYTES) for one in devices):
                found.append(baud)
        self.port.retune(usual)
        self._alive = None
        return found

    def ping_all(self, wait_s: float = MAX_ID * _PING_SLOT_S) -> list[Pong]:
        """Everybody who answers within the time, in order; two servos of one ID may be two answers.

        When their answers collide they are neither, and stats counts rejects.
        """
        self._prepare()
        self._send(encode(BROADCAST, Instruction.PING))
        frames = self._collect(self.port.now_ns() + round(wait_s * 1e9))
        pongs = [frame.status for frame in frames if len(frame.parameters) == 1 + _PONG_BYTES]
        self._stats.unexpected += len(frames) - len(pongs)
        return [_pong(self._heard(status)) for status in pongs]

    def read(self, device: int, register: Register) -> int:
        """Value of a register of one servo."""
        data = self.read_block(device, register.address, register.size)
        return register.decode(data)

    def read_block(self, device: int, address: int, size: int) -> bytes:
        """Bytes of one servo from an address on; not three, as many as the reply to a ping has."""
        parameters = _block(address, size)
        request = f"read of {size} bytes from {address}"
        return self._insist(device, Instruction.READ, parameters, size=size, request=request)

    def write(self, device: int, register: Register, value: int) -> None:
        """Write a register of one servo, which confirms it; ValueError for an impossible value."""
        self.write_block(device, register.address, register.encode(value))

    def write_block(self, device: int, address: int, data: bytes) -> None:
        """Write bytes of one servo from an address on, which confirms them."""
        parameters = _words(address) + data
        request = f"write of {data.hex(' ')} to {address}"
        self._insist(device, Instruction.WRITE, parameters, size=0, request=request)

    def reboot(self, device: int) -> None:
        """Restart one servo; it confirms, is away for up to a second, and has lost its RAM.

        NoReplyError may also mean that only the confirmation was lost.
        """
        self._insist(device, Instruction.REBOOT, b"", size=0, request="reboot")

    def sync_read(
        self, address: int, size: int, devices: Sequence[int], *, retry: bool = False
    ) -> list[Status | None]:
        """The same bytes of several servos, in the order of devices; None where none came.

        A status with an error number may have no data.  With retry those who did not answer are
        asked once more.
        """
        found = self._sync_read(address, size, devices)
        missing = [device for device, status in zip(devices, found, strict=True) if status is None]
        if missing and retry:
            self._stats.retries += 1
            late = dict(zip(missing, self._sync_read(address, size, missing), strict=True))
            found = [
                late.get(device) if status is None else status
                for device, status in zip(devices, found, strict=True)
            ]
        return found

    def fast_sync_read(
        self, address: int, size: int, devices: Sequence[int]
    ) -> list[Status | None]:
        """The same as sync_read() in one reply of the whole chain, which takes less time.

        One servo that is absent or does not know it silences all.  So after two failures in a
        row these servos are read by sync_read() from this address, at once and for a while; for
        good when no fast read was ever answered by all of them.
        """
        found = self.fast_frame(address, size, tuple(devices))
        if isinstance(found, bytes):
            return self._fast_read(address, size, tuple(devices)).statuses(found)[0]
        return found

    def fast_frame(
        self, address: int, size: int, devices: tuple[int, ...]
    ) -> bytes | list[Status | None]:
        """The same as fast_sync_read(), but the reply as it came when it is good throughout.

        It is when everybody has answered in order, without error and without alert.
        """
        trust = self._trust.get((address, devices))
        if trust is None:
            trust = self._trust[address, devices] = FastTrust()
        if not trust.due():
            return self._sync_read(address, size, devices)
        self._stats.trials += trust.given_up
        found = self._ask_fast(self._fast_read(address, size, devices))
        missing = isinstance(found, list) and None in found
        if self._judge(trust, devices, missing=missing):
            return self._sync_read(address, size, devices)
        return found

    def sync_write(self, address: int, values: Mapping[int, bytes]) -> None:
        """Write bytes of several servos at once; nobody confirms.  All values are equally long."""
        size = len(next(iter(values.values())))
        parts = []
        for device, data in values.items():
            if len(data) != size:
                raise ValueError(f"{len(data)} bytes for servo {device}; expected {size} as others")
            parts.append(bytes((device,)) + data)
        self.sync_write_joined(address, size, b"".join(parts))

    def sync_write_joined(self, address: int, size: int, values: bytes) -> None:
        """The same as sync_write() of values joined already: of each servo its ID and its bytes."""
        self._send(encode(BROADCAST, Instruction.SYNC_WRITE, _words(address, size) + values))

    def torque_off(self) -> None:
        """Switch the torque of every servo off: a broadcast, sent three times, nobody confirms."""
        for _ in range(_STOP_FRAMES):
            self._send(_STOP)

    def _insist(
        self, device: int, instruction: Instruction, parameters: bytes, *, size: int, request: str
    ) -> bytes:
        """Data of one servo's reply, asked at most twice; raises when there is none or an error."""
        for attempt in range(2):
            self._stats.retries += attempt
            wait_s = attempt * _PATIENCE_S
            status = self._ask(device, instruction, parameters, size=size, wait_s=wait_s)
            if status is not None:
                break
        else:
            raise NoReplyError(device, request)
        if status.number:
            raise ServoRefusedError(device, request, status.number)
        return status.data

    def _ask(
        self,
        device: int,
        instruction: Instruction,
        parameters: bytes,
        *,
        size: int,
        wait_s: float = 0.0,
    ) -> Status | None:
        """One request to one servo; its reply, if it comes; wait_s longer than it may take."""
        if not 0 <= device <= MAX_ID:
            raise ValueError(f"servo ID {device}; expected 0 to {MAX_ID}")
        self._prepare()
        frame = encode(device, instruction, parameters)
        self._send(frame)
        deadline = self._deadline(_STATUS_BYTES + _stuffed(size), replies=1)
        return self._await_each((device,), size, deadline + round(wait_s * 1e9))[0]

    def _sync_read(self, address: int, size: int, devices: Sequence[int]) -> list[Status | None]:
        """One plain sync read."""
        self._prepare()
        frame = encode(BROADCAST, Instruction.SYNC_READ, _block(address, size) + bytes(devices))
        self._send(frame)
        count = len(devices)
        deadline = self._deadline(count * (_STATUS_BYTES + _stuffed(size)), replies=count)
        return self._await_each(devices, size, deadline)

    def _fast_read(self, address: int, size: int, devices: tuple[int, ...]) -> FastRead:
        """The request, prepared when it is wanted for the first time."""
        key = address, size, devices
        read = self._fast.get(key)
        if read is None:
            read = self._fast[key] = FastRead(_block(address, size), size, devices)
        return read

    def _ask_fast(self, read: FastRead) -> bytes | list[Status | None]:
        """One fast sync read; what stands before a broken block is used."""
        self._prepare()
        self._send(read.request)
        deadline = self._deadline(read.length, replies=1)
        raw = self.port.read(self._due(read.length, replies=1) - _REHEARSAL_NS)
        if not raw:
            read.whole(read.latest)
            self.rehearse()
            raw = self.port.read(deadline)
        if self._receiver.waiting or not read.whole(raw):
            raw = self._await_fast(raw, read.length, deadline)
            if not read.whole(raw):
                return self._pieces(read, raw)
        self._alive = read.last
        read.latest = raw
        self.errors.update(read.errors)
        return raw

    def _pieces(self, read: FastRead, raw: bytes) -> list[Status | None]:
        """What is good of a fast reply that is not good throughout."""
        found, strangers = read.statuses(raw)
        for status in found:
            if status is not None:
                self._heard(status)
        missing = found.count(None)
        self._stats.unexpected += strangers
        self._stats.timeouts += missing
        self._suspect = missing > 0
        return found

    def _judge(self, trust: FastTrust, devices: tuple[int, ...], *, missing: bool) -> bool:
        """Take note of a fast read; whether they are given up.  A change of mind is logged."""
        before = trust.given_up
        if missing:
            trust.failed()
        else:
            trust.succeeded()
        if before == trust.given_up:
            return before
        names = ", ".join(map(str, devices))
        if before:
            _log.warning("fast sync read of servos %s works again", names)
            return False
        self._stats.fallbacks += 1
        _log.warning(
            "fast sync read of servos %s failed %d times in a row; using plain sync read, %s",
            names,
            FAILURES,
            "for good" if trust.left is None else f"a fast one again after {trust.left}",
        )
        return True

    def _await_fast(self, data: bytes, expected: int, deadline: int) -> bytes:
        """Fast reply of the expected length, even if its end is broken; empty when none comes.

        data is what has arrived already.
        """
        self._receiver.last_bad = b""
        while True:
            for frame in self._receiver.feed(data) if data else self._receiver.expire():
                if frame.id == BROADCAST and len(frame.raw) == expected:
                    return frame.raw
                self._stats.unexpected += 1
            bad = self._receiver.last_bad
            if len(bad) == expected and bad[4] == BROADCAST:
                return bad
            if not data:
                return b""
            data = self.port.read(deadline)

    def _await_each(self, devices: Sequence[int], size: int, deadline: int) -> list[Status | None]:
        """Replies of servos that answer one after the other, as far as they come in time."""
        answers = Answers(devices, size)
        while not answers.complete:
            data = self.port.read(deadline)
            for frame in self._receiver.feed(data) if data else self._receiver.expire():
                answers.take(frame)
            if not data:
                break
        self._stats.unexpected += answers.unexpected
        self._stats.conflicts += answers.conflicts
        missing = answers.found.count(None)
        self._stats.timeouts += missing
        self._suspect = missing > 0
        for status in answers.found:
            if status is not None:
                self._heard(status)
        return answers.found

    def _prepare(self) -> None:
        """Throw away what arrived unasked, and let pass what is still on its way."""
        self._stats.requests += 1
        flushed = self.port.flush() + self._receiver.waiting
        if flushed:
            self._stats.flushed_bytes += flushed
            self._stats.unexpected += len(self._receiver.expire())
        if self._suspect and self._alive is not None:
            self._fence(self._alive)
        self._suspect = False

    def _fence(self, device: int) -> None:
        """Ping a servo that is alive and drop everything up to its reply."""
        self._stats.fences += 1
        frame = encode(device, Instruction.PING)
        self._send(frame)
        deadline = self._deadline(_STATUS_BYTES + _PONG_BYTES, replies=1)
        while data := self.port.read(deadline):
            for answer in self._receiver.feed(data):
                if answer.id == device and len(answer.parameters) == 1 + _PONG_BYTES:
                    return
                self._stats.unexpected += 1
        self._stats.unexpected += len(self._receiver.expire())

    def _collect(self, deadline: int) -> list[Frame]:
        """Everything that arrives until the deadline."""
        frames = []
        while data := self.port.read(deadline):
            frames += self._receiver.feed(data)
        return frames + self._receiver.expire()

    def _heard(self, status: Status) -> Status:
        """Remember that a servo is alive and what it thinks of itself."""
        self._alive = status.id
        self.errors[status.id] = status.error
        return status

    def _send(self, frame: bytes) -> None:
        """Write a frame, which goes on the wire behind what was written before."""
        self.port.write(frame)
        self._sent_ns = max(self._sent_ns, self.port.now_ns()) + self._wire_ns(len(frame))

    def _due(self, size: int, *, replies: int) -> int:
        """When replies to what was sent last, size bytes together, end if all goes well."""
        waits_s = replies * (self.return_delay_s + _TURNAROUND_S)
        return self._sent_ns + self._wire_ns(size) + round(waits_s * 1e9)

    def _deadline(self, size: int, *, replies: int) -> int:
        """When they must have passed, however late adapter and process are."""
        return self._due(size, replies=replies) + round(self._slack_s * 1e9)

    def _wire_ns(self, size: int) -> int:
        """How long bytes take on the wire, ns."""
        return size * _BITS_PER_BYTE * 1_000_000_000 // self.port.baud


def _pong(status: Status) -> Pong:
    """The parts of a reply to a ping."""
    return Pong(status.id, status.data[0] | status.data[1] << 8, status.data[2])


def _stuffed(size: int) -> int:
    """How many bytes as many can become at most when they are stuffed."""
    return size + size // 3


def _block(address: int, size: int) -> bytes:
    """Address and size as parameters; a reply as long as a ping's could pass for the fence's."""
    if size == _PONG_BYTES:
        raise ValueError(f"read of {size} bytes from {address}; expected one more or less")
    return _words(address, size)


def _words(*values: int) -> bytes:
    """Two bytes of each value, low byte first."""
    return b"".join(value.to_bytes(2, "little") for value in values)
