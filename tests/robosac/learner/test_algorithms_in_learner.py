"""Algorithms behind the learner: random first steps, published policies, known values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
import torch

from robosac.algorithms import losses
from robosac.algorithms.config import AlgorithmConfig, DDPGConfig, SACConfig, TD3Config
from robosac.algorithms.networks import Actor, Sample
from robosac.errors import CheckpointError
from robosac.learner import checkpoint
from robosac.learner.learner import Learner
from robosac.policy import OnnxPolicy
from robosac.recipe import LearnerConfig, Recipe
from robosac.replay import Chunk

if TYPE_CHECKING:
    from pathlib import Path

    from robosac.policy import Contract
    from tests.robosac.learner.conftest import DrawRows


@pytest.fixture
def _no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learners whose policies nobody will load need no graph."""
    monkeypatch.setattr("robosac.learner.learner.PolicyTemplate", lambda *_: None)


def learner_of(
    contract: Contract, algorithm: AlgorithmConfig | None = None, **learner: object
) -> Learner:
    """A small learner of any algorithm."""
    usual: dict[str, object] = {"batch_size": 32, "learning_starts": 0, "publish_every": 5}
    recipe = Recipe(name="x", learner=msgspec.convert(usual | learner, LearnerConfig))
    if algorithm is not None:
        tables: dict[str, object] = {"sac": None, algorithm.table: algorithm}
        recipe = msgspec.structs.replace(recipe, **tables)
    return Learner(recipe, contract, seed=0)


@pytest.mark.usefixtures("_no_export")
def test_a_policy_is_due_after_enough_updates(toy: Contract, draw_rows: DrawRows) -> None:
    """Five updates after the one before; publishing settles it."""
    learner = learner_of(toy)
    learner.ingest(draw_rows(50))
    due = []
    learner.snapshot()
    for _ in range(12):
        learner.update()
        due.append(learner.policy_due)
        if learner.policy_due:
            learner.snapshot()
    assert [number for number, one in enumerate(due, start=1) if one] == [5, 10]


@pytest.mark.usefixtures("_no_export")
def test_the_end_of_random_actions_makes_a_policy_due(toy: Contract, draw_rows: DrawRows) -> None:
    """Robots act at random for the first 60 rows and not for one batch of updates more (25)."""
    learner = learner_of(toy, random_steps=60, learning_starts=60)
    assert learner.snapshot().weights["random"].tolist() == [1.0]
    learner.ingest(draw_rows(59))
    assert not learner.policy_due
    learner.ingest(draw_rows(1, seed=1))
    assert learner.policy_due
    assert learner.snapshot().weights["random"].tolist() == [0.0]
    assert not learner.policy_due
    assert learner.updates == 0


@pytest.mark.usefixtures("_no_export")
def test_the_last_policy_of_a_run_acts_as_it_has_learned(toy: Contract) -> None:
    """A run that ends within its random steps leaves no policy that only stands still."""
    learner = learner_of(toy, random_steps=60)
    assert learner.snapshot(last=True).weights["random"].tolist() == [0.0]
    assert learner.snapshot().weights["random"].tolist() == [1.0]


@pytest.mark.usefixtures("_no_export")
def test_statistics_move_with_rows_and_never_with_updates(
    toy: Contract, draw_rows: DrawRows
) -> None:
    """Ten updates leave them as they are; rows that are not finite leave no trace (trap 18).

    Put back by taking sampled batches in, or rows before the unsound ones are left out.
    """
    learner = learner_of(toy, normalise_obs=True)
    assert learner.normaliser is not None
    rows = draw_rows(200, obs=np.arange(200.0))
    learner.ingest(rows)
    before = learner.normaliser.mean.clone()
    assert before[:3].tolist() == pytest.approx([99.5] * 3)
    for _ in range(10):
        learner.update()
    learner.ingest(draw_rows(3, obs=np.nan))
    assert torch.equal(learner.normaliser.mean, before)


@pytest.mark.usefixtures("_no_export")
def test_replay_keeps_observations_as_they_were(toy: Contract, draw_rows: DrawRows) -> None:
    """Statistics of later rows hold for earlier ones as well, since none is stored (trap 18).

    Put back by normalising rows when they are taken in.
    """
    learner = learner_of(toy, normalise_obs=True)
    rows = np.concatenate((draw_rows(50, obs=5.0), draw_rows(50, obs=-90.0)))
    for chunk in np.split(rows, 2):
        learner.ingest(chunk)
        learner.update()
    given = {row.tobytes() for row in rows}
    assert {row.tobytes() for row in learner.memory.sample(64, learner.rng)} <= given


