"""The wire: golden bytes, who answers when, and how long everything takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robots.dynamixel.control_table import Register as R  # noqa: N817 -- on every line here
from robots.dynamixel.protocol import (
    BROADCAST,
    ErrorNumber,
    Instruction,
    Receiver,
    encode,
    fast_statuses,
)
from sim.emulator.bus import WireOptions
from sim.emulator.motion import SimpleJoints
from tests.sim.emulator.conftest import make_rig

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sim.emulator.conftest import Rig

TWELVE = range(1, 13)
SYNC_READ, FAST = Instruction.SYNC_READ, Instruction.FAST_SYNC_READ
BLOCK = b"\x7e\x00\x0a\x00"
"""Ten bytes from 126: current, velocity, position."""


def hexa(text: str) -> bytes:
    """Bytes of a vector."""
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("request_hex", "reply_hex"),
    [
        ("FF FF FD 00 01 03 00 01 19 4E", "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D"),
        (
            "FF FF FD 00 FE 03 00 01 31 42",
            "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D FF FF FD 00 02 07 00 55 00 06 04 26 6F 6D",
        ),
        (
            "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15",
            "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0",
        ),
        ("FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89", "FF FF FD 00 01 04 00 55 00 A1 0C"),
        ("FF FF FD 00 01 09 00 04 68 00 C8 00 00 00 AE 8E", "FF FF FD 00 01 04 00 55 00 A1 0C"),
        (
            "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA",
            (
                "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0"
                "FF FF FD 00 02 08 00 55 00 1F 08 00 00 BA BE"
            ),
        ),
        ("FF FF FD 00 FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87", ""),
        (
            "FF FF FD 00 FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05",
            "FF FF FD 00 01 06 00 55 00 77 00 C3 69 FF FF FD 00 02 05 00 55 00 24 8B A9",
        ),
        ("FF FF FD 00 01 06 00 03 40 00 01 DB 66", "FF FF FD 00 01 04 00 55 00 A1 0C"),
        ("FF FF FD 00 FE 06 00 03 40 00 00 2E 16", ""),
        ("FF FF FD 00 01 06 00 03 62 00 05 68 E4", "FF FF FD 00 01 04 00 55 00 A1 0C"),
        ("FF FF FD 00 01 03 00 08 2F 4E", "FF FF FD 00 01 04 00 55 00 A1 0C"),
    ],
)
def test_the_vendors_examples(request_hex: str, reply_hex: str, rig: Callable[..., Rig]) -> None:
    """Bytes of the e-Manual: XM430-W210 with firmware 38, at the positions it shows."""
    plant = SimpleJoints(2)
    plant.position[:] = [(166 - 2048) * 0.00153398, (2079 - 2048) * 0.00153398]
    made = rig((1, 2), model=1030, firmware=38, plant=plant, volts=11.9)
    made.bench.servos[1].actuator.temperature = 36.0
    made.port.sleep(0.005)
    assert made.port.exchange(hexa(request_hex)) == hexa(reply_hex)


def test_the_vendors_fast_reads(rig: Callable[..., Rig]) -> None:
    """One packet of three servos, CRC by CRC; the same for reads of different registers."""
    plant = SimpleJoints(3)
    plant.position[:] = [(raw - 2048) * 0.001533981 for raw in (166, 2079, 1023)]
    made = rig((3, 7, 4), plant=plant)
    made.bench.servos[0].memory.set(R.HARDWARE_ERROR, 0)
    made.port.sleep(0.005)
    fast_sync = hexa("FF FF FD 00 FE 0A 00 8A 84 00 04 00 03 07 04 20 F2")
    reply = hexa(
        "FF FF FD 00 FE 19 00 55 00 03 A6 00 00 00 84 08"
        "00 07 1F 08 00 00 16 CA 00 04 FF 03 00 00 D1 9E"
    )
    assert made.port.exchange(fast_sync) == reply
    fast_bulk = hexa("FF FF FD 00 FE 12 00 9A 03 84 00 04 00 07 7C 00 02 00 04 92 00 01 00 DA 2D")
    answer = made.port.exchange(fast_bulk)
    assert answer[:16] == hexa("FF FF FD 00 FE 14 00 55 00 03 A6 00 00 00 67 A4")
    assert len(answer) == 27
    (frame,) = Receiver().feed(answer)
    assert frame.raw == answer


def test_replies_are_stuffed_but_not_fast_ones(rig: Callable[..., Rig]) -> None:
    """Current -1 and velocity -3 make a header in the middle: bytes of the reference vectors."""
    made = rig((1, 2))
    for servo, values in zip(made.bench.servos, ((-1, -3, 2048), (100, 0, 2047)), strict=True):
        freeze(servo.memory, values)
    plain = made.port.exchange(encode(BROADCAST, SYNC_READ, BLOCK + b"\x01"))
    stuffed = "FF FF FD 00 01 0F 00 55 00 FF FF FD FD FF FF FF 00 08 00 00 49 F0"
    assert plain == hexa(stuffed)
    made.bench.servos[1].memory.set(R.HARDWARE_ERROR, 8)
    fast = made.port.exchange(encode(BROADCAST, FAST, BLOCK + b"\x01\x02"))
    assert fast == hexa(
        "FF FF FD 00 FE 1D 00 55 00 01 FF FF FD FF FF FF 00 08 00 00 40 B7"
        "80 02 64 00 00 00 00 00 FF 07 00 00 2B 3F"
    )


def freeze(memory: object, values: tuple[int, int, int]) -> None:
    """Let a servo's block of ten bytes read these values whatever it measures."""
    registers = (R.PRESENT_CURRENT, R.PRESENT_VELOCITY, R.PRESENT_POSITION)
    data = b"".join(one.encode(value) for one, value in zip(registers, values, strict=True))
    memory.read = lambda address, size: data  # type: ignore[attr-defined]


