"""The thread that reads an IMU, on a clock that the scripted port moves: no hold-up counts."""

from __future__ import annotations

import dataclasses
import struct
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import fastcrc
import numpy as np
import pytest

from robots.imu import ImuLostError, ImuRefusedError, ImuSample, ImuSpec, reader
from robots.imu.reader import SerialImu, disagreement_deg
from robots.imu.vectornav_codec import VectorNavDecoder
from tests.patience import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robots.imu.port import SerialPort
    from robots.imu.stream import Counts

RATE_HZ = 200


def message(number: int) -> bytes:
    """A sound message at rest."""
    body = b"\x01\x31\x01" + struct.pack("<Q10f", number, 0, 0, 0, 1, 0, 0, 0, 0, 0, -9.81)
    return b"\xfa" + body + fastcrc.crc16.xmodem(body).to_bytes(2, "big")


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now_ns = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


class Alarm(threading.Event):
    """An event that is waited for by this clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        deadline_ns = self._clock.now_ns + timeout * 1e9
        while not self.is_set() and self._clock.now_ns < deadline_ns:
            time.sleep(0.001)
        return self.is_set()


class ScriptedPort:
    """A port whose reads do what the test says, and take time of its clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.next: Callable[[], bytes] = self.stream
        self.sent = 0
        self.flushed = 0
        self.closed = False

    @property
    def in_waiting(self) -> int:
        return 0

    def stream(self, after_s: float = 1 / RATE_HZ) -> bytes:
        """The next message after so long."""
        self.silence(after_s)
        self.sent += 1
        return message(self.sent)

    def silence(self, for_s: float = 0.02) -> bytes:
        """Nothing for so long; a little real time, too, that the reader leaves to others."""
        time.sleep(0.001)
        self.clock.advance(for_s)
        return b""

    def read(self, size: int = 1, /) -> bytes:
        return self.next()

    def write(self, data: bytes, /) -> int | None:
        return len(data)

    def cancel_read(self) -> None:
        pass

    def reset_input_buffer(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


class PlainImu(SerialImu):
    """Streams VectorNav messages without any set-up."""

    def _make_decoder(self) -> VectorNavDecoder:
        return VectorNavDecoder()

    def _set_up(self, port: SerialPort) -> None:
        port.write(b"hello")

    def _silence_hint(self) -> str:
        return "make some noise"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> ScriptedPort:
    """The port that every IMU gets, whatever it asks for."""
    clock = Clock()
    scripted = ScriptedPort(clock)
    threads = SimpleNamespace(Thread=threading.Thread, Event=lambda: Alarm(clock))
    monkeypatch.setattr(reader, "time", clock)
    monkeypatch.setattr(reader, "threading", threads)
    monkeypatch.setattr(reader, "open_port", lambda path, baud: scripted)
    return scripted


@pytest.fixture
def imu() -> Iterator[PlainImu]:
    """An IMU on some port, closed after the test."""
    plain = PlainImu(ImuSpec(model="vn100", baud=921600, rate_hz=RATE_HZ), "/dev/x")
    yield plain
    plain.close()


def readers() -> list[str]:
    """Names of the reader threads that live."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("imu ")]


def test_a_sample_is_there_from_open_to_close(port: ScriptedPort, imu: PlainImu) -> None:
    """Before and after there is none: an old one would look like a level robot."""
    assert imu.latest() is None
    imu.open()
    port.next = lambda: port.silence(0.0)
    reading = imu.latest()
    assert reading is not None
    assert reading.sample.accelerometer[2] == pytest.approx(9.81)
    assert 0 <= reading.age_s < 0.1
    imu.close()
    assert imu.latest() is None
    assert port.closed
    assert not readers()


def test_closing_is_allowed_at_any_time_and_opening_again_too(
    port: ScriptedPort, imu: PlainImu
) -> None:
    """The counts begin anew."""
    imu.close()
    imu.open()
    imu.close()
    imu.close()
    port.sent = 0
    imu.open()
    assert imu.counts().time_jumps == 0
    assert imu.rate_hz() == pytest.approx(RATE_HZ, rel=0.2)
    imu.close()


def test_an_imu_is_opened_once(port: ScriptedPort, imu: PlainImu) -> None:
    """The second attempt is refused and the first goes on."""
    with imu:
        with pytest.raises(ImuRefusedError, match="open already"):
            imu.open()
        assert imu.latest() is not None


def test_asking_never_waits(port: ScriptedPort, imu: PlainImu) -> None:
    """While the reader hangs in a read, the age grows and the answer comes at once."""
    hangs, released = threading.Event(), threading.Event()

    def hang() -> bytes:
        hangs.set()
        released.wait(PATIENCE_S)
        return b""

    with imu:
        port.next = hang
        assert hangs.wait(PATIENCE_S)
        port.clock.advance(0.2)
        reading = imu.latest()
        assert reading is not None
        assert reading.age_s >= 0.2
        costs = []
        for _ in range(20):
            begin = time.perf_counter()
            imu.latest()
            costs.append(time.perf_counter() - begin)
        assert min(costs) < 0.001
        released.set()


def test_what_waited_while_the_reader_was_held_up_is_thrown_away(
    port: ScriptedPort, imu: PlainImu
) -> None:
    """After a stop of the process the buffer holds the oldest bytes, not the newest."""
    before: list[Counts] = []
    goes_on = threading.Event()

    def late() -> bytes:
        before.append(imu.counts())
        port.silence(0.15)
        port.next = silent
        return message(0) * 20

    def silent() -> bytes:
        goes_on.set()
        return port.silence()

    with imu:
        flushed = port.flushed
        port.next = late
        assert goes_on.wait(PATIENCE_S)
        assert port.flushed == flushed + 1
        assert imu.counts() == dataclasses.replace(before[0], stalls=before[0].stalls + 1)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), RuntimeError("bug"), KeyError])
def test_whatever_ends_the_reader_is_told_at_every_question(
    port: ScriptedPort, imu: PlainImu, error: Exception
) -> None:
    """Nothing is swallowed, and nobody gets the last sample for a living one."""
    with imu:

        def fail() -> bytes:
            raise error

        port.next = fail
        assert eventually(lambda: not readers())
        for _ in range(3):
            with pytest.raises(ImuLostError, match="IMU on /dev/x: lost"):
                imu.latest()


def test_a_port_that_goes_while_being_set_up_is_refused(
    port: ScriptedPort, imu: PlainImu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and the port is released."""

    def fail(data: bytes) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(port, "write", fail)
    with pytest.raises(ImuRefusedError, match="failed while being set up"):
        imu.open()
    assert port.closed


def test_a_port_that_goes_at_once_is_refused(port: ScriptedPort, imu: PlainImu) -> None:
    """It is not waited for until the end."""

    def fail() -> bytes:
        raise OSError(5, "Input/output error")

    port.next = fail
    with pytest.raises(ImuRefusedError, match="lost as soon as it was opened"):
        imu.open()
    assert port.closed
    assert not readers()


def test_an_imu_that_is_silent_is_refused_with_a_hint(port: ScriptedPort, imu: PlainImu) -> None:
    """What came, what was expected, what to do."""
    port.next = port.silence
    with pytest.raises(ImuRefusedError, match=r"expected 200 per second; .* make some noise"):
        imu.open()
    assert not readers()


def test_an_imu_that_repeats_itself_is_refused(port: ScriptedPort, imu: PlainImu) -> None:
    """Repeats are no samples."""
    stream = port.stream
    port.next = lambda: (stream(), message(1))[1]
    with pytest.raises(ImuRefusedError, match=r"too few usable samples.*repeats"):
        imu.open()


def test_an_imu_that_freezes_while_it_is_opened_is_refused(
    port: ScriptedPort, imu: PlainImu
) -> None:
    """The rate that it had is not enough."""
    stream = port.stream
    port.next = lambda: stream() if port.sent < 60 else (stream(), message(60))[1]
    with pytest.raises(ImuRefusedError, match="expected 200 within 20%"):
        imu.open()


def test_one_hold_up_does_not_make_a_wrong_rate_right(port: ScriptedPort, imu: PlainImu) -> None:
    """At 300 a second a pause of the host looks like 200 for as long as it is within the window."""
    port.next = lambda: port.stream(0.068 if port.sent == 60 else 1 / 300)
    with pytest.raises(ImuRefusedError, match="expected 200 within 20%"):
        imu.open()


def sample(quaternion: tuple[float, ...], force: tuple[float, ...], spin: float = 0) -> ImuSample:
    """A measurement."""
    return ImuSample(
        quaternion=np.array(quaternion, np.float32),
        gyro=np.array([0, 0, spin], np.float32),
        accelerometer=np.array(force, np.float32),
        stamp_ns=0,
        device_ns=None,
    )


COS, SIN = float(np.cos(np.pi / 12)), float(np.sin(np.pi / 12))


@pytest.mark.parametrize(
    ("quaternion", "force", "angle"),
    [
        ((1, 0, 0, 0), (0, 0, 9.81), 0),
        ((COS, SIN, 0, 0), (0, 4.905, 8.496), 0),
        ((COS, -SIN, 0, 0), (0, 4.905, 8.496), 60),
        ((1, 0, 0, 0), (0, 0, -9.81), 180),
    ],
    ids=["level", "rolled", "the other direction", "upside down"],
)
def test_attitude_and_accelerometer_must_agree_on_up(
    quaternion: tuple[float, ...], force: tuple[float, ...], angle: float
) -> None:
    """An attitude of the wrong direction or frame shows when the sensor is tilted."""
    assert disagreement_deg(sample(quaternion, force)) == pytest.approx(angle, abs=0.1)


def test_a_body_that_moves_shows_nothing_about_up() -> None:
    """Its accelerometer feels more than gravity."""
    assert disagreement_deg(sample((1, 0, 0, 0), (9.81, 0, 9.81))) == 0
    assert disagreement_deg(sample((1, 0, 0, 0), (9.81, 0, 0), spin=1)) == 0
    assert disagreement_deg(sample((1, 0, 0, 0), (9.81, 0, 0))) == pytest.approx(90)
