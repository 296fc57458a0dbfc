"""`robosac attend` in a real terminal, with a robot's heartbeat at the other end of the line."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import pytest

from robosac.cli.attend import Attend
from robosac.errors import ConfigError
from robosac.exit_codes import EXIT_DONE, EXIT_INCOMPLETE, EXIT_INTERRUPTED
from robosac.operator import Operator
from robosac.operator.attendant import PERIOD_S
from robosac.operator.heartbeat import Heartbeat
from robots.safety import State
from tests.patience import PATIENCE_S, until
from tests.robosac.operator.conftest import Told

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import signal, sys
from robosac.cli.attend import Attend
from robosac.errors import RobosacError
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    sys.exit(Attend(robot=sys.argv[1]).execute())
except RobosacError as error:
    sys.exit(str(error))
"""


class Robot(Told):
    """A robot that walks, until it is stopped in an emergency."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State.ACTIVE

    def estop(self) -> None:
        """Remember it, and be stopped."""
        super().estop()
        self.state = State.ESTOP


class Desk:
    """A terminal with `robosac attend` in it."""

    def __init__(self, address: str) -> None:
        self.hand, screen = pty.openpty()
        self.before = termios.tcgetattr(screen)
        self.screen, self.seen = screen, ""
        self.child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, address],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - no thread of this test holds a lock
        )

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.hand, keys)

    def wait_for(self, words: str) -> None:
        """Read the screen until they stand there."""

        def there() -> bool:
            if select.select([self.hand], [], [], 0)[0]:
                self.seen += os.read(self.hand, 4096).decode()
            return words in self.seen

        until(there)

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.screen)
        os.close(self.hand)
        self.screen = self.hand = -1

    def close(self) -> None:
        """Tidy up."""
        self.child.kill()
        self.child.wait()
        for descriptor in (self.hand, self.screen):
            if descriptor >= 0:
                os.close(descriptor)


def take_terminal() -> None:
    """Make standard input the controlling terminal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def robot() -> Robot:
    """A robot that walks."""
    return Robot()


@pytest.fixture
def heartbeat(robot: Robot) -> Iterator[Heartbeat]:
    """Its end of the line."""
    with Heartbeat(Operator(robot)) as heartbeat:
        yield heartbeat


@pytest.fixture
def desk(heartbeat: Heartbeat) -> Iterator[Desk]:
    """Somebody who holds the robot."""
    desk = Desk(heartbeat.endpoint)
    until(lambda: heartbeat.held)
    yield desk
    desk.close()


def test_it_holds_shows_the_robot_and_stops_it(desk: Desk, robot: Robot) -> None:
    """Keys reach the robot, and its state the screen."""
    desk.wait_for("active, you hold it")
    desk.press(b"\n")
    until(lambda: "stop" in robot.calls)
    desk.press(b" ")
    until(lambda: "estop" in robot.calls)
    desk.wait_for("estop, you hold it")
    assert "SPACE emergency stop" in desk.seen
    assert "release" not in robot.calls


def test_leaving_lets_go(desk: Desk, heartbeat: Heartbeat) -> None:
    """At once, and the terminal is as before."""
    desk.press(b"q")
    until(lambda: not heartbeat.held)
    assert desk.child.wait(PATIENCE_S) == EXIT_DONE
    assert termios.tcgetattr(desk.screen) == desk.before


def test_a_stop_typed_together_with_leaving_is_sent(desk: Desk, robot: Robot) -> None:
    """Over a slow line both may arrive as one; the emergency comes first."""
    desk.wait_for("active, you hold it")
    desk.press(b" q")
    until(lambda: "estop" in robot.calls)
    assert desk.child.wait(PATIENCE_S) == EXIT_DONE


def test_interrupted_it_lets_go(desk: Desk, heartbeat: Heartbeat) -> None:
    """By SIGTERM as by Ctrl-C."""
    desk.child.send_signal(signal.SIGTERM)
    assert desk.child.wait(PATIENCE_S) == EXIT_INTERRUPTED
    until(lambda: not heartbeat.held)
    assert termios.tcgetattr(desk.screen) == desk.before


def test_without_its_terminal_it_lets_go(desk: Desk, heartbeat: Heartbeat) -> None:
    """A window that is closed, a connection that is cut: nobody is there."""
    desk.hang_up()
    until(lambda: not heartbeat.held)
    assert desk.child.wait(PATIENCE_S) in (EXIT_INCOMPLETE, -signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_frozen_it_lets_go(
    desk: Desk, heartbeat: Heartbeat, robot: Robot, number: signal.Signals
) -> None:
    """Nobody has to say so."""
    desk.child.send_signal(number)
    until(lambda: not heartbeat.held)
    calls = list(robot.calls)
    assert not threading.Event().wait(0.3)
    assert robot.calls == calls


def test_a_frozen_one_that_goes_on_does_not_catch_up(
    desk: Desk, heartbeat: Heartbeat, robot: Robot
) -> None:
    """It takes the hold again with its next beats; what it missed it does not send."""
    desk.child.send_signal(signal.SIGSTOP)
    until(lambda: not heartbeat.held)
    assert not threading.Event().wait(2.0)  # so many beats missed that no delay explains them
    before, continued = robot.calls.count("alive"), time.monotonic()
    desk.child.send_signal(signal.SIGCONT)
    until(lambda: heartbeat.held)
    assert not threading.Event().wait(3 * PERIOD_S)
    count = robot.calls.count("alive")  # before the clock: what comes in between is not counted
    assert count <= before + 2 + (time.monotonic() - continued) / PERIOD_S


def test_it_says_that_nobody_answers() -> None:
    """A robot that is not there is one that is not held."""
    desk = Desk("127.0.0.1:9")
    desk.wait_for("127.0.0.1:9: does not answer")
    desk.close()


def test_it_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script cannot look after a robot."""
    end, hand = os.pipe()
    with open(end) as pipe:  # noqa: PTH123 - a descriptor, no path
        monkeypatch.setattr(sys, "stdin", pipe)
        with pytest.raises(ConfigError, match="no terminal"):
            Attend(robot="127.0.0.1:5556").execute()
    os.close(hand)
