"""What the signals that end other processes do to one that drives a robot."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.operator import Operator

_BOUNCE_S = 0.2
"""An interrupt that comes again within this time was passed on twice, by a wrapper for instance."""
_QUIT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_to(operator: Operator) -> Iterator[None]:
    r"""Let SIGINT, SIGTERM and SIGHUP sit the robot down and end the program.

    A second Ctrl-C is an emergency stop, and so is SIGQUIT, which Ctrl-\ sends.  The others may
    come twice without anybody's haste: from a closed terminal, from a service manager.
    """
    interrupted_at: float | None = None

    def on_signal(number: int, frame: object) -> None:
        nonlocal interrupted_at
        del frame
        name, now = signal.Signals(number).name, time.monotonic()
        again = interrupted_at is not None and now - interrupted_at > _BOUNCE_S
        if number == signal.SIGQUIT or (number == signal.SIGINT and again):
            operator.estop(name)
        elif number == signal.SIGINT and interrupted_at is None:
            interrupted_at = now
        operator.quit(name)

    numbers = (*_QUIT, signal.SIGQUIT)
    usual = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