@pytest.mark.usefixtures("_no_export")
def test_scale_of_the_observations_does_not_matter(toy: Contract, draw_rows: DrawRows) -> None:
    """Observations in another unit are learned from alike; without statistics they are not."""
    losses = []
    for normalise in (True, False):
        for factor in (1.0, 64.0):
            learner = learner_of(toy, normalise_obs=normalise)
            rows = draw_rows(200)
            for name in ("obs", "next_obs", "extra", "next_extra"):
                rows[:, learner.layout.slice(name)] *= factor
            learner.ingest(rows)
            for _ in range(3):
                learner.update()
            losses.append(learner.metrics["critic_loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[2] != pytest.approx(losses[3], rel=1e-2)


def test_statistics_are_inside_the_policy_file(toy: Contract, draw_rows: DrawRows) -> None:
    """The file takes raw observations and gives what torch gives for normalised ones (trap 18).

    Put back by exporting the policy without what normalises before it.
    """
    learner = learner_of(toy, SACConfig(hidden=(16,)), normalise_obs=True, random_steps=10)
    learner.ingest(draw_rows(200, obs=np.arange(200.0)))
    policy = OnnxPolicy(learner.policy_file(learner.snapshot()), here=toy)
    assert learner.normaliser is not None
    for obs in (np.zeros(3, np.float32), np.array([150, -1e4, 99.5], np.float32)):
        raw = (torch.from_numpy(obs) - learner.normaliser.mean[:3]) * learner.normaliser.scale[:3]
        with torch.no_grad():
            expected = learner.algorithm.policy(raw.clamp(-10, 10)[None], torch.zeros(1, 2))[0]
        assert policy.act(obs) == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.usefixtures("_no_export")
@pytest.mark.parametrize(
    ("entropy", "expected"),
    [
        (False, {0: 4.0, 1: 7.0, 2: 10.0, 3: 12.0}),  # ..., 2+2+2+⅛·8, 4+4+¼·8, 8+½·8
        (True, {0: 3.75, 1: 6.75, 2: 9.5, 3: 11.0}),  # Q' - α·log π = 8 - 0.5·4 = 6
    ],
)
def test_three_steps_by_hand(
    toy: Contract,
    draw_rows: DrawRows,
    monkeypatch: pytest.MonkeyPatch,
    *,
    entropy: bool,
    expected: dict[int, float],
) -> None:
    """Rewards 1, 2, 4, 8 and γ = 0.5: 1 + 1 + 1 + ⅛·Q' with Q' = 8 is 4 (trap 13 and trap 14).

    The entropy counts at the last state alone, as documented.  Put back by bootstrapping with γ,
    3 + ½·8 = 7, or by adding the entropy of the states in between, 3 - (½ + ¼)·2 + ⅛·6 = 2.25.
    """
    config = SACConfig(
        hidden=(16,),
        gamma=0.5,
        entropy_backup=entropy,
        initial_alpha=0.5,
        actor_gradient="reinforce",  # by autograd, so that networks can be replaced
    )
    learner = learner_of(toy, config, n_step=3, batch_size=200)
    targets: dict[int, float] = {}

    def noted(q: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        obs = learner._rows[:, 0].round().astype(int)  # noqa: SLF001 -- the batch
        targets.update(zip(obs.tolist(), target.tolist(), strict=True))
        return q.sum()

    monkeypatch.setattr(losses, "critic_loss", noted)
    monkeypatch.setattr(learner.algorithm, "targets", lambda obs, *_, **__: 8 + 0 * obs[:, :2].T)
    sample = Actor.sample

    def known(*given: Any) -> Sample:  # noqa: ANN401 -- what sample() takes
        drawn = sample(*given)
        return drawn._replace(log_prob=4 + 0 * drawn.log_prob)

    monkeypatch.setattr(Actor, "sample", known)
    rows = draw_rows(4, obs=np.arange(4.0), reward=np.array([1.0, 2.0, 4.0, 8.0]))
    learner.take(Chunk(robot="a", run="a" * 32, first=0, rows=rows[:1]))
    learner.take(Chunk(robot="a", run="a" * 32, first=1, rows=rows[1:]))
    learner.update()
    assert targets == expected


@pytest.mark.usefixtures("_no_export")
def test_a_refilled_replay_knows_what_followed(toy: Contract, draw_rows: DrawRows) -> None:
    """Rows of two robots in other chunks, one row refused: the same samples after a restart."""
    rows = {name: draw_rows(30, seed=number) for number, name in enumerate("ab")}
    rows["a"][7, 0] = np.nan
    samples = []
    for size in (3, 10):
        learner = learner_of(toy, n_step=4, capacity=1000)
        for first in range(0, 30, size):
            for name, whole in rows.items():
                part = whole[first : first + size]
                learner.take(Chunk(robot=name, run=name * 32, first=first, rows=part))
        drawn = learner.memory.sample(1000, np.random.default_rng(0))
        samples.append({tuple(row) for row in drawn.tolist()})
    assert len(samples[0]) == 59
    assert samples[0] == samples[1]


@pytest.mark.usefixtures("_no_export")
def test_a_recipe_without_random_steps_has_no_switch(toy: Contract) -> None:
    """Its graph is that of the policy alone."""
    assert "random" not in learner_of(toy).snapshot().weights


@pytest.mark.usefixtures("_no_export")
@pytest.mark.parametrize(
    "algorithm", [TD3Config(hidden=(16,)), DDPGConfig(hidden=(16, 16))], ids=["td3", "ddpg"]
)
def test_other_algorithms_resume_to_the_bit(
    algorithm: AlgorithmConfig, toy: Contract, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """A checkpoint of theirs holds everything, random first steps included."""
    lived, fresh = (
        learner_of(toy, algorithm, random_steps=150, learning_starts=0) for _ in range(2)
    )
    for learner in (lived, fresh):
        learner.ingest(draw_rows(100))
    for _ in range(5):
        lived.update()
    lived.snapshot()
    checkpoint.write(tmp_path, checkpoint.freeze(lived))
    resumed = checkpoint.restore_newest(tmp_path, fresh)
    assert resumed is not None
    assert resumed.digest == checkpoint.digest(lived.algorithm.state())
    for learner in (lived, fresh):
        learner.ingest(draw_rows(60, seed=2))
        for _ in range(5):
            learner.update()
    assert checkpoint.digest(lived.algorithm.state()) == checkpoint.digest(fresh.algorithm.state())
    assert fresh.snapshot().weights["random"].tolist() == [0.0]


@pytest.mark.usefixtures("_no_export")
def test_a_checkpoint_of_another_algorithm_is_refused(
    toy: Contract, draw_rows: DrawRows, tmp_path: Path
) -> None:
    """By the recipe's tables, before any tensor is looked at."""
    one, other = learner_of(toy, TD3Config(hidden=(16,))), learner_of(toy)
    for learner in (one, other):
        learner.ingest(draw_rows(10))
    checkpoint.write(tmp_path, checkpoint.freeze(one))
    with pytest.raises(CheckpointError, match=r"another recipe \(sac, td3 differ\)"):
        checkpoint.restore_newest(tmp_path, other)


def test_the_contract_says_how_a_policy_explores(toy: Contract) -> None:
    """Correlated noise of DDPG reaches the robot in the policy file; the default is white."""
    learner = learner_of(toy, DDPGConfig(hidden=(16, 16), theta=0.15))
    policy = OnnxPolicy(learner.policy_file(learner.snapshot()), here=toy)
    assert policy.contract.exploration_theta == 0.15
    assert toy.exploration_theta == 1.0


def chain(draw_rows: DrawRows, count: int) -> np.ndarray:
    """Rows of 0 → 1 → 2 → end, reward 1 at the end; cut after 1, and begun anew anywhere."""
    rng = np.random.default_rng(0)
    states: list[int] = []
    while len(states) < count:
        start = int(rng.integers(3))
        states += range(start, max(2, start + 1))
    at = np.array(states[:count])
    return draw_rows(
        count,
        obs=np.eye(3)[at],
        next_obs=np.eye(3)[(at + 1) % 3],
        extra=0.0,
        next_extra=0.0,
        reward=(at == 2).astype(float),
        terminated=(at == 2).astype(float),
        truncated=(at == 1).astype(float),
    )


@pytest.mark.usefixtures("_no_export")
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_chain_cut_by_time_keeps_its_values(
    n_step: int, draw_rows: DrawRows, toy: Contract
) -> None:
    """With γ = 0.8 its values are γ², γ, 1 for any n, also in a ring that has wrapped (trap 1).

    Put back by bootstrapping with terminated or truncated: then Q(1) = Q(0) = 0.  With n = 3, by
    going on into the next episode, Q(0) = 0.52, or by weighing with γ, Q(0) = 0.8 (trap 13).
    """
    config = SACConfig(
        hidden=(32,),
        layer_norm=False,
        gamma=0.8,
        tau=0.1,
        critic_lr=5e-3,
        temperature="fixed",
        initial_alpha=1e-6,
    )
    learner = learner_of(toy, config, n_step=n_step, capacity=1000)
    for part in np.array_split(chain(draw_rows, 3000), 7):
        learner.ingest(part, run="a", first=learner.env_steps)
    for _ in range(400):
        learner.update()
    obs = torch.cat((torch.eye(3), torch.zeros(3, 2)), 1)
    with torch.no_grad():
        values = learner.algorithm.modules["critics"](obs, torch.zeros(3, 2)).mean(0)
    assert values.tolist() == pytest.approx([0.64, 0.8, 1.0], abs=0.06)
