from __future__ import annotations

import math
import struct
import time
from itertools import pairwise

import fastcrc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.imu.vectornav_codec import SIZE, VectorNavDecoder, decode_line, encode_line

GOLDEN = bytes.fromhex(
    "FA 01 31 01 00 CA 9A 3B 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 80 3F 00 00 00"
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 0A E8 1C C1 AF B0"
)
"""One second after the start, level, at rest."""


def message(time_ns: int, quaternion: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0)) -> bytes:
    """A message at rest with a quaternion w x y z of the sensor's own frames."""
    w, x, y, z = quaternion
    # A checksum of 16 bits fits by chance once in 65,536, but after no cut of these messages.
    body = b"\x01\x31\x01" + struct.pack("<Q10f", time_ns, x, y, z, w, 0, 0, 0, 0, 0, -9.80665)
    return b"\xfa" + body + fastcrc.crc16.xmodem(body).to_bytes(2, "big")


@pytest.mark.parametrize(
    "line",
    [
        "$VNRRG,01*72",
        "$VNWRG,07,0*6D",
        "$VNWRG,06,0*6C",
        "$VNWRG,75,2,4,01,0131*70",
        "$VNRRG,75*71",
        "$VNTAR*5F",
        "$VNWNV*57",
        "$VNRST*4D",
    ],
)
def test_lines_have_the_checksum_of_the_reference(line: str) -> None:
    """Both ways: written and read."""
    body = line[1:-3]
    assert encode_line(body) == f"{line}\r\n".encode()
    assert decode_line(f"{line}\r\n".encode()) == body


@pytest.mark.parametrize(
    "line",
    [b"$VNRRG,01*73", b"$VNRRG,01", b"$VNRRG,01*7", b"$VNRRG,01*zz", b"", b"*", b"$VNRRG,0\xff*8C"],
)
def test_lines_that_were_damaged_are_not_read(line: bytes) -> None:
    """Half a line, a wrong digit, a byte that is no text: none of them raises."""
    assert decode_line(line) is None


def test_lines_may_carry_four_digits() -> None:
    """An IMU that is set to the longer checksum is understood as well."""
    digits = f"{fastcrc.crc16.xmodem(b'VNRRG,01,VN-100'):04X}"
    assert decode_line(f"$VNRRG,01,VN-100*{digits}".encode()) == "VNRRG,01,VN-100"


def test_golden_message() -> None:
    """Level and at rest; z down becomes z up."""
    (found,) = VectorNavDecoder().feed(GOLDEN, 0)
    assert found.device_ns == 1_000_000_000
    assert found.quaternion == (1, 0, 0, 0)
    assert found.gyro == (0, 0, 0)
    assert found.accelerometer == pytest.approx((0, 0, 9.80665))
    assert len(GOLDEN) == SIZE


def test_vectors_turn_from_right_and_down_to_left_and_up() -> None:
    """X stays forward."""
    body = b"\x01\x31\x01" + struct.pack("<Q10f", 5, 0.1, 0.2, 0.3, 0.9, 1, 2, 3, 4, 5, 6)
    crc = fastcrc.crc16.xmodem(body).to_bytes(2, "big")
    (found,) = VectorNavDecoder().feed(b"\xfa" + body + crc, 0)
    assert found.quaternion == pytest.approx((0.9, 0.1, -0.2, -0.3))
    assert found.gyro == (1, -2, -3)
    assert found.accelerometer == (4, -5, -6)


def test_messages_are_found_in_any_pieces() -> None:
    """Byte by byte, and all at once."""
    stream = b"".join(message(number) for number in range(5))
    single, whole = VectorNavDecoder(), VectorNavDecoder()
    times = [found.device_ns for byte in stream for found in single.feed(bytes((byte,)), 0)]
    assert times == [found.device_ns for found in whole.feed(stream, 0)] == [0, 1, 2, 3, 4]
    assert single.counts == whole.counts == VectorNavDecoder().counts


