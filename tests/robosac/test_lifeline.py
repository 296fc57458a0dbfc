"""A child hears its parent, and survives it long enough to clean up."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING

import msgspec
import pytest

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator


CHILD = """
import sys, threading, time
from robosac.lifeline import Lifeline, tell

woken = threading.Event()
lifeline = Lifeline(wake=woken.set)
tell(event="ready", cut=lifeline.cut)
woken.wait(10)
for number in range(1000):
    tell(event="after", number=number, cut=lifeline.cut)
sys.exit(7)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits on its lifeline, then talks a lot, then ends with 7."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert read(process.stdout) == {"event": "ready", "cut": False}
    yield process
    process.kill()
    process.communicate()


def read(stream: IO[bytes] | None) -> dict[str, object]:
    """One line of the child."""
    assert stream is not None
    line: dict[str, object] = msgspec.json.decode(stream.readline())
    return line


def end_input(child: subprocess.Popen[bytes]) -> None:
    """Cut the lifeline."""
    assert child.stdin is not None
    child.stdin.close()
    child.stdin = None


def test_a_child_stops_when_its_input_ends(child: subprocess.Popen[bytes]) -> None:
    """And not before; input itself means nothing."""
    assert child.stdin is not None
    child.stdin.write(b"hello\n")
    child.stdin.flush()
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    end_input(child)
    assert read(child.stdout) == {"event": "after", "number": 0, "cut": True}
    child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_ask_for_the_same(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """A child that is terminated ends in its own way."""
    child.send_signal(number)
    assert read(child.stdout)["cut"] is True
    child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 7


def test_a_child_whose_parent_is_gone_ends_in_its_own_way(child: subprocess.Popen[bytes]) -> None:
    """Nobody reads its last words; they must not become its last error."""
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    end_input(child)
    assert child.wait(PATIENCE_S) == 7
    assert child.stderr is not None
    assert child.stderr.read() == b""


def test_a_child_that_starts_without_a_parent_knows_at_once() -> None:
    """Before it touches a folder in which somebody else may be going on."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert msgspec.json.decode(done.stdout.splitlines()[0]) == {"event": "ready", "cut": True}
    assert done.returncode == 7
