"""Every fault of an IMU's line: what is injected, what latest() says, and how soon.

Times are those that the guards act on: 40 ms of age to hold, 100 ms to damp.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robots.imu import ImuLostError, ImuReading, ImuSpec, create, reader, vectornav
from sim.emulator.imu_terminal import ImuTerminal
from sim.emulator.imu_vectornav import VectorNavDevice
from sim.emulator.imu_witmotion import WitMotionDevice
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from robots.imu.reader import SerialImu
    from sim.emulator.imu_device import ImuDevice

HOLD_S, DAMP_S = 0.04, 0.1
HEALTHY_S = 0.03
"""Age that a sample of 200 Hz stays under on a machine that is busy."""
FORCE = (1.0, 2.0, 9.4)


def feeling() -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Numbers that no damaged message would have by chance; not at rest, so that tilt is free."""
    return (1, 0, 0, 0), (0.5, -0.25, 0.125), FORCE


@dataclass
class Line:
    """A driver and the emulated device it talks to."""

    terminal: ImuTerminal
    imu: SerialImu

    def reading(self) -> ImuReading:
        """The newest sample, which is right whatever happens on the line."""
        reading = self.imu.latest()
        assert reading is not None
        np.testing.assert_allclose(reading.sample.quaternion, [1, 0, 0, 0], atol=1e-4)
        np.testing.assert_allclose(reading.sample.gyro, [0.5, -0.25, 0.125], atol=0.02)
        np.testing.assert_allclose(reading.sample.accelerometer, FORCE, atol=0.1)
        return reading

    def until(self, condition: Callable[[], bool]) -> None:
        """Poll until it holds, reading all the while."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            self.reading()
            assert time.monotonic() < deadline, self.imu.counts()
            time.sleep(0.001)

    def healthy(self) -> bool:
        """Whether it delivers as it should."""
        rate = self.imu.rate_hz() or 0.0
        return self.fresh() and abs(rate - 200) < 20

    def fresh(self) -> bool:
        """Whether the newest sample is young and not a repeat."""
        reading = self.reading()
        return reading.age_s < HEALTHY_S and not reading.sample.repeats

    def grows_old(self) -> None:
        """Hold and damp fall due in time, counted from the last good sample; then it recovers.

        Good samples that were on their way may come late: the last of them is waited for.
        """
        self.until(self.one_sample_ages)
        self.terminal.clear()
        self.until(self.healthy)

    def one_sample_ages(self) -> bool:
        """Whether hold and damp fall due for the same sample; nothing makes it younger."""
        self.until(lambda: self.reading().age_s >= HOLD_S)
        stamp = self.reading().sample.stamp_ns
        self.until(lambda: self.reading().age_s >= DAMP_S)
        return self.reading().sample.stamp_ns == stamp


@contextmanager
def connected(device: ImuDevice) -> Iterator[Line]:
    """The device on a terminal and its driver, both open.

    The driver waits as long as a test for what ends its waits anyway.
    """
    with ImuTerminal(device) as terminal, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "SETTLE_S", PATIENCE_S)
        patch.setattr(vectornav, "ANSWER_S", PATIENCE_S)
        model = "vn100" if isinstance(device, VectorNavDevice) else "wt901"
        settings = {"baud": device.baud, "rate_hz": 200.0}
        with create(msgspec.convert({"model": model} | settings, ImuSpec), terminal.path) as imu:
            yield Line(terminal, imu)


@pytest.fixture(scope="module", params=["vn100", "wt901"])
def connection(request: pytest.FixtureRequest) -> Iterator[Line]:
    """A driver that has been opened, for all tests with this kind of IMU."""
    vectornav = request.param == "vn100"
    with connected(VectorNavDevice(feeling) if vectornav else WitMotionDevice(feeling)) as line:
        yield line


@pytest.fixture
def line(connection: Line) -> Iterator[Line]:
    """A line without faults, before and after."""
    connection.until(connection.healthy)
    yield connection
    connection.terminal.clear()


def is_vectornav(line: Line) -> bool:
    """Whether the IMU has CRC, clock and floats."""
    return isinstance(line.terminal.device, VectorNavDevice)


def test_i1_split_messages_are_put_together(line: Line) -> None:
    """Samples go on at the full rate, and nothing counts as damaged."""
    before = line.imu.counts()
    line.terminal.inject("split")
    line.until(lambda: line.imu.counts().samples >= before.samples + 60)
    after = line.imu.counts()
    assert after.checksum_errors == before.checksum_errors
    line.until(lambda: (line.imu.rate_hz() or 0) > 100)


def test_i2_damaged_messages_are_rejected(line: Line) -> None:
    """Half of them; the other half goes on, and no reading is ever wrong."""
    before = line.imu.counts()
    line.terminal.inject("flip", probability=0.5)
    line.until(lambda: line.imu.counts().checksum_errors >= before.checksum_errors + 10)
    line.until(line.fresh)
    assert line.imu.counts().samples > before.samples


def test_i2_an_imu_with_damaged_messages_only_grows_old(line: Line) -> None:
    """As if it were silent; the counts say why."""
    before = line.imu.counts()
    line.terminal.inject("flip", amount=5)
    line.until(lambda: line.imu.counts().resyncs > before.resyncs)
    line.grows_old()


def test_i3_dropped_samples_lower_the_rate(line: Line) -> None:
    """Every second on average; the age stays under what the guards hold for, mostly."""
    line.terminal.inject("drop", probability=0.5)
    line.until(lambda: (line.imu.rate_hz() or 0) < 130)
    line.until(line.fresh)


def test_i3_an_imu_whose_samples_are_all_dropped_grows_old(line: Line) -> None:
    """The age counts from the last that came."""
    line.terminal.inject("drop")
    line.grows_old()


def test_i4_an_imu_that_repeats_itself_is_frozen(line: Line) -> None:
    """After five repeats; its age grows meanwhile as if it were silent."""
    line.terminal.inject("repeat")
    line.until(lambda: line.reading().frozen)
    assert line.reading().sample.repeats >= 5
    line.grows_old()
    assert not line.reading().frozen


def test_i5_a_jump_of_the_clock_is_counted_and_the_host_is_believed(line: Line) -> None:
    """Age and stamp are the host's; the jump itself makes nothing stale."""
    if not is_vectornav(line):
        with pytest.raises(ValueError, match="clock-jump"):
            line.terminal.inject("clock-jump")
        return
    before, device_ns = line.imu.counts(), line.reading().sample.device_ns or 0
    line.terminal.inject("clock-jump", amount=100)
    line.until(lambda: (line.reading().sample.device_ns or 0) - device_ns > 100e9)
    assert line.imu.counts().time_jumps > before.time_jumps
    line.until(line.fresh)


