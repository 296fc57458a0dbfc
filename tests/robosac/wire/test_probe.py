"""A visit to a learner: figures that can be checked against what the other end did."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from robosac.wire import messages
from robosac.wire.address import parse_address
from robosac.wire.probe import Visit
from robosac.wire.sockets import bind_learner, receive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.wire.sockets import Context

LATENCY_S = 0.1


class FarLearner:
    """Answers every probe, each way taking its time, with a clock that is ahead."""

    def __init__(self, context: Context, *, latency_s: float, ahead_s: float) -> None:
        self.latency_s, self.ahead_s = latency_s, ahead_s
        self.arrived: list[int] = []
        self._router, self.endpoint = bind_learner(context)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            if self._router.poll(10):
                identity, _, frames = receive(self._router)
                self._over.wait(self.latency_s)
                status = self._status(len(frames[1]))
                self._over.wait(self.latency_s)
                self._router.send_multipart([identity, *messages.encode(status)])

    def _status(self, received: int) -> messages.Status:
        self.arrived.append(received)
        return messages.Status(
            robosac="0.1.0",
            contract=b"",
            rows=0,
            policy=0,
            robots=[],
            wall_ns=time.time_ns() + int(self.ahead_s * 1e9),
            received=received,
        )

    def close(self) -> None:
        """End the thread and the socket."""
        self._over.set()
        self._thread.join()
        self._router.close(linger=0)


@pytest.fixture
def far(context: Context) -> Iterator[FarLearner]:
    """A tenth of a second away each way, its clock two hours ahead."""
    learner = FarLearner(context, latency_s=LATENCY_S, ahead_s=7200.0)
    yield learner
    learner.close()


@pytest.fixture
def near(context: Context) -> Iterator[FarLearner]:
    """Right here."""
    learner = FarLearner(context, latency_s=0.0, ahead_s=0.0)
    yield learner
    learner.close()


def test_the_way_does_not_count_as_a_difference_of_clocks(
    context: Context, far: FarLearner
) -> None:
    """Half the round trip has passed when the other end reads its clock."""
    with Visit(context, parse_address(far.endpoint)) as visit:
        answer = visit.ask()
    held_up_s = answer.round_trip_s - 2 * LATENCY_S  # on either way, or both
    assert held_up_s >= 0
    assert answer.ahead_s == pytest.approx(7200.0, abs=held_up_s / 2 + 1e-3)


def test_throughput_counts_what_has_arrived(context: Context, near: FarLearner) -> None:
    """As many frames as the other end has received, in the time that was allowed for."""
    with Visit(context, parse_address(near.endpoint)) as visit:
        started = time.perf_counter()
        rate = visit.throughput(10_000, seconds=0.1)
        took_s = time.perf_counter() - started
        assert visit.ask().status.received == 0, "no answer is left over"
    *frames, last = near.arrived
    assert (set(frames), last) == ({10_000}, 0)
    assert sum(frames) / took_s <= rate <= sum(frames) / 0.1
