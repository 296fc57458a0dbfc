"""One update of every candidate: sampling from replay and all steps of the algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import gymnasium
import msgspec
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import Logger

from robosac.algorithms.algorithm import CPU
from robosac.algorithms.config import SACConfig
from robosac.learner.learner import Learner
from robosac.learner.rehearsal import random_rows
from robosac.learner.replayed import CudaGraphs
from robosac.learner.trial import let_replay
from robosac.policy.contract import Contract, Golden
from robosac.recipe import LearnerConfig, Recipe
from robosac.tasks.observation import Term
from tools.learner_speed.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

ROWS = 20_000
SHAPE = Shape()


class Still(gymnasium.Env["FloatArray", "FloatArray"]):
    """An environment of the right shape; it is never stepped."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SHAPE.obs,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (SHAPE.action,), np.float32)


class Options(TypedDict, total=False):
    """What may be other than usual: no LayerNorm, the policy's turn at every update, float32."""

    layer_norm: bool
    policy_delay: int
    precision: Literal["float32", "bfloat16"]


def robosac_update(batch: int, **options: Unpack[Options]) -> Callable[[], None]:
    """Fill a learner and return its update."""
    return filled_learner(batch, **options).update


def gpu_update(batch: int, *, replayed: bool) -> Callable[[], None]:
    """Return the update of a learner on a GPU, one operation at a time or replayed.

    It is asked for at most two updates ahead, so that many calls take as long as their updates.
    """
    device = torch.device("cuda")
    learner = filled_learner(batch, device=device)
    if replayed:
        reason = let_replay(learner, CudaGraphs)
        assert reason is None, reason
    return learner.update


def filled_learner(
    batch: int, *, device: torch.device = CPU, **options: Unpack[Options]
) -> Learner:
    """Make a learner whose replay is full of random transitions."""
    contract = Contract(
        env="benchmark",
        action_lower=(-1.0,) * SHAPE.action,
        action_upper=(1.0,) * SHAPE.action,
        obs=(Term(name="observation", size=SHAPE.obs, unit="", clip=None),),
        golden=(Golden(sensors={}, obs=[0.0] * SHAPE.obs),),
    )
    usual = SACConfig(hidden=SHAPE.hidden, layer_norm=False)
    sac = msgspec.structs.replace(usual, **options)
    recipe = Recipe(name="benchmark", learner=LearnerConfig(batch_size=batch), sac=sac)
    learner = Learner(recipe, contract, seed=0, device=device)
    learner.ingest(random_rows(learner.layout, ROWS))
    return learner


def other_update(batch: int, *, device: str = "cpu") -> Callable[[], None]:
    """Return the update of stable-baselines3, the policy's turn included."""
    return _training(stable_baselines3.SAC, batch, device)


def sbx_update(batch: int) -> Callable[[], None]:
    """The same with SBX, whose updates are compiled by JAX; needs `pip install sbx-rl`."""
    from sbx import SAC

    return _training(SAC, batch, "cpu")


def _training(kind: Any, batch: int, device: str) -> Callable[[], None]:  # noqa: ANN401 -- SBX has no types
    """One update by a filled buffer, with a logger that writes nowhere."""
    policy = {"net_arch": list(SHAPE.hidden)}
    other = kind(
        "MlpPolicy",
        Still(),
        batch_size=batch,
        buffer_size=ROWS,
        policy_kwargs=policy,
        device=device,
    )
    other.set_logger(Logger(None, []))
    other.replay_buffer = filled_buffer(ROWS, device)
    return lambda: other.train(gradient_steps=1, batch_size=batch)


def filled_buffer(rows: int, device: str = "cpu") -> ReplayBuffer:
    """Return a buffer of stable-baselines3 that is full of random transitions."""
    buffer = ReplayBuffer(rows, Still.observation_space, Still.action_space, device=device)
    rng = np.random.default_rng(0)
    for part in (buffer.observations, buffer.next_observations, buffer.rewards):
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.full = True
    return buffer
