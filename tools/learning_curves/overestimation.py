"""Whether critics think better of a policy than it is: estimates beside what followed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from robosac.algorithms.algorithm import Batch
from robosac.algorithms.ddpg import DDPG
from robosac.algorithms.sac import SAC
from robosac.algorithms.td3 import TD3

if TYPE_CHECKING:
    import gymnasium
    from numpy.typing import NDArray
    from torch import Tensor

    from robosac.learner.learner import Learner
    from robosac.runner.link import Policy

    FloatArray = NDArray[np.float32]

EPISODES = 3
STATES = 500
"""Most states of an episode that are looked at."""
NEGLIGIBLE = 0.01
"""Weight below which rewards in the future do not count."""


class Estimate(NamedTuple):
    """Means over the states and actions that a policy came through."""

    q: float
    """What the critics say, their mean."""
    q_true: float
    """What followed, discounted."""


class Journey(NamedTuple):
    """What happened in one episode of the exploring policy, with T steps."""

    obs: FloatArray
    """(T, O)"""
    noise: FloatArray
    """(T, A), standard normal, or zeros where the policy that is valued has none."""
    rewards: FloatArray
    """(T,)"""


def estimate(
    learner: Learner, policy: Policy, env: gymnasium.Env[Any, Any], *, seed: int
) -> Estimate | None:
    """Compare the critics with what follows where the policy goes that they value.

    That is the sampling policy of SAC, whose entropy counts where its critics learn it, and the
    noiseless one of TD3 and DDPG.  Time limits are ignored: a state counts only when the task ended
    afterwards or so much followed that the rest is negligible.  None where an environment cannot go
    on after its time limit, and for other algorithms.
    """
    algorithm = learner.algorithm
    plain = learner.contract.env and not learner.contract.env.startswith("dm_control/")
    if not plain or not isinstance(algorithm, SAC | TD3 | DDPG):
        return None
    rng = np.random.default_rng(seed)
    horizon = math.ceil(math.log(NEGLIGIBLE) / math.log(algorithm.config.gamma))
    estimates, truths = [], []
    for _ in range(EPISODES):
        journey = _travel(policy, env, rng, noisy=isinstance(algorithm, SAC), most=STATES + horizon)
        q, bonus = _values(learner, journey)
        truth = returns(journey.rewards, bonus, gamma=algorithm.config.gamma)
        estimates.append(q[:STATES])
        truths.append(truth[:STATES])
    return Estimate(float(np.concatenate(estimates).mean()), float(np.concatenate(truths).mean()))


def returns(rewards: FloatArray, bonus: FloatArray, *, gamma: float) -> NDArray[np.float64]:
    """What follows every action (T,): its reward, then those of the next with their bonus."""
    following = np.zeros(len(rewards))
    after = 0.0
    for step in reversed(range(len(rewards))):
        following[step] = rewards[step] + gamma * after
        after = bonus[step] + following[step]
    return following


def _travel(
    policy: Policy,
    env: gymnasium.Env[Any, Any],
    rng: np.random.Generator,
    *,
    noisy: bool,
    most: int,
) -> Journey:
    """Go on until the task ends or for so many steps, whatever the time limit."""
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    seen: list[FloatArray] = []
    noises: list[FloatArray] = []
    rewards: list[float] = []
    terminated = False
    while not terminated and len(rewards) < most:
        size = policy.contract.action_size
        noise = rng.standard_normal(size, dtype=np.float32) * np.float32(noisy)
        seen.append(obs)
        noises.append(noise)
        obs, reward, terminated, _, _ = env.step(policy.act(obs, noise))
        rewards.append(float(reward))
    return Journey(np.stack(seen), np.stack(noises), np.asarray(rewards, np.float32))


@torch.no_grad()
def _values(learner: Learner, journey: Journey) -> tuple[FloatArray, FloatArray]:
    """Critics' estimates (T,) and the entropy's bonus (T,) of the actions that were taken."""
    algorithm = learner.algorithm
    obs, noise = torch.from_numpy(journey.obs), torch.from_numpy(journey.noise)
    if learner.normaliser is not None:
        none = torch.empty(0)
        batch = Batch(obs, obs, noise, none, none, obs, obs)
        obs = learner.normaliser.normalised(batch, algorithm.supply).obs
    bonus = torch.zeros(len(obs))
    if isinstance(algorithm, SAC):
        sample = algorithm.actor.sample(obs, noise)
        q = algorithm.critics(obs, sample.action)
        if algorithm.config.entropy_backup:
            bonus = -algorithm.log_alpha.exp() * sample.log_prob
    else:
        assert isinstance(algorithm, TD3 | DDPG)
        critics = algorithm.critics if isinstance(algorithm, TD3) else algorithm.critic
        q = critics(obs, algorithm.actor.best(obs))
    mean: Tensor = q.mean(0)
    return mean.numpy(), bonus.numpy()
