"""Bytes to and from the bus: a serial port that is ours alone and whose every failure has a name.

pyserial opens and configures the device; reads and writes go to its file descriptor, because
they want absolute deadlines.  The timing of the bus is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import tempfile
import termios
import time
from pathlib import Path
from typing import Self

import serial

from robots.closing import Closing
from robots.errors import PortBusyError, PortError, PortLostError, WriteBlockedError

_CHUNK = 4096
_MOST_ECHO = 4096
"""Written bytes that are kept to recognise their echo, at most."""


class Port(Closing):
    """One serial port, opened exclusively; a context manager.

    A pseudo-terminal will do.  Once it is lost, everything but close() raises PortLostError.
    """

    def __init__(self, path: Path | str, baud: int, *, write_timeout_s: float = 0.05) -> None:
        """Name the port and its speed; nothing is opened yet.

        Raises ValueError for a baud or a timeout that is not positive.
        """
        if baud <= 0 or write_timeout_s <= 0:
            raise ValueError(
                f"baud {baud}, write timeout {write_timeout_s} s; expected positive ones"
            )
        self.path = str(path)
        self._baud = baud
        self.low_latency = False
        """Whether the driver agreed to hand on bytes at once; pseudo-terminals do not."""
        self.echoes: bool | None = None
        """Whether the adapter sends back what is written; None until the first reply."""
        self._write_timeout_s = write_timeout_s
        self._serial: serial.Serial | None = None
        self._lock = -1
        self._fd = -1
        self._lost = "it is not open"
        self._echo = bytearray()
        self._held = bytearray()

    def __enter__(self) -> Self:
        """Open the port."""
        self.open()
        return self

    def open(self) -> None:
        """Take the lock, open the device, ask for low latency.

        Raises PortBusyError when another process has it, PortError when it cannot be opened.
        """
        self.close()
        self._lock = _locked(self.path)
        try:
            self._serial = serial.Serial(self.path, self._baud, timeout=0, exclusive=True)
            self._fd = self._serial.fileno()
        except (OSError, ValueError) as error:
            self.close()
            if isinstance(error, BlockingIOError) or "exclusively lock" in str(error):
                raise PortBusyError(self.path, "") from None
            number = getattr(error, "errno", None)
            reason = str(error) if number is None else os.strerror(number)
            raise PortError(self.path, f"{reason}; is it plugged in, may you use it?") from None
        with contextlib.suppress(OSError, ValueError, NotImplementedError):
            self._serial.set_low_latency_mode(True)
            self.low_latency = True
        self._lost = ""
        self.echoes = None

    def close(self) -> None:
        """Close the port and release the lock; the lock's file stays."""
        self._lost = "it is not open"
        self.low_latency = False
        self._echo.clear()
        self._held.clear()
        self._fd = -1
        if self._serial is not None:
            with contextlib.suppress(OSError):
                self._serial.close()
            self._serial = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def baud(self) -> int:
        """Speed, bit/s."""
        return self._baud

    def retune(self, baud: int) -> None:
        """Talk at another speed from now on; raises OSError when the adapter does not know it."""
        self._check()
        if self._serial is not None:
            try:
                self._serial.baudrate = baud
            except (ValueError, termios.error) as error:
                raise OSError(str(error)) from None
        self._baud = baud

    @property
    def latency_s(self) -> float:
        """How long an FTDI adapter keeps bytes back, s; 0 where there is no such timer."""
        name = Path(os.path.realpath(self.path)).name
        try:
            text = Path(f"/sys/class/tty/{name}/device/latency_timer").read_text("ascii")
            return float(text) / 1000
        except (OSError, ValueError):
            return 0.0

    @staticmethod
    def now_ns() -> int:
        """Time that deadlines refer to, ns."""
        return time.monotonic_ns()

    def write(self, data: bytes) -> None:
        """Hand all bytes to the driver.

        Raises WriteBlockedError when it takes them not all in time, PortLostError when it is gone.
        """
        written = self._send(data)
        if written < len(data):
            deadline = time.monotonic() + self._write_timeout_s
            while written < len(data):
                self._wait_writable(deadline, written=written, size=len(data))
                written += self._send(data[written:])
        if self.echoes is not False:
            del self._echo[: max(0, len(self._echo) + len(data) - _MOST_ECHO)]
            self._echo += data

    def read(self, deadline_ns: int) -> bytes:
        """Bytes that have arrived, at least one unless the deadline passes; echoes are removed.

        The deadline is a now_ns().  Raises PortLostError.
        """
        while True:
            data = self._receive((deadline_ns - self.now_ns()) * 1e-9)
            if not data and not (data := self._receive(0.0)):  # we may have slept in between
                return self._release()
            if self._echo and self.echoes is not False:
                data = self._without_echo(data)
            if data:
                return data

    def flush(self) -> int:
        """Throw away what has arrived, and return how many bytes that were, echoes not counted."""
        count = 0
        while data := self._receive(0.0):
            count += len(self._without_echo(data) if self._echo else data)
        if self.echoes is None:
            self._echo.clear()
        return count + len(self._release())

    def _send(self, data: bytes) -> int:
        """Write without waiting; number of bytes taken."""
        self._check()
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone(str(error)) from None

    def _wait_writable(self, deadline: float, *, written: int, size: int) -> None:
        """Return when the driver takes bytes again; WriteBlockedError at the deadline."""
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not self._select(writing=True, timeout_s=remaining):
            raise WriteBlockedError(
                self.path, written=written, size=size, timeout_s=self._write_timeout_s
            )

    def _receive(self, timeout_s: float) -> bytes:
        """Bytes as they are, waiting for the first; empty when the time is up."""
        self._check()
        if not self._select(writing=False, timeout_s=max(0.0, timeout_s)):
            return b""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._gone(str(error)) from None
        if not data:
            raise self._gone("it reports data and has none")
        return data

    def _select(self, *, writing: bool, timeout_s: float) -> bool:
        """Whether the port becomes ready in time."""
        wanted = [self._fd]
        try:
            ready = select.select(
                [] if writing else wanted, wanted if writing else [], [], timeout_s
            )
        except (OSError, ValueError) as error:
            raise self._gone(str(error)) from None
        return bool(ready[writing])

    def _check(self) -> None:
        """Raise PortLostError when the port is closed or was lost before."""
        if self._lost:
            raise PortLostError(self.path, self._lost)

    def _gone(self, reason: str) -> PortLostError:
        """Remember the loss and return it as an error."""
        self._lost = reason
        return PortLostError(self.path, reason)

    def _without_echo(self, data: bytes) -> bytes:
        """What is left of received bytes when the echo of written ones is taken away.

        Bytes that may become an echo are held back until it is clear.
        """
        self._held += data
        length = min(len(self._held), len(self._echo))
        if self._held[:length] != self._echo[:length]:
            self.echoes = self.echoes or False
            self._echo.clear()
            return self._release()
        if length < len(self._echo) and not self.echoes:
            return b""
        self.echoes = True
        del self._echo[:length], self._held[:length]
        return self._release()

    def _release(self) -> bytes:
        """Give out what was held back."""
        data = bytes(self._held)
        self._held.clear()
        return data


def _locked(path: str) -> int:
    """Descriptor of the locked lock file of a device; PortBusyError when another has the lock."""
    name = os.path.realpath(path).strip("/").replace("/", "-")
    folder = next(
        one for one in (Path("/run/lock"), Path(tempfile.gettempdir())) if os.access(one, os.W_OK)
    )
    file = folder / f"robosac-{name}.lock"
    try:
        lock = _open_lock(file)
    except OSError as error:
        raise PortError(path, f"cannot lock {file}: {error}; check who owns it") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 64, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise PortBusyError(path, owner) from None
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()}\n".encode(), 0)
    return lock


def _open_lock(file: Path) -> int:
    """Open a lock file, for reading only when it is another user's."""
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except PermissionError:
        return os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
