"""Both emulated IMUs without a terminal: what they answer, and that the drivers' codecs agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from robots.imu.mounting import from_angles, inverse, rotate
from robots.imu.vectornav_codec import VectorNavDecoder, decode_line, encode_line
from robots.imu.witmotion_codec import (
    CONTENT,
    CONTENT_MASK,
    RATE,
    UNLOCK,
    WitMotionDecoder,
    setting,
)
from sim.emulator.imu_vectornav import VectorNavDevice, crc16
from sim.emulator.imu_witmotion import WitMotionDevice

if TYPE_CHECKING:
    from robots.imu.stream import Measurement

MS = 1_000_000
Feeling = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


def tilted(roll_deg: float, pitch_deg: float) -> Feeling:
    """A body that lies so, and turns about all axes."""
    attitude = from_angles(math.radians(roll_deg), math.radians(pitch_deg), 0.3)
    return attitude, (0.1, -0.2, 0.3), rotate(inverse(attitude), (0, 0, 9.81))


def rest() -> Feeling:
    """A body that is level."""
    return tilted(0, 0)


def ask(device: VectorNavDevice, line: str, now_ns: int = 0) -> str:
    """Answer to a line, which may be damaged."""
    device.registers[6] = "0"
    device.step(now_ns + 100 * MS, device.baud)
    device.hear(line.encode(), now_ns + 101 * MS)
    heard = device.step(now_ns + 120 * MS, device.baud)
    return decode_line(heard[heard.find(b"$") :]) or ""


def command(body: str) -> str:
    """A line with its checksum."""
    return encode_line(body).decode()


def measure(device: VectorNavDevice | WitMotionDevice) -> Measurement:
    """Make the device stream as its driver would and decode one sample."""
    decoder: VectorNavDecoder | WitMotionDecoder
    if isinstance(device, VectorNavDevice):
        device.registers |= {6: "0", 75: "2,4,01,0131"}
        decoder = VectorNavDecoder()
    else:
        device.registers |= {CONTENT: CONTENT_MASK, RATE: 0x0B}
        decoder = WitMotionDecoder(200.0)
    device.step(0, device.baud)
    (found,) = decoder.feed(device.step(4 * MS, device.baud), 0)
    return found


@pytest.mark.parametrize("kind", [VectorNavDevice, WitMotionDevice])
@pytest.mark.parametrize(
    ("roll", "pitch"), [(0, 0), (30, 0), (-30, 0), (0, 30), (0, -30), (180, 0), (20, -50)]
)
def test_what_the_device_feels_is_what_the_driver_reads(
    kind: type[VectorNavDevice | WitMotionDevice], roll: float, pitch: float
) -> None:
    """Whatever frames the protocol has in between: attitude, rate and force keep their signs."""
    attitude, gyro, force = tilted(roll, pitch)
    device = kind(lambda: (attitude, gyro, force))
    found = measure(device)
    rounding = 1e-6 if kind is VectorNavDevice else 2e-2
    assert found.quaternion == pytest.approx(attitude, abs=rounding)
    assert found.gyro == pytest.approx(gyro, abs=rounding)
    assert found.accelerometer == pytest.approx(force, abs=10 * rounding)


def level() -> Feeling:
    """A body that looks north and does not move."""
    return (1, 0, 0, 0), (0, 0, 0), (0, 0, 9.80665)


def test_the_vectornav_sends_the_golden_message() -> None:
    """One second after the start; computed by hand from the manual, not by either side."""
    device = VectorNavDevice(level)
    device.registers |= {6: "0", 75: "2,4,01,0131"}
    golden = bytes.fromhex("FA0131 01 00CA9A3B00000000 000000000000000000000000 0000803F")
    golden += bytes(20) + bytes.fromhex("0AE81CC1 AFB0")
    assert device.message(1_000_000_000, broken=False) == golden


def test_the_witmotion_sends_the_golden_frames() -> None:
    """One g upwards at 25 degrees, and an attitude of almost exactly one; without noise."""
    device = WitMotionDevice(level, noise=0.0)
    device.registers[CONTENT] = 0x0202
    golden = bytes.fromhex("5551000000000008C4097B 5559FF7F0000000000002C")
    assert device.message(0, broken=False) == golden


def test_its_crc_is_the_one_of_the_reference() -> None:
    """Check value of CRC-16/XMODEM; the driver uses another implementation."""
    assert crc16(b"123456789") == 0x31C3


def test_it_says_what_it_is() -> None:
    """Register 1 is the model; XX stands for any checksum."""
    device = VectorNavDevice(rest)
    assert ask(device, command("VNRRG,01")) == "VNRRG,01,VN-100T-CR"
    assert ask(device, "$VNRRG,01*XX\r\n", 200 * MS) == "VNRRG,01,VN-100T-CR"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("$VNRRG,01*00\r\n", 3),
        (command("VNXYZ,01"), 4),
        (command("VNRRG,99"), 8),
        (command("VNRRG,x"), 8),
        (command("VNWRG,01,VN-300"), 7),
        (command("VNWRG,75,2,4,01"), 7),
        (command("VNWRG,75,2,0,01,0131"), 7),
        (command("VNWRG,75,2,4,04,0131"), 7),
        (command("VNWRG,75,2,4,01,0331"), 7),
        (command("VNWRG,75,2,1,01,0131"), 12),
    ],
)
def test_it_refuses_what_it_does_not_understand(line: str, number: int) -> None:
    """By number; nothing has changed then."""
    device = VectorNavDevice(rest, baud=230400)
    before = dict(device.registers) | {6: "0"}
    assert ask(device, line) == f"VNERR,{number:02d}"
    assert device.registers == before


def test_commands_may_come_in_pieces() -> None:
    """And with noise in front."""
    device = VectorNavDevice(rest)
    device.registers[6] = "0"
    line = b"\x00\xff" + encode_line("VNRRG,05")
    for byte in line:
        device.hear(bytes((byte,)), 0)
    assert decode_line(device.step(10 * MS, device.baud)) == "VNRRG,05,921600"


def test_it_talks_text_until_told_not_to() -> None:
    """Forty lines a second, as from the factory; afterwards the binary message only."""
    device = VectorNavDevice(rest)
    text = b"".join(device.step(at * MS, device.baud) for at in range(1000))
    assert text.count(b"$VNYMR") == pytest.approx(40, abs=1)
    device.hear(encode_line("VNWRG,75,2,4,01,0131"), 1000 * MS)
    both = b"".join(device.step(at * MS, device.baud) for at in range(1000, 2000))
    assert both.count(b"$VNYMR") == pytest.approx(40, abs=1)
    decoder = VectorNavDecoder()
    assert len(decoder.feed(both, 0)) == pytest.approx(200, abs=6)
    device.hear(encode_line("VNWRG,06,0"), 2000 * MS)
    binary = b"".join(device.step(at * MS, device.baud) for at in range(2010, 3000))
    assert binary.count(b"$VN") == 1, "the answer, and no text behind it"


def test_output_for_the_other_port_does_not_come_here() -> None:
    """The cable is on port 2."""
    device = VectorNavDevice(rest, uart=2)
    device.registers |= {6: "0", 75: "1,4,01,0131"}
    assert b"".join(device.step(at * MS, device.baud) for at in range(100)) == b""


def test_settings_need_the_key() -> None:
    """Without it, and ten seconds after it, nothing changes."""
    device = WitMotionDevice(rest)
    device.hear(setting(RATE, 0x0B), 0)
    assert device.rate_hz() == 10
    device.hear(UNLOCK + setting(RATE, 0x0B)[:3], 0)
    device.hear(setting(RATE, 0x0B)[3:], 9_000 * MS)
    assert device.rate_hz() == 200
    device.hear(setting(RATE, 0x09), 10_001 * MS)
    assert device.rate_hz() == 200


def test_from_the_factory_it_sends_other_frames() -> None:
    """Acceleration, gyro, angles and field, ten times a second."""
    device = WitMotionDevice(rest)
    decoder = WitMotionDecoder(10.0)
    for at in range(1000):
        assert decoder.feed(device.step(at * MS, device.baud), at * MS) == []
    assert decoder.types == {0x51, 0x52, 0x53, 0x54}
    assert decoder.counts.unexpected == pytest.approx(20, abs=2)


def test_its_noise_shows_that_it_lives() -> None:
    """A body at rest never gives the same bits for long."""
    device = WitMotionDevice(rest)
    device.registers |= {CONTENT: CONTENT_MASK, RATE: 0x0B}
    decoder = WitMotionDecoder(200.0)
    found = [
        one for at in range(1000) for one in decoder.feed(device.step(at * MS, 115200), at * MS)
    ]
    assert len(found) == pytest.approx(200, abs=2)
    assert not any(found[at] == found[at + 1] == found[at + 2] for at in range(len(found) - 2))