def test_stuffed_writes_arrive_unstuffed(rig: Callable[..., Rig]) -> None:
    """A goal of FF FF FD 00 is 16 646 143: out of range, but one register long."""
    made = rig(eeprom={"operating_mode": 4})
    answer = made.port.exchange(hexa("FF FF FD 00 01 0A 00 03 74 00 FF FF FD FD 00 21 E7"))
    (frame,) = Receiver().feed(answer)
    assert frame.status.number == ErrorNumber.DATA_RANGE


TABLE = [
    (3, 1_000_000, 250, 102, 305),
    (4, 2_000_000, 250, 125, 526),
    (5, 3_000_000, 250, 135, 694),
    (6, 4_000_000, 250, 140, 826),
    (3, 1_000_000, 0, 266, 360),
    (4, 2_000_000, 0, 500, 714),
    (5, 3_000_000, 0, 708, 1064),
    (6, 4_000_000, 0, 893, 1408),
]


@pytest.mark.parametrize(("code", "baud", "delay", "sync_hz", "fast_hz"), TABLE)
def test_cycles_take_the_time_of_the_bus_budget(  # noqa: PLR0917 -- columns of the table
    code: int, baud: int, delay: int, sync_hz: int, fast_hz: int, rig: Callable[..., Rig]
) -> None:
    """Twelve servos, ten bytes read and a goal written each: cycles per second, worked by hand."""
    made = rig(
        TWELVE,
        wire=WireOptions(baud=baud),
        eeprom={"baud_rate": code, "return_delay": delay},
    )
    assert 1 / cycle_s(made, SYNC_READ) == pytest.approx(sync_hz, abs=0.5)
    assert 1 / cycle_s(made, FAST) == pytest.approx(fast_hz, abs=0.5)


def cycle_s(made: Rig, instruction: Instruction) -> float:
    """Time of one cycle among several back to back, s."""
    goals = b"".join(bytes((one, 0, 8, 0, 0)) for one in TWELVE)
    write = encode(BROADCAST, Instruction.SYNC_WRITE, b"\x74\x00\x04\x00" + goals)
    starts = []
    for _ in range(4):
        starts.append(made.port.now_ns())
        answer = made.port.exchange(encode(BROADCAST, instruction, BLOCK + bytes(TWELVE)))
        assert len(answer) == (252 if instruction == SYNC_READ else 176)
        made.port.write(write)
    return (starts[3] - starts[1]) / 2e9


def test_bytes_arrive_when_their_last_one_has_gone_by(rig: Callable[..., Rig]) -> None:
    """A ping at 1 Mbit/s: 100 µs there, 20 µs of thought, 140 µs back."""
    made = rig()
    start = made.port.now_ns()
    made.port.write(encode(1, Instruction.PING))
    assert made.port.read(start + 259_999) == b""
    assert len(made.port.read(start + 260_000)) == 14
    assert made.port.now_ns() == start + 260_000


def test_usb_delivers_in_bursts(rig: Callable[..., Rig]) -> None:
    """At multiples of the latency only."""
    made = rig(TWELVE, wire=WireOptions(usb_latency_ms=1.0))
    made.port.sleep(0.0003)
    made.port.write(encode(BROADCAST, SYNC_READ, BLOCK + bytes(TWELVE)))
    sizes = {}
    while made.bus.next_ns() is not None:
        data = made.port.read(made.port.now_ns() + 10_000_000)
        if data:
            sizes[made.port.now_ns() / 1e6] = len(data)
    assert sizes == {1.0: 21, 2.0: 105, 3.0: 84, 4.0: 42}


