"""A terminal that gives its keys one by one, and that looks afterwards as it did before."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import termios
import threading
from typing import TYPE_CHECKING, Any

from robosac.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

_INPUT, _LOCAL, _CHARACTERS = 0, 3, 6
"""Places in what termios.tcgetattr returns."""
_DISABLED = b"\0"
"""_POSIX_VDISABLE of Linux: no key has this function."""
_PASSED_ON = (signal.SIGTERM, signal.SIGTSTP)


class Terminal:
    r"""Switches a terminal to single keys without echo, and back whatever happens but SIGKILL.

    Ctrl-C keeps its meaning.  Ctrl-Z and Ctrl-\ would leave a robot alone with its last target,
    and Ctrl-S would hold up whoever logs: these are keys like any other.  SIGHUP is ignored, so
    that who reads finds out that the terminal is gone and still has the time to act on it.
    Signals that the program handles itself are left to it.
    """

    def __init__(self, descriptor: int) -> None:
        """Take a terminal's descriptor."""
        self._descriptor = descriptor
        self._before: list[Any] | None = None
        self._handlers: dict[signal.Signals, Any] = {}

    def open(self) -> None:
        """Switch to single keys; what was typed before is dropped.

        Raises ConfigError in a program that runs in the background, whose terminal is not its own.
        """
        if not self._ours():
            raise ConfigError(
                "the program runs in the background and gets no keys of its terminal; expected it "
                "in the foreground; start it without &, or give it a pipe as standard input"
            )
        self._before = termios.tcgetattr(self._descriptor)
        self._set_keys()
        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        atexit.register(self.close)
        self._take_signals()

    def close(self) -> None:
        """Give the terminal back as it was; may be called any number of times."""
        if self._before is not None:
            atexit.unregister(self.close)
            self._give_signals_back()
            self._restore()
            self._before = None

    def _set_keys(self) -> None:
        keys = termios.tcgetattr(self._descriptor)
        keys[_INPUT] &= ~termios.IXON
        keys[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
        keys[_CHARACTERS][termios.VMIN] = 1
        keys[_CHARACTERS][termios.VTIME] = 0
        keys[_CHARACTERS][termios.VSUSP] = keys[_CHARACTERS][termios.VQUIT] = _DISABLED
        termios.tcsetattr(self._descriptor, termios.TCSANOW, keys)

    def _restore(self) -> None:
        """Set what was before; a terminal that is gone, or another's by now, is left alone."""
        if self._before is not None and self._ours():
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)

    def _ours(self) -> bool:
        """Whether we are in the foreground: to set it from the background stops the process."""
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:  # it is not the terminal that controls us, so that it never stops us
            return True

    def _take_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        wanted: dict[signal.Signals, Any] = dict.fromkeys(_PASSED_ON, self._pass_on)
        for number, ours in (wanted | {signal.SIGHUP: signal.SIG_IGN}).items():
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, ours)
                self._handlers[number] = ours

    def _give_signals_back(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, ours in self._handlers.items():
                if signal.getsignal(number) == ours:
                    signal.signal(number, signal.SIG_DFL)
            self._handlers.clear()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Do what the signal does by itself, with the terminal as it was."""
        del frame
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Only who was suspended gets here, when it goes on.
        signal.signal(number, self._pass_on)
        if self._ours():
            self._set_keys()
