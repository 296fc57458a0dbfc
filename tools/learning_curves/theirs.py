"""A run of stable-baselines3, which learns with its own loop and its own defaults.

Where rl-baselines3-zoo sets something for MuJoCo's tasks, people compare with that: 10,000 random
steps before learning, and normal noise of 0.1 to explore with TD3 and DDPG (hyperparams/sac.yml,
td3.yml, ddpg.yml).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from robosac.cli.resolve import Workplace
    from tools.learning_curves.runs import Run
    from tools.learning_curves.watch import Watch

    FloatArray = NDArray[np.float32]

ALGORITHMS: dict[str, type[OffPolicyAlgorithm]] = {"sac": SAC, "td3": TD3, "ddpg": DDPG}
"""By the name of our recipe."""
LEARNING_STARTS = 10_000
NOISE_STD = 0.1


class _Looking(BaseCallback):
    """Lets the policy be evaluated when it is time."""

    def __init__(self, watch: Watch) -> None:
        """Show it to this watch."""
        super().__init__()
        self._watch = watch

    def _on_step(self) -> bool:
        if self._watch.due(self.num_timesteps):
            model = self.model
            assert hasattr(model, "_n_updates")
            self._watch.look(self.num_timesteps, updates=model._n_updates, act=self._act)  # noqa: SLF001 -- told nowhere else
        return not self._watch.over

    def _act(self, obs: FloatArray) -> FloatArray:
        action, _ = self.model.predict(obs, deterministic=True)
        return action


def settings(recipe: str, *, actions: int) -> dict[str, Any]:
    """What is not left at its default."""
    found: dict[str, Any] = {"learning_starts": LEARNING_STARTS}
    if recipe != "sac":
        found["action_noise"] = NormalActionNoise(np.zeros(actions), np.full(actions, NOISE_STD))
    return found


def train(run: Run, place: Workplace, *, steps: int, watch: Watch) -> None:
    """Learn from nothing for so many steps."""
    kind: Any = ALGORITHMS[run.recipe]
    others = settings(run.recipe, actions=place.contract.action_size)
    model = kind("MlpPolicy", place.env, seed=run.seed, device="cpu", **others)
    watch.start()
    model.learn(steps, callback=_Looking(watch))
