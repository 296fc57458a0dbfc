"""An emulated IMU behind a pseudo-terminal, in real time."""

from __future__ import annotations

import math
import select
import threading
import time
from typing import TYPE_CHECKING, Self

import msgspec

from robots.closing import Closing
from sim.emulator.imu_faults import ImuFault
from sim.emulator.pseudo_terminal import PseudoTerminal
from sim.emulator.urgency import hurry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sim.emulator.imu_device import ImuDevice

_LONGEST_WAIT_S = 0.05
_UNPLUGGED_S = 0.01
"""How often an unplugged port looks whether it is back, s."""


class ImuTerminal(Closing):
    """Runs a device in a thread of its own; drivers open its path like any serial port.

    A context manager.  What happens on the thread is lost to nobody: close() raises it.
    """

    def __init__(
        self,
        device: ImuDevice,
        *,
        link: Path | None = None,
        on_first: Callable[[], None] | None = None,
    ) -> None:
        """Take a device that start() switches on; the link always points at its port.

        on_first is called on the thread when a client says something for the first time.
        """
        self.device = device
        self._pty = PseudoTerminal(link)
        self._on_first = on_first
        self._start_ns = time.monotonic_ns()
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emulated IMU", daemon=True)

    @property
    def path(self) -> str:
        """Path of the port; empty while it is unplugged."""
        return self._pty.path

    @property
    def failure(self) -> Exception | None:
        """What ended the thread before its time."""
        return self._failure

    def start(self) -> None:
        """Plug the device in and switch it on; its clock begins at zero."""
        self._pty.plug_in()
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
        self.add(ImuFault(name=name, for_s=for_s, probability=probability, amount=amount))

    def add(self, fault: ImuFault) -> None:
        """Have this fault, too, its time counting from now; raises ValueError."""
        at_s = fault.at_s + self._now_ns() / 1e9
        self.device.add(msgspec.structs.replace(fault, at_s=at_s))

    def clear(self) -> None:
        """End all faults."""
        self.device.clear()

    def close(self) -> None:
        """Switch off and unplug; may be called any number of times.

        Raises what ended the thread, once.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pty.pull_out()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def _now_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def _run(self) -> None:
        hurry()
        try:
            while not self._stop.is_set():
                self._serve()
        except Exception as error:  # noqa: BLE001 - close() raises it where somebody sees it
            self._failure = error
            self._pty.pull_out()

    def _serve(self) -> None:
        """Wait for what comes next and see to it."""
        if self.device.unplugged(self._now_ns()):
            self._pty.pull_out()
            self._stop.wait(_UNPLUGGED_S)
            return
        self._pty.plug_in()
        wait_s = (self.device.due_ns() - self._now_ns()) / 1e9
        wait_s = min(max(wait_s, 0.0), _LONGEST_WAIT_S)
        heard, _, _ = select.select([self._pty.far], [], [], wait_s)
        host_baud = self._pty.speed()
        if heard:
            self._hear(self._pty.take(), host_baud)
        sent = self.device.step(self._now_ns(), host_baud)
        if sent:
            self._pty.give(sent)  # what nobody reads is lost, as on a wire

    def _hear(self, data: bytes, host_baud: int) -> None:
        """Let the device hear a client that talks at its speed."""
        if self._on_first is not None:
            self._on_first()
            self._on_first = None
        if host_baud == self.device.speed(self._now_ns()):
            self.device.hear(data, self._now_ns())
