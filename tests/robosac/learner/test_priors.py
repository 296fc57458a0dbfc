"""Earlier runs to learn from: what may be one, what it changes, and what it does not count as."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
import pytest
import torch

from robosac.errors import ConfigError, PolicyError, StorageError
from robosac.learner import checkpoint, priors
from robosac.learner.figures import figures_of
from robosac.policy.contract import Contract, Golden, encode
from robosac.replay import Chunk, SegmentLog
from robosac.run_folder import RunFolder
from robosac.tasks.observation import Term

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from robosac.algorithms.algorithm import Batch
    from robosac.learner.learner import Learner
    from robosac.replay.prior import PriorSource
    from tests.robosac.learner.conftest import DrawRows, MakeLearner

EARLIER = 100.0
"""Reward of every earlier row; no other is as large."""
ROWS = 40

PUP = Contract(
    robot="pup",
    task="walk",
    task_config={"forward_mps": 0.2, "control_hz": 50.0, "episode_s": 20.0},
    control_hz=50.0,
    action_lower=(-1.0, -1.0),
    action_upper=(1.0, 1.0),
    obs=(Term(name="gyro", size=3, unit="rad/s"), Term(name="command", size=1, unit="m/s")),
    golden=(Golden(sensors={}, obs=[0.0, 0.0, 0.0, 0.0]),),
    safety={"tilt_deg": 60.0},
)


class MakeRun(Protocol):
    """Makes folders of earlier runs."""

    def __call__(
        self, name: str = "earlier", *, contract: Contract | None = None, **fields: object
    ) -> Path:
        """Return a run of 40 rows of this contract, the toy's unless given."""


@pytest.fixture
def make_run(tmp_path: Path, toy: Contract, draw_rows: DrawRows) -> MakeRun:
    """Return the maker of runs."""

    def make(name: str = "earlier", *, contract: Contract | None = None, **fields: object) -> Path:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir()
        here = contract or toy
        folder.contract_path.write_bytes(encode(here))
        rows = draw_rows(ROWS, seed=7, **({"reward": EARLIER} | fields))
        if contract is not None:
            rows = np.zeros((ROWS, here.row_layout.width), np.float32)
        with SegmentLog(folder.replay, here.row_layout) as log:
            for first in range(0, ROWS, 10):
                log.append(
                    Chunk(robot="x", run="d" * 32, first=first, rows=rows[first : first + 10])
                )
        return folder.path

    return make


def nothing(_: str) -> None:
    """Where nothing is to be said."""


def sources(*paths: Path) -> tuple[PriorSource, ...]:
    """Find them, without a word."""
    return priors.find(paths, pytest.fail)


# -- what a prior is --------------------------------------------------------------------------


def test_a_run_its_replay_and_a_segment_of_it(make_run: MakeRun) -> None:
    """By whichever path, it is the same rows; paths are kept absolute."""
    run = make_run()
    by_run, by_replay, by_segment = (
        sources(path)[0] for path in (run, run / "replay", run / "replay" / "replay-000000.rows")
    )
    assert by_run == by_replay
    assert (by_run.path, by_run.rows) == (str(run / "replay"), ROWS)
    assert by_segment.sha256 == by_run.sha256


def test_a_torn_end_is_told_in_one_line(make_run: MakeRun) -> None:
    """What is whole is used."""
    run = make_run()
    said: list[str] = []
    with (run / "replay" / "replay-000000.rows").open("ab") as file:
        file.write(b"RSRC\x01")
    (source,) = priors.find([run], said.append)
    assert source.rows == ROWS
    assert said == [f"prior {run}: an unfinished record of 5 bytes at its end is left out"]


def test_what_is_no_run_is_refused(tmp_path: Path, make_run: MakeRun) -> None:
    """A line each: what there is, what was expected."""
    alone = tmp_path / "alone"
    make_run("whole").joinpath("replay").rename(alone)
    for path, words in (
        (tmp_path / "none", "got nothing there"),
        (alone, "no .*contract.json to say what its rows mean"),
        (alone / "replay-000000.rows", "no .*contract.json to say what its rows mean"),
    ):
        with pytest.raises(ConfigError, match=f"prior {path}: .*{words}.*expected the folder of"):
            sources(path)


