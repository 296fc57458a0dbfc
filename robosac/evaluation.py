"""Measure a policy: deterministic actions, fixed seeds, whole episodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robosac.policy.contract import Evaluation
from robosac.runner.loop import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    import gymnasium

    from robosac.policy import OnnxPolicy


def evaluate(
    env: gymnasium.Env[Any, Any], policy: OnnxPolicy, *, episodes: int, seed: int
) -> Evaluation:
    """Run whole episodes with the policy's mean action; the same seed gives the same figures."""
    tallies = [_last(play(env, policy, seed=seed + number)) for number in range(episodes)]
    returns = [tally.return_ for tally in tallies]
    finite = np.isfinite(returns).all()
    speeds = [tally.speed_mps for tally in tallies if tally.speed_mps is not None]
    return Evaluation(
        seed=seed,
        episodes=episodes,
        return_mean=float(np.mean(returns)) if finite else None,
        return_std=float(np.std(returns)) if finite else None,
        speed_mps=float(np.mean(speeds)) if speeds else None,
        falls=sum(bool(tally.fell) for tally in tallies),
    )


def play(env: gymnasium.Env[Any, Any], policy: OnnxPolicy, *, seed: int) -> Iterator[Tally]:
    """Play one episode; yields its sums so far after every step."""
    obs, _ = env.reset(seed=seed)
    tally, ended = Tally(), False
    while not ended:
        obs, reward, terminated, truncated, info = env.step(policy.act(obs))
        tally.add(float(reward), fell=terminated, info=info)
        ended = terminated or truncated
        yield tally


def _last(tallies: Iterator[Tally]) -> Tally:
    """The sums of a whole episode."""
    *_, whole = tallies
    return whole
