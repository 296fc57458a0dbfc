"""What an IMU measures, and the interface that every IMU implements."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from robots.closing import Closing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

FROZEN_AFTER = 5
"""Repeats in a row from which an IMU counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImuSample:
    """One measurement in the body frame: x forward, y left, z up."""

    quaternion: FloatArray
    """Attitude of the body in the world (4,), w x y z, unit norm."""
    gyro: FloatArray
    """Angular rate (3,), rad/s."""
    accelerometer: FloatArray
    """Specific force (3,), m/s²; +9.81 on z at rest."""
    stamp_ns: int
    """Host's monotonic clock at the last byte of the message that brought these numbers first."""
    device_ns: int | None
    """The IMU's own clock, ns; None when it sends none."""
    repeats: int = 0
    """How many messages since have brought nothing new: the same bits, or a clock that stood."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImuReading:
    """The newest sample and how much it is worth now."""

    sample: ImuSample
    age_s: float
    """Time since these numbers came first, s: repeats do not make a sample younger."""

    @property
    def frozen(self) -> bool:
        """Whether the IMU talks on but measures nothing any more."""
        return self.sample.repeats >= FROZEN_AFTER


class Imu(Closing):
    """An IMU as a serial robot sees it: opened once, asked at every tick."""

    @abc.abstractmethod
    def open(self) -> None:
        """Set the IMU up, check it and wait for its first samples; raises ImuRefusedError."""

    @abc.abstractmethod
    def latest(self) -> ImuReading | None:
        """Return the newest sample at once, however old it is; None before the first.

        Never waits and never makes anything up: the caller has to act on the age and on frozen.
        Raises ImuLostError from the moment the port is known to be gone.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release the port; may be called any number of times."""

    def describe(self) -> str:
        """What is known about it since it was opened, in one line."""
        return f"IMU: {type(self).__name__}"

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self
