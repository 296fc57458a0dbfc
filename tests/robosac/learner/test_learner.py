"""Rows in, updates paid for, policies out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch

from robosac import __version__, recipe
from robosac.errors import PolicyError
from robosac.learner.checkpoint import digest
from robosac.policy import OnnxPolicy
from robosac.replay import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from robosac.algorithms.algorithm import Batch
    from robosac.learner.learner import Learner
    from robosac.policy import Contract
    from tests.robosac.learner.conftest import DrawRows, MakeLearner

FORGETFUL: dict[str, float] = {"catch_up": 10**9}


def spend(learner: Learner) -> int:
    """Make all updates that are owed, and return how many."""
    made = 0
    while learner.owed >= 1:
        learner.update()
        made += 1
    return made


def counting(learner: Learner) -> None:
    """Make updates cost nothing, where only their number matters."""

    def count(batch: Batch) -> dict[str, torch.Tensor]:
        learner.algorithm.updates += 1
        return {}

    learner.algorithm.update = count  # type: ignore[method-assign]


def bits(learner: Learner) -> str:
    """Digest of everything that is learned."""
    return digest(learner.algorithm.state())


# -- what the algorithm sees ------------------------------------------------------------------


def test_every_column_reaches_its_place(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Observation 1, extra 2, action 3, reward 4, ... each number tells where it came from."""
    learner = make_learner()
    fields = {"obs": 1, "extra": 2, "action": 3, "reward": 4, "terminated": 1, "truncated": 0}
    fields |= {"next_obs": 5, "next_extra": 6, "executed": 7, "guards": 8, "dt": 9}
    learner.ingest(draw_rows(40, **fields))
    seen: list[Batch] = []

    def spy(batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return {}

    learner.algorithm.update = spy  # type: ignore[method-assign]
    learner.update()
    expected = {
        "obs": [1, 1, 1],
        "critic_obs": [1, 1, 1, 2, 2],
        "action": [3, 3],
        "reward": 4,
        "terminated": 1,
        "next_obs": [5, 5, 5],
        "next_critic_obs": [5, 5, 5, 6, 6],
    }
    assert seen[0].steps is None, "one step each"
    for name, value in seen[0]._asdict().items():
        if name == "steps":
            continue
        wanted = torch.tensor(expected[name], dtype=torch.float32)
        assert torch.equal(value, wanted.expand(32, *wanted.shape)), name


def test_only_the_critics_learn_from_extra_terms(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """Other extra columns change values, never the entropy or the action of the same policy."""
    one, other = make_learner(), make_learner()
    one.ingest(draw_rows(100))
    other.ingest(draw_rows(100, extra=9.0, next_extra=-9.0))
    one.update()
    other.update()
    assert torch.equal(one.metrics["entropy"], other.metrics["entropy"])
    assert not torch.equal(one.metrics["q"], other.metrics["q"])


ONE_STATE: dict[str, Any] = dict.fromkeys(("obs", "extra", "next_obs", "next_extra", "reward"), 1.0)
FIFTH = np.arange(5000) % 5 == 4


def values_of(make_learner: MakeLearner, rows: np.ndarray) -> np.ndarray:
    """Learn the values of a world of one state without entropy, γ = 0.9; several actions."""
    sac: dict[str, Any] = {
        "hidden": (32,),
        "layer_norm": False,
        "gamma": 0.9,
        "tau": 0.05,
        "critic_lr": 3e-3,
    }
    sac |= {"initial_alpha": 1e-9, "alpha_lr": 1e-12}
    learner = make_learner(sac=sac)
    learner.ingest(rows)
    for _ in range(700):
        learner.update()
    actions = torch.linspace(-0.8, 0.8, 9)[:, None].expand(9, 2)
    with torch.no_grad():
        values: np.ndarray = learner.algorithm.modules["critics"](torch.ones(9, 5), actions).numpy()
    return values


def test_a_time_limit_is_no_end(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Reward 1 for ever, cut every 5 steps: Q = 1/(1-γ) = 10, not 1 + γ + ... + γ⁴ = 4.1 (trap 1).

    Put back by reading the batch's `terminated` from the column `truncated`, or from either.
    """
    values = values_of(make_learner, draw_rows(5000, truncated=FIFTH, **ONE_STATE))
    assert values == pytest.approx(10.0, rel=0.03)


def test_an_end_is_no_time_limit(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Reward 1, over with probability 1/5: Q = 1 + γ·4/5·Q = 1/(1 - 0.72) = 3.571."""
    values = values_of(make_learner, draw_rows(5000, terminated=FIFTH, **ONE_STATE))
    assert values.mean() == pytest.approx(1 / 0.28, rel=0.08)


def test_action_bounds_of_the_environment_do_not_matter(
    make_learner: MakeLearner, draw_rows: DrawRows, toy: Contract
) -> None:
    """Bounds a hundred times as wide: the same bits are learned, outputs are scaled (trap 8).

    Put back by scaling actions, or the target entropy, by the contract's bounds before learning.
    """
    wide = msgspec.structs.replace(toy, action_lower=(-100.0, -100.0), action_upper=(100.0, 100.0))
    learners = [make_learner(), make_learner(contract=wide)]
    for learner in learners:
        learner.ingest(draw_rows(100))
        for _ in range(3):
            learner.update()
    one, other = learners
    assert bits(one) == bits(other)
    assert {name: float(value) for name, value in one.metrics.items()} == {
        name: float(value) for name, value in other.metrics.items()
    }
    files = [OnnxPolicy(learner.policy_file(learner.snapshot())) for learner in learners]
    obs = np.array([0.5, 0.1, -3.0], np.float32)
    assert np.allclose(100 * files[0].act(obs), files[1].act(obs), rtol=1e-5)


# -- determinism ------------------------------------------------------------------------------


def learned(learner: Learner, rows: np.ndarray) -> str:
    """Digest after five updates."""
    learner.ingest(rows)
    for _ in range(5):
        learner.update()
    return bits(learner)


def test_same_seed_same_bits(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Two learners of one seed are one learner; another seed is another (trap 21).

    Put back by a sampling generator without a seed.
    """
    rows = draw_rows(300)
    assert learned(make_learner(), rows) == learned(make_learner(), rows)
    assert learned(make_learner(), rows) != learned(make_learner(seed=1), rows)


def test_sampling_has_a_seed_of_its_own(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Another stream of samples changes what is learned, and neither weights nor noise (trap 21).

    Put back by drawing samples from the algorithm's generator.
    """
    one, other = make_learner(), make_learner()
    other.rng = np.random.default_rng(99)
    assert bits(one) == bits(other)
    rows = draw_rows(300)
    assert learned(one, rows) != learned(other, rows)
    assert torch.equal(one.algorithm.generator.get_state(), other.algorithm.generator.get_state())


# -- how many updates -------------------------------------------------------------------------


def test_updates_per_step_count_every_row(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """100 rows of each of four robots at two updates a row are 800 updates (trap 20).

    Put back by owing updates per chunk, or per step of all robots together.
    """
    learner = make_learner(learner={"utd": 2.0} | FORGETFUL)
    counting(learner)
    made = 0
    for first in range(0, 100, 25):
        for robot in "abcd":
            rows = draw_rows(25, seed=first)
            learner.take(Chunk(robot=robot, run=robot * 32, first=first, rows=rows))
        made += spend(learner)
    assert made == learner.updates == learner.updates_here == 800
    assert learner.owed == 0


@pytest.mark.parametrize("chunk", [1, 7, 100, 400])
def test_rows_before_learning_starts_pay_nothing(
    make_learner: MakeLearner, draw_rows: DrawRows, chunk: int
) -> None:
    """Wherever in a chunk the start lies, 400 rows pay for 250 (trap 25).

    Put back by owing for all rows of the chunk in which learning starts.
    """
    learner = make_learner(learner=FORGETFUL | {"learning_starts": 150})
    rows = draw_rows(400)
    for start in range(0, 400, chunk):
        learner.ingest(rows[start : start + chunk])
    assert learner.owed == 250


def test_a_flood_is_no_debt_for_ever(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """5,000 rows at once: as many updates as may be caught up, then one a row again (trap 25).

    Put back by dropping the bound of what is owed.
    """
    learner = make_learner(learner={"catch_up": 300})
    counting(learner)
    learner.ingest(draw_rows(5000))
    assert spend(learner) == 300
    learner.ingest(draw_rows(10))
    assert spend(learner) == 10


def test_fractions_of_an_update_add_up(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """A quarter of an update a row: one at every fourth."""
    learner = make_learner(learner={"utd": 0.25})
    counting(learner)
    made = []
    for row in draw_rows(12):
        learner.ingest(row[None])
        made.append(spend(learner))
    assert made == [0, 0, 0, 1] * 3


@pytest.mark.parametrize(
    ("utd", "slack", "catch_up"),
    [
        (1.0, 64, 1000),
        (0.25, 1, 1000),
        (20.0, 1, 10),
        (4.0, 100, 30),
        (20.0, 64, 1000),
        (0.1, 3, 5),
    ],
)
def test_robots_never_wait_for_updates_that_are_never_made(
    make_learner: MakeLearner, draw_rows: DrawRows, utd: float, slack: int, catch_up: int
) -> None:
    """A robot that runs as far ahead as it may, and a learner that pays one update at a time."""
    numbers = {"utd": utd, "slack": slack, "catch_up": catch_up, "learning_starts": 20}
    learner = make_learner(learner=numbers)
    counting(learner)
    row = draw_rows(1)
    while learner.env_steps < 200:
        allowed = learner.allowed_steps
        assert allowed > learner.env_steps or learner.owed >= 1, "both wait for each other"
        while learner.env_steps < allowed:
            learner.ingest(row)
        if utd <= catch_up:  # nothing is forgiven
            assert learner.env_steps <= 20 + (learner.updates + 1) / utd + slack
        if learner.owed >= 1:
            learner.update()
        assert learner.allowed_steps >= allowed


@pytest.mark.parametrize("name", recipe.names())
def test_robots_that_run_ahead_cost_no_recipe_its_updates(
    make_learner: MakeLearner, draw_rows: DrawRows, name: str
) -> None:
    """Simulated robots are far faster than a learner, and yet every row is paid for in full."""
    config = recipe.find(name).learner
    numbers = {"utd": config.utd, "slack": config.slack, "catch_up": config.catch_up}
    learner = make_learner(learner=numbers | {"learning_starts": 20})
    counting(learner)
    row = draw_rows(1)
    while learner.env_steps < 300:
        while learner.env_steps < learner.allowed_steps:
            learner.ingest(row)
        learner.update()
    paid = learner.updates + learner.owed
    assert paid == pytest.approx(config.utd * (learner.env_steps - 20))


def test_slack_is_what_robots_may_run_ahead(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Learning starts at 100; then every update allows 1/utd rows more."""
    learner = make_learner(learner={"utd": 0.5, "slack": 10, "learning_starts": 100})
    counting(learner)
    assert learner.allowed_steps == 110
    learner.ingest(draw_rows(110))
    assert learner.allowed_steps == 110
    learner.update()
    assert learner.allowed_steps == 112


# -- rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["obs", "extra", "reward", "next_obs", "executed", "dt"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_stay_out(
    make_learner: MakeLearner, draw_rows: DrawRows, field: str, value: float
) -> None:
    """They are counted, pay for nothing, end no episode and are never sampled."""
    learner = make_learner()
    rows = draw_rows(50, truncated=1.0)
    rows[::10, learner.layout.slice(field)] = value
    learner.ingest(rows)
    assert (learner.not_finite, learner.env_steps, learner.owed) == (5, 45, 45)
    assert learner.episodes == 45
    sampled = learner.memory.sample(2000, np.random.default_rng(0))
    assert np.isfinite(sampled).all()
    learner.ingest(rows[:1])
    assert (learner.not_finite, learner.env_steps) == (6, 45)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("terminated", 3e38),
        ("terminated", 0.5),
        ("truncated", -1.0),
        ("policy_version", -1.0),
        ("policy_version", 2.0**24),
        ("policy_version", 1e30),
    ],
)
def test_rows_with_flags_and_versions_that_are_none_stay_out(
    make_learner: MakeLearner, draw_rows: DrawRows, field: str, value: float
) -> None:
    """Two of them would overflow a sum; one version would be above what robots can record."""
    learner = make_learner()
    rows = draw_rows(20)
    rows[3:5, learner.layout.slice(field)] = value
    learner.ingest(rows)
    assert (learner.not_finite, learner.env_steps, learner.falls, learner.episodes) == (2, 18, 0, 0)
    learner.settle(owed=0.0, env_steps=0)
    assert learner.version == 0


def test_rows_of_another_width_or_type_are_refused(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """A mistake of ours, not of the robot's: it is never cast or cut in silence."""
    learner = make_learner()
    for rows in (draw_rows(5)[:, :-1], draw_rows(5).astype(np.float64)):
        with pytest.raises(ValueError, match="expected float32"):
            learner.ingest(rows)  # type: ignore[arg-type]
    assert learner.env_steps == 0


def test_episodes_and_falls(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """A row may end an episode either way; only terminated is a fall."""
    learner = make_learner()
    terminated = [1, 0, 0, 0, 1, 0]
    truncated = [0, 0, 1, 0, 0, 1]
    learner.ingest(draw_rows(6, terminated=np.array(terminated), truncated=np.array(truncated)))
    assert (learner.episodes, learner.falls) == (4, 2)


def test_lag_is_the_age_of_the_acting_policy(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """Steps taken in since the version that acted; versions of an earlier process do not count."""
    learner = make_learner()
    assert learner.snapshot().version == 1
    learner.ingest(draw_rows(3, policy_version=1))
    assert learner.snapshot().version == 2
    learner.ingest(draw_rows(3, policy_version=np.array([1, 2, 77])))
    assert list(learner.lags) == [0, 1, 2, 3, 1]


def test_lag_speaks_of_the_newest_rows_and_versions(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """Ten thousand of each, so that a run of any length needs no more memory."""
    learner = make_learner()
    learner.snapshot()
    learner.ingest(draw_rows(12_000, policy_version=1))
    assert learner.lags == list(range(2_000, 12_000))
    for _ in range(10_000):
        learner.snapshot()
    assert list(learner.published) == list(range(2, 10_002))
    assert learner.policies == 10_001
    learner.ingest(draw_rows(2, policy_version=np.array([1, 2])))
    assert learner.lags == [1], "version 1 is forgotten"


# -- policies ---------------------------------------------------------------------------------


def test_a_policy_file_tells_where_it_comes_from(
    make_learner: MakeLearner, draw_rows: DrawRows, toy: Contract
) -> None:
    """Recipe, seed, counters and version of the moment of the snapshot, whatever came after."""
    learner = make_learner(seed=5)
    learner.ingest(draw_rows(40))
    for _ in range(3):
        learner.update()
    learner.snapshot()
    snapshot = learner.snapshot()
    actor = {name: value.clone() for name, value in learner.algorithm.policy.named_parameters()}
    learner.ingest(draw_rows(10))
    learner.update()
    policy = OnnxPolicy(learner.policy_file(snapshot), here=toy)
    training = policy.contract.training
    assert (training.recipe, training.seed, training.robosac) == ("small", 5, __version__)
    assert (training.env_steps, training.updates, training.version) == (40, 3, 2)
    learner.algorithm.policy.load_state_dict(actor)
    obs = torch.tensor([[0.3, -1.0, 2.0]])
    with torch.no_grad():
        expected = learner.algorithm.policy(obs, torch.zeros(1, 2))[0].numpy()
    assert np.allclose(policy.act(obs[0].numpy()), expected, atol=1e-6)


def test_a_diverged_policy_is_an_error(make_learner: MakeLearner) -> None:
    """It says what to do, and nothing is published."""
    learner = make_learner()
    with torch.no_grad():
        learner.algorithm.policy.get_parameter("head.bias")[0] = torch.nan
    with pytest.raises(PolicyError, match=r"head\.bias is not finite.*lower .* learning rates"):
        learner.policy_file(learner.snapshot())


def test_metrics_stay_until_they_are_measured_again(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """With a policy delay, every second update has no loss of the policy to tell."""
    learner = make_learner(sac={"policy_delay": 2})
    learner.ingest(draw_rows(50))
    learner.update()
    first = dict(learner.metrics)
    learner.update()
    names = {"critic_loss", "q", "actor_loss", "entropy", "alpha"}
    assert learner.metrics.keys() == first.keys() == names
    assert torch.equal(learner.metrics["entropy"], first["entropy"])
    assert not torch.equal(learner.metrics["critic_loss"], first["critic_loss"])


# -- after a restart --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owed", "env_steps", "expected"),
    [
        (3.5, 100, 3.5),  # nothing has come since
        (3.5, 60, 43.5),  # forty rows came after the checkpoint
        (0.0, 0, 70.0),  # there is no checkpoint; the first 30 rows pay nothing
        (5.0, 10, 75.0),  # the checkpoint is from before learning started
        (2.0, -5000, 72.0),
    ],
)
def test_debts_survive_a_restart(
    make_learner: MakeLearner, draw_rows: DrawRows, owed: float, env_steps: int, expected: float
) -> None:
    """What was owed at the checkpoint, and what the rows after it have paid for."""
    learner = make_learner(learner={"learning_starts": 30})
    learner.ingest(draw_rows(100))
    learner.settle(owed=owed, env_steps=env_steps)
    assert learner.owed == expected


def test_forgiven_debts_stay_forgiven(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """A flood before the restart is not paid twice; a flood while away is capped as ever."""
    learner = make_learner(learner={"catch_up": 50})
    learner.ingest(draw_rows(1000))
    learner.settle(owed=0.0, env_steps=1000)
    assert learner.owed == 0
    learner.settle(owed=20.0, env_steps=0)
    assert learner.owed == 50


def test_versions_go_on_above_those_that_acted(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """A checkpoint older than the newest policy must not give a version a second meaning.

    The newest that acted may not be the newest that was sent, so some more are left out.
    """
    learner = make_learner()
    learner.ingest(draw_rows(3, policy_version=np.array([4, 9, 7])))
    learner.version = 5
    learner.settle(owed=0.0, env_steps=0)
    assert learner.snapshot().version > 9


def test_updates_of_this_process(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Speed is measured on what this process did, not on what it resumed."""
    learner = make_learner()
    learner.ingest(draw_rows(50))
    learner.algorithm.updates = 40
    learner.settle(owed=0.0, env_steps=50)
    learner.update()
    assert (learner.updates, learner.updates_here) == (41, 1)


def test_an_empty_replay_cannot_be_learned_from(make_learner: MakeLearner) -> None:
    """The caller looks at `owed` first."""
    update: Callable[[], None] = make_learner().update
    with pytest.raises(ValueError, match="empty replay"):
        update()
