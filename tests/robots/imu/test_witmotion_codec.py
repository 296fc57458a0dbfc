from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robots.imu.witmotion_codec import (
    ACCELERATION,
    CONTENT,
    GYRO,
    QUATERNION,
    RATE,
    UNLOCK,
    WitMotionDecoder,
    checksum,
    setting,
)

GOLDEN_FORCE = bytes.fromhex("55 51 00 00 00 00 00 08 C4 09 7B")
GOLDEN_ATTITUDE = bytes.fromhex("55 59 FF 7F 00 00 00 00 00 00 2C")
PERIOD_NS = 5_000_000


def frame(kind: int, *words: int) -> bytes:
    """A frame with four 16-bit numbers."""
    head = struct.pack("<BB4h", 0x55, kind, *(*words, 0, 0, 0, 0)[:4])
    return head + bytes((checksum(head),))


def burst(number: int) -> list[bytes]:
    """The frames of a sample that carries its number in all its parts."""
    return [
        frame(ACCELERATION, number, 0, 2048),
        frame(GYRO, number),
        frame(QUATERNION, 32767, number),
    ]


def decoder() -> WitMotionDecoder:
    """A decoder for 200 samples per second."""
    return WitMotionDecoder(200.0)


def numbers(parts: list[bytes], *, period_ns: int = 0) -> list[int]:
    """Numbers of the samples that come out; fails if one is made of two."""
    reader = decoder()
    found = [one for at, part in enumerate(parts) for one in reader.feed(part, at * period_ns)]
    for one in found:
        by_part = {
            round(one.accelerometer[0] / 9.80665 / 16 * 32768),
            round(math.degrees(one.gyro[0]) / 2000 * 32768),
            round(one.quaternion[1] * 32768),
        }
        assert len(by_part) == 1
    return [round(one.quaternion[1] * 32768) for one in found]


def test_golden_frames() -> None:
    """One g upwards, and an attitude of almost exactly one."""
    (found,) = decoder().feed(GOLDEN_FORCE + frame(GYRO, 16384, -16384) + GOLDEN_ATTITUDE, 0)
    assert found.accelerometer == pytest.approx((0, 0, 9.80665))
    assert found.gyro == pytest.approx((math.radians(1000), -math.radians(1000), 0))
    assert found.quaternion == pytest.approx((32767 / 32768, 0, 0, 0))
    assert found.device_ns is None
    assert frame(ACCELERATION, 0, 0, 2048, 0x09C4) == GOLDEN_FORCE
    assert frame(QUATERNION, 32767) == GOLDEN_ATTITUDE


def test_settings_as_on_the_wire() -> None:
    """Register and value, low byte first; unlocking is a setting as well."""
    assert setting(CONTENT, 0x0206).hex(" ") == "ff aa 02 06 02"
    assert setting(RATE, 0x0B).hex(" ") == "ff aa 03 0b 00"
    assert setting(0x69, 0xB588) == UNLOCK


def test_a_sample_is_made_of_one_burst() -> None:
    """Three frames, one sample."""
    assert numbers([b"".join(burst(n)) for n in (3, 4, 5)], period_ns=PERIOD_NS) == [3, 4, 5]


def test_a_sample_is_found_byte_by_byte() -> None:
    """Bytes of a burst come one after the other, at nearly the same time."""
    stream = b"".join(burst(7))
    assert numbers([bytes((byte,)) for byte in stream], period_ns=80_000) == [7]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_burst_without_one_of_its_frames_is_dropped(lost: int) -> None:
    """It never takes the missing part from its neighbours."""
    parts = burst(4)
    del parts[lost]
    reader = decoder()
    for at, part in enumerate([burst(3), parts, burst(5)]):
        reader.feed(b"".join(part), at * PERIOD_NS)
    assert reader.counts.incomplete == (1 if lost else 0)
    together = [b"".join(part) for part in (burst(3), parts, burst(5))]
    assert numbers(together, period_ns=PERIOD_NS) == [3, 5]


def test_the_end_of_a_burst_does_not_fit_the_begin_of_the_one_before() -> None:
    """Lost are exactly the frames between: only the time tells."""
    (first, _, _), (_, *rest) = burst(3), burst(4)
    assert numbers([first, b"".join(rest)], period_ns=PERIOD_NS) == []


