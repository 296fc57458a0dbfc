"""Observation statistics: of all rows, of rows alone, and part of the policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robosac.algorithms.algorithm import CPU
from robosac.algorithms.normaliser import ObservationNormaliser
from robosac.algorithms.supply import Supply
from tests.robosac.algorithms.conftest import SIZES, batch

HERE = Supply(CPU)
WIDTH = SIZES.obs + SIZES.extra
ROWS = (np.random.default_rng(0).standard_normal((1000, WIDTH)) * 7 + 40).astype(np.float32)


def normaliser(*chunks: np.ndarray) -> ObservationNormaliser:
    """Take in these rows."""
    found = ObservationNormaliser(WIDTH)
    for chunk in chunks:
        found.take(chunk)
    return found


def test_statistics_are_those_of_the_rows() -> None:
    """Mean and deviation in double precision, in spite of a mean far from zero."""
    found = normaliser(ROWS[:300], ROWS[300:])
    exact = ROWS.astype(np.float64)
    np.testing.assert_allclose(found.mean.numpy(), exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(1 / found.scale.numpy(), exact.std(0), rtol=1e-6)


def test_chunks_do_not_matter() -> None:
    """The same rows in other chunks, as after a restart, give the same bits.

    Large numbers that cancel make every other order of the sum visible.
    """
    rows = ROWS.copy()
    rows[::10] = 1e15
    rows[5::10] = -1e15
    one, other = normaliser(rows), normaliser(*np.split(rows, 100), rows[:0])
    assert torch.equal(one.mean, other.mean)
    assert torch.equal(one.scale, other.scale)


def test_before_any_row_nothing_is_changed() -> None:
    """Mean 0 and deviation 1."""
    rows = batch()
    assert torch.equal(
        normaliser().normalised(rows, HERE).critic_obs, rows.critic_obs.clamp(-10, 10)
    )


def test_a_constant_does_not_become_noise() -> None:
    """A number that never changes is centred, and its rounding errors are not blown up."""
    found = normaliser(np.full((1000, WIDTH), 0.1, np.float32))
    rows = batch()._replace(critic_obs=torch.full((32, WIDTH), 0.1))
    assert found.normalised(rows, HERE).critic_obs.abs().max() < 1e-4


def test_networks_see_it_and_replay_stays_raw() -> None:
    """Both observations of policy and critics change; the batch that was given does not."""
    found, rows = normaliser(ROWS), batch()
    kept = [value.clone() for value in rows if value is not None]
    seen = found.normalised(rows, HERE)
    assert all(torch.equal(one, other) for one, other in zip(rows[:7], kept, strict=True))
    assert torch.equal(seen.obs, seen.critic_obs[:, : SIZES.obs])
    assert torch.equal(seen.next_obs, seen.next_critic_obs[:, : SIZES.obs])
    expected = (rows.next_critic_obs - found.mean) * found.scale
    assert torch.allclose(seen.next_critic_obs, expected.clamp(-10, 10))
    assert torch.equal(seen.reward, rows.reward)


class Echo(nn.Module):
    """Acts as it observes."""

    def forward(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Observation and noise."""
        return obs + noise


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_the_policy_normalises_as_learning_does(size: float) -> None:
    """Raw observations in, the statistics of its moment inside, whatever is taken in later."""
    found = normaliser(ROWS)
    rows = batch()
    expected = found.normalised(rows._replace(critic_obs=size * rows.critic_obs), HERE).obs
    policy = found.before(Echo(), obs=SIZES.obs)
    found.take(100 * ROWS)
    assert torch.equal(policy(size * rows.obs, torch.zeros(32, SIZES.obs)), expected)
    assert sorted(name for name, _ in policy.named_parameters()) == ["mean", "scale"]
