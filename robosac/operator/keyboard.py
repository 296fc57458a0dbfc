"""The keys of a terminal, or words through a pipe, as the operator's voice.

A terminal does not tell when a key is let go, so that no key can be a dead-man: that takes a
gamepad, or `robosac attend`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from robosac.operator.source import Source
from robosac.operator.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from robosac.operator.operator import Operator

_log = logging.getLogger(__name__)

HELP = "ENTER go · s sit · SPACE emergency stop · r release it · c clear a fault · q quit · ? help"
_REPEAT_S = 0.8
"""The same key again within this time is one that is held: keyboards begin to repeat after it."""
_CHUNK = 256
_LINE_MAX = 100

_KEYS = {
    b"\n": "go",
    b"\r": "go",
    b"g": "go",
    b"s": "stop",
    b"\x1a": "stop",  # Ctrl-Z
    b" ": "estop",
    b"\x1c": "estop",  # Ctrl-\
    b"r": "release",
    b"c": "clear",
    b"q": "quit",
}
_ALWAYS = frozenset({"stop", "estop"})
"""Words that count also when a key is held, or comes with others."""


def standard_input(operator: Operator, tell: Callable[[str], None] | None = None) -> Source:
    """Listen to standard input: keys if it is a terminal, else words, one a line.

    Answers, such as the help, go to `tell`; to the log if there is none.
    """
    descriptor = sys.stdin.fileno()
    kind = Keyboard if os.isatty(descriptor) else Words
    return kind(operator, descriptor, tell=tell)


class _Typed(Source):
    """Reads what is typed, and turns words into requests."""

    def __init__(
        self, operator: Operator, descriptor: int, *, tell: Callable[[str], None] | None = None
    ) -> None:
        """Listen to an open file; answers go to `tell`."""
        super().__init__(operator, "keyboard")
        self._descriptor = descriptor
        self._tell = tell if tell is not None else _log.info
        self._requests = {
            "go": operator.go,
            "stop": operator.stop,
            "estop": operator.estop,
            "release": operator.release,
            "clear": operator.clear,
            "quit": operator.quit,
        }

    def _read(self) -> bytes:
        """What has been typed; nothing when the other end is gone or the source is closed."""
        if not self._wait(self._descriptor):
            return b""
        try:
            return os.read(self._descriptor, _CHUNK)
        except OSError:  # EIO of a terminal that has hung up
            return b""

    def _gone(self) -> None:
        """Nobody is there any more, unless it is we who left."""
        if not self._closing:
            _log.warning("operator: end of input, nobody is there any more")
            self._operator.stop(self.name)
            self._operator.quit(self.name)


class Keyboard(_Typed):
    """The keys of a terminal: HELP says which.

    A held key is one press, but stops always count.  So they do among keys that arrive together,
    which are pasted, or one key that sends several bytes: nothing else counts among them.
    """

    def __init__(
        self, operator: Operator, descriptor: int, *, tell: Callable[[str], None] | None = None
    ) -> None:
        """Listen to a terminal's descriptor."""
        super().__init__(operator, descriptor, tell=tell)
        self._terminal = Terminal(descriptor)
        self._last: tuple[bytes, float] = (b"", 0.0)

    def _open(self) -> None:
        self._terminal.open()

    def _shut(self) -> None:
        self._terminal.close()

    def _listen(self) -> None:
        while typed := self._read():
            keys = {bytes([key]).lower() for key in typed}
            for key in keys:
                self._press(key, alone=len(keys) == 1)
        self._gone()

    def _press(self, key: bytes, *, alone: bool) -> None:
        """Act on a key, unless it is held, or one of several and no stop."""
        now = time.monotonic()
        last, since = self._last
        fresh = alone and not (key == last and now - since < _REPEAT_S)
        self._last = (key, now)
        word = _KEYS.get(key, "help" if key == b"?" else "")
        if word in _ALWAYS or (fresh and word in self._requests):
            self._requests[word](self.name)
        elif fresh and (word == "help" or key.isalnum()):
            self._tell(HELP)


class Words(_Typed):
    """Words through a pipe, one a line; the end of it means that nobody is there any more."""

    def _open(self) -> None:
        """Begin with an empty line."""
        self._rest = b""

    def _shut(self) -> None:
        """The file belongs to who opened it."""

    def _listen(self) -> None:
        while typed := self._read():
            *lines, self._rest = (self._rest + typed).split(b"\n")
            self._rest = self._rest[-_LINE_MAX:]
            for line in lines:
                self._say(line[-_LINE_MAX:].decode(errors="replace").strip().lower())
        self._gone()

    def _say(self, word: str) -> None:
        """Act on one line."""
        if word in self._requests:
            self._requests[word](self.name)
        elif word:
            self._tell(f"got {word!r}; expected one of {', '.join(self._requests)}")
