"""From bytes to the newest sample: what every serial IMU does between the wire and latest()."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from robots.imu.sample import ImuSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from robots.imu.mounting import Mounting

    FloatArray = NDArray[np.float32]

GYRO_MAX = 40.0
"""Largest angular rate that is believed, rad/s."""
ACCELERATION_MAX = 160.0
"""Largest specific force that is believed, m/s²."""
NORM_TOLERANCE = 0.01
"""Largest distance of an attitude's norm from 1 that rounding may explain; delivered is norm 1."""
JUMP_NS = 100_000_000
"""Difference between the steps of both clocks from which the IMU's clock has jumped, ns."""
RATE_SAMPLES = 20
"""Fewest intervals that a rate is measured over."""
RATE_SPAN_S = 0.2
"""Shortest time that a rate is measured over, s: USB adapters deliver in bursts of 16 ms."""

_TEXT = frozenset(b"\r\n") | frozenset(range(32, 127))
"""Bytes that stand in text lines."""


class Measurement(NamedTuple):
    """One message of an IMU, in the sensor's x forward, y left, z up, in SI units."""

    quaternion: tuple[float, float, float, float]
    gyro: tuple[float, float, float]
    accelerometer: tuple[float, float, float]
    device_ns: int | None


@dataclass(slots=True)
class Counts:
    """What came over the wire since open(), and what was wrong with it."""

    samples: int = 0
    """Measurements that brought something new."""
    repeats: int = 0
    """Messages that brought nothing new."""
    checksum_errors: int = 0
    """Messages whose checksum did not fit."""
    resyncs: int = 0
    """Times that bytes had to be skipped until a message began."""
    ascii_lines: int = 0
    """Pieces of text between the messages."""
    incomplete: int = 0
    """Samples of which a part was missing (IMUs that send a sample in several frames)."""
    unexpected: int = 0
    """Sound frames with content that nobody asked for."""
    not_finite: int = 0
    """Measurements dropped because a field was no number."""
    out_of_range: int = 0
    """Measurements dropped because no body moves like that, or the attitude was no rotation."""
    time_jumps: int = 0
    """Jumps of the IMU's clock against the host's; the host's is used."""
    stalls: int = 0
    """Times that the reader was held up so long that the bytes waiting for it were discarded."""


class Decoder(abc.ABC):
    """Finds the messages of one protocol in a stream of bytes that may be damaged anywhere."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self.counts = Counts()
        self._buffer = bytearray()
        self._skipping = False

    @abc.abstractmethod
    def feed(self, data: bytes, stamp_ns: int) -> list[Measurement]:
        """Take bytes that arrived at this host time, return the measurements they completed."""

    def reset(self) -> None:
        """Forget every message begun."""
        self._buffer.clear()

    def _take(self, length: int) -> bytes:
        """Take a sound message off the buffer's front."""
        message = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._skipping = False
        return message

    def _skip(self, length: int) -> None:
        """Drop bytes that belong to no message: text, or a run of them as one resynchronisation."""
        dropped = self._buffer[:length]
        del self._buffer[:length]
        if all(byte in _TEXT for byte in dropped):
            self.counts.ascii_lines += dropped.count(b"\n")
        elif not self._skipping:
            self.counts.resyncs += 1
            self._skipping = True


class Tracker:
    """Judges measurements and keeps the newest that can be believed."""

    def __init__(self, mounting: Mounting, counts: Counts, rate_hz: float) -> None:
        """Start without a sample."""
        self.latest: ImuSample | None = None
        """Newest sample; replaced as a whole, so another thread may read it at any time."""
        self._mounting, self._counts = mounting, counts
        self._previous: Measurement | None = None
        self._heard_ns = 0
        self.intervals = max(RATE_SAMPLES, math.ceil(RATE_SPAN_S * rate_hz))
        """How many intervals the rate is measured over."""
        self._arrivals = deque[int](maxlen=self.intervals + 1)

    def take(self, measurement: Measurement, stamp_ns: int) -> bool:
        """Take one measurement whose last byte came at this host time; whether it was new."""
        if not _finite(measurement):
            self._counts.not_finite += 1
            return False
        if not _plausible(measurement):
            self._counts.out_of_range += 1
            return False
        if self.latest is not None and self._repeated(measurement):
            self._counts.repeats += 1
            self.latest = dataclasses.replace(self.latest, repeats=self.latest.repeats + 1)
            self._heard_ns = stamp_ns
            return False
        self._watch_clock(measurement, stamp_ns)
        self._counts.samples += 1
        self.latest = self._sample(measurement, stamp_ns)
        self._previous, self._heard_ns = measurement, stamp_ns
        self._arrivals.append(stamp_ns)
        return True

    def rate_hz(self) -> float | None:
        """Rate at which the newest samples came, Hz; None as long as there are too few."""
        if len(self._arrivals) <= self.intervals:
            return None
        span_ns = self._arrivals[-1] - self._arrivals[0]
        return self.intervals * 1e9 / max(span_ns, 1)

    def _repeated(self, measurement: Measurement) -> bool:
        """Whether nothing was measured: by the IMU's clock if it has one, else by the bits."""
        previous = self._previous
        if previous is None:
            return False
        if measurement.device_ns is not None:
            return measurement.device_ns == previous.device_ns
        return measurement == previous

    def _watch_clock(self, measurement: Measurement, stamp_ns: int) -> None:
        """Count a step of the IMU's clock that is not the host's."""
        previous = self._previous
        if previous is None or previous.device_ns is None or measurement.device_ns is None:
            return
        step_ns = measurement.device_ns - previous.device_ns
        if step_ns < 0 or abs(step_ns - (stamp_ns - self._heard_ns)) > JUMP_NS:
            self._counts.time_jumps += 1

    def _sample(self, measurement: Measurement, stamp_ns: int) -> ImuSample:
        attitude = self._mounting.attitude(measurement.quaternion)
        norm = math.hypot(*attitude)
        return ImuSample(
            quaternion=_frozen([part / norm for part in attitude]),
            gyro=_frozen(self._mounting.vector(measurement.gyro)),
            accelerometer=_frozen(self._mounting.vector(measurement.accelerometer)),
            stamp_ns=stamp_ns,
            device_ns=measurement.device_ns,
        )


def _finite(measurement: Measurement) -> bool:
    parts = (*measurement.quaternion, *measurement.gyro, *measurement.accelerometer)
    return all(math.isfinite(part) for part in parts)


def _plausible(measurement: Measurement) -> bool:
    """Whether a body can move like this; an attitude of all zeros is none."""
    return (
        abs(math.hypot(*measurement.quaternion) - 1) <= NORM_TOLERANCE
        and math.hypot(*measurement.gyro) <= GYRO_MAX
        and math.hypot(*measurement.accelerometer) <= ACCELERATION_MAX
    )


def _frozen(numbers: Sequence[float]) -> FloatArray:
    """A vector that no reader can change for the others."""
    array = np.array(numbers, np.float32)
    array.flags.writeable = False
    return array
