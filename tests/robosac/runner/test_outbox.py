"""What the control loop keeps of its rows, and hands over bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.runner import journal
from robosac.runner.frames import NUMBER, Kept
from robosac.runner.journal import RowJournal
from robosac.runner.outbox import Outbox
from robosac.runner.pipe import FramePipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH = 4
ROWS_MAX = 300


class Side:
    """An outbox, its pipe, and the end of the uplink."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        written = RowJournal(spool, WIDTH)
        self.outbox = Outbox(written, row_bytes=4 * WIDTH, limit_bytes=4 * WIDTH * ROWS_MAX)
        self.pipe, theirs = FramePipe.pair()
        self.uplink = FramePipe(theirs)

    def make(self, count: int) -> None:
        """Make rows that tell their number, and hand over what can be."""
        for _ in range(count):
            self.outbox.add(np.full(WIDTH, self.outbox.made, np.float32))
            self.outbox.send(self.pipe)

    def arrived(self) -> list[int]:
        """Numbers of the rows that the uplink gets; each row is the one its number says."""
        numbers = []
        for _, payload in self.uplink.receive():
            numbers.append(NUMBER.unpack_from(payload)[0])
            assert np.frombuffer(payload, np.float32, offset=NUMBER.size)[0] == numbers[-1]
        return numbers

    def journaled(self) -> list[float]:
        """First columns of what a next run would find."""
        found: list[float] = journal.read(self.spool, first=0)[1][:, 0].tolist()
        return found


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    """A run that begins."""
    side = Side(tmp_path / "spool")
    yield side
    side.pipe.close()
    side.uplink.close()
    journal.remove(side.spool)


def test_rows_are_handed_over_once_and_kept_until_they_are_safe(side: Side) -> None:
    """In order; the journal has the same rows."""
    side.make(10)
    assert side.arrived() == list(range(10))
    assert side.outbox.all_sent
    assert len(side.outbox) == 10
    side.outbox.forget(Kept(below=7, end=10, dropped=0))
    assert len(side.outbox) == 3
    side.make(2)
    assert side.arrived() == [10, 11]
    assert side.journaled() == list(range(12))


def test_another_uplink_is_sent_what_the_dead_one_had_not_kept(side: Side) -> None:
    """It sorts out what it finds on disk."""
    side.make(10)
    side.arrived()
    side.outbox.forget(Kept(below=4, end=10, dropped=0))
    side.outbox.send_again()
    side.make(1)
    assert side.arrived() == list(range(4, 11))


def test_a_tick_hands_over_a_bounded_number_of_rows(side: Side) -> None:
    """After an uplink has hung, thousands may wait."""
    for _ in range(ROWS_MAX):
        side.outbox.add(np.zeros(WIDTH, np.float32))
    side.outbox.send(side.pipe)
    assert len(side.uplink.receive()) == 128
    assert not side.outbox.all_sent
    side.outbox.send(side.pipe)
    side.outbox.send(side.pipe)
    assert side.outbox.all_sent


def test_memory_is_bounded_and_what_was_never_sent_is_counted(side: Side) -> None:
    """Until an uplink that sees the gap counts it itself."""
    for number in range(ROWS_MAX + 50):
        side.outbox.add(np.full(WIDTH, number, np.float32))
    assert (len(side.outbox), side.outbox.given_up) == (ROWS_MAX, 50)
    while not side.outbox.all_sent:
        side.outbox.send(side.pipe)
    assert side.arrived() == list(range(50, ROWS_MAX + 50))
    side.outbox.forget(Kept(below=0, end=0, dropped=0))
    assert side.outbox.given_up == 50
    side.outbox.forget(Kept(below=60, end=60, dropped=50))
    assert side.outbox.given_up == 0
    assert side.journaled()[-1] == ROWS_MAX + 49


def test_rows_that_were_sent_are_not_counted_when_they_are_let_go(side: Side) -> None:
    """They are in the memory of an uplink whose disk is full."""
    side.make(ROWS_MAX + 50)
    assert side.arrived() == list(range(ROWS_MAX + 50))
    assert (len(side.outbox), side.outbox.given_up) == (ROWS_MAX, 0)