def test_adapters_may_cut_replies(rig: Callable[..., Rig]) -> None:
    """Every reply comes in two pieces, and whole in the end."""
    made = rig((1, 2), wire=WireOptions(split=True))
    made.port.write(encode(BROADCAST, SYNC_READ, BLOCK + b"\x01\x02"))
    pieces = []
    while made.bus.next_ns() is not None:
        pieces.append(made.port.read(made.port.now_ns() + 10_000_000))
    pieces = [piece for piece in pieces if piece]
    assert len(pieces) == 4
    assert len(Receiver().feed(b"".join(pieces))) == 2


def test_readings_are_those_of_the_moment_of_the_answer(rig: Callable[..., Rig]) -> None:
    """In a sync read the last servo's is younger than the first one's."""
    plant = SimpleJoints(12, friction=0.0)
    plant.velocity[:] = 10.0
    made = rig(TWELVE, plant=plant)
    statuses = made.sync_read(TWELVE, 132, 4)
    positions = [int.from_bytes(status.data, "little") for status in statuses]
    assert positions == sorted(positions)
    assert positions[-1] > positions[0]


@pytest.mark.parametrize(("rule", "answered"), [("answer", [1, 3]), ("silent", [1])])
def test_behind_an_absent_servo(rule: str, answered: list[int], rig: Callable[..., Rig]) -> None:
    """Later ones answer after a while, or not at all: an option, real ones being unknown."""
    made = rig((1, 3), wire=WireOptions(behind_absent=rule))  # type: ignore[arg-type]
    start = made.port.now_ns()
    assert [status.id for status in made.sync_read((1, 2, 3))] == answered
    assert (made.port.now_ns() - start > 2_000_000) is (rule == "answer")


@pytest.mark.parametrize(("ids", "blocks"), [((1, 2, 3), 1), ((2, 1, 3), 0)])
def test_a_fast_read_is_cut_off_at_an_absent_servo(
    ids: tuple[int, ...], blocks: int, rig: Callable[..., Rig]
) -> None:
    """All or nothing for the host, whose packet never becomes complete."""
    made = rig((1, 3))
    answer = made.port.exchange(encode(BROADCAST, FAST, BLOCK + bytes(ids)))
    assert Receiver().feed(answer) == []
    assert len(fast_statuses(answer, 10)) == blocks


@pytest.mark.parametrize(("model", "firmware"), [(1030, 44), (1200, 45)])
def test_old_firmware_knows_no_fast_reads(
    model: int, firmware: int, rig: Callable[..., Rig]
) -> None:
    """It stays silent, and answers plain ones."""
    made = rig(model=model, firmware=firmware, volts=12.0 if model == 1030 else 5.0)
    assert made.port.exchange(encode(BROADCAST, FAST, BLOCK + b"\x01")) == b""
    assert len(made.sync_read((1,))) == 1


def test_other_speeds_are_not_heard(rig: Callable[..., Rig]) -> None:
    """Until the host changes its own, or the servo's register 8."""
    made = rig()
    made.bus.host_baud = 2_000_000
    assert made.ask_all(1, Instruction.PING) == []
    made.bus.host_baud = 1_000_000
    assert made.write(R.BAUD_RATE, 4) == 0
    assert made.ask_all(1, Instruction.PING) == []
    made.bus.host_baud = 2_000_000
    assert made.ask(1, Instruction.PING).id == 1


@pytest.mark.parametrize(("rule", "answers"), [("silent", []), ("error", [ErrorNumber.CRC])])
def test_a_wrong_crc_is_refused_or_ignored(
    rule: str, answers: list[int], rig: Callable[..., Rig]
) -> None:
    """Nothing is carried out in either case."""
    made = rig(wire=WireOptions(bad_crc=rule))  # type: ignore[arg-type]
    frame = bytearray(encode(1, Instruction.WRITE, b"\x41\x00\x01"))
    frame[-1] ^= 1
    replies = Receiver().feed(made.port.exchange(bytes(frame)))
    assert [frame.status.number for frame in replies] == answers
    assert made.read(R.LED) == 0


def test_instructions_wait_for_the_wire(rig: Callable[..., Rig]) -> None:
    """Two pings written at once are answered one after the other."""
    made = rig((1, 2))
    both = encode(1, Instruction.PING) + encode(2, Instruction.PING)
    start = made.port.now_ns()
    assert [frame.id for frame in Receiver().feed(made.port.exchange(both))] == [1, 2]
    assert made.port.now_ns() - start == 2 * 260_000


def test_a_forgotten_beginning_does_not_swallow_what_follows(rig: Callable[..., Rig]) -> None:
    """Half a frame, a pause, a whole one."""
    made = rig()
    made.port.write(encode(1, Instruction.WRITE, b"\x41\x00\x01" * 9)[:12])
    made.port.sleep(0.1)
    assert made.ask(1, Instruction.PING).id == 1


