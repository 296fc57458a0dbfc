"""Updates that several processes share: the numbers of one process, and no wait for the dead."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
import torch

from robosac.algorithms.catalogue import build
from robosac.algorithms.config import (
    AlgorithmConfig,
    DDPGConfig,
    SAC2018Config,
    SACConfig,
    TD3Config,
)
from robosac.learner.ranks import Leader, pack, unpack
from robosac.recipe import Recipe
from tests.robosac.algorithms.conftest import SIZES, batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from robosac.algorithms.algorithm import Algorithm, Batch


SMALL = (16, 16)
UPDATES, ROWS = 50, 24
CONFIGS: dict[str, AlgorithmConfig] = {
    "sac": SACConfig(hidden=SMALL),
    "delayed": SACConfig(hidden=SMALL, policy_delay=3, schedule="linear", schedule_steps=50),
    "redq": SACConfig(hidden=SMALL, critics=4, backup="subset", actor_value="mean"),
    "reinforce": SACConfig(hidden=SMALL, actor_gradient="reinforce", action_samples=2),
    "temperature": SACConfig(hidden=SMALL, temperature="alpha", layer_norm=False),
    "sac2018": SAC2018Config(hidden=SMALL),
    "td3": TD3Config(hidden=SMALL),
    "ddpg": DDPGConfig(hidden=SMALL),
}


@pytest.fixture(scope="module", params=[2, 3])
def leader(request: pytest.FixtureRequest) -> Iterator[Leader]:
    """This process, with one and with two followers."""
    with closing(Leader(request.param)) as leader:
        yield leader


def lead(leader: Leader, algorithm: Algorithm, config: AlgorithmConfig) -> None:
    """Share this algorithm's updates."""
    content = {"name": "small", "learner": {"batch_size": ROWS}, config.table: config}
    leader.lead(algorithm, msgspec.convert(content, Recipe), SIZES)


def batches() -> list[Batch]:
    """Random transitions; every other batch has n-step returns."""
    two = torch.full((ROWS,), 2.0)
    drawn = (batch(number, rows=ROWS) for number in range(UPDATES))
    return [one._replace(steps=two if number % 2 else None) for number, one in enumerate(drawn)]


def apart(one: Algorithm, other: Algorithm) -> float:
    """Largest difference between any two numbers of two algorithms."""
    pairs = zip(one.state().values(), other.state().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", CONFIGS)
def test_shared_updates_are_those_of_one_process(leader: Leader, name: str) -> None:
    """All tensors after 50 updates, by an algorithm that had learned before it was shared."""
    alone, shared = (build(CONFIGS[name], SIZES, seed=3) for _ in range(2))
    alone.update(batch(1000, rows=ROWS))
    shared.load_state({key: value.clone() for key, value in alone.state().items()}, updates=1)
    lead(leader, shared, CONFIGS[name])
    for one in batches():
        alone.update(one)
        shared.update(leader.share(one))
    assert apart(alone, shared) < 1e-4
    assert torch.equal(alone.generator.get_state(), shared.generator.get_state())


def test_without_the_others_it_would_be_something_else(leader: Leader) -> None:
    """Rank 0's share alone leads elsewhere in as many updates, so the comparison above can fail."""
    config = CONFIGS["ddpg"]
    alone, shared = (build(config, SIZES, seed=3) for _ in range(2))
    lead(leader, shared, config)
    for one in batches()[:5]:
        share = leader.share(one)
        assert len(share.reward) < ROWS
        shared.update(share)
        alone.update(share)
    assert apart(alone, shared) > 1e-4


def test_shares_draw_the_noise_of_the_whole_batch() -> None:
    """Side by side they are what one process draws, and their generators stay alike."""
    whole, *shares = (build(SACConfig(hidden=(4,)), SIZES, seed=0) for _ in range(3))
    for number, share in enumerate(shares):
        share.divide(number, 2, lambda gradients: gradients)
    drawn = [share.noise(torch.empty(6, 3)) for share in shares]
    assert torch.equal(torch.cat(drawn), whole.noise(torch.empty(12, 3)))
    for share in shares:
        assert torch.equal(share.generator.get_state(), whole.generator.get_state())


@pytest.mark.parametrize("n_step", [False, True])
def test_batches_come_out_as_they_went_in(*, n_step: bool) -> None:
    """Every column, with and without n-step returns."""
    sent = batch(rows=ROWS)
    if n_step:
        sent = sent._replace(steps=torch.arange(ROWS, dtype=torch.float32))
    got = unpack(pack(sent), SIZES)
    for field, one, other in zip(sent._fields, sent, got, strict=True):
        assert one is other if one is None or other is None else torch.equal(one, other), field