def test_a_frame_twice_makes_no_sample() -> None:
    """Two gyros behind one acceleration are of two bursts."""
    a, b, c = burst(3)
    assert numbers([a + b + frame(GYRO, 9) + c]) == []


def test_bytes_lost_within_a_burst_drop_it() -> None:
    """What follows the gap may be of another burst."""
    a, b, c = burst(3)
    assert numbers([a + b[4:] + b + c, b"".join(burst(4))], period_ns=PERIOD_NS) == [4]


@given(st.data())
def test_after_any_loss_only_the_bursts_hit_are_missing(data: st.DataObject) -> None:
    """Whatever run of bytes is lost: the others come, none twice, none is made of two.

    The burst behind a torn frame may be lost: in one case of 256 the sum of both fits.
    """
    bursts = [b"".join(burst(number)) for number in range(6)]
    length = len(bursts[0])
    first = data.draw(st.integers(0, 6 * length))
    last = data.draw(st.integers(first, 6 * length))
    kept = [
        bytes(byte for at, byte in enumerate(part, index * length) if not first <= at < last)
        for index, part in enumerate(bursts)
    ]
    found = numbers([*kept, b"".join(burst(6)), b"".join(burst(7))], period_ns=PERIOD_NS)
    hit = range(first // length, -(-last // length)) if last > first else range(0)
    assert found == sorted(set(found) & set(range(8)))
    missing = set(range(8)) - set(hit) - set(found)
    assert missing <= {last // length, -(-last // length)}


def test_marks_within_the_data_do_not_mislead() -> None:
    """0x55 stands in numbers too; the sum decides."""
    tricky = [
        frame(ACCELERATION, 0x5555, 0x5155, 2048),
        frame(GYRO, 0x5955, 0x5255),
        frame(QUATERNION, 32767, 0x0055),
    ]
    reader = decoder()
    found = reader.feed(b"\x55\x55\x51" + b"".join(tricky), 0)
    found += reader.feed(b"".join(tricky), PERIOD_NS)
    assert found
    assert all(round(one.quaternion[1] * 32768) == 0x55 for one in found)


def test_damaged_frames_are_counted() -> None:
    """The sum of eight bits catches one flipped bit."""
    a, b, c = burst(3)
    broken = bytearray(b)
    broken[3] ^= 1
    reader = decoder()
    assert reader.feed(a + bytes(broken) + c, 0) == []
    assert reader.counts.checksum_errors == 1
    assert reader.counts.resyncs == 1
    assert reader.counts.incomplete == 1


def test_frames_nobody_asked_for_are_counted_and_named() -> None:
    """They stand between the others and do no harm."""
    a, b, c = burst(3)
    reader = decoder()
    assert len(reader.feed(a + b + frame(0x53) + frame(0x54) + c, 0)) == 1
    assert reader.counts.unexpected == 2
    assert reader.types == {0x51, 0x52, 0x53, 0x54, 0x59}


def test_text_between_bursts_costs_nothing() -> None:
    """It is counted as text."""
    reader = decoder()
    found = reader.feed(b"".join(burst(1)) + b"WT901 ready\r\n" + b"".join(burst(2)), 0)
    assert len(found) == 2
    assert (reader.counts.ascii_lines, reader.counts.resyncs) == (1, 0)


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_noise_raises_nothing_and_samples_come_again(noise: list[bytes]) -> None:
    """Two bursts later at the latest, unless the noise is one frame short of a burst itself."""
    reader = decoder()
    for piece in noise:
        reader.feed(piece, 0)
    found = [
        one for n in range(1, 4) for one in reader.feed(b"".join(burst(n)), n * 10 * PERIOD_NS)
    ]
    assert found
    assert round(found[-1].quaternion[1] * 32768) == 3


def test_a_reset_forgets_the_burst_begun() -> None:
    """Its other frames, which belong to another time, do not complete it."""
    a, b, c = burst(3)
    reader = decoder()
    reader.feed(a + b[:5], 0)
    reader.reset()
    assert reader.feed(b[5:] + c, 0) == []
