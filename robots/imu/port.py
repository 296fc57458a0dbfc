"""Opens the serial port of an IMU."""

from __future__ import annotations

import contextlib
import termios
from typing import Protocol, cast

from robots.imu.errors import ImuRefusedError

READ_TIMEOUT_S = 0.02
"""Longest wait of one read, s."""
WRITE_TIMEOUT_S = 0.2
"""Longest wait of one write, s."""


class SerialPort(Protocol):
    """What the drivers use of a serial port."""

    @property
    def in_waiting(self) -> int:
        """How many bytes can be read at once."""

    def read(self, size: int = 1, /) -> bytes:
        """Read up to so many bytes within READ_TIMEOUT_S; raises OSError when the port is gone."""

    def write(self, data: bytes, /) -> int | None:
        """Send bytes; raises OSError."""

    def cancel_read(self) -> None:
        """End a read in another thread."""

    def reset_input_buffer(self) -> None:
        """Discard what has been received and not been read."""

    def close(self) -> None:
        """Close the port."""


def open_port(path: str, baud: int) -> SerialPort:
    """Open a port for this process alone, 8 data bits, no parity; raises ImuRefusedError."""
    import serial

    try:
        port = serial.Serial(
            path,
            baud,
            timeout=READ_TIMEOUT_S,
            write_timeout=WRITE_TIMEOUT_S,
            exclusive=True,
        )
    except (OSError, ValueError, termios.error) as error:
        raise ImuRefusedError(
            path,
            f"cannot be opened at {baud} baud ({error}); check the cable, that you may use the "
            "port (group dialout), and that no other program has it",
        ) from None
    with contextlib.suppress(OSError, ValueError, NotImplementedError):
        # FTDI adapters else hold bytes back for 16 ms; other ports need it not, or know it not.
        port.set_low_latency_mode(True)
    return cast("SerialPort", port)
