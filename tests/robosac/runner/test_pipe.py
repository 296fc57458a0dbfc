"""The pipe between control loop and uplink: never waits, and outlives its sender."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robosac.runner.pipe import FramePipe
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator


SENDER = """
import os, signal, socket, sys
from robosac.runner.pipe import FramePipe

pipe = FramePipe(socket.socket(fileno=int(sys.argv[1])))
for number in range(200):
    pipe.send(7, number.to_bytes(4, "little") * 50)
assert not pipe.unsent
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def ends() -> Iterator[tuple[FramePipe, FramePipe]]:
    """Both ends in this process."""
    ours, theirs = FramePipe.pair()
    other = FramePipe(theirs)
    yield ours, other
    ours.close()
    other.close()


def receive(pipe: FramePipe, count: int) -> list[tuple[int, bytes]]:
    """Wait for this many frames, or for the end."""
    frames: list[tuple[int, bytes]] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(frames) < count and not pipe.closed and time.monotonic() < deadline:
        pipe.wait(0.1)
        frames += pipe.receive()
    return frames


def test_frames_arrive_whole_and_in_order(ends: tuple[FramePipe, FramePipe]) -> None:
    """With their kinds, the empty one as well."""
    ours, theirs = ends
    sent = [(1, b"row"), (2, b""), (255, b"x" * 100_000)]
    for kind, payload in sent:
        ours.send(kind, payload)
    assert receive(theirs, 3) == sent
    assert theirs.receive() == []
    assert not theirs.closed


def test_both_directions_are_independent(ends: tuple[FramePipe, FramePipe]) -> None:
    """Rows one way, policies the other."""
    ours, theirs = ends
    ours.send(1, b"row")
    theirs.send(2, b"policy")
    assert receive(ours, 1) == [(2, b"policy")]
    assert receive(theirs, 1) == [(1, b"row")]


def test_sending_does_not_wait_for_a_reader(ends: tuple[FramePipe, FramePipe]) -> None:
    """What the kernel cannot take stays here, and follows in order."""
    ours, theirs = ends
    payloads = [bytes([number]) * 100_000 for number in range(200)]
    for payload in payloads:
        ours.send(1, payload)
    assert ours.unsent > 0
    got: list[tuple[int, bytes]] = []
    while len(got) < len(payloads):
        got += theirs.receive()
        ours.flush()
    assert got == [(1, payload) for payload in payloads]
    assert ours.unsent == 0


@given(sizes=st.lists(st.integers(0, 300), max_size=8), step=st.integers(1, 64))
def test_frames_are_put_together_from_any_pieces(sizes: list[int], step: int) -> None:
    """A stream has no boundaries but those in the heads."""
    ours, raw = FramePipe.pair()
    frames = [(index, bytes([index]) * size) for index, size in enumerate(sizes)]
    stream = b"".join(len(p).to_bytes(4, "little") + bytes([k]) + p for k, p in frames)
    got = []
    for start in range(0, len(stream), step):
        raw.send(stream[start : start + step])
        got += ours.receive()
    assert got == frames
    ours.close()
    raw.close()


def test_the_end_is_told_after_everything_that_was_sent(
    ends: tuple[FramePipe, FramePipe],
) -> None:
    """Not before: the last rows of a killed loop are still to be read."""
    ours, theirs = ends
    ours.send(1, b"last")
    ours.close()
    assert receive(theirs, 1) == [(1, b"last")]
    assert theirs.closed


def test_an_end_with_unread_frames_is_an_end_as_well(
    ends: tuple[FramePipe, FramePipe],
) -> None:
    """The kernel calls it a reset connection; nothing that was sent is lost."""
    ours, theirs = ends
    theirs.send(1, b"never read")
    ours.send(1, b"last")
    ours.close()
    assert receive(theirs, 1) == [(1, b"last")]
    theirs.receive()
    assert theirs.closed


def test_sending_to_an_end_that_is_gone_raises_nothing(
    ends: tuple[FramePipe, FramePipe],
) -> None:
    """The control loop goes on; `closed` tells."""
    ours, theirs = ends
    theirs.close()
    for _ in range(3):
        ours.send(1, b"row")
    assert ours.unsent == 0
    ours.receive()
    assert ours.closed


def test_half_a_frame_of_a_dead_sender_is_dropped() -> None:
    """It was never handed over whole."""
    ours, raw = FramePipe.pair()
    raw.send(b"\x02\0\0\0\x01ok\x05\0\0\0\x01ha")
    raw.close()
    assert receive(ours, 2) == [(1, b"ok")]
    assert ours.closed
    ours.close()


def test_draining_is_bounded(ends: tuple[FramePipe, FramePipe]) -> None:
    """A reader that hangs costs the time that was given, and no more."""
    ours, theirs = ends
    ours.send(1, bytes(50_000_000))
    started = time.monotonic()
    ours.drain(0.2)
    assert 0.2 <= time.monotonic() - started < PATIENCE_S
    assert ours.unsent == 1
    assert not theirs.closed


def test_frames_outlive_a_killed_sender() -> None:
    """SIGKILL right after send(): the kernel has everything."""
    ours, theirs = FramePipe.pair()
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(theirs.fileno())], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    assert sender.wait(PATIENCE_S) == -signal.SIGKILL
    frames = receive(ours, 200)
    assert frames == [(7, number.to_bytes(4, "little") * 50) for number in range(200)]
    ours.receive()
    assert ours.closed
    ours.close()