def test_a_contract_that_cannot_be_read_is_told(make_run: MakeRun) -> None:
    """As every contract is."""
    run = make_run()
    (run / "contract.json").write_text("{")
    with pytest.raises(PolicyError, match="cannot be read"):
        sources(run)


def test_a_run_named_twice_would_count_twice(make_run: MakeRun) -> None:
    """By whichever path."""
    run = make_run()
    with pytest.raises(ConfigError, match="named twice"):
        sources(run, run / "replay")


def test_priors_are_of_one_kind(make_run: MakeRun) -> None:
    """There is no robot yet to compare them with."""
    with pytest.raises(ConfigError, match="env: got 'toy', expected ''"):
        sources(make_run("pup", contract=PUP), make_run())


def change(**fields: Any) -> Contract:  # noqa: ANN401 -- any field
    """A pup that differs."""
    return msgspec.structs.replace(PUP, **fields)


OTHER_TASK = PUP.task_config | {"forward_mps": 0.3}
OTHER_TERMS = (PUP.obs[0], msgspec.structs.replace(PUP.obs[1], scale=2.0))


@pytest.mark.parametrize(
    ("earlier", "words"),
    [
        (change(robot="go2"), "robot: got 'go2', expected 'pup'; name a run of the same"),
        (change(robot="", env="toy"), "robot: got '', expected 'pup'; env: got 'toy', expected ''"),
        (change(task="stand"), "task: got 'stand', expected 'walk'"),
        (change(task_config=OTHER_TASK), "task_config.forward_mps: got 0.3, expected 0.2"),
        (change(task_config={}), "task_config.forward_mps: got None, expected 0.2"),
        (change(control_hz=20.0), "control_hz: got 20.0, expected 50.0"),
        (change(control_hz=None), "control_hz: got None, expected 50.0"),
        (change(obs=PUP.obs[:1]), "obs: got 1 of them, expected 2"),
        (change(obs=OTHER_TERMS), "obs[1].scale: got 2.0, expected 1.0"),
        (change(extra=3), "extra: got 3, expected 0"),
        (change(action_lower=(-2.0, -1.0)), "action_lower[0]: got -2.0, expected -1.0"),
        (change(history=("newest_first", "zero")), "history[0]: got 'newest_first'"),
    ],
)
def test_rows_that_mean_something_else_are_refused(
    make_run: MakeRun, earlier: Contract, words: str
) -> None:
    """Another robot, task, reward, rate or layout: the line names the field."""
    found = sources(make_run(contract=earlier))
    with pytest.raises(ConfigError) as caught:
        priors.check(found, PUP)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert priors.objection(found, earlier) is None


def test_a_long_list_of_differences_is_cut(make_run: MakeRun) -> None:
    """It must fit in a line, and on the wire."""
    found = sources(make_run(contract=change(task="a", extra=3, control_hz=1.0, obs=PUP.obs[:1])))
    assert str(priors.objection(found, PUP)).count("expected") == 3
    assert "; and 1 more;" in str(priors.objection(found, PUP))


@pytest.mark.parametrize(
    "earlier",
    [
        change(control_hz=50.2),
        change(task_config=PUP.task_config | {"episode_s": 5.0}),
        change(safety={"tilt_deg": 45.0}, model_sha256="other", commands={"speed": (0.0, 1.0)}),
        change(action_delay_ms=20.0, golden=(), exploration_theta=0.15),
    ],
)
def test_what_does_not_change_the_meaning_may_differ(make_run: MakeRun, earlier: Contract) -> None:
    """The machine and its guards, how long an episode was, where the policies came from."""
    priors.check(sources(make_run(contract=earlier)), PUP)


# -- what it changes --------------------------------------------------------------------------


@pytest.fixture
def with_prior(make_learner: MakeLearner, make_run: MakeRun) -> Callable[..., Learner]:
    """Learners that have the same earlier run."""
    found = sources(make_run())

    def make(**learner: object) -> Learner:
        made = make_learner(learner=learner)
        priors.take_in(found, made)
        return made

    return make