@given(st.data())
def test_after_any_loss_only_the_messages_hit_are_missing(data: st.DataObject) -> None:
    """Whatever run of bytes is lost and however the rest arrives: all others come, none twice.

    One that was hit may come too, namely when the same bytes of its neighbour complete it.
    """
    stream = b"".join(message(number) for number in range(6))
    first = data.draw(st.integers(0, len(stream)))
    last = data.draw(st.integers(first, len(stream)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=6)))
    rest = stream[:first] + stream[last:] + message(6)
    decoder = VectorNavDecoder()
    found = [
        one.device_ns or 0
        for start, end in pairwise([0, *cuts, len(rest)])
        for one in decoder.feed(rest[start:end], 0)
    ]
    hit = range(first // SIZE, -(-last // SIZE)) if last > first else range(0)
    assert set(found) >= set(range(7)) - set(hit)
    assert found == sorted(set(found) & set(range(7)))


@given(st.lists(st.one_of(st.binary(max_size=80), st.just(b"\xfa\x01\x31\x01")), max_size=8))
def test_noise_makes_no_sample_and_hides_none_for_long(noise: list[bytes]) -> None:
    """Behind noise, even noise that looks like a message's head, the next messages are found."""
    decoder = VectorNavDecoder()
    for piece in noise:
        assert decoder.feed(piece, 0) == []
    times = [one.device_ns for number in range(3) for one in decoder.feed(message(number), 0)]
    assert times[-1] == 2


def test_a_damaged_message_is_counted_and_left_out() -> None:
    """The next one comes through."""
    decoder = VectorNavDecoder()
    broken = bytearray(message(1))
    broken[20] ^= 4
    found = decoder.feed(bytes(broken) + message(2), 0)
    assert [one.device_ns for one in found] == [2]
    assert (decoder.counts.checksum_errors, decoder.counts.resyncs) == (1, 1)


@pytest.mark.parametrize("cut", [0, 1, 7, 30])
def test_text_between_messages_is_counted_as_text(cut: int) -> None:
    """It costs no message, however it is cut, and is no resynchronisation."""
    decoder = VectorNavDecoder()
    line = encode_line("VNYMR,+000.000,+000.000")
    stream = message(1) + line + message(2) + line + line + message(3)
    found = decoder.feed(stream[: SIZE + cut], 0) + decoder.feed(stream[SIZE + cut :], 0)
    assert [one.device_ns for one in found] == [1, 2, 3]
    assert (decoder.counts.ascii_lines, decoder.counts.resyncs) == (3, 0)


def test_text_within_a_message_costs_that_message() -> None:
    """Its CRC does not fit any more."""
    decoder = VectorNavDecoder()
    whole = message(1)
    found = decoder.feed(whole[:20] + encode_line("VNYMR,+000.000") + whole[20:] + message(2), 0)
    assert [one.device_ns for one in found] == [2]
    assert decoder.counts.checksum_errors == 1


def test_messages_of_other_content_are_no_samples() -> None:
    """A sound message of group Common with other fields is skipped, not misread."""
    body = b"\x01\x29\x01" + struct.pack("<Q9f", 5, *range(9))
    other = b"\xfa" + body + fastcrc.crc16.xmodem(body).to_bytes(2, "big")
    decoder = VectorNavDecoder()
    found = decoder.feed(other + message(7), 0)
    assert [one.device_ns for one in found] == [7]
    assert decoder.counts.resyncs == 1


def test_a_reset_forgets_the_message_begun() -> None:
    """Its other half, which belongs to another time, does not complete it."""
    decoder = VectorNavDecoder()
    decoder.feed(message(1)[:30], 0)
    decoder.reset()
    assert decoder.feed(message(1)[30:], 0) == []
    assert [one.device_ns for one in decoder.feed(message(2), 0)] == [2]


def test_numbers_that_are_none_pass_the_codec() -> None:
    """Judging them is the tracker's; the CRC is right."""
    (found,) = VectorNavDecoder().feed(message(1, (math.nan, 0, 0, 0)), 0)
    assert math.isnan(found.quaternion[0])


def test_parsing_costs_little() -> None:
    """Some 6 µs per message, so that 200 a second take 0.1 % of a core; the bound is generous."""
    stream = message(1) * 200
    decoder = VectorNavDecoder()
    costs = []
    for _ in range(5):
        begin = time.perf_counter()
        assert len(decoder.feed(stream, 0)) == 200
        costs.append((time.perf_counter() - begin) / 200)
    assert min(costs) < 100e-6
