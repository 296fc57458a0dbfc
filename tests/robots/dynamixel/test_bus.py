"""Transactions with scripted servos, and every fault of the wire by what comes out of it."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from robots.dynamixel.bus import Bus, Pong
from robots.dynamixel.control_table import Register
from robots.dynamixel.fast_read import SHORTEST_PAUSE
from robots.dynamixel.port import Port
from robots.dynamixel.protocol import (
    BROADCAST,
    Frame,
    Instruction,
    Status,
    encode,
    encode_fast,
    encode_status,
)
from robots.errors import NoReplyError, PortLostError, ServoRefusedError
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.robots.dynamixel.conftest import FakeServos

    Spoil = Callable[[Frame, list[bytes]], list[bytes]]

IDS = (1, 2, 3, 7)
ADDRESS, SIZE = 126, 10
STOP = bytes.fromhex("FF FF FD 00 FE 06 00 03 40 00 00 2E 16")


class SettledPort(Port):
    """A port whose deadlines pass only when all that the servos have to say has arrived."""

    def __init__(self, servos: FakeServos) -> None:
        super().__init__(servos.path, 1_000_000)
        self._servos = servos
        self._written = self._received = 0

    def write(self, data: bytes) -> None:
        super().write(data)
        self._written += len(data)

    def read(self, deadline_ns: int) -> bytes:
        self._settle()
        return super().read(deadline_ns)

    def flush(self) -> int:
        self._settle()
        return super().flush()

    def _receive(self, timeout_s: float) -> bytes:
        data = super()._receive(timeout_s)
        self._received += len(data)
        return data

    def _settle(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._serial is not None and (
            self._servos.served < self._written
            or self._received + self._serial.in_waiting < self._servos.sent
        ):
            assert time.monotonic() < deadline, "the servos do not answer"
            time.sleep(0.0002)


class SlowLine:
    """A line in its own time; a servo tells its ID so long after the last request, or never."""

    baud = 9600
    latency_s = 0.0

    def __init__(self, after_s: float | None = None) -> None:
        self.time_ns = 0
        self._after_s = after_s
        self._due_ns: int | None = None

    def now_ns(self) -> int:
        return self.time_ns

    def write(self, data: bytes) -> None:
        if self._after_s is not None:
            self._due_ns = self.time_ns + round(self._after_s * 1e9)

    def read(self, deadline_ns: int) -> bytes:
        if self._due_ns is not None and self._due_ns <= deadline_ns:
            self.time_ns, self._due_ns = self._due_ns, None
            return encode_status(Status(2, 0, b"\x02"))
        self.time_ns = max(self.time_ns, deadline_ns)
        return b""

    def flush(self) -> int:
        return 0

    def retune(self, baud: int) -> None:
        self.baud = baud


class Pieces(SettledPort):
    """A port that hands on only so many bytes at once."""

    most = 1
    _rest = b""

    def read(self, deadline_ns: int) -> bytes:
        data = self._rest or super().read(deadline_ns)
        self._rest = data[self.most :]
        return data[: self.most]


@pytest.fixture
def port(servos: FakeServos) -> Iterator[Port]:
    """The servos' port."""
    with SettledPort(servos) as port:
        yield port


@pytest.fixture
def bus(port: Port) -> Bus:
    """A bus that waits 20 ms where no reply comes."""
    return Bus(port, usb_latency_s=0.02)


