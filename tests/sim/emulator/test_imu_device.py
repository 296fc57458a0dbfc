from __future__ import annotations

import msgspec
import pytest

from sim.emulator.imu_device import ImuDevice
from sim.emulator.imu_faults import IMU_FAULTS, ImuFault
from sim.emulator.imu_witmotion import WitMotionDevice

MS = 1_000_000
BAUD = 100_000
SIZE = 10


def rest() -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """What an IMU feels on a table."""
    return (1, 0, 0, 0), (0, 0, 0), (0, 0, 9.81)


class Ticker(ImuDevice):
    """Sends its clock in ms as ten digits, hundred times a second; a byte takes 0.1 ms."""

    model = "ticker"
    cannot = frozenset({"clock-jump"})
    hertz = 100.0

    def hear(self, data: bytes, now_ns: int) -> None:
        self.say(data.upper(), now_ns)

    def rate_hz(self) -> float:
        return self.hertz

    def message(self, clock_ns: int, *, broken: bool) -> bytes:
        return b"broken...." if broken else b"%010d" % (clock_ns // MS)

    def text(self) -> bytes:
        return b"text\n"


class Jumper(Ticker):
    cannot = frozenset()


def run(device: ImuDevice, until_ms: float, *, baud: int = BAUD) -> dict[float, bytes]:
    """What arrives at which time, ms, in steps of 0.1 ms."""
    arrived = {}
    for tick in range(round(until_ms * 10)):
        data = device.step(tick * MS // 10, baud)
        if data:
            arrived[tick / 10] = data
    return arrived


def ticker(*faults: ImuFault) -> Ticker:
    """A ticker with faults."""
    return Ticker(rest, baud=BAUD, faults=faults)


def test_messages_arrive_when_their_last_byte_does() -> None:
    """Ten bytes take one millisecond."""
    assert run(ticker(), 25) == {1: b"0000000000", 11: b"0000000010", 21: b"0000000020"}


def test_what_the_line_cannot_carry_is_left_out() -> None:
    """At 2000 samples per second and 1 ms each, half of them go out, none much later."""
    device = ticker()
    device.hertz = 2000
    arrived = run(device, 100)
    assert 95 <= sum(len(data) for data in arrived.values()) / SIZE <= 100
    assert int(list(arrived.values())[-1]) >= 97


def test_a_host_that_comes_late_gets_what_is_new() -> None:
    """A debugger's stop does not end in a flood."""
    device = ticker()
    device.step(0, BAUD)
    data = device.step(10_000 * MS, BAUD) + device.step(10_050 * MS, BAUD)
    assert len(data) <= 30 * SIZE
    assert int(data[-SIZE:]) >= 10_000


def test_answers_queue_behind_messages() -> None:
    """One line carries one byte at a time."""
    device = ticker()
    device.step(0, BAUD)
    device.hear(b"hi", 0)
    assert run(device, 5) == {1: b"0000000000", 1.2: b"HI"}


def test_a_device_knows_when_it_has_to_do_something() -> None:
    """Its thread sleeps until then."""
    device = ticker()
    device.step(0, BAUD)
    assert device.due_ns() == 1 * MS
    device.step(1 * MS, BAUD)
    assert device.due_ns() == 10 * MS


def test_a_message_in_pieces() -> None:
    """All of it comes, with pauses."""
    arrived = run(ticker(ImuFault(name="split", amount=2)), 9)
    assert arrived == {0.5: b"00000", 1.5: b"00000"}


def test_flipped_bits() -> None:
    """As many as asked for, in every message."""
    arrived = run(ticker(ImuFault(name="flip", amount=3)), 25)
    expected = run(ticker(), 25)
    for at, data in arrived.items():
        wrong = int.from_bytes(data, "big") ^ int.from_bytes(expected[at], "big")
        assert wrong.bit_count() == 3


def test_faults_have_their_time() -> None:
    """From at_s on for for_s, on the device's clock."""
    arrived = run(ticker(ImuFault(name="drop", at_s=0.01, for_s=0.02)), 45)
    assert list(arrived) == [1, 31, 41]


def test_faults_can_be_ended() -> None:
    """All at once; the device goes on as if nothing had been."""
    device = ticker(ImuFault(name="drop"), ImuFault(name="silence"))
    assert run(device, 9) == {}
    device.clear()
    assert device.step(10 * MS, BAUD) + device.step(11 * MS, BAUD) == b"0000000010"


def test_faults_strike_by_chance_and_repeatably() -> None:
    """The same seed loses the same messages."""
    fault = ImuFault(name="drop", probability=0.5)
    first, second = run(ticker(fault), 1000), run(ticker(fault), 1000)
    assert first == second
    assert 30 < len(first) < 70


def test_the_message_before_comes_again() -> None:
    """Bit by bit."""
    arrived = run(ticker(ImuFault(name="repeat", at_s=0.015)), 45)
    assert [int(data) for data in arrived.values()] == [0, 10, 10, 10, 10]


def test_the_clock_jumps_once_and_stays() -> None:
    """Back and forth, as asked."""
    device = Jumper(rest, baud=BAUD, faults=[ImuFault(name="clock-jump", at_s=0.015, amount=2)])
    assert [int(data) for data in run(device, 45).values()] == [0, 10, 2020, 2030, 2040]


def test_broken_fields_and_text() -> None:
    """The device says what these are for its protocol."""
    faults = [ImuFault(name="nan"), ImuFault(name="text", at_s=0.005)]
    assert list(run(ticker(*faults), 15).values()) == [b"broken....", b"text\n", b"broken...."]


def test_silence_swallows_answers_too() -> None:
    """A dead IMU says nothing at all."""
    device = ticker(ImuFault(name="silence"))
    device.hear(b"hi", 0)
    assert run(device, 30) == {}


def test_the_rate_drifts() -> None:
    """By so many percent of the nominal one every second, and never to a stop."""
    device = ticker(ImuFault(name="drift", amount=50))
    arrived = sum(len(data) for data in run(device, 1000).values()) / SIZE
    assert 70 <= arrived <= 80
    assert run(ticker(ImuFault(name="drift", amount=1e6)), 2000)


def test_another_speed_is_noise_to_the_host() -> None:
    """As long as it lasts; it comes slower as well."""
    device = ticker(ImuFault(name="baud", amount=50_000, at_s=0.005))
    arrived = run(device, 25)
    assert arrived[1] == b"0000000000"
    assert list(arrived) == [1, 12, 22]
    assert arrived[12] != b"0000000010"
    assert device.speed(10 * MS) == 50_000


def test_unplugging_is_for_whoever_runs_the_device() -> None:
    """The device only knows when."""
    device = ticker(ImuFault(name="unplug", at_s=1))
    assert not device.unplugged(999 * MS)
    assert device.unplugged(1000 * MS)


def test_a_fault_must_have_a_known_name() -> None:
    """Said with all that there are."""
    with pytest.raises(ValueError, match="'nosuch'; expected one of split, flip"):
        ImuFault(name="nosuch")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "nosuch"}, ImuFault)


def test_a_fault_must_be_possible() -> None:
    """A clock that is not there cannot jump."""
    with pytest.raises(ValueError, match="WitMotionDevice cannot have the fault 'clock-jump'"):
        WitMotionDevice(rest, faults=[ImuFault(name="clock-jump")])


def test_every_fault_changes_something() -> None:
    """No name in the table is without effect."""
    usual = run(Jumper(rest, baud=BAUD), 50)
    for name in IMU_FAULTS:
        device = Jumper(rest, baud=BAUD, faults=[ImuFault(name=name)])
        same = run(device, 50) == usual
        assert device.unplugged(0) if name == "unplug" else not same, name
