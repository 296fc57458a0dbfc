"""The figures of a run; one that was not measured is None, never 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from robosac.learner.figures import figures_of
from robosac.wire.messages import Episode

if TYPE_CHECKING:
    from tests.robosac.learner.conftest import DrawRows, MakeLearner


def episode(return_: float, *, speed: float | None = None, **rewards: float) -> Episode:
    """Report an episode."""
    return Episode(
        run="run", end=1, return_=return_, length=1, fell=None, speed_mps=speed, rewards=rewards
    )


def test_nothing_is_measured_at_the_start(make_learner: MakeLearner) -> None:
    """Counters are 0 because they count; everything else is None."""
    figures = figures_of(make_learner(), [], updating_s=0.0)
    counters = {"env_steps", "updates", "episodes", "falls", "policy_version", "not_finite"}
    assert {name for name, value in figures.items() if value == 0} == counters
    assert {name for name, value in figures.items() if value is None} == {
        "updates_per_s",
        "utd",
        "return_mean",
        "speed_mps",
        "policy_lag_steps_p50",
        "policy_lag_steps_p99",
    }
    assert len(figures) == 12


def test_before_learning_starts_there_is_no_ratio(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """Updates per step are those after learning has started."""
    learner = make_learner(learner={"learning_starts": 50})
    learner.ingest(draw_rows(50))
    assert figures_of(learner, [], updating_s=1.0)["utd"] is None
    learner.ingest(draw_rows(40))
    for _ in range(20):
        learner.update()
    figures = figures_of(learner, [], updating_s=4.0)
    assert figures["utd"] == 0.5
    assert figures["updates_per_s"] == 5.0
    assert figures["env_steps"] == 90


def test_metrics_of_the_algorithm_are_numbers(
    make_learner: MakeLearner, draw_rows: DrawRows
) -> None:
    """All figures can be written as JSON."""
    learner = make_learner()
    learner.ingest(draw_rows(40, policy_version=1))
    learner.update()
    figures = figures_of(learner, [episode(1.0, forward=2.0)], updating_s=1.0)
    assert {"critic_loss", "q", "actor_loss", "entropy", "alpha"} <= figures.keys()
    assert figures["alpha"] == pytest.approx(0.1)
    assert msgspec.json.decode(msgspec.json.encode(figures)) == figures


def test_episodes_are_averaged_over_the_newest_ten(make_learner: MakeLearner) -> None:
    """Old episodes are of old policies; reward terms that an episode lacks count as zero."""
    episodes = [episode(-1000.0, speed=9.0, old=1.0)]
    episodes += [episode(float(number), speed=0.1 * number, forward=2.0) for number in range(9)]
    episodes += [episode(9.0, forward=4.0, turn=1.0)]
    figures = figures_of(make_learner(), episodes, updating_s=1.0)
    assert figures["return_mean"] == 4.5
    assert figures["speed_mps"] == pytest.approx(0.4), "the mean of those that measured it"
    assert figures["reward_forward"] == pytest.approx(2.2)
    assert figures["reward_turn"] == pytest.approx(0.1)
    assert "reward_old" not in figures


def test_lag_percentiles(make_learner: MakeLearner, draw_rows: DrawRows) -> None:
    """Rows 0 to 100 of the first policy are 0 to 100 steps behind."""
    learner = make_learner()
    learner.snapshot()
    learner.ingest(draw_rows(101, policy_version=np.ones(101)))
    figures = figures_of(learner, [], updating_s=1.0)
    assert figures["policy_lag_steps_p50"] == 50
    assert figures["policy_lag_steps_p99"] == 99
