"""Frames against the vectors of the e-Manual, and a receiver against anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.dynamixel import protocol
from robots.dynamixel.protocol import (
    BROADCAST,
    MAX_FRAME,
    Frame,
    Instruction,
    Receiver,
    Status,
    crc16,
    encode,
    encode_fast,
    encode_status,
    fast_statuses,
)

INSTRUCTIONS = {
    "ping 1": (1, 0x01, "", "FF FF FD 00 01 03 00 01 19 4E"),
    "ping all": (254, 0x01, "", "FF FF FD 00 FE 03 00 01 31 42"),
    "read 132,4": (1, 0x02, "84 00 04 00", "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15"),
    "write 116=512": (
        *(1, 0x03, "74 00 00 02 00 00"),
        "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89",
    ),
    "reg write 104=200": (
        *(1, 0x04, "68 00 C8 00 00 00"),
        "FF FF FD 00 01 09 00 04 68 00 C8 00 00 00 AE 8E",
    ),
    "action": (1, 0x05, "", "FF FF FD 00 01 03 00 05 02 CE"),
    "factory reset": (1, 0x06, "01", "FF FF FD 00 01 04 00 06 01 A1 E6"),
    "reboot": (1, 0x08, "", "FF FF FD 00 01 03 00 08 2F 4E"),
    "clear": (1, 0x10, "01 44 58 4C 22", "FF FF FD 00 01 08 00 10 01 44 58 4C 22 B1 DC"),
    "backup": (1, 0x20, "01 43 54 52 4C", "FF FF FD 00 01 08 00 20 01 43 54 52 4C 16 F5"),
    "restore": (1, 0x20, "02 43 54 52 4C", "FF FF FD 00 01 08 00 20 02 43 54 52 4C 9E F5"),
    "sync read": (
        *(254, 0x82, "84 00 04 00 01 02"),
        "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA",
    ),
    "sync write": (
        *(254, 0x83, "74 00 04 00 01 96 00 00 00 02 AA 00 00 00"),
        "FF FF FD 00 FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87",
    ),
    "bulk read": (
        *(254, 0x92, "01 90 00 02 00 02 92 00 01 00"),
        "FF FF FD 00 FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05",
    ),
    "bulk write": (
        *(254, 0x93, "01 20 00 02 00 A0 00 02 1F 00 01 00 50"),
        "FF FF FD 00 FE 10 00 93 01 20 00 02 00 A0 00 02 1F 00 01 00 50 B7 68",
    ),
    "fast sync read": (
        *(254, 0x8A, "84 00 04 00 03 07 04"),
        "FF FF FD 00 FE 0A 00 8A 84 00 04 00 03 07 04 20 F2",
    ),
    "fast bulk read": (
        *(254, 0x9A, "03 84 00 04 00 07 7C 00 02 00 04 92 00 01 00"),
        "FF FF FD 00 FE 12 00 9A 03 84 00 04 00 07 7C 00 02 00 04 92 00 01 00 DA 2D",
    ),
    "sync read of twelve": (
        *(254, 0x82, "7E 00 0A 00 01 02 03 04 05 06 07 08 09 0A 0B 0C"),
        "FF FF FD 00 FE 13 00 82 7E 00 0A 00 01 02 03 04 05 06 07 08 09 0A 0B 0C CD 14",
    ),
    "fast sync read of twelve": (
        *(254, 0x8A, "7E 00 0A 00 01 02 03 04 05 06 07 08 09 0A 0B 0C"),
        "FF FF FD 00 FE 13 00 8A 7E 00 0A 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 6E A4",
    ),
    "torque on": (1, 0x03, "40 00 01", "FF FF FD 00 01 06 00 03 40 00 01 DB 66"),
    "torque off": (1, 0x03, "40 00 00", "FF FF FD 00 01 06 00 03 40 00 00 DE E6"),
    "torque off, all": (254, 0x03, "40 00 00", "FF FF FD 00 FE 06 00 03 40 00 00 2E 16"),
    "watchdog": (1, 0x03, "62 00 05", "FF FF FD 00 01 06 00 03 62 00 05 68 E4"),
    "stuffed FF FF FD 00": (
        *(1, 0x03, "74 00 FF FF FD 00"),
        "FF FF FD 00 01 0A 00 03 74 00 FF FF FD FD 00 21 E7",
    ),
    "stuffed FF FF FD FD": (
        *(1, 0x03, "74 00 FF FF FD FD"),
        "FF FF FD 00 01 0A 00 03 74 00 FF FF FD FD FD 2C 65",
    ),
}
STATUSES = {
    "ping reply 1": (1, 0, "06 04 26", "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D"),
    "ping reply 2": (2, 0, "06 04 26", "FF FF FD 00 02 07 00 55 00 06 04 26 6F 6D"),
    "read reply": (1, 0, "A6 00 00 00", "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0"),
    "write reply": (1, 0, "", "FF FF FD 00 01 04 00 55 00 A1 0C"),
    "sync read reply": (2, 0, "1F 08 00 00", "FF FF FD 00 02 08 00 55 00 1F 08 00 00 BA BE"),
    "bulk read reply 1": (1, 0, "77 00", "FF FF FD 00 01 06 00 55 00 77 00 C3 69"),
    "bulk read reply 2": (2, 0, "24", "FF FF FD 00 02 05 00 55 00 24 8B A9"),
    "stuffed": (
        *(1, 0, "FF FF FD FF FF FF 00 08 00 00"),
        "FF FF FD 00 01 0F 00 55 00 FF FF FD FD FF FF FF 00 08 00 00 49 F0",
    ),
    "stuffed with alert": (
        *(1, 0x80, "FF FF FD FF FF FF 00 08 00 00"),
        "FF FF FD 00 01 0F 00 55 80 FF FF FD FD FF FF FF 00 08 00 00 8A 4F",
    ),
    "alert and data range": (1, 0x84, "", "FF FF FD 00 01 04 00 55 84 B9 0F"),
}
FAST = {
    "of the e-Manual": (
        [(3, 0, "A6 00 00 00"), (7, 0, "1F 08 00 00"), (4, 0, "FF 03 00 00")],
        (
            "FF FF FD 00 FE 19 00 55 00 03 A6 00 00 00 84 08 "
            "00 07 1F 08 00 00 16 CA 00 04 FF 03 00 00 D1 9E"
        ),
    ),
    "not stuffed": (
        [(1, 0, "FF FF FD FF FF FF 00 08 00 00"), (2, 0x80, "64 00 00 00 00 00 FF 07 00 00")],
        (
            "FF FF FD 00 FE 1D 00 55 00 01 FF FF FD FF FF FF 00 08 00 00 40 B7 "
            "80 02 64 00 00 00 00 00 FF 07 00 00 2B 3F"
        ),
    ),
}
FAST_BULK = "FF FF FD 00 FE 14 00 55 00 03 A6 00 00 00 67 A4 00 07 A5 01 24 74 00 04 1F D9 C1"

# Payloads in which the patterns of headers and stuffing are common.
PAYLOADS = st.lists(
    st.sampled_from([b"\xff", b"\xfd", b"\x00", b"\xff\xff\xfd", b"\xff\xff\xfd\x00", b"\x55\x01"])
    | st.binary(max_size=3),
    max_size=60,
).map(b"".join)
IDS = st.integers(0, 252)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_instruction_vectors(name: str) -> None:
    """Every instruction is encoded and decoded as the vector says."""
    device, instruction, parameters, wire = INSTRUCTIONS[name]
    payload, raw = bytes.fromhex(parameters), bytes.fromhex(wire)
    assert encode(device, instruction, payload) == raw
    assert Receiver("instruction").feed(raw) == [Frame(device, instruction, payload, raw)]


@pytest.mark.parametrize("name", STATUSES)
def test_status_vectors(name: str) -> None:
    """Every status is encoded and decoded as the vector says."""
    device, error, data, wire = STATUSES[name]
    status, raw = Status(device, error, bytes.fromhex(data)), bytes.fromhex(wire)
    assert encode_status(status) == raw
    (frame,) = Receiver().feed(raw)
    assert frame.status == status


@pytest.mark.parametrize("name", FAST)
def test_fast_reply_vectors(name: str) -> None:
    """A fast reply is one frame of unstuffed blocks with a CRC each."""
    blocks, wire = FAST[name]
    statuses = [Status(device, error, bytes.fromhex(data)) for device, error, data in blocks]
    raw = bytes.fromhex(wire)
    assert encode_fast(statuses) == raw
    (frame,) = Receiver().feed(raw)
    assert frame.id == BROADCAST
    assert fast_statuses(frame.raw, len(statuses[0].data)) == statuses


def test_fast_bulk_reply_is_a_frame() -> None:
    """Blocks of different lengths are one frame too, ended by its length."""
    raw = bytes.fromhex(FAST_BULK)
    (frame,) = Receiver().feed(raw)
    assert frame.raw == raw


def test_crc_check_value_and_table() -> None:
    """The CRC agrees with the published check value and with the table of the e-Manual."""
    table = []
    for index in range(256):
        value = index << 8
        for _ in range(8):
            value = (value << 1 ^ 0x8005) & 0xFFFF if value & 0x8000 else value << 1
        table.append(value)
    data, crc = bytes(range(256)), 0
    for byte in data:
        crc = (crc << 8 & 0xFF00) ^ table[(crc >> 8) ^ byte]
    assert crc16(b"123456789") == 0xFEE8
    assert crc16(data) == crc
    assert crc16(data[100:], crc16(data[:100])) == crc


def test_error_byte_is_a_number_and_a_bit() -> None:
    """84 is an alert together with error number 4."""
    status = Status(1, 0x84, b"")
    assert status.alert
    assert status.number == protocol.ErrorNumber.DATA_RANGE
    assert not Status(1, 0x04, b"").alert


@pytest.mark.parametrize("device", [-1, 253, 255, 256])
def test_impossible_ids_are_refused(device: int) -> None:
    """No device can have the IDs 253 and 255."""
    with pytest.raises(ValueError, match="expected 0 to 252"):
        encode(device, Instruction.PING)


def test_oversized_frames_are_refused() -> None:
    """What no receiver takes is not sent, stuffing included."""
    encode(1, Instruction.WRITE, bytes(MAX_FRAME - 10))
    with pytest.raises(ValueError, match="1025 bytes"):
        encode(1, Instruction.WRITE, bytes(MAX_FRAME - 9))
    with pytest.raises(ValueError, match="expected at most 1024"):
        encode(1, Instruction.WRITE, b"\xff\xff\xfd" * 300)
    with pytest.raises(ValueError, match="expected at most 1024"):
        encode_fast([Status(device, 0, bytes(20)) for device in range(50)])


def test_fast_replies_have_blocks_of_one_length() -> None:
    """Data of different lengths, or none, cannot be a fast reply."""
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        encode_fast([Status(1, 0, b"a"), Status(2, 0, b"bc")])
    with pytest.raises(ValueError, match="at least one block"):
        encode_fast([])


@given(device=IDS, instruction=st.sampled_from(Instruction), payload=PAYLOADS)
def test_instructions_survive_the_wire(device: int, instruction: int, payload: bytes) -> None:
    """Decoding undoes encoding, and no header appears within a frame."""
    raw = encode(device, instruction, payload)
    assert protocol.HEADER not in raw[1:-2]
    assert Receiver("instruction").feed(raw) == [Frame(device, instruction, payload, raw)]


@given(device=IDS, error=st.integers(0, 255), data=PAYLOADS)
def test_statuses_survive_the_wire(device: int, error: int, data: bytes) -> None:
    """Decoding undoes encoding for every error byte."""
    status = Status(device, error, data)
    (frame,) = Receiver().feed(encode_status(status))
    assert frame.status == status


@given(data=st.data(), size=st.integers(1, 20), ids=st.lists(IDS, min_size=1, max_size=12))
def test_fast_replies_survive_the_wire(data: st.DataObject, size: int, ids: list[int]) -> None:
    """Decoding undoes encoding, whatever patterns the unstuffed data hold."""
    contents = st.lists(st.sampled_from(b"\xff\xfd\x00\x55"), min_size=size, max_size=size)
    statuses = [Status(device, 0, bytes(data.draw(contents))) for device in ids]
    (frame,) = Receiver().feed(encode_fast(statuses))
    assert fast_statuses(frame.raw, size) == statuses


@given(data=PAYLOADS | st.binary(max_size=4000), hears=st.sampled_from(["status", "instruction"]))
def test_any_bytes_are_survived(data: bytes, hears: str) -> None:
    """Whatever arrives, a receiver returns frames, keeps little, and gives all up in the end."""
    receiver = Receiver("status" if hears == "status" else "instruction")
    frames = receiver.feed(data)
    assert receiver.waiting <= MAX_FRAME
    frames += receiver.expire()
    assert receiver.waiting == 0
    taken = sum(len(frame.raw) for frame in frames)
    assert taken + receiver.rejects.noise_bytes == len(data)


@given(before=PAYLOADS, data=PAYLOADS, cuts=st.lists(st.integers(1, 40), max_size=20))
def test_a_frame_is_found_behind_noise_and_in_pieces(
    before: bytes, data: bytes, cuts: list[int]
) -> None:
    """Bytes before a frame, and wherever the stream is cut, do not hide it."""
    status = Status(9, 0, data)
    stream = before + encode_status(status)
    receiver, frames = Receiver(), []
    for cut in cuts:
        frames += receiver.feed(stream[:cut])
        stream = stream[cut:]
    frames += receiver.feed(stream) + receiver.expire()
    assert status in [frame.status for frame in frames if frame.id != BROADCAST]


@given(data=PAYLOADS, bit=st.integers(min_value=0), tail=PAYLOADS)
def test_a_flipped_bit_is_never_a_value(data: bytes, bit: int, tail: bytes) -> None:
    """A frame with one wrong bit is rejected, and the next good frame is taken."""
    broken = bytearray(encode_status(Status(7, 0, data)))
    bit %= len(broken) * 8
    broken[bit // 8] ^= 1 << bit % 8
    good = Status(8, 0, tail)
    receiver = Receiver()
    frames = receiver.feed(bytes(broken) + encode_status(good)) + receiver.expire()
    assert [frame.status for frame in frames] == [good]
    assert receiver.rejects.resyncs == 1


def test_rejects_are_counted_by_cause() -> None:
    """CRC, length, ID, direction, cut frames and noise are told apart."""
    good = encode_status(Status(1, 0, b"\x01\x02"))
    receiver = Receiver()
    receiver.feed(good[:-1] + b"\x00")
    assert receiver.rejects.bad_crc == 1
    assert receiver.last_bad == good[:-1] + b"\x00"
    receiver.feed(protocol.HEADER + bytes.fromhex("01 03 00 55"))
    receiver.feed(protocol.HEADER + bytes.fromhex("01 FA 03 55"))
    assert receiver.rejects.bad_length == 2
    receiver.feed(protocol.HEADER + bytes.fromhex("FD 05 00 55"))
    assert receiver.rejects.bad_id == 1
    receiver.feed(encode(1, Instruction.PING))
    assert receiver.rejects.bad_instruction == 1
    receiver.feed(good[:-1])
    assert receiver.expire() == []
    assert receiver.rejects.short == 1
    assert receiver.rejects.resyncs == 0
    noise = receiver.rejects.noise_bytes
    assert len(receiver.feed(b"xyz" + good)) == 1
    assert receiver.rejects.noise_bytes == noise + 3
    assert receiver.rejects.resyncs == 1


def test_a_broken_length_does_not_swallow_the_next_frame() -> None:
    """Frames that arrived within the span of a broken length are found when its time is up."""
    broken = bytearray(encode_status(Status(1, 0, b"\x01\x02")))
    broken[6] = 3
    later = [Status(2, 0, b"\x03\x04"), Status(3, 0, b"\x05\x06")]
    receiver = Receiver()
    assert receiver.feed(bytes(broken) + b"".join(map(encode_status, later))) == []
    assert [frame.status for frame in receiver.expire()] == later
    assert receiver.rejects.short == 1


def test_a_device_hears_instructions_only() -> None:
    """On the device's side a status of a neighbour is not an instruction."""
    receiver = Receiver("instruction")
    neighbour, ping = encode_status(Status(2, 0, b"\x00")), encode(1, Instruction.PING)
    assert [frame.raw for frame in receiver.feed(neighbour + ping)] == [ping]
    assert receiver.rejects.bad_instruction == 1


def test_a_fast_reply_tells_who_broke_it() -> None:
    """Blocks before the first wrong CRC are good; the first missing one is the culprit's."""
    statuses = [Status(device, 0, bytes((device, 0))) for device in (1, 2, 3)]
    raw = bytearray(encode_fast(statuses))
    raw[8 + 6 + 2] ^= 1
    receiver = Receiver()
    assert receiver.feed(bytes(raw)) == []
    assert fast_statuses(receiver.last_bad, 2) == statuses[:1]
