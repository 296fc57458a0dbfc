"""The figures of a run at one moment, for the display, the metrics and the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from robosac.learner.learner import Learner
    from robosac.learner.metrics import Figures
    from robosac.wire.messages import Episode

_EPISODES_AVERAGED = 10


def figures_of(learner: Learner, episodes: Sequence[Episode], *, updating_s: float) -> Figures:
    """Return every figure by name; None is not measured.

    Return and speed are means over the newest episodes of the exploring policy.
    """
    newest = episodes[-_EPISODES_AVERAGED:]
    lag, worst_lag = _percentiles(learner.lags, 50, 99)
    trained = learner.env_steps - learner.recipe.learner.learning_starts
    return {
        "env_steps": learner.env_steps,
        "updates": learner.updates,
        "updates_per_s": learner.updates_here / updating_s if updating_s > 0 else None,
        "utd": learner.updates / trained if trained > 0 else None,
        "episodes": learner.episodes,
        "falls": learner.falls,
        "return_mean": _mean([episode.return_ for episode in newest]),
        "speed_mps": _mean([item.speed_mps for item in newest if item.speed_mps is not None]),
        "policy_version": learner.version,
        "policy_lag_steps_p50": lag,
        "policy_lag_steps_p99": worst_lag,
        "not_finite": learner.not_finite,
        **_prior(learner),
        **{name: float(value) for name, value in learner.metrics.items()},
        **_reward_means(newest),
    }


def _prior(learner: Learner) -> Figures:
    """How much of earlier runs there is to learn from, if any."""
    if not learner.prior_rows:
        return {}
    return {"prior_rows": learner.prior_rows, "prior_runs": learner.prior_runs}


def _reward_means(episodes: Sequence[Episode]) -> dict[str, float]:
    """Mean of every reward term over the episodes."""
    names = episodes[-1].rewards if episodes else {}
    return {
        f"reward_{name}": float(np.mean([episode.rewards.get(name, 0.0) for episode in episodes]))
        for name in names
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _percentiles(values: Iterable[int], *shares: float) -> list[float | None]:
    array = np.fromiter(values, dtype=np.float64)
    return np.percentile(array, shares).tolist() if array.size else [None] * len(shares)
