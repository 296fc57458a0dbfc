"""A pseudo-terminal that is plugged in and pulled out, and a link that always leads to it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CHUNK = 4096
_TCGETS2 = 0x802C542A  # Linux: the only call that tells speeds without a constant of their own
_TERMIOS2 = struct.Struct("=4IB19B2I")


class PseudoTerminal:
    """The emulator's end of a serial port that any program can open."""

    def __init__(self, link: Path | None = None) -> None:
        """Begin pulled out; the link will point at the port, which may change its name."""
        self.path = ""
        """Path of the port; empty while it is pulled out."""
        self.far = -1
        """Descriptor to wait on; -1 while it is pulled out."""
        self._near = -1
        self._link = link

    def plug_in(self) -> None:
        """Make the port; nothing when it is there.

        Raises OSError when the link's place is taken by anything but a link.
        """
        if self.far >= 0:
            return
        self.far, self._near = os.openpty()
        # The near end stays open here, too: without it, the far end fails when a client leaves.
        tty.setraw(self._near)
        os.set_blocking(self.far, False)
        self.path = os.ttyname(self._near)
        if self._link is not None:
            if self._link.is_symlink():  # of an emulator that was killed
                self._link.unlink()
            self._link.symlink_to(self.path)

    def pull_out(self) -> None:
        """Remove the port and hang up on whoever has it open; any number of times."""
        for end in (self.far, self._near):
            if end >= 0:
                os.close(end)
        self.far = self._near = -1
        path, self.path = self.path, ""
        if (
            self._link is not None
            and self._link.is_symlink()
            and str(self._link.readlink()) == path
        ):
            self._link.unlink()

    def speed(self) -> int:
        """Speed that the client has set, bit/s."""
        answer = fcntl.ioctl(self._near, _TCGETS2, bytes(_TERMIOS2.size))
        return int(_TERMIOS2.unpack(answer)[-1])

    def take(self) -> bytes:
        """Bytes that the client has written."""
        return os.read(self.far, _CHUNK)

    def give(self, data: bytes) -> int:
        """Hand bytes to the client; how many there was no room for."""
        written = 0
        with contextlib.suppress(BlockingIOError):
            written = os.write(self.far, data)
        return len(data) - written
