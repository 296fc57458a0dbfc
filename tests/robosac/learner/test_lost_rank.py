"""A process that shared the updates dies: rank 0 says so at once, and leaves nobody behind."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn

import pytest

from robosac.algorithms.catalogue import build
from robosac.algorithms.config import SACConfig
from robosac.errors import RankLostError
from robosac.learner.ranks import Leader
from robosac.recipe import LearnerConfig, Recipe
from tests.robosac.algorithms.conftest import SIZES, batch
from tests.robosac.learner.conftest import followers_of

if TYPE_CHECKING:
    from robosac.algorithms.algorithm import Algorithm


ROWS = 24
RECIPE = Recipe(
    name="small", learner=LearnerConfig(batch_size=ROWS), sac=SACConfig(hidden=(16, 16))
)


def update_for_ever(leader: Leader, algorithm: Algorithm) -> NoReturn:
    """Until it is stopped."""
    while True:
        algorithm.update(leader.share(batch(rows=ROWS)))


def test_a_rank_that_dies_is_noticed_at_once_and_an_end_leaves_nobody() -> None:
    """The next update says so in one line; nothing waits for a minute."""
    with closing(Leader(2)) as leader:
        algorithm = build(RECIPE.algorithm, SIZES, seed=0)
        leader.lead(algorithm, RECIPE, SIZES)
        algorithm.update(leader.share(batch(rows=ROWS)))
        (pid,) = followers_of(os.getpid())
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RankLostError, match="go on with --resume"):
            update_for_ever(leader, algorithm)
    assert followers_of(os.getpid()) == []


def test_many_starts_all_succeed() -> None:
    """Nobody is left waiting for a file that is gone."""
    for _ in range(5):
        with closing(Leader(3)):
            assert len(followers_of(os.getpid())) == 2
    assert followers_of(os.getpid()) == []
