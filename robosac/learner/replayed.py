"""Updates that are recorded once and then replayed, so that a device never waits for Python.

A small network's update is some hundred kernels that take microseconds each, and less than it takes
to ask for them.  What Python decides on the way must not change from one replay to the next: every
turn that an algorithm may be in (Algorithm.turn) is recorded by itself, and all that the processor
has for an update comes by its Supply.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from robosac.algorithms.adam import Adam
    from robosac.algorithms.algorithm import Algorithm
    from robosac.algorithms.supply import Make

    Metrics = dict[str, Tensor]

_ALIGNED = 512
"""Bytes, as torch aligns tensors: kernels are chosen by it, and the warmed ones are meant."""
_BUFFERS = 2
"""One is filled while the device may still read from another."""


class Graphs(Protocol):
    """What a device that can replay offers."""

    device: torch.device

    def warm(self, work: Callable[[], Metrics]) -> Metrics:
        """Do work where it will be recorded, so that all libraries have what they need."""

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        """Record work without doing it; return what does it, and the results that stay in place."""

    def buffer(self, size: int) -> Tensor:
        """Memory of the processor's, so many bytes, that the device can read from."""

    def send(self, buffer: Tensor, there: Tensor) -> Callable[[], None]:
        """Copy a buffer in turn with all other work; return what waits until it was read."""


class Replayed:
    """Makes updates: every turn's first one as ever, its second one recorded, then replays."""

    def __init__(self, algorithm: Algorithm, learn: Callable[[], Metrics], device: Graphs) -> None:
        """Replay what `learn` does, which makes one update of this algorithm."""
        self._algorithm, self._learn, self._device = algorithm, learn, device
        self._noted: dict[Hashable, list[tuple[Make, Tensor]]] = {}
        self._recordings: dict[Hashable, _Recording] = {}

    def __call__(self) -> Metrics:
        """Make one update and return its metrics, which the next of the same turn overwrites."""
        turn = self._algorithm.turn
        if turn is None:
            return self._learn()
        if turn in self._recordings:
            return self._recordings[turn].replay()
        if turn in self._noted:
            feed = Feed(self._noted.pop(turn), self._device)
            recording = _Recording(self._algorithm, self._learn, feed, self._device)
            self._recordings[turn] = recording
            return recording.metrics
        with self._algorithm.supply.noted() as self._noted[turn]:
            return self._device.warm(self._learn)


class Feed:
    """Everything that the processor has for one kind of update, brought by one copy."""

    def __init__(self, brought: Iterable[tuple[Make, Tensor]], device: Graphs) -> None:
        """Reserve room, here and there, for what was brought once."""
        self._makes, tensors = zip(*brought, strict=True)
        self._device = device
        sizes = [-(-one.nbytes // _ALIGNED) * _ALIGNED for one in tensors]
        *starts, end = accumulate(sizes, initial=0)
        self._there = torch.empty(end, dtype=torch.uint8, device=device.device)
        self.tensors = _views(self._there, starts, tensors)
        """Where updates find it."""
        buffers = [device.buffer(end) for _ in range(_BUFFERS)]
        self._buffers = [(one, _views(one, starts, tensors)) for one in buffers]
        self._wait_until_read: list[Callable[[], None]] = [lambda: None] * _BUFFERS
        self._following = 0

    def bring(self) -> None:
        """Have everything made for the next update, in order, and send it."""
        at = self._following
        self._following = (at + 1) % _BUFFERS
        buffer, here = self._buffers[at]
        self._wait_until_read[at]()
        for place, make in zip(here, self._makes, strict=True):
            place.copy_(make())
        self._wait_until_read[at] = self._device.send(buffer, self._there)


class _Moved(NamedTuple):
    """Steps that an update makes of an optimiser."""

    optimiser: Adam
    steps: int


class _Recording:
    """One kind of update."""

    def __init__(
        self,
        algorithm: Algorithm,
        learn: Callable[[], Metrics],
        feed: Feed,
        device: Graphs,
    ) -> None:
        """Record an update, and make it.

        Recording does all that Python does, which counts; the device does it when it is replayed.
        """
        self._algorithm, self._feed = algorithm, feed
        before = [one.steps for one in algorithm.optimisers.values()]
        feed.bring()
        with algorithm.supply.replaced(feed.tensors):
            self._replay, self.metrics = device.record(learn)
        self._moved = [
            _Moved(one, one.steps - steps)
            for one, steps in zip(algorithm.optimisers.values(), before, strict=True)
        ]
        self._replay()

    def replay(self) -> Metrics:
        """Make an update like the recorded one, by what the processor has for it now."""
        self._feed.bring()
        self._replay()
        self._algorithm.updates += 1
        for one in self._moved:
            one.optimiser.steps += one.steps
        return self.metrics


def _views(memory: Tensor, starts: Iterable[int], like: Iterable[Tensor]) -> list[Tensor]:
    """Tensors of the types and shapes of others, in memory that is given as bytes."""
    return [
        memory[start : start + one.nbytes].view(one.dtype).view(one.shape)
        for start, one in zip(starts, like, strict=True)
    ]


class CudaGraphs:
    """An NVIDIA GPU.  Graphs are recorded by hand: no compiler, and no guard that records anew."""

    def __init__(self, device: torch.device) -> None:
        """Record on a stream of its own, as torch demands."""
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm(self, work: Callable[[], Metrics]) -> Metrics:
        """Do work on the stream on which it will be recorded."""
        usual = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            done = work()
        usual.wait_stream(self._stream)
        return done

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        """Record work; other threads may use the device meanwhile."""
        graph, usual = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device)
        with (
            torch.cuda.stream(usual),  # torch does not return to it where recording fails
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            metrics = work()
        return graph.replay, metrics

    def buffer(self, size: int) -> Tensor:
        """Pinned memory: from any other a copy would wait for all that goes before it."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def send(self, buffer: Tensor, there: Tensor) -> Callable[[], None]:
        """Copy on the stream of the replays, between two of them."""
        there.copy_(buffer, non_blocking=True)
        read = torch.cuda.Event()  # type: ignore[no-untyped-call]
        read.record(torch.cuda.current_stream(self.device))
        return read.synchronize