def test_i6_fields_that_are_no_numbers_are_dropped(line: Line) -> None:
    """No reading has them; the WT901 has no such numbers and sends an attitude of zeros."""
    before = line.imu.counts()
    line.terminal.inject("nan")
    if is_vectornav(line):
        line.until(lambda: line.imu.counts().not_finite > before.not_finite)
    else:
        line.until(lambda: line.imu.counts().out_of_range > before.out_of_range)
    line.grows_old()


def test_i7_text_between_the_messages_costs_none(line: Line) -> None:
    """It is counted, and samples go on at the full rate."""
    before = line.imu.counts()
    line.terminal.inject("text")
    line.until(lambda: line.imu.counts().ascii_lines >= before.ascii_lines + 20)
    line.until(line.healthy)
    assert line.imu.counts().checksum_errors == before.checksum_errors


def test_i8_an_imu_that_changes_its_baud_grows_old(line: Line) -> None:
    """What arrives is noise, which makes no sample."""
    line.terminal.inject("baud", amount=57600)
    line.grows_old()


def test_i9_a_silent_imu_grows_old(line: Line) -> None:
    """Nothing is made up, nothing raised: the wire may be whole, and it may talk again."""
    line.terminal.inject("silence")
    line.grows_old()


def test_a_rate_that_drifts_is_measured(line: Line) -> None:
    """Half the rate is seen within a second, and samples stay as young as they can be."""
    line.terminal.inject("drift", amount=100)
    line.until(lambda: (line.imu.rate_hz() or 0) < 120)
    line.terminal.clear()
    line.until(line.healthy)


@pytest.mark.parametrize("kind", [VectorNavDevice, WitMotionDevice])
def test_an_imu_that_is_unplugged_is_lost(kind: type[VectorNavDevice | WitMotionDevice]) -> None:
    """Said at every question from then on: the last sample is nobody's any more."""
    with connected(kind(feeling)) as line:
        path = line.terminal.path
        line.terminal.inject("unplug")
        with pytest.raises(ImuLostError, match="check cable and supply") as caught:
            line.until(lambda: False)
        assert caught.value.port == path
        for _ in range(3):
            with pytest.raises(ImuLostError):
                line.imu.latest()


STOPPED = """
import sys, time
from robots.imu import ImuSpec, create
spec = ImuSpec(model="vn100", baud=921600, rate_hz=200.0)
with create(spec, sys.argv[1]) as imu:
    def lag_s():
        sample = imu.latest().sample
        return (sample.stamp_ns - sample.device_ns) / 1e9
    usual = lag_s()
    last, gap = time.monotonic(), 0.0
    print("running", flush=True)
    while gap < 0.5:
        time.sleep(0.002)
        now = time.monotonic()
        last, gap = now, now - last
    oldest, end = 0.0, time.monotonic() + 0.5
    while time.monotonic() < end:
        oldest = max(oldest, abs(lag_s() - usual))
    print(oldest, imu.counts().stalls, imu.latest().age_s, flush=True)
"""
"""Opens the IMU, waits to be stopped, tells how old samples are that it then takes as new."""


def test_h4_a_stopped_process_takes_no_old_bytes_for_new() -> None:
    """A second of them waits in the system's buffer, the oldest first, when it goes on."""
    with ImuTerminal(VectorNavDevice(feeling)) as terminal:
        command = [sys.executable, "-c", STOPPED, terminal.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.0)
            process.send_signal(signal.SIGCONT)
            oldest, stalls, age_s = (float(word) for word in process.stdout.readline().split())
    assert oldest < 0.3, "samples from the stop, which lasted 1 s, were stamped as new"
    assert stalls >= 1
    assert age_s < 0.3