def spied(learner: Learner) -> list[Batch]:
    """Batches that the algorithm gets from now on."""
    seen: list[Batch] = []

    def spy(batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch._replace(reward=batch.reward.clone(), obs=batch.obs.clone()))
        return {}

    learner.algorithm.update = spy  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("size", [1, 9, 32])
def test_half_of_what_the_algorithm_sees_is_earlier(
    with_prior: Callable[..., Learner], draw_rows: DrawRows, size: int
) -> None:
    """From the first row of its own on, of which there is only one."""
    learner = with_prior(batch_size=size)
    seen = spied(learner)
    learner.ingest(draw_rows(1))
    assert learner.owed == 1
    learner.update()
    assert (seen[0].reward == EARLIER).sum() == size // 2
    own = seen[0].obs[seen[0].reward != EARLIER]
    assert torch.equal(own, own[:1].expand_as(own))


def test_every_earlier_row_can_be_drawn(
    with_prior: Callable[..., Learner], draw_rows: DrawRows
) -> None:
    """However few rows the run itself keeps."""
    learner = with_prior(batch_size=1000, capacity=5)
    seen = spied(learner)
    learner.ingest(draw_rows(50))
    learner.update()
    own = seen[0].reward != EARLIER
    assert len({tuple(row) for row in seen[0].obs[own].tolist()}) == 5
    assert len({tuple(row) for row in seen[0].obs[~own].tolist()}) == ROWS


def test_it_counts_as_nothing(with_prior: Callable[..., Learner]) -> None:
    """No steps, no episodes, no marks, no lag, no leave to make rows, nothing owed."""
    learner = with_prior(learning_starts=10, slack=5)
    assert (learner.prior_rows, learner.prior_runs) == (ROWS, 1)
    assert (learner.env_steps, learner.owed, learner.episodes, learner.falls) == (0, 0, 0, 0)
    assert (learner.marks, learner.lags, learner.not_finite) == ({}, [], 0)
    assert learner.allowed_steps == 15
    assert learner.policy_due is False


def test_only_rows_of_its_own_pay_for_updates(
    with_prior: Callable[..., Learner], draw_rows: DrawRows
) -> None:
    """As without a prior: none before learning starts, and the ratio is of own rows."""
    learner = with_prior(learning_starts=10, utd=2.0)
    learner.ingest(draw_rows(10))
    assert learner.owed == 0
    learner.ingest(draw_rows(5))
    assert learner.owed == 10
    while learner.owed >= 1:
        learner.update()
    figures = figures_of(learner, [], updating_s=1.0)
    assert (figures["env_steps"], figures["updates"], figures["utd"]) == (15, 10, 2.0)
    assert (figures["prior_rows"], figures["prior_runs"]) == (ROWS, 1)


def test_the_newest_policy_version_is_not_of_another_run(
    make_learner: MakeLearner, make_run: MakeRun, draw_rows: DrawRows
) -> None:
    """After a restart versions go on above those of its own robots, whatever earlier ones had."""
    learner = make_learner()
    priors.take_in(sources(make_run(policy_version=5000.0)), learner)
    learner.ingest(draw_rows(10, policy_version=2.0))
    learner.settle(owed=0.0, env_steps=0)
    assert learner.version == 1002


def test_before_a_row_of_its_own_there_is_no_update(with_prior: Callable[..., Learner]) -> None:
    """Nothing has paid for one, and if it is asked for nevertheless it is an error."""
    learner = with_prior()
    with pytest.raises(ValueError, match="empty replay memory"):
        learner.update()


def test_n_step_returns_of_both(with_prior: Callable[..., Learner], draw_rows: DrawRows) -> None:
    """Earlier rows follow one another as far as they did; own rows do not follow earlier ones."""
    learner = with_prior(n_step=3, batch_size=64)
    seen = spied(learner)
    learner.take(Chunk(robot="x", run="d" * 32, first=ROWS, rows=draw_rows(1, reward=1.0)))
    learner.update()
    steps = seen[0].steps
    assert steps is not None
    assert (steps[:32] == 1).all()
    assert (seen[0].reward[:32] == 1).all()
    assert set(steps[32:].tolist()) <= {1.0, 2.0, 3.0}
    gamma = learner.recipe.algorithm.gamma
    sums = {1.0: EARLIER, 2.0: EARLIER * (1 + gamma), 3.0: EARLIER * (1 + gamma + gamma**2)}
    expected = torch.tensor([sums[one] for one in steps[32:].tolist()])
    torch.testing.assert_close(seen[0].reward[32:], expected)


