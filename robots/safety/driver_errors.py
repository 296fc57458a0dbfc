"""Which guard an error of a robot's driver stands for."""

from __future__ import annotations

from robots.errors import HardwareFaultError, PortLostError, WriteBlockedError
from robots.imu.errors import ImuLostError
from robots.safety.guards import Guard

_GUARDS: tuple[tuple[tuple[type[Exception], ...], Guard], ...] = (
    ((HardwareFaultError,), Guard.HARDWARE_ERROR),
    ((PortLostError, WriteBlockedError, ImuLostError), Guard.LINK_LOST),
)


def guard_of(error: Exception) -> Guard:
    """Guard that an error latches; errors of no known kind count as the driver's own."""
    return next((guard for kinds, guard in _GUARDS if isinstance(error, kinds)), Guard.DRIVER_ERROR)
