"""What is known about the servos of a chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    IntArray = NDArray[np.int64]


@dataclass
class ChainState:
    """What is known about every servo, in the order of the bus's servos; arrays of shape (J,).

    A servo that did not answer keeps its values, and its stamp tells how old they are.
    """

    stamp_ns: IntArray
    """When each servo's values were read, in the port's time, ns; 0 before the first."""
    position: FloatArray
    """Joint positions, rad."""
    velocity: FloatArray
    """Joint velocities, rad/s."""
    effort: FloatArray
    """Joint torques as far as the current tells, N·m."""
    torque: NDArray[np.bool_]
    """Whether the torque is on."""
    hardware_error: IntArray
    """Bits of HardwareError that are latched."""
    alert: NDArray[np.bool_]
    """Whether the last answer carried the alert bit."""
    error: IntArray
    """Error number of the last answer; 0 is none."""
    watchdog: IntArray
    """Bus watchdog, counts; -1 has tripped."""
    forgetful: NDArray[np.bool_]
    """Whether the servo has restarted since it was set up, so that its values are not known."""
    jumps: IntArray
    """How many samples in a row were dropped because the position cannot have changed so much."""
    voltage: FloatArray
    """Supply voltage, V; nan before the first, renewed once a second."""
    temperature: FloatArray
    """Temperature, °C; nan before the first, renewed once a second."""

    @classmethod
    def unknown(cls, count: int) -> ChainState:
        """State of servos that nobody has asked yet."""

        def numbers() -> IntArray:
            return np.zeros(count, dtype=np.int64)

        def flags() -> NDArray[np.bool_]:
            return np.zeros(count, dtype=np.bool_)

        def blanks() -> FloatArray:
            return np.full(count, np.nan, dtype=np.float32)

        return cls(
            stamp_ns=numbers(),
            position=blanks(),
            velocity=blanks(),
            effort=blanks(),
            torque=flags(),
            hardware_error=numbers(),
            alert=flags(),
            error=numbers(),
            watchdog=numbers(),
            forgetful=flags(),
            jumps=numbers(),
            voltage=blanks(),
            temperature=blanks(),
        )

    def age_s(self, now_ns: int) -> FloatArray:
        """Age of each servo's values, s; very large before the first."""
        return ((now_ns - self.stamp_ns) * 1e-9).astype(np.float32)