def test_noise_before_an_instruction_is_passed_over(rig: Callable[..., Rig]) -> None:
    """The servo finds the header."""
    made = rig()
    answer = made.port.exchange(b"\x00\xff\xff\xfd" + encode(1, Instruction.PING))
    assert len(Receiver().feed(answer)) == 1


@pytest.mark.parametrize(
    "parameters", [b"\x74\x00\x04\x00\x01\x00", b"\x74\x00", b"\x74\x00\x04\x00\x01\0\0\0\0\x02"]
)
def test_uneven_sync_writes_are_dropped_whole(parameters: bytes, rig: Callable[..., Rig]) -> None:
    """Nobody executes a part of one."""
    made = rig()
    goal = made.read(R.GOAL_POSITION)
    assert made.ask_all(BROADCAST, Instruction.SYNC_WRITE, parameters) == []
    assert made.read(R.GOAL_POSITION) == goal


def test_bulk_writes_reach_everybody(rig: Callable[..., Rig]) -> None:
    """Different registers of different servos."""
    made = rig((1, 2))
    parameters = b"\x01\x41\x00\x01\x00\x01" + b"\x02\x74\x00\x04\x00\x10\x00\x00\x00"
    assert made.ask_all(BROADCAST, Instruction.BULK_WRITE, parameters) == []
    assert made.read(R.LED) == 1
    assert made.read(R.GOAL_POSITION, 2) == 16


def test_hanging_up_forgets_what_is_under_way(rig: Callable[..., Rig]) -> None:
    """The next instruction is answered, the last one is not."""
    made = rig()
    made.port.write(encode(1, Instruction.PING))
    made.bus.hang_up()
    assert made.bus.next_ns() is None
    assert made.ask(1, Instruction.PING).id == 1


def test_servos_of_one_id_talk_at_the_same_time(rig: Callable[..., Rig]) -> None:
    """Where they say the same nobody notices; else the answer is neither's."""
    plant = SimpleJoints(3)
    plant.position[:] = [0.0, 0.5, -0.5]
    made = rig((1, 2, 2), plant=plant)
    ids = [status.id for status in made.ask_all(BROADCAST, Instruction.PING)]
    assert ids == [1, 2]
    assert made.write(R.LED, 1, 2) == 0
    assert [servo.memory.get(R.LED) for servo in made.bench.servos] == [0, 1, 1]
    request = encode(BROADCAST, SYNC_READ, BLOCK + b"\x01\x02")
    answer = made.port.exchange(request)
    assert len(answer) == 42
    assert [frame.id for frame in Receiver().feed(answer)] == [1]


def test_a_servo_that_is_listed_twice_answers_twice(rig: Callable[..., Rig]) -> None:
    """It does not talk against itself."""
    assert [status.id for status in rig().sync_read((1, 1))] == [1, 1]


def test_fast_reads_beyond_a_frame_are_not_answered(rig: Callable[..., Rig]) -> None:
    """Two servos with 600 bytes each are too much for one packet."""
    made = rig((1, 2))
    request = encode(BROADCAST, FAST, b"\x00\x00\x58\x02\x01\x02")
    assert made.port.exchange(request) == b""
    assert len(made.sync_read((1, 2), 0, 600)) == 2


INSTRUCTIONS = st.one_of(st.sampled_from(list(Instruction)), st.integers(0, 255))
PARAMETERS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda address, size, rest: (
            address.to_bytes(2, "little") + size.to_bytes(2, "little") + rest
        ),
        st.integers(0, 700),
        st.integers(0, 700),
        st.binary(max_size=12),
    ),
)


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, BROADCAST]), INSTRUCTIONS, PARAMETERS), max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_any_instructions_are_survived(asked: list[tuple[int, int, bytes]]) -> None:
    """Whatever a host asks for: nothing breaks, and what is answered are whole frames."""
    made = make_rig((1, 2), eeprom={"operating_mode": 4})
    receiver = Receiver()
    for device, instruction, parameters in asked:
        receiver.feed(made.port.exchange(encode(device, instruction, parameters), wait_ms=1000))
    assert receiver.rejects.bad_crc == 0
    assert receiver.rejects.bad_length == 0
    made.port.sleep(0.05)


@given(st.lists(st.binary(max_size=60), max_size=10))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_survived(sent: list[bytes]) -> None:
    """Noise of any kind, and a servo that answers once it is over."""
    made = make_rig()
    for data in sent:
        made.port.exchange(data)
    made.port.sleep(0.1)
    assert made.ask(1, Instruction.PING).id == 1
