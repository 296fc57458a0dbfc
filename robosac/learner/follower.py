"""A process that shares the learner's updates: `python -m robosac.learner.follower JSON`.

It ends with its standard input, as when the learner dies in any way.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import torch

from robosac.algorithms.algorithm import Sizes
from robosac.algorithms.catalogue import build
from robosac.errors import RankLostError
from robosac.exit_codes import EXIT_INCOMPLETE
from robosac.learner import ranks
from robosac.learner.ranks import Beginning, Order, Place
from robosac.lifeline import Lifeline

if TYPE_CHECKING:
    from typing import NoReturn

    from robosac.algorithms.algorithm import Algorithm

_FOR_EVER = timedelta(days=365)
"""How long it waits for rank 0, who waits for robots."""


def follow(place: Place) -> NoReturn:
    """Take part in every update; raises RankLostError when rank 0 is gone."""
    torch.set_num_threads(place.threads)
    ranks.meet(place.store, place.rank, place.ranks, _FOR_EVER)
    order, size = _hear()
    while True:
        assert order is Order.BEGIN, "an update before there is an algorithm"
        beginning = _described(size)
        sizes = Sizes(*beginning.sizes)
        algorithm = _take_over(beginning, sizes, place)
        rows = beginning.recipe.learner.batch_size // place.ranks
        while (heard := _hear())[0] is Order.UPDATE:
            own = torch.empty(rows, heard[1])
            ranks.scatter(own, None)
            algorithm.update(ranks.unpack(own, sizes))
        order, size = heard


def _hear() -> tuple[Order, int]:
    """The next order, and the number that comes with it."""
    heard = torch.empty(2, dtype=torch.int64)
    ranks.broadcast(heard)
    order, size = heard.tolist()
    return Order(order), size


def _described(size: int) -> Beginning:
    content = torch.empty(size, dtype=torch.uint8)
    ranks.broadcast(content)
    return msgspec.json.decode(content.numpy().tobytes(), type=Beginning)


def _take_over(beginning: Beginning, sizes: Sizes, place: Place) -> Algorithm:
    """Build what rank 0 has, and receive its tensors."""
    algorithm = build(beginning.recipe.algorithm, sizes, seed=0)
    tensors = {name: torch.empty_like(value) for name, value in algorithm.state().items()}
    for tensor in tensors.values():
        ranks.broadcast(tensor)
    algorithm.load_state(tensors, updates=beginning.updates)
    algorithm.divide(place.rank, place.ranks, ranks.mean)
    return algorithm


def main(argument: str) -> int:
    """Follow until the lifeline is cut, which ends the process wherever it is."""
    Lifeline(wake=lambda: os._exit(0))
    for number in (signal.SIGINT, signal.SIGTERM):  # rank 0 hears them, too, and ends in order
        signal.signal(number, signal.SIG_IGN)
    try:
        follow(msgspec.json.decode(argument, type=Place))
    except RankLostError:
        return EXIT_INCOMPLETE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