def values(servos: FakeServos, mark: int) -> list[bytes]:
    """Give every servo data that tell servo and mark, and return them."""
    for device, memory in servos.memory.items():
        memory[ADDRESS : ADDRESS + SIZE] = bytes((device, mark)) * (SIZE // 2)
    return [bytes((device, mark)) * (SIZE // 2) for device in IDS]


def data(found: list[Status | None]) -> list[bytes | None]:
    """Data of statuses."""
    return [None if status is None else status.data for status in found]


def strike(times: int, spoil: Spoil, *, instruction: int = Instruction.SYNC_READ) -> Spoil:
    """Spoil the first answers to an instruction only."""
    left = [times]

    def once(frame: Frame, replies: list[bytes]) -> list[bytes]:
        if frame.instruction != instruction or left[0] == 0:
            return replies
        left[0] -= 1
        return spoil(frame, replies)

    return once


def replaced(_: Frame, replies: list[bytes], wrong: list[bytes]) -> list[bytes]:
    """Replies with another one in the place of the third."""
    return [*replies[:2], *wrong, *replies[3:]]


def heard(servos: FakeServos, instruction: int) -> int:
    """How often an instruction was received."""
    return [frame.instruction for frame in servos.heard].count(instruction)


def test_ping(bus: Bus, servos: FakeServos) -> None:
    """A servo tells model and firmware; who is not there is None, asked twice."""
    assert bus.ping(7) == Pong(7, 1030, 45)
    assert bus.ping(9) is None
    assert [frame.id for frame in servos.heard].count(9) == 2


def test_ping_all_finds_everybody(bus: Bus, servos: FakeServos) -> None:
    """Everybody is listed, a second servo of the same ID, too."""
    assert [pong.id for pong in bus.ping_all(0.05)] == list(IDS)
    servos.spoil = lambda _, replies: [*replies, replies[0]]
    assert [pong.id for pong in bus.ping_all(0.05)] == [*IDS, 1]


def test_read_and_write(bus: Bus, servos: FakeServos) -> None:
    """Registers are written and read with their sign."""
    bus.write(2, Register.GOAL_POSITION, -3)
    assert servos.memory[2][116:120] == b"\xfd\xff\xff\xff"
    assert bus.read(2, Register.GOAL_POSITION) == -3
    assert bus.read(2, Register.ID) == 2
    with pytest.raises(ValueError, match="Torque Enable"):
        bus.write(2, Register.TORQUE_ENABLE, 2)
    with pytest.raises(ValueError, match="servo ID 254"):
        bus.read(BROADCAST, Register.ID)


def test_absent_servos_are_named(bus: Bus, servos: FakeServos) -> None:
    """Who does not answer two requests is an error that says what was asked."""
    with pytest.raises(NoReplyError, match="servo 9 did not answer to read of 4 bytes from 132"):
        bus.read(9, Register.PRESENT_POSITION)
    assert heard(servos, Instruction.READ) == 2
    assert bus.stats.timeouts == 2
    assert bus.stats.retries == 1


def test_reboot_is_confirmed(bus: Bus, servos: FakeServos) -> None:
    """A reboot is one instruction to one servo."""
    bus.reboot(3)
    assert servos.heard[-1].raw == encode(3, Instruction.REBOOT)


def test_sync_read_and_write(bus: Bus, servos: FakeServos) -> None:
    """Several servos are written at once and read at once, in the order asked."""
    goals = {device: bytes((device, 0, 0, 0)) for device in IDS}
    bus.sync_write(116, goals)
    found = bus.sync_read(116, 4, (7, 3, 1, 2))
    assert data(found) == [goals[7], goals[3], goals[1], goals[2]]
    assert bus.stats.timeouts == 0
    with pytest.raises(ValueError, match="2 bytes for servo 2; expected 1"):
        bus.sync_write(64, {1: b"\x01", 2: b"\x01\x00"})


def test_fast_sync_read(bus: Bus, servos: FakeServos) -> None:
    """The fast read gives the same in one frame."""
    expected = values(servos, 1)
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    assert heard(servos, Instruction.FAST_SYNC_READ) == 1
    assert heard(servos, Instruction.SYNC_READ) == 0


def test_stop_is_sent_three_times(bus: Bus, servos: FakeServos) -> None:
    """The stop frame is the one of the vendor, to all, thrice."""
    bus.torque_off()
    bus.read(1, Register.ID)
    assert [frame.raw for frame in servos.heard[:3]] == [STOP] * 3


def test_deadlines_follow_the_baud() -> None:
    """Silence is waited for as long as wire, return delay and adapter need, no longer."""
    line = SlowLine()
    bus = Bus(line, usb_latency_s=0.0, margin_s=0.0)
    assert bus.sync_read(132, 4, (9,)) == [None]
    waited_ns = line.time_ns
    bus.return_delay_s = 0.0
    assert bus.sync_read(132, 4, (9, 10)) == [None, None]
    again_ns = line.time_ns - waited_ns
    assert 31 * 10 / 9600 + 0.0005 <= waited_ns / 1e9 < 0.035
    assert 48 * 10 / 9600 <= again_ns / 1e9 < 0.053


def test_three_bytes_are_not_read(bus: Bus) -> None:
    """A reply as long as that to a ping would pass for one."""
    with pytest.raises(ValueError, match="read of 3 bytes from 144"):
        bus.read_block(1, 144, 3)


def test_b1_dropped_reply(bus: Bus, servos: FakeServos) -> None:
    """One reply lost: its servo is missing, the others are there, the next read is whole."""
    expected: list[bytes | None] = [*values(servos, 1)]
    servos.spoil = strike(1, lambda _, replies: [replies[0], *replies[2:]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [expected[0], None, *expected[2:]]
    assert bus.stats.timeouts == 1
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.fences == 1


def test_b1_retry_asks_the_missing_only(bus: Bus, servos: FakeServos) -> None:
    """With retry the lost reply is asked for again, alone."""
    expected = values(servos, 1)
    servos.spoil = strike(1, lambda _, replies: [replies[0], *replies[2:]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS, retry=True)) == expected
    assert servos.heard[-1].parameters == bytes((126, 0, 10, 0, 2))
    assert bus.stats.retries == 1


def test_b2_absent_servo(bus: Bus, servos: FakeServos) -> None:
    """A servo that never answers is missing in every read, and nobody else ever is."""
    expected: list[bytes | None] = [*values(servos, 1)]
    expected[2] = None
    servos.spoil = strike(9, lambda _, replies: [*replies[:2], *replies[3:]])
    for _ in range(3):
        assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.timeouts == 3


def test_b3_truncated_reply(bus: Bus, servos: FakeServos) -> None:
    """A reply without its end is missing, and the one behind it is found within its length."""
    expected: list[bytes | None] = [*values(servos, 1)]
    servos.spoil = strike(1, lambda _, replies: [replies[0], replies[1][:-5], *replies[2:]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [expected[0], None, *expected[2:]]
    assert bus.stats.rejects.bad_crc == 1
    servos.spoil = strike(1, lambda _, replies: [*replies[:3], replies[3][:-5]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [*expected[:3], None]
    assert bus.stats.rejects.short == 1


def test_b4_extra_bytes(bus: Bus, servos: FakeServos) -> None:
    """Bytes between replies are passed over and counted."""
    expected = values(servos, 1)
    servos.spoil = strike(1, lambda _, replies: [replies[0], b"\xff\xff\xfd", *replies[1:]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.rejects.noise_bytes == 3
    assert bus.stats.rejects.resyncs == 1


def test_b5_flipped_bit(bus: Bus, servos: FakeServos) -> None:
    """A reply with a wrong bit is missing, whichever bit it is."""
    expected: list[bytes | None] = [*values(servos, 1)]
    for bit in range(0, 168, 13):
        flipped = 1 << bit % 8, bit // 8

        def flip(_: Frame, replies: list[bytes], flipped: tuple[int, int] = flipped) -> list[bytes]:
            mask, at = flipped
            broken = bytearray(replies[1])
            broken[at] ^= mask
            return [replies[0], bytes(broken), *replies[2:]]

        servos.spoil = strike(1, flip)
        assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [expected[0], None, *expected[2:]]
    assert bus.stats.rejects.bad_crc > 5
    assert bus.stats.timeouts == len(range(0, 168, 13))


def test_b6_wrong_id(bus: Bus, servos: FakeServos) -> None:
    """A good frame of a servo that was not asked, or not yet, is nobody's value."""
    expected: list[bytes | None] = [*values(servos, 1)]
    for stranger in (9, 1, 2):
        wrong = [encode_status(Status(stranger, 0, bytes(10)))]
        servos.spoil = strike(1, partial(replaced, wrong=wrong))
        found = data(bus.sync_read(ADDRESS, SIZE, IDS))
        assert found[2] is None
        assert found[3] == expected[3]
        assert bytes(10) not in found
    assert bus.stats.unexpected == 3


def test_b6_a_neighbour_posing_as_the_last(bus: Bus, servos: FakeServos) -> None:
    """When one is missing the answers behind it are not believed before the time is up."""
    expected: list[bytes | None] = [*values(servos, 1)]
    posing = encode_status(Status(7, 0, bytes(10)))
    servos.spoil = strike(1, lambda _, replies: [*replies[:2], posing, replies[3]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [*expected[:2], None, None]
    assert bus.stats.conflicts == 1


def test_b6_wrong_id_alone(bus: Bus, servos: FakeServos) -> None:
    """A single read takes no neighbour's answer."""
    servos.spoil = lambda _, replies: [encode_status(Status(2, 0, bytes(4)))]
    with pytest.raises(NoReplyError):
        bus.read(1, Register.PRESENT_POSITION)
    assert bus.stats.unexpected >= 2


def test_b7_duplicate_reply(bus: Bus, servos: FakeServos) -> None:
    """The same answer twice is one answer."""
    expected = values(servos, 1)
    servos.spoil = strike(1, lambda _, replies: [replies[0], *replies])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.unexpected == 1
    assert bus.stats.conflicts == 0


def test_b7_two_answers_are_no_answer(bus: Bus, servos: FakeServos) -> None:
    """Of two different answers neither is believed."""
    expected: list[bytes | None] = [*values(servos, 1)]
    other = encode_status(Status(1, 0, bytes(10)))
    servos.spoil = strike(1, lambda _, replies: [other, *replies])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [None, *expected[1:]]
    assert bus.stats.conflicts == 1


def test_b8_late_replies_are_never_taken(bus: Bus, servos: FakeServos) -> None:
    """Replies that come after the next request has gone out are not its answers."""
    for instruction in (Instruction.SYNC_READ, Instruction.FAST_SYNC_READ):
        read = bus.sync_read if instruction == Instruction.SYNC_READ else bus.fast_sync_read
        held: list[bytes] = []
        struck: list[int] = []

        def delay(
            frame: Frame,
            replies: list[bytes],
            held: list[bytes] = held,
            struck: list[int] = struck,
            instruction: int = instruction,
        ) -> list[bytes]:
            if frame.instruction == instruction and not struck:
                struck.append(1)
                held += replies
                return []
            released, held[:] = held[:], []
            return released + replies

        values(servos, 1)
        servos.spoil = delay
        assert data(read(ADDRESS, SIZE, IDS)) == [None] * 4
        assert data(read(ADDRESS, SIZE, IDS)) == values(servos, 1)
        expected = values(servos, 2)
        assert data(read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.fences == 1
    assert bus.stats.unexpected == 5


def test_b8_late_before_the_next_request(bus: Bus, servos: FakeServos) -> None:
    """Replies that came between two requests are thrown away and counted."""
    values(servos, 1)
    late = [encode_status(Status(device, 0, bytes(10))) for device in IDS]
    servos.send(b"".join(late))
    bus.port.read(time.monotonic_ns() + 10**9)
    servos.send(b"".join(late))
    while bus.stats.flushed_bytes == 0:
        assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == values(servos, 1)
    assert bus.stats.flushed_bytes == 84


def test_b9_swapped_order(bus: Bus, servos: FakeServos) -> None:
    """A reply out of turn is not taken."""
    expected: list[bytes | None] = [*values(servos, 1)]
    servos.spoil = strike(1, lambda _, replies: [replies[0], replies[2], replies[1], replies[3]])
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [expected[0], None, *expected[2:]]
    assert bus.stats.unexpected == 1
    assert bus.stats.conflicts == 0


def test_b10_echo(bus: Bus, port: Port, servos: FakeServos) -> None:
    """On an adapter that echoes everything works, and nothing counts as noise."""
    expected = values(servos, 1)
    servos.spoil = lambda frame, replies: [frame.raw, *replies]
    assert bus.ping(1) is not None
    bus.sync_write(116, dict.fromkeys(IDS, bytes(4)))
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    assert port.echoes
    assert bus.stats.rejects.noise_bytes == 0
    assert bus.stats.unexpected == 0


def test_b11_noise(bus: Bus, servos: FakeServos) -> None:
    """Noise before, between and behind replies costs no value."""
    expected = values(servos, 1)
    servos.spoil = lambda _, replies: [b"\x00\xff", *replies[:2], b"\xff\xff", *replies[2:]]
    for _ in range(5):
        assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.rejects.noise_bytes == 20


def test_b12_baud_mismatch(bus: Bus, servos: FakeServos) -> None:
    """When only noise answers, nobody has answered."""
    servos.spoil = lambda _, replies: [bytes((0xF8, 0x80, 0x00, 0xFE)) * 4]
    assert bus.ping(1) is None
    assert bus.ping_all(0.02) == []
    assert bus.stats.rejects.noise_bytes == 48


def test_b13_return_delay_is_waited_for(bus: Bus, servos: FakeServos) -> None:
    """Servos as they leave the factory answer after 0.5 ms, which deadlines know at first."""
    assert bus.return_delay_s > 500e-6
    assert bus.read(1, Register.ID) == 1


def test_b14_fast_read_unsupported(
    bus: Bus, servos: FakeServos, caplog: pytest.LogCaptureFixture
) -> None:
    """After two silent fast reads plain ones are used, and that is said once."""
    expected = values(servos, 1)
    servos.spoil = strike(99, lambda _, replies: [], instruction=Instruction.FAST_SYNC_READ)
    with caplog.at_level(logging.WARNING):
        assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == [None] * 4
        for _ in range(3):
            assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    assert heard(servos, Instruction.FAST_SYNC_READ) == 2
    assert bus.stats.fallbacks == 1
    (record,) = caplog.records
    assert "1, 2, 3, 7" in record.getMessage()


def test_b14_fast_reads_come_back(
    bus: Bus, servos: FakeServos, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has answered a fast read is asked for one again after a while, each change said once."""
    expected = values(servos, 1)
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    servos.spoil = strike(3, lambda _, replies: [], instruction=Instruction.FAST_SYNC_READ)
    with caplog.at_level(logging.WARNING):
        assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == [None] * 4
        for _ in range(3 * SHORTEST_PAUSE + 10):  # one pause, a trial that fails, a longer one
            assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    assert heard(servos, Instruction.FAST_SYNC_READ) > 3 + 1 + 1
    assert heard(servos, Instruction.SYNC_READ) == 3 * SHORTEST_PAUSE + 2
    assert bus.stats.fallbacks == 1
    assert bus.stats.trials == 2
    given_up, again = (record.getMessage() for record in caplog.records)
    assert f"a fast one again after {SHORTEST_PAUSE}" in given_up
    assert "works again" in again


def test_what_is_still_to_be_sent_is_waited_for(servos: FakeServos) -> None:
    """A deadline begins when the request has left, behind everything that was written before."""
    with Port(servos.path, 9600) as port:
        bus = Bus(port, usb_latency_s=0.0, margin_s=0.0)
        began = time.monotonic()
        bus.torque_off()
        assert bus.sync_read(132, 4, (9,)) == [None]
        assert time.monotonic() - began >= (3 * len(STOP) + 15 + 15) * 10 / 9600


def test_a_fast_read_is_rehearsed(servos: FakeServos) -> None:
    """Shortly before a reply is due its reader may warm up, and gets it all the same."""
    expected = values(servos, 1)
    rehearsed: list[float] = []

    def late(_: Frame, replies: list[bytes]) -> list[bytes]:
        while not rehearsed and time.monotonic() < began + 5.0:
            time.sleep(0)
        return replies

    servos.spoil = strike(1, late, instruction=Instruction.FAST_SYNC_READ)
    with Port(servos.path, 1_000_000) as port:
        bus = Bus(port, usb_latency_s=PATIENCE_S)
        bus.rehearse = lambda: rehearsed.append(time.monotonic())
        bus.return_delay_s = 0.01
        began = time.monotonic()
        assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    (at,) = rehearsed
    assert at - began > 0.0095


@pytest.mark.parametrize("most", [1, 7, 8, 30, 63])
def test_a_fast_reply_in_pieces_is_whole(servos: FakeServos, most: int) -> None:
    """However an adapter cuts it, a reply is the frame that was sent."""
    expected = values(servos, 1)
    with Pieces(servos) as port:
        port.most = most
        bus = Bus(port, usb_latency_s=0.02)
        for _ in range(3):
            assert isinstance(bus.fast_frame(ADDRESS, SIZE, IDS), bytes)
            assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
        assert bus.stats.rejects.noise_bytes == 0


def test_a_complaint_in_a_fast_reply_is_told(bus: Bus, servos: FakeServos) -> None:
    """What is not good throughout comes as statuses, servo by servo."""
    servos.errors[3] = 0x80
    found = bus.fast_frame(ADDRESS, SIZE, IDS)
    assert not isinstance(found, bytes)
    assert [status is not None and status.error for status in found] == [0, 0, 0x80, 0]
    assert bus.errors[3] == 0x80
    servos.errors[3] = 0
    assert isinstance(bus.fast_frame(ADDRESS, SIZE, IDS), bytes)
    assert bus.errors[3] == 0


def test_a_second_attempt_is_patient() -> None:
    """A reply that comes far too late on a busy machine is still one, when asked for again."""
    hurried = Bus(SlowLine(0.035), usb_latency_s=0.0)
    assert hurried.read(2, Register.ID) == 2
    assert hurried.stats.retries == 1


def test_b14_one_lost_fast_read_is_no_reason(bus: Bus, servos: FakeServos) -> None:
    """Failures that do not follow each other change nothing."""
    expected = values(servos, 1)
    for _ in range(3):
        servos.spoil = strike(1, lambda _, replies: [], instruction=Instruction.FAST_SYNC_READ)
        assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == [None] * 4
        assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    assert bus.stats.fallbacks == 0


def test_b14_broken_fast_block(bus: Bus, servos: FakeServos) -> None:
    """Blocks before a broken one are used; what is behind it is not."""
    expected: list[bytes | None] = [*values(servos, 1)]

    def flip(_: Frame, replies: list[bytes]) -> list[bytes]:
        broken = bytearray(replies[0])
        broken[8 + 2 * 14 + 5] ^= 0x10
        return [bytes(broken)]

    servos.spoil = strike(1, flip, instruction=Instruction.FAST_SYNC_READ)
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == [*expected[:2], None, None]
    assert bus.stats.rejects.bad_crc == 1
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == expected
    wrong = encode_fast([Status(device, 0, bytes(10)) for device in (1, 9, 3, 7)])
    servos.spoil = strike(1, lambda _, replies: [wrong], instruction=Instruction.FAST_SYNC_READ)
    found = data(bus.fast_sync_read(ADDRESS, SIZE, IDS))
    assert found[1] is None
    assert bus.stats.unexpected == 1


def test_b15_stuffing(bus: Bus, servos: FakeServos) -> None:
    """Values that look like headers arrive exactly, both ways and both kinds of read."""
    looks = b"\xff\xff\xfd\xff\xff\xfd\x00\xff\xfd\xfd"
    bus.write_block(1, ADDRESS, looks)
    bus.sync_write(ADDRESS, dict.fromkeys(IDS, looks))
    assert [servos.memory[1][ADDRESS : ADDRESS + SIZE]] == [looks]
    assert bus.read_block(1, ADDRESS, SIZE) == looks
    assert data(bus.sync_read(ADDRESS, SIZE, IDS)) == [looks] * 4
    assert data(bus.fast_sync_read(ADDRESS, SIZE, IDS)) == [looks] * 4


def test_b16_alert_reaches_the_caller(bus: Bus, servos: FakeServos) -> None:
    """An alert comes with the value, for that servo alone, whatever was asked."""
    servos.errors[3] = 0x80
    for found in (bus.sync_read(132, 4, IDS), bus.fast_sync_read(132, 4, IDS)):
        assert [status is not None and status.alert for status in found] == [0, 0, 1, 0]
    assert bus.read(3, Register.ID) == 3
    assert bus.errors == {1: 0, 2: 0, 3: 0x80, 7: 0}


@pytest.mark.parametrize("number", range(1, 8))
def test_b17_error_numbers(bus: Bus, servos: FakeServos, number: int) -> None:
    """Every error number is an error that says servo and request, also together with an alert."""
    servos.errors[2] = 0x80 | number
    servos.spoil = lambda _, replies: [encode_status(Status(2, servos.errors[2], b""))]
    with pytest.raises(ServoRefusedError, match="servo 2 refused write of 00 02 00 00 to 116") as e:
        bus.write(2, Register.GOAL_POSITION, 512)
    assert e.value.number == number
    with pytest.raises(ServoRefusedError, match=f"error {number}, "):
        bus.read(2, Register.ID)
    (status,) = bus.sync_read(132, 4, (2,))
    assert status == Status(2, 0x80 | number, b"")


def test_a_lost_port_ends_everything(bus: Bus, port: Port) -> None:
    """Nothing is silently retried on a port that is gone."""
    port.close()
    for action in (bus.torque_off, lambda: bus.sync_read(132, 4, IDS), lambda: bus.ping(1)):
        with pytest.raises(PortLostError):
            action()
