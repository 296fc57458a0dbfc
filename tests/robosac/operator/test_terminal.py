"""A terminal looks as before, whatever becomes of the program that read its keys."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from robosac.operator.terminal import Terminal
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import os, signal, sys
from robosac.operator.terminal import Terminal
signal.signal(signal.SIGINT, signal.default_int_handler)  # who starts tests may ignore it
terminal = Terminal(0)
terminal.open()
os.write(1, b"ready ")
{body}
"""
WAITS = "while True: os.read(0, 1)"


class Window:
    """A pseudo-terminal with a program in it."""

    def __init__(self) -> None:
        self.hand, self.screen = pty.openpty()
        self.before = termios.tcgetattr(self.screen)
        self.child: subprocess.Popen[bytes] | None = None
        self._seen = ""

    def run(self, body: str) -> subprocess.Popen[bytes]:
        """Run a program whose controlling terminal this is; returns when it reads keys."""
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(body=body)],
            stdin=self.screen,
            stdout=self.screen,
            stderr=self.screen,
            start_new_session=True,
            # The terminal must be the child's own, as in a shell.
            preexec_fn=take_terminal,  # noqa: PLW1509 - no thread of this test holds a lock
        )
        self.child = child
        self.wait_for("ready")
        return child

    def wait_for(self, text: str) -> str:
        """Read the screen until this is on it; returns what stood before it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._seen:
            assert time.monotonic() < deadline, self._seen
            if select.select([self.hand], [], [], 0.05)[0]:
                self._seen += os.read(self.hand, 4096).decode(errors="replace")
        before, _, self._seen = self._seen.partition(text)
        return before

    def single_keys(self) -> bool:
        """Whether keys come one by one, and unseen."""
        return not termios.tcgetattr(self.screen)[3] & (termios.ICANON | termios.ECHO)

    def as_before(self) -> bool:
        """Whether every setting is what it was."""
        return termios.tcgetattr(self.screen) == self.before


def take_terminal() -> None:
    """Make standard input the controlling terminal."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def window() -> Iterator[Window]:
    """Close it, and end what runs in it."""
    window = Window()
    yield window
    if window.child is not None:
        window.child.kill()
        window.child.wait()
    os.close(window.hand)
    os.close(window.screen)


def test_keys_come_one_by_one_and_unseen(window: Window) -> None:
    """Without echo, and no key but Ctrl-C ends, suspends or holds up the program."""
    terminal = Terminal(window.screen)
    terminal.open()
    assert window.single_keys()
    mode = termios.tcgetattr(window.screen)
    assert mode[6][termios.VINTR] == b"\x03"
    assert mode[6][termios.VSUSP] == mode[6][termios.VQUIT] == b"\0"
    assert not mode[0] & termios.IXON
    terminal.close()
    terminal.close()
    assert window.as_before()


def test_what_was_typed_before_is_dropped(window: Window) -> None:
    """Impatience while the program started is no request."""
    os.write(window.hand, b"g\n")
    terminal = Terminal(window.screen)
    terminal.open()
    assert not select.select([window.screen], [], [], 0)[0]
    terminal.close()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise RuntimeError('boom')", 1),
        ("sys.exit(7)", 7),
        ("terminal.close(); os.write(1, b'closed')", 0),
    ],
)
def test_the_terminal_is_restored_when_the_program_ends(
    window: Window, body: str, code: int
) -> None:
    """By an exception, by an exit, by its own end."""
    child = window.run(body)
    assert child.wait(PATIENCE_S) == code
    assert window.as_before()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_terminal_is_restored_when_the_program_is_ended(
    window: Window, number: signal.Signals
) -> None:
    """It dies of the signal as every program does, but tidily."""
    child = window.run(WAITS)
    assert window.single_keys()
    child.send_signal(number)
    assert child.wait(PATIENCE_S) == -number
    assert window.as_before()


def test_a_handler_of_the_program_stays(window: Window) -> None:
    """What SIGTERM does is the program's decision, if it has made one."""
    child = window.run(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "terminal.close()\n"
        "terminal.open()\n"
        "os.write(1, b'again')\n" + WAITS
    )
    window.wait_for("again")
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE_S) == 5
    assert window.as_before()


def test_a_suspended_program_gives_the_terminal_back_for_as_long(window: Window) -> None:
    """Whoever uses it meanwhile sees what they type."""
    child = window.run(
        "terminal.close()\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        "job = os.fork()\n"
        "if job == 0:\n"
        "    os.setpgid(0, 0)\n"
        "    os.tcsetpgrp(0, os.getpid())\n"
        "    terminal.open()\n"
        "    os.write(1, b'job %d here' % os.getpid())\n"
        "    while True: os.read(0, 1)\n"
        "os.waitpid(job, os.WUNTRACED)\n"
        "os.write(1, b'suspended')\n"
        "os.waitpid(job, 0)"
    )
    job = int(window.wait_for("here").split("job ")[1].split()[0])
    assert window.single_keys()
    os.kill(job, signal.SIGTSTP)
    window.wait_for("suspended")
    assert window.as_before()
    os.kill(job, signal.SIGCONT)
    until(window.single_keys)
    os.kill(job, signal.SIGTERM)
    assert child.wait(PATIENCE_S) == 0
    assert window.as_before()


def test_a_hang_up_is_left_to_who_reads(window: Window) -> None:
    """The program lives, and may still act; it sees the end of its input."""
    program = "signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or sys.exit(9)\n" + WAITS
    child = window.run(program)
    child.send_signal(signal.SIGHUP)
    child.send_signal(signal.SIGTERM)
    assert child.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_program_in_the_background_is_refused(window: Window) -> None:
    """It would be stopped by the kernel at once, robot and all."""
    body = (
        "terminal.close()\n"
        "if os.fork() == 0:\n"
        "    os.setpgid(0, 0)\n"
        "    try:\n"
        "        terminal.open()\n"
        "    except Exception as error:\n"
        "        os.write(1, str(error).encode())\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    child = window.run(body)
    window.wait_for("in the background")
    assert child.wait(PATIENCE_S) == 0
