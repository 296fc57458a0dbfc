"""The thread that reads an IMU, so that the control loop never waits for one.

A sample costs it some 30 µs: 6 to find and check the message, or 10 with the WT901's three frames,
and 20 to judge it and turn it into the body's axes; at 200 Hz that is 0.6 % of a core.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import termios
import threading
import time
from typing import TYPE_CHECKING

from robots.imu.errors import ImuLostError, ImuRefusedError
from robots.imu.mounting import Mounting, inverse, rotate
from robots.imu.port import open_port
from robots.imu.sample import Imu, ImuReading
from robots.imu.stream import Tracker

if TYPE_CHECKING:
    from robots.imu.config import ImuSpec
    from robots.imu.port import SerialPort
    from robots.imu.sample import ImuSample
    from robots.imu.stream import Counts, Decoder

RATE_TOLERANCE = 0.2
"""Largest share by which the measured rate may differ from the one asked for."""
SETTLE_S = 5.0
"""How long an IMU may take to stream steadily after its set-up, s.  Some tenths of a second do, but
on a busy computer the reader is held up again and again, and no IMU seems steady."""
STALL_S = 0.1
"""Hold-up of the reader from which the waiting bytes may be of any age, s: the system's buffer
keeps the oldest 4 KiB, so what is found after a stop of the process is not the newest."""
STILL_FORCE = 0.5
"""Largest difference from gravity's 9.81 m/s² at which the specific force shows where up is."""
STILL_GYRO = 0.2
"""Largest angular rate at which the specific force shows where up is, rad/s."""
UPRIGHT_TOLERANCE_DEG = 20.0
"""Largest angle between up by the attitude and up by the specific force, degrees."""


