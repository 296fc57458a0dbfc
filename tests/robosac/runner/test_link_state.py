"""How the way to the learner is, told to the loop at once and to the log when it lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from robosac.runner import link_state as link_state_module
from robosac.runner.frames import FromUplink
from robosac.runner.link_state import CONNECTED, SETTLE_S, SILENT, WARMING_UP, LinkState, Teller
from robosac.runner.pipe import FramePipe

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told:
    """A teller, its time, and what the loop hears of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        pipe, theirs = FramePipe.pair()
        self._pipe, self._loop = pipe, FramePipe(theirs)
        self.teller: Teller

    def monotonic(self) -> float:
        """Present time, s."""
        return self.now

    def tell(self, state: LinkState, *, for_s: float = 0.0) -> list[str]:
        """Tell a state every second; returns what the loop hears."""
        for _ in range(1 + int(for_s)):
            self.teller.tell(state)
            self.now += 1
        frames = self._loop.receive()
        assert {kind for kind, _ in frames} <= {FromUplink.STATE}
        return [payload.decode() for _, payload in frames]

    def close(self) -> None:
        """Close both ends."""
        self._pipe.close()
        self._loop.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """A teller that has told nothing."""
    told = Told()
    monkeypatch.setattr(link_state_module, "time", told)
    told.teller = Teller(told._pipe)  # noqa: SLF001 -- of this module
    yield told
    told.close()


def test_the_loop_hears_every_change_once(told: Told) -> None:
    """Also of a number that grows."""
    assert told.tell(LinkState(CONNECTED), for_s=5) == ["connected"]
    assert told.tell(LinkState(CONNECTED, disk="disk full", in_memory=3), for_s=2) == [
        "connected; disk full: 3 rows only in memory"
    ]
    assert told.tell(LinkState(CONNECTED, disk="disk full", in_memory=4)) == [
        "connected; disk full: 4 rows only in memory"
    ]


def test_the_log_hears_of_trouble_that_lasts(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """Once, however the numbers change, and once when it is over."""
    told.tell(LinkState(CONNECTED))
    told.tell(LinkState(SILENT), for_s=SETTLE_S + 3)
    for rows in range(10):
        told.tell(LinkState(SILENT, disk="disk full", in_memory=rows))
    told.tell(LinkState(CONNECTED), for_s=5)
    assert caplog.messages == [
        "the learner is silent",
        "the learner is silent; disk full: 3 rows only in memory",
        "connected",
    ]


def test_the_log_does_not_hear_of_what_passes(told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """A robot that starts before its learner is ready is nothing to worry about."""
    told.tell(LinkState("tcp://x: no answer yet"), for_s=1)
    told.tell(LinkState(WARMING_UP), for_s=20)
    told.tell(LinkState(CONNECTED))
    assert caplog.messages == []
