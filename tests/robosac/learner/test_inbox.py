"""The inbox between service and update thread."""

from __future__ import annotations

import threading
import time

import numpy as np

from robosac.learner.inbox import Inbox
from robosac.replay import Chunk
from tests.patience import PATIENCE_S

RUN = "0123456789abcdef0123456789abcdef"


def chunk(count: int) -> Chunk:
    """Rows of one column."""
    return Chunk(robot="go2", run=RUN, first=0, rows=np.zeros((count, 1), np.float32))


def test_everything_is_taken_in_order_and_once() -> None:
    """Nothing is copied."""
    inbox = Inbox()
    put = [chunk(2), chunk(3)]
    for one in put:
        inbox.put(one)
    taken = inbox.take()
    assert [id(one) for one in taken] == [id(one) for one in put]
    assert inbox.take() == []


def test_taking_from_an_empty_inbox_waits_no_longer_than_asked() -> None:
    """The update thread has other things to look after."""
    inbox = Inbox()
    started = time.monotonic()
    assert inbox.take(timeout_s=0.05) == []
    assert 0.04 < time.monotonic() - started < PATIENCE_S


def test_rows_wake_the_reader() -> None:
    """At once, not at the end of its wait."""
    inbox = Inbox()
    started = time.monotonic()
    threading.Timer(0.02, inbox.put, [chunk(4)]).start()
    assert [len(one.rows) for one in inbox.take(timeout_s=PATIENCE_S)] == [4]
    assert time.monotonic() - started < PATIENCE_S / 2


def test_the_reader_can_be_woken_without_rows() -> None:
    """To notice that everything is over."""
    inbox = Inbox()
    started, woken = time.monotonic(), threading.Event()

    def wake() -> None:  # again and again: who does not wait yet is not woken
        while not woken.wait(0.02):
            inbox.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    assert inbox.take(timeout_s=PATIENCE_S) == []
    assert time.monotonic() - started < PATIENCE_S / 2
    woken.set()
    thread.join()


def test_many_writers_lose_nothing() -> None:
    """Every row is taken by the one reader, exactly once."""
    inbox = Inbox()

    def write() -> None:
        for _ in range(500):
            inbox.put(chunk(1))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    taken = 0
    while any(writer.is_alive() for writer in writers) or taken < 2000:
        got = inbox.take(timeout_s=0.01)
        taken += len(got)
        if not got and not any(writer.is_alive() for writer in writers):
            break
    assert taken == 2000
