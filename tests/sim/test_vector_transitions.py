from __future__ import annotations

import dataclasses
import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from sim.errors import EpisodeOverError, UnsupportedEnvError
from sim.vector_transitions import Transitions, VectorTransitions

LENGTHS = (3, 5, 1)
"""Steps per episode; every second episode is truncated, the others terminate."""


class Counter(gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]):
    """Shows (episode, step) and rewards ten times the step plus the action."""

    def __init__(self, length: int) -> None:
        self.observation_space = spaces.Box(-1, 1e6, (2,), np.float64)
        self.action_space = spaces.Box(-10, 10, (1,), np.float32)
        self.length, self.episode, self.count = length, -1, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.count = 0
        return np.array([self.episode, 0.0]), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        self.count += 1
        over, cut = self.count == self.length, self.episode % 2 == 1
        obs = np.array([self.episode, float(self.count)])
        return obs, 10.0 * self.count + float(action[0]), over and not cut, over and cut, {}


def counters(mode: AutoresetMode) -> SyncVectorEnv:
    """Three counters with episodes of different lengths."""
    return SyncVectorEnv([functools.partial(Counter, n) for n in LENGTHS], autoreset_mode=mode)


def policy(obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """An action that names the observation it answers to."""
    return (obs[:, :1] + obs[:, 1:] / 10).astype(np.float32)


def history(mode: AutoresetMode, steps: int) -> list[list[tuple[object, ...]]]:
    """Every true transition of every counter, in order."""
    rows: list[list[tuple[object, ...]]] = [[] for _ in LENGTHS]
    transitions = VectorTransitions(counters(mode))
    transitions.reset(seed=0)
    for _ in range(steps):
        batch = transitions.step(policy(transitions.obs))
        columns = [getattr(batch, field.name).tolist() for field in dataclasses.fields(Transitions)]
        for env, *row in zip(*columns, strict=True):
            rows[env].append(tuple(map(str, row)))
    return rows


def test_all_three_autoreset_modes_give_the_same_transitions() -> None:
    """No reset row (trap 2) and no lost last observation (trap 3), whatever the mode.

    Put back by keeping all rows of NEXT_STEP, or by taking what SAME_STEP shows for the last.
    """
    kept = 20
    by_mode = {mode: history(mode, 2 * kept + 2) for mode in AutoresetMode}
    for rows in by_mode.values():
        assert min(map(len, rows)) >= kept
    first, *others = [[rows[:kept] for rows in history] for history in by_mode.values()]
    assert others == [first, first]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_transitions_by_hand(mode: AutoresetMode) -> None:
    """The next observation at a truncation is the episode's own last, not a reset one (trap 15).

    Put back by taking what is observed next.
    """
    rows = history(mode, 9)[0]
    # obs, action, reward, next_obs, terminated, truncated; actions are episode + step / 10
    expected = [
        ([0.0, 0.0], 0.0, 10.0, [0.0, 1.0], False, False),
        ([0.0, 1.0], 0.1, 20.1, [0.0, 2.0], False, False),
        ([0.0, 2.0], 0.2, 30.2, [0.0, 3.0], True, False),
        ([1.0, 0.0], 1.0, 11.0, [1.0, 1.0], False, False),
        ([1.0, 1.0], 1.1, 21.1, [1.0, 2.0], False, False),
        ([1.0, 2.0], 1.2, 31.2, [1.0, 3.0], False, True),
    ]
    for row, (obs, action, reward, next_obs, terminated, truncated) in zip(
        rows, expected, strict=False
    ):
        assert row[0] == str(obs)
        assert float(str(row[1]).strip("[]")) == pytest.approx(action)
        assert float(str(row[2])) == pytest.approx(reward)
        assert row[3:] == (str(next_obs), str(terminated), str(truncated))


@pytest.mark.parametrize("mode", AutoresetMode)
def test_rows_are_float32_and_aligned(mode: AutoresetMode) -> None:
    """Observations come as float64 and leave as float32; all columns have the same rows (trap 23).

    Put back by keeping the type that comes.
    """
    transitions = VectorTransitions(counters(mode))
    transitions.reset()
    for _ in range(4):
        batch = transitions.step(policy(transitions.obs))
        floats = (batch.obs, batch.action, batch.reward, batch.next_obs)
        assert {column.dtype for column in floats} == {np.dtype(np.float32)}
        assert {len(getattr(batch, field.name)) for field in dataclasses.fields(batch)} == {
            len(batch.env)
        }


def test_next_step_rows_of_a_reset_are_dropped() -> None:
    """The counter of one step ends every time, so every second row is no transition."""
    transitions = VectorTransitions(counters(AutoresetMode.NEXT_STEP))
    transitions.reset()
    seen = [2 in transitions.step(policy(transitions.obs)).env for _ in range(6)]
    assert seen == [True, False] * 3


def test_a_reset_in_between_forgets_the_ended_episodes() -> None:
    """Otherwise the first row after it would be dropped as a reset row."""
    transitions = VectorTransitions(counters(AutoresetMode.NEXT_STEP))
    transitions.reset()
    transitions.step(policy(transitions.obs))
    transitions.reset()
    assert transitions.step(policy(transitions.obs)).env.tolist() == [0, 1, 2]


class Misbehaving(SyncVectorEnv):
    """Says it resets in the same step, and keeps the last observation to itself."""

    def step(self, actions: object) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        obs, reward, terminated, truncated, infos = super().step(actions)
        if "final_obs" in infos:
            infos["final_observation"] = infos.pop("final_obs")
        return obs, reward, terminated, truncated, infos


def test_a_missing_final_obs_is_refused() -> None:
    """Never fall back to the old key or to the reset observation (trap 3), as others do."""
    envs = Misbehaving([lambda: Counter(2)], autoreset_mode=AutoresetMode.SAME_STEP)
    transitions = VectorTransitions(envs)
    transitions.reset()
    transitions.step(policy(transitions.obs))
    with pytest.raises(UnsupportedEnvError, match=r"no infos\['final_obs'\] for environment 0"):
        transitions.step(policy(transitions.obs))


@pytest.mark.parametrize("stated", [None, "Sometimes", 3])
def test_unknown_autoreset_modes_are_refused(stated: object) -> None:
    """One that does not say when it resets cannot be trusted (trap 2); put back by a default."""
    envs = counters(AutoresetMode.NEXT_STEP)
    envs.metadata = {} if stated is None else {"autoreset_mode": stated}
    with pytest.raises(UnsupportedEnvError, match=f"autoreset_mode {stated!r} .* NEXT_STEP"):
        VectorTransitions(envs)


def test_a_mode_may_be_stated_by_its_value() -> None:
    """Some vector environments state "SameStep" instead of the enum."""
    envs = counters(AutoresetMode.SAME_STEP)
    envs.metadata = {"autoreset_mode": "SameStep"}
    transitions = VectorTransitions(envs)
    transitions.reset()
    for _ in range(3):
        batch = transitions.step(policy(transitions.obs))
    assert batch.next_obs[0].tolist() == [0, 3]


def test_stepping_before_reset_is_refused() -> None:
    """There is no observation the actions could answer to."""
    transitions = VectorTransitions(counters(AutoresetMode.DISABLED))
    with pytest.raises(EpisodeOverError, match="call reset"):
        transitions.step(np.zeros((3, 1), np.float32))


def test_spaces_are_checked_as_for_single_environments() -> None:
    """Discrete actions and nested observations are refused."""
    with pytest.raises(UnsupportedEnvError, match=r"Discrete\(2\) actions"):
        VectorTransitions(gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync"))
    envs = counters(AutoresetMode.DISABLED)
    envs.single_observation_space = spaces.Dict({"a": envs.single_observation_space})
    with pytest.raises(UnsupportedEnvError, match="observations; expected a Box"):
        VectorTransitions(envs)