def test_observations_of_both_are_normalised_by_both(
    with_prior: Callable[..., Learner], draw_rows: DrawRows, toy: Contract
) -> None:
    """Half of all batches are earlier rows: from the first policy on statistics know them."""
    learner = with_prior(normalise_obs=True)
    assert learner.normaliser is not None
    at, layout = toy.row_layout.slices, toy.row_layout
    earlier, own = draw_rows(ROWS, seed=7, reward=EARLIER), draw_rows(25, seed=8)
    seen = layout.view(earlier)
    np.testing.assert_allclose(learner.normaliser.mean[: layout.obs], seen.obs.mean(0), rtol=1e-5)
    learner.ingest(own)
    both = np.concatenate((earlier, own))[:, at.obs.start : at.extra.stop]
    np.testing.assert_allclose(learner.normaliser.mean, both.mean(0), rtol=1e-4, atol=1e-6)
    before = learner.normaliser.mean.clone()
    learner.update()
    assert torch.equal(learner.normaliser.mean, before), "sampling moves nothing"


def test_rows_that_nobody_can_learn_from_are_left_out(
    make_learner: MakeLearner, make_run: MakeRun
) -> None:
    """A single NaN would spoil everything; nothing but such rows is no prior."""
    reward = np.full(ROWS, EARLIER)
    reward[3] = np.nan
    learner = make_learner()
    priors.take_in(sources(make_run(reward=reward)), learner)
    assert (learner.prior_rows, learner.not_finite) == (ROWS - 1, 0)
    with pytest.raises(ConfigError, match="all of 40 rows hold numbers that are not finite"):
        priors.take_in(sources(make_run("bad", reward=np.nan)), make_learner())


def test_without_a_prior_nothing_changes(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Not a bit, and no figure."""
    plain, other = make_learner(), make_learner()
    priors.take_in((), other)
    for learner in (plain, other):
        learner.ingest(draw_rows(50))
        learner.update()
    states = [checkpoint.digest(learner.algorithm.state()) for learner in (plain, other)]
    assert states[0] == states[1]
    assert "prior_rows" not in figures_of(other, [], updating_s=1.0)


# -- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("normalise", [False, True])
def test_a_resumed_run_goes_on_to_the_bit(
    with_prior: Callable[..., Learner], draw_rows: DrawRows, tmp_path: Path, *, normalise: bool
) -> None:
    """With its prior loaded again and its own rows replayed; the checkpoint knows only these."""
    chunk = Chunk(robot="x", run="e" * 32, first=0, rows=draw_rows(30))
    learner, again = with_prior(normalise_obs=normalise), with_prior(normalise_obs=normalise)
    learner.take(chunk)
    for _ in range(5):
        learner.update()
    frozen = checkpoint.freeze(learner)
    assert (frozen.state.env_steps, frozen.state.marks) == (30, {f"x/{'e' * 32}": 30})
    checkpoint.write(tmp_path / "checkpoint", frozen)
    again.take(chunk)
    checkpoint.restore_newest(tmp_path / "checkpoint", again)
    for one in (learner, again):
        for _ in range(5):
            one.update()
    assert again.owed == learner.owed
    assert checkpoint.digest(again.algorithm.state()) == checkpoint.digest(
        learner.algorithm.state()
    )


def test_a_prior_that_is_gone_is_told_before_anything_is_done(make_run: MakeRun) -> None:
    """And one that is back is one again."""
    run = make_run()
    found = sources(run)
    priors.verify(found)
    run.rename(run.with_name("elsewhere"))
    with pytest.raises(StorageError, match="expected the 40 rows that this run has as its prior"):
        priors.verify(found)
    run.with_name("elsewhere").rename(run)
    priors.verify(found)
