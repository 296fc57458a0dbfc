"""An emulated IMU behind a pseudo-terminal, in real time."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import struct
import threading
import time
import tty
from typing import TYPE_CHECKING, Self

from sim.emulator.imu_faults import ImuFault

if TYPE_CHECKING:
    from types import TracebackType

    from sim.emulator.imu_device import ImuDevice

_TCGETS2 = 0x802C542A  # Linux: the only call that tells speeds without a constant of their own
_TERMIOS2 = struct.Struct("=4IB19B2I")
_LONGEST_WAIT_S = 0.05


class ImuTerminal:
    """Runs a device in a thread of its own; drivers open its path like any serial port.

    A context manager.  What happens on the thread is lost to nobody: close() raises it.
    """

    def __init__(self, device: ImuDevice) -> None:
        """Create the pseudo-terminal; the device is switched on by start()."""
        self.device = device
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        """Where the driver connects."""
        self._start_ns = time.monotonic_ns()
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulated IMU", daemon=True)

    def start(self) -> None:
        """Switch the device on; its clock begins at zero."""
        self._start_ns = time.monotonic_ns()
        self._thread.start()

    def inject(
        self,
        name: str,
        *,
        for_s: float = math.inf,
        probability: float = 1.0,
        amount: float | None = None,
    ) -> None:
        """Have a fault from now on; raises ValueError."""
        self.device.add(
            ImuFault(
                name=name,
                at_s=self._now_ns() / 1e9,
                for_s=for_s,
                probability=probability,
                amount=amount,
            )
        )

    def clear(self) -> None:
        """End all faults; what they have unplugged stays so."""
        self.device.clear()

    def close(self) -> None:
        """Switch off and unplug; may be called any number of times.

        Raises what ended the thread, once.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._unplug()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self.device.unplugged(self._now_ns()):
                self._serve()
        except Exception as error:  # noqa: BLE001 - close() raises it where somebody sees it
            self._failure = error
        self._unplug()

    def _serve(self) -> None:
        """Wait for what comes next and see to it."""
        wait_s = (self.device.due_ns() - self._now_ns()) / 1e9
        wait_s = min(max(wait_s, 0.0), _LONGEST_WAIT_S)
        heard, _, _ = select.select([self._master], [], [], wait_s)
        host_baud = self._host_baud()
        if heard:
            data = os.read(self._master, 4096)
            if host_baud == self.device.speed(self._now_ns()):
                self.device.hear(data, self._now_ns())
        sent = self.device.step(self._now_ns(), host_baud)
        if sent:
            with contextlib.suppress(BlockingIOError):  # nobody reads: lost, as on a wire
                os.write(self._master, sent)

    def _host_baud(self) -> int:
        """Speed that the driver has set, bit/s."""
        answer = fcntl.ioctl(self._slave, _TCGETS2, bytes(_TERMIOS2.size))
        return int(_TERMIOS2.unpack(answer)[-1])

    def _unplug(self) -> None:
        """Hang up on whoever has the terminal open."""
        master, slave = self._master, self._slave
        self._master = self._slave = -1
        for end in (master, slave):
            if end >= 0:
                os.close(end)
