"""A gamepad as Linux shows it, /dev/input/js*: a dead-man that is held, and buttons.

Every event is 8 bytes of struct js_event in Documentation/input/joydev/joystick-api.rst of Linux:
time in ms (u32), value (s16), type (u8), number (u8).  After opening, and after events were lost,
the driver tells the state of every button with 0x80 in the type: news of what is, not of what
somebody does.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import struct
import time
from typing import TYPE_CHECKING

import msgspec

from robosac.errors import ConfigError
from robosac.operator.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.operator.operator import Operator

_log = logging.getLogger(__name__)

_EVENT = struct.Struct("=IhBB")
_BUTTON, _AXIS, _INIT = 0x01, 0x02, 0x80
_ALIVE_S = 0.1
"""How often the robot hears that the dead-man is held."""
_REOPEN_S = 1.0
_CHUNK = 64 * _EVENT.size


class GamepadButtons(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which button does what; the numbers are those of an Xbox pad, which `jstest` shows."""

    hold: int = 5
    """Dead-man, to be held: the right shoulder."""
    go: int = 0
    """Let the robot move: A."""
    stop: int = 1
    """Sit down: B."""
    estop: tuple[int, ...] = (2, 3)
    """Emergency stop, each of them: X and Y."""
    release: int = 6
    """Release the emergency stop: back."""
    clear: int = 7
    """Clear a fault: start."""

    def __post_init__(self) -> None:
        """Raise ConfigError when a button has two functions, or none stops."""
        numbers = [self.hold, self.go, self.stop, *self.estop, self.release, self.clear]
        if (
            len(set(numbers)) < len(numbers)
            or not self.estop
            or not set(numbers) <= set(range(256))
        ):
            raise ConfigError(
                f"gamepad buttons {numbers}; expected a number from 0 to 255 of its own for each "
                "function, and at least one for the emergency stop"
            )


class Gamepad(Source):
    """Reads a gamepad; without it, unplugged or out of range, nothing is held any more.

    An edge is a button that somebody presses while it is read: one that was down already when the
    pad was opened, or was plugged in again, must be let go and pressed anew.  That holds for the
    dead-man, too.
    """

    def __init__(
        self, operator: Operator, path: Path, *, buttons: GamepadButtons | None = None
    ) -> None:
        """Read this device, such as /dev/input/js0."""
        super().__init__(operator, "gamepad")
        self.held = False
        """Whether the dead-man is held."""
        self._path = path
        self._descriptor: int | None = None
        self._rest = b""
        self._down: set[int] = set()
        self._alive_at = 0.0
        buttons = GamepadButtons() if buttons is None else buttons
        self._hold = buttons.hold
        self._requests = {
            buttons.go: operator.go,
            buttons.stop: operator.stop,
            **dict.fromkeys(buttons.estop, operator.estop),
            buttons.release: operator.release,
            buttons.clear: operator.clear,
        }

    def _open(self) -> None:
        """Open the device; raises ConfigError."""
        try:
            self._connect()
        except OSError as error:
            raise ConfigError(f"gamepad {self._path}: {_trouble(error)}") from None

    def _shut(self) -> None:
        self._disconnect()

    def _connect(self) -> None:
        """Open the device; a button that was down stays so until it is told to be up."""
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._rest = b""

    def _disconnect(self) -> None:
        """Let go of everything."""
        self._let_go()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _listen(self) -> None:
        while not self._closing:
            if self._descriptor is None:
                self._wait(None, _REOPEN_S)
                self._try_again()
            elif self._wait(self._descriptor, self._until_alive()):
                self._read(self._descriptor)
            self._say_alive()

    def _try_again(self) -> None:
        """Open the device if it is there again."""
        with contextlib.suppress(OSError):
            self._connect()
            _log.info("operator: gamepad %s is back; press its buttons anew", self._path)

    def _read(self, descriptor: int) -> None:
        """Take in what the device says, or that it is gone."""
        try:
            told = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(_trouble(error))
            return
        if not told:
            self._lose("end of file")
            return
        self._rest += told
        whole = len(self._rest) // _EVENT.size * _EVENT.size
        events, self._rest = self._rest[:whole], self._rest[whole:]
        for _, value, kind, number in _EVENT.iter_unpack(events):
            if kind & ~_INIT not in (_BUTTON, _AXIS):
                self._lose(f"event of type {kind:#04x}; expected a button or an axis")
                return
            if kind & _BUTTON:
                self._note(number, pressed=bool(value), told=bool(kind & _INIT))

    def _note(self, number: int, *, pressed: bool, told: bool) -> None:
        """Take in one button; what is told was not done just now, and may only let go."""
        edge = pressed and not told and number not in self._down
        (self._down.add if pressed else self._down.discard)(number)
        if number == self._hold:
            if not pressed:
                self._let_go()
            elif edge:
                self.held, self._alive_at = True, 0.0
                _log.info("operator: dead-man held (%s)", self.name)
        elif edge and number in self._requests:
            self._requests[number](self.name)

    def _let_go(self) -> None:
        if self.held:
            self.held = False
            _log.info("operator: dead-man released (%s)", self.name)

    def _lose(self, trouble: str) -> None:
        """Close a device that is gone, and look for it from now on."""
        _log.warning("operator: gamepad %s lost (%s), so it is released", self._path, trouble)
        self._disconnect()

    def _until_alive(self) -> float | None:
        """Time until the robot must hear of the dead-man, s; None while it is not held."""
        return self._alive_at - time.monotonic() if self.held else None

    def _say_alive(self) -> None:
        now = time.monotonic()
        if self.held and now >= self._alive_at:
            self._operator.alive("gamepad")
            self._alive_at = now + _ALIVE_S


def _trouble(error: OSError) -> str:
    """What is wrong with a device, and what to do about it."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted; expected a readable device; add yourself to the group input"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return (
            "no such device; expected a gamepad, such as /dev/input/js0; plug it in or switch it on"
        )
    return f"{error.strerror or error}; expected a gamepad, such as /dev/input/js0"
