"""A run on its way: sent ahead in a window, again after a stall, forgotten when durable."""

from __future__ import annotations

import itertools
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from robosac.replay import RowLayout
from robosac.runner import stream as stream_module
from robosac.runner.backlog import Backlog
from robosac.runner.spool import Spool
from robosac.runner.stream import STALL_S, WINDOW_ROWS, Stream
from tests.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from robosac.replay import Chunk

    FloatArray = NDArray[np.float32]

LAYOUT = RowLayout(obs=2, extra=1, action=1)
RUN = "a" * 32


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of streams."""
    clock = Clock()
    monkeypatch.setattr(stream_module, "time", clock)
    return clock


@pytest.fixture
def backlog(tmp_path: Path, clock: Clock) -> Iterator[Backlog]:
    """An empty backlog."""
    with closing(Backlog(Spool(tmp_path, LAYOUT, robot="go2", run=RUN))) as backlog:
        yield backlog


def fill(backlog: Backlog, count: int) -> None:
    """Append numbered rows."""
    numbers = np.arange(backlog.end, backlog.end + count, dtype=np.float32)
    rows = np.repeat(numbers[:, None], backlog.layout.width, axis=1)
    backlog.append(rows, first=backlog.end)


def send_all(stream: Stream) -> list[Chunk]:
    """Send whatever may be sent now."""
    chunks: list[Chunk] = []
    while (chunk := stream.next_chunk()) is not None:
        stream.note_sent(chunk)
        chunks.append(chunk)
    return chunks


def span(chunks: list[Chunk]) -> tuple[int, int]:
    """First sequence number and the one after the last, of chunks that follow one another."""
    assert all(one.end == other.first for one, other in itertools.pairwise(chunks))
    return chunks[0].first, chunks[-1].end


def test_rows_are_sent_once_and_in_order(backlog: Backlog) -> None:
    """In chunks of at most 256; new ones follow."""
    stream = Stream(backlog)
    fill(backlog, 600)
    chunks = send_all(stream)
    assert span(chunks) == (0, 600)
    assert max(len(chunk.rows) for chunk in chunks) == 256
    assert send_all(stream) == []
    fill(backlog, 1)
    assert span(send_all(stream)) == (600, 601)


def test_a_chunk_that_the_socket_refused_is_sent_later(backlog: Backlog) -> None:
    """Only note_sent() moves on."""
    stream = Stream(backlog)
    fill(backlog, 3)
    assert stream.next_chunk() is not None
    assert span(send_all(stream)) == (0, 3)


def test_no_more_than_the_window_is_on_its_way(backlog: Backlog) -> None:
    """What a dead learner can cost is bounded; every acknowledgement lets more follow."""
    stream = Stream(backlog)
    for _ in range(3):
        fill(backlog, WINDOW_ROWS)
    assert span(send_all(stream)) == (0, WINDOW_ROWS)
    stream.acknowledge(100)
    assert span(send_all(stream)) == (WINDOW_ROWS, WINDOW_ROWS + 100)


def test_wide_rows_travel_in_small_chunks(tmp_path: Path) -> None:
    """A message stays far below the largest frame that a learner accepts."""
    wide = RowLayout(obs=8_000, extra=0, action=1)
    with closing(Backlog(Spool(tmp_path, wide, robot="go2", run=RUN))) as backlog:
        stream = Stream(backlog)
        fill(backlog, 40)
        assert {chunk.rows.nbytes <= 2**20 for chunk in send_all(stream)} == {True}


def test_acknowledged_rows_leave_the_spool(backlog: Backlog) -> None:
    """Late and repeated acknowledgements change nothing."""
    stream = Stream(backlog)
    fill(backlog, 10)
    send_all(stream)
    for expected in (4, 2, 4, 0):
        stream.acknowledge(expected)
        assert backlog.oldest == 4
    assert backlog.pending == 6


def test_an_acknowledgement_of_rows_that_do_not_exist_is_cut(backlog: Backlog) -> None:
    """Numbering never jumps because of what a message claims."""
    stream = Stream(backlog)
    fill(backlog, 10)
    stream.acknowledge(2**53)
    assert (backlog.oldest, backlog.end) == (10, 10)
    fill(backlog, 1)
    assert span(send_all(stream)) == (10, 11)


def test_a_welcome_says_where_to_begin(backlog: Backlog) -> None:
    """What the learner lacks is sent again, what it has is not."""
    stream = Stream(backlog)
    fill(backlog, 10)
    send_all(stream)
    stream.begin(7)
    assert span(send_all(stream)) == (7, 10)
    stream.begin(3)
    assert span(send_all(stream)) == (7, 10), "rows below 7 are durable and gone"


def test_a_learner_that_lost_its_replay_gets_what_is_left(backlog: Backlog) -> None:
    """It expects 0; the backlog has rows from 5 on, and the message says so."""
    stream = Stream(backlog)
    fill(backlog, 10)
    stream.acknowledge(5)
    stream.begin(0)
    assert span(send_all(stream)) == (5, 10)


def test_rows_are_sent_again_after_a_stall(backlog: Backlog, clock: Clock) -> None:
    """Once per stall, from the first that is not durable."""
    stream = Stream(backlog)
    fill(backlog, 10)
    send_all(stream)
    stream.acknowledge(4)
    clock.now += STALL_S
    stream.go_back()
    assert send_all(stream) == []
    clock.now += 0.1
    stream.go_back()
    assert span(send_all(stream)) == (4, 10)
    stream.go_back()
    assert send_all(stream) == []


def test_a_pause_of_the_robot_is_no_stall(backlog: Backlog, clock: Clock) -> None:
    """The clock starts with the first row on its way: nothing is sent twice after a rest."""
    stream = Stream(backlog)
    fill(backlog, 5)
    send_all(stream)
    stream.acknowledge(5)
    clock.now += 100
    fill(backlog, 5)
    send_all(stream)
    stream.go_back()
    assert send_all(stream) == []


def test_acknowledgements_keep_a_long_queue_from_being_sent_again(
    backlog: Backlog, clock: Clock
) -> None:
    """A slow learner that moves forward is left alone."""
    stream = Stream(backlog)
    fill(backlog, 2000)
    send_all(stream)
    for expected in range(200, 2000, 200):
        clock.now += 0.9 * STALL_S
        stream.acknowledge(expected)
        stream.go_back()
    assert send_all(stream) == []


def test_sending_again_into_silence_is_no_progress(backlog: Backlog, clock: Clock) -> None:
    """`acknowledged_at` is what the learner has done, not what was tried."""
    stream = Stream(backlog)
    fill(backlog, 5)
    send_all(stream)
    started = stream.acknowledged_at
    for _ in range(5):
        clock.now += STALL_S + 0.1
        stream.go_back()
        assert span(send_all(stream)) == (0, 5)
    assert stream.acknowledged_at == started
    stream.acknowledge(1)
    assert stream.acknowledged_at == clock.now


def test_dropped_rows_are_passed_over(tmp_path: Path) -> None:
    """A backlog at its limit has given up the oldest rows: the next chunk begins behind them."""
    with closing(
        Backlog(Spool(tmp_path, LAYOUT, robot="go2", run=RUN, limit_bytes=20_000))
    ) as backlog:
        stream = Stream(backlog)
        while not backlog.dropped:
            fill(backlog, 1)
        chunk = stream.next_chunk()
        assert chunk is not None
        assert chunk.first == backlog.oldest > 0
        stream.note_sent(chunk)
        assert span([chunk, *send_all(stream)]) == (backlog.oldest, backlog.end)


def test_goodbye_is_said_when_everything_is_durable(backlog: Backlog, clock: Clock) -> None:
    """Not before, and again every second until it is answered."""
    stream = Stream(backlog)
    fill(backlog, 5)
    stream.acknowledge(5)
    assert stream.bye(RUN) is None, "the run goes on"
    fill(backlog, 1)
    stream.made = 6
    assert stream.bye(RUN) is None, "a row is not durable"
    stream.acknowledge(6)
    bye = stream.bye(RUN)
    assert bye is not None
    assert (bye.run, bye.made) == (RUN, 6)
    assert stream.bye(RUN) is None
    clock.now += 1
    assert stream.bye(RUN) is not None
    assert stream.finish()
    clock.now += 1
    assert stream.bye(RUN) is None


def test_a_new_learner_hears_the_goodbye_at_once(backlog: Backlog) -> None:
    """The one who heard it before has died."""
    stream = Stream(backlog, made=0)
    assert stream.bye(RUN) is not None
    stream.begin(0)
    assert stream.bye(RUN) is not None


def test_a_farewell_out_of_turn_deletes_nothing(backlog: Backlog) -> None:
    """Rows are in the backlog until they are durable, whatever a message says."""
    stream = Stream(backlog)
    fill(backlog, 5)
    assert not stream.finish()
    stream.made = 5
    assert not stream.finish()
    assert span(send_all(stream)) == (0, 5)


def test_a_finished_run_leaves_nothing_behind(backlog: Backlog, tmp_path: Path) -> None:
    """Its backlog is deleted, and late messages find nothing to do."""
    stream = Stream(backlog)
    fill(backlog, 5)
    stream.made = 5
    stream.acknowledge(5)
    assert stream.finish()
    assert stream.done
    assert not stream.finish()
    assert list(tmp_path.iterdir()) == []
    stream.acknowledge(9)
    stream.begin(0)
    stream.go_back()
    assert stream.next_chunk() is None


def test_nothing_behind_a_gap_is_sent_before_the_rest_is_acknowledged(backlog: Backlog) -> None:
    """The learner would take what is before the gap for lost, if that had not arrived yet."""
    stream = Stream(backlog)
    fill(backlog, 4)
    backlog.append(np.zeros((2, backlog.layout.width), np.float32), first=10)
    assert span(send_all(stream)) == (0, 4)
    stream.acknowledge(3)
    assert send_all(stream) == []
    stream.acknowledge(4)
    assert span(send_all(stream)) == (10, 12)
    assert backlog.oldest == 10
