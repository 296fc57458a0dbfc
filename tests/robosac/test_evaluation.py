"""Evaluation: the mean action, fixed seeds, whole episodes; never what training returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from robosac.cli.results import describe, summarise
from robosac.evaluation import evaluate
from robosac.policy import OnnxPolicy
from robosac.policy import contract as contracts
from robosac.policy.contract import with_training
from robosac.recipe import Recipe
from robosac.run_folder import RunConfig, RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.robosac.conftest import PolicyMaker

FloatArray = NDArray[np.float32]


class Lottery(gymnasium.Env[FloatArray, FloatArray]):
    """Episodes of two to five steps with rewards by chance, and by what the action was."""

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,), np.float32)
        self.seeds: list[int | None] = []
        self.left = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Draw the length of the episode."""
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.left = int(self.np_random.integers(2, 6))
        return self._drawn(), {}

    def step(self, action: FloatArray) -> tuple[FloatArray, float, bool, bool, dict[str, Any]]:
        """End by a fall after an even number of steps, by time after an odd one."""
        self.left -= 1
        over, fell = self.left == 0, len(self.seeds) % 2 == 0
        info = {"forward_mps": 0.5, "dt": 0.1, "rewards": {}}
        return self._drawn(), float(action[0]) + 1, over and fell, over and not fell, info

    def _drawn(self) -> FloatArray:
        return self.np_random.standard_normal(3, dtype=np.float32)


@pytest.fixture
def policy(make_policy: PolicyMaker) -> OnnxPolicy:
    """Acts by what it observes."""
    return OnnxPolicy(make_policy(gain=0.5))


def test_an_evaluation_repeats(policy: OnnxPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identical figures from one seed, others from another, whatever came before (trap 22).

    Put back by seeding the first reset alone, or by acting with the noise that explores.
    """
    env, noises = Lottery(), []
    act = OnnxPolicy.act

    def noted(self: OnnxPolicy, obs: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        noises.append(noise)
        return act(self, obs, noise)

    monkeypatch.setattr(OnnxPolicy, "act", noted)
    first = evaluate(env, policy, episodes=10, seed=100)
    other = evaluate(env, policy, episodes=10, seed=7)
    assert evaluate(env, policy, episodes=10, seed=100) == first
    assert other.return_mean != first.return_mean
    assert env.seeds == [*range(100, 110), *range(7, 17), *range(100, 110)]
    assert set(noises) == {None}


def test_figures_are_those_of_whole_episodes(policy: OnnxPolicy) -> None:
    """Mean and deviation over the sums of episodes, falls counted, speed by the distance."""
    returns = []
    for number in range(4):
        env = Lottery()
        obs, _ = env.reset(seed=number)
        total, over = 0.0, False
        while not over:
            obs, reward, terminated, truncated, _ = env.step(policy.act(obs))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    found = evaluate(Lottery(), policy, episodes=4, seed=0)
    assert found.return_mean == pytest.approx(np.mean(returns))
    assert found.return_std == pytest.approx(np.std(returns))
    assert (found.episodes, found.seed, found.falls) == (4, 0, 2)
    assert found.speed_mps == pytest.approx(0.5)


def test_a_return_that_is_no_number_is_none(make_policy: PolicyMaker) -> None:
    """JSON has no NaN: as null it would have made the exported policy unreadable (trap 31)."""
    policy = OnnxPolicy(make_policy(gain=0.5))
    env = gymnasium.wrappers.TransformReward(Lottery(), lambda _: float("nan"))
    found = evaluate(env, policy, episodes=2, seed=0)
    assert found.return_mean is found.return_std is None
    contract = with_training(policy.contract, evaluation=found)
    assert contracts.decode(contracts.encode(contract)) == contract
    assert describe(found).startswith("evaluation: return not finite, speed 0.500 m/s, falls")


def test_what_training_returned_is_called_so(tmp_path: Path) -> None:
    """A summary's return_mean is of the evaluation alone (trap 22).

    Put back by taking the learner's figure over: it is of policies that explore and change.
    """
    config = RunConfig(robosac="0", env="x", recipe=Recipe(name="x"), steps=1, runners=1)
    summary = summarise(RunFolder(tmp_path), config, {"return_mean": -5.0, "updates": 3})
    assert "return_mean" not in summary
    assert (summary["training_return_mean"], summary["updates"]) == (-5.0, 3)