class SerialImu(Imu):
    """An IMU that streams over a serial port."""

    def __init__(self, spec: ImuSpec, port: str) -> None:
        """Take the description and the port's path; nothing is opened."""
        self.spec = spec
        self.path = port
        """Path of its serial port."""
        self.identity = ""
        """What it says that it is; empty before it has said so, and where it never does."""
        self._port: SerialPort | None = None
        self._thread: threading.Thread | None = None
        self._forget()

    def _forget(self) -> None:
        """Start as if nothing had ever been received."""
        self._decoder = self._make_decoder()
        mounting = Mounting(self.spec.mounting_deg)
        self._tracker = Tracker(mounting, self._decoder.counts, self.spec.rate_hz)
        self._stop, self._settled = threading.Event(), threading.Event()
        self._steady = 0
        self._lost: str | None = None

    @abc.abstractmethod
    def _make_decoder(self) -> Decoder:
        """Return a decoder that has seen nothing."""

    @abc.abstractmethod
    def _set_up(self, port: SerialPort) -> None:
        """Configure the IMU and check what can be read back; raises ImuRefusedError, OSError."""

    @abc.abstractmethod
    def _silence_hint(self) -> str:
        """Say what to do when no usable sample came."""

    def open(self) -> None:
        """Set the IMU up, check it and wait for its first samples; raises ImuRefusedError."""
        if self._port is not None:
            raise ImuRefusedError(self.path, "is open already; close it first")
        self._forget()
        self._port = open_port(self.path, self.spec.baud)
        try:
            self._set_up(self._port)
            self._port.reset_input_buffer()
            self._thread = threading.Thread(
                target=self._read, args=(self._port,), name=f"imu {self.path}", daemon=True
            )
            self._thread.start()
            self._settled.wait(SETTLE_S + 3 * self._tracker.intervals * self.spec.period_s)
            self._check_start()
        except (OSError, termios.error) as error:
            self.close()
            raise ImuRefusedError(self.path, f"failed while being set up ({error})") from None
        except BaseException:
            self.close()
            raise

    def latest(self) -> ImuReading | None:
        """Return the newest sample at once, however old; None before the first.

        Raises ImuLostError.
        """
        if self._lost is not None:
            raise ImuLostError(self.path, self._lost)
        sample = self._tracker.latest
        if sample is None:
            return None
        return ImuReading(sample=sample, age_s=(time.monotonic_ns() - sample.stamp_ns) / 1e9)

    def describe(self) -> str:
        """Model, port and measured rate in one line."""
        rate = self.rate_hz()
        measured = "unknown rate" if rate is None else f"{rate:.0f} samples per second"
        return (
            f"IMU: {self.identity or self.spec.model} on {self.path}, {self.spec.baud} bit/s, "
            f"{measured}"
        )

    def counts(self) -> Counts:
        """What came over the wire since open(), as it stands now."""
        return dataclasses.replace(self._decoder.counts)

    def rate_hz(self) -> float | None:
        """Rate at which the newest samples came, Hz; None as long as there are too few."""
        return self._tracker.rate_hz()

    def close(self) -> None:
        """End the reader and release the port; the last sample is forgotten."""
        self._stop.set()
        port, thread = self._port, self._thread
        self._port = self._thread = None
        if port is not None and thread is not None:
            port.cancel_read()
            thread.join()
        if port is not None:
            port.close()
        self._tracker.latest = None

    def _read(self, port: SerialPort) -> None:
        """Read until told to stop; whatever ends it otherwise is latched for latest()."""
        try:
            last_ns = time.monotonic_ns()
            while not self._stop.is_set():
                data = port.read(port.in_waiting or 1)
                now_ns = time.monotonic_ns()
                stalled = now_ns - last_ns > STALL_S * 1e9
                last_ns = now_ns
                if stalled:
                    self._decoder.counts.stalls += 1
                    self._decoder.reset()
                    port.reset_input_buffer()
                elif data:
                    self._take(data, now_ns)
        except Exception as error:  # noqa: BLE001 - kept, and raised by every later latest()
            self._lost = " ".join(str(error).split()) or type(error).__name__
            self._settled.set()

    def _take(self, data: bytes, stamp_ns: int) -> None:
        for measurement in self._decoder.feed(data, stamp_ns):
            if self._tracker.take(measurement, stamp_ns):
                self._watch_rate()

    def _watch_rate(self) -> None:
        """Settle when the rate has fitted for longer than one hold-up of the host can feign it."""
        rate = self._tracker.rate_hz()
        fits = rate is not None and abs(rate / self.spec.rate_hz - 1) <= RATE_TOLERANCE
        self._steady = self._steady + 1 if fits else 0
        if self._steady > self._tracker.intervals:
            self._settled.set()

    def _check_start(self) -> None:
        """Refuse an IMU that does not deliver what it was asked for."""
        if self._lost is not None:
            raise ImuRefusedError(self.path, f"lost as soon as it was opened ({self._lost})")
        rate, sample = self._tracker.rate_hz(), self._tracker.latest
        if rate is None or sample is None:
            raise ImuRefusedError(
                self.path,
                f"too few usable samples, expected {self.spec.rate_hz:g} per second; came: "
                f"{self._found()}; {self._silence_hint()}",
            )
        if not self._settled.is_set():
            raise ImuRefusedError(
                self.path,
                f"{rate:.1f} usable samples per second at last, expected {self.spec.rate_hz:g} "
                f"within {RATE_TOLERANCE:.0%} all along; came: {self._found()}; correct rate_hz in "
                "robot.toml or the IMU's own settings, and see that this computer is not too busy",
            )
        angle = disagreement_deg(sample)
        if angle > UPRIGHT_TOLERANCE_DEG:
            raise ImuRefusedError(
                self.path,
                f"up by its attitude and up by its accelerometer are {angle:.0f} degrees apart, "
                f"expected at most {UPRIGHT_TOLERANCE_DEG:g}; let it rest and start again, then "
                "check its own frame settings",
            )

    def _found(self) -> str:
        """Everything that was counted, in words."""
        found = dataclasses.asdict(self._decoder.counts)
        words = [f"{name.replace('_', ' ')} {count}" for name, count in found.items() if count]
        return ", ".join(words) or "nothing at all"


def disagreement_deg(sample: ImuSample) -> float:
    """Angle between up by the attitude and up by the specific force, degrees.

    Zero when the body accelerates or turns, since only at rest the force shows where up is.
    """
    force = [float(part) for part in sample.accelerometer]
    norm = math.hypot(*force)
    if abs(norm - 9.81) > STILL_FORCE or math.hypot(*sample.gyro) > STILL_GYRO:
        return 0.0
    quaternion = [float(part) for part in sample.quaternion]
    up = rotate(inverse(quaternion), (0.0, 0.0, 1.0))
    cosine = sum(a * b for a, b in zip(up, force, strict=True)) / norm
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
