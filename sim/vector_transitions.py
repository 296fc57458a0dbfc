"""True transitions from Gymnasium vector environments, whatever their autoreset mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from sim.errors import EpisodeOverError, UnsupportedEnvError
from sim.gymnasium_env import check_action_space

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """What K of the N environments went through in one step; the others were being reset."""

    env: NDArray[np.int64]
    """Which environment each row comes from (K,)."""
    obs: FloatArray
    """Observations the actions were chosen for (K, O)."""
    action: FloatArray
    """Actions (K, A)."""
    reward: FloatArray
    """Rewards (K,)."""
    next_obs: FloatArray
    """What was seen next (K, O); an episode's last observation at its end, never a reset one."""
    terminated: NDArray[np.bool_]
    """Whether the episode ended for good (K,)."""
    truncated: NDArray[np.bool_]
    """Whether the episode was cut off (K,)."""


class VectorTransitions:
    """Steps a vector environment and keeps only what really happened.

    NEXT_STEP environments ignore the action after an episode: that row is dropped.  SAME_STEP ones
    hide the last observation in infos["final_obs"].  DISABLED ones are reset here, by mask.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        """Read the autoreset mode; raises UnsupportedEnvError when it is unknown or not stated."""
        self._name = envs.spec.id if envs.spec else type(envs).__name__
        self._envs = envs
        self._mode = self._autoreset_mode()
        if not isinstance(envs.single_observation_space, spaces.Box):
            raise UnsupportedEnvError(
                self._name, f"has {envs.single_observation_space} observations; expected a Box"
            )
        box = check_action_space(self._name, envs.single_action_space)
        self._action_shape = (envs.num_envs, *box.shape)
        self._ended = np.zeros(envs.num_envs, dtype=np.bool_)
        self._obs: FloatArray | None = None

    @property
    def obs(self) -> FloatArray:
        """What every environment shows now (N, O); the next actions answer to it.

        Raises EpisodeOverError before the first reset().
        """
        if self._obs is None:
            raise EpisodeOverError(self._name)
        return self._obs

    def reset(self, *, seed: int | None = None) -> FloatArray:
        """Start an episode everywhere and return the observations (N, O)."""
        obs, _ = self._envs.reset(seed=seed)
        self._ended[:] = False
        self._obs = self._flat(obs)
        return self._obs

    def step(self, actions: FloatArray) -> Transitions:
        """Step every environment with actions (N, A) and return the true transitions."""
        before = self.obs
        raw_obs, reward, terminated, truncated, infos = self._envs.step(
            np.reshape(actions, self._action_shape)
        )
        now = self._flat(raw_obs)
        ended = np.logical_or(terminated, truncated)
        kept = np.arange(len(ended))
        if self._mode is AutoresetMode.NEXT_STEP:
            kept = np.flatnonzero(~self._ended)
        last = self._last_obs(now, ended, infos)
        self._obs = self._next_obs(now, ended)
        self._ended = ended
        return Transitions(
            env=kept,
            obs=before[kept],
            action=np.reshape(actions, (len(actions), -1))[kept].astype(np.float32),
            reward=np.asarray(reward, dtype=np.float32)[kept],
            next_obs=last[kept],
            terminated=np.asarray(terminated, dtype=np.bool_)[kept],
            truncated=np.asarray(truncated, dtype=np.bool_)[kept],
        )

    def _last_obs(
        self, now: FloatArray, ended: NDArray[np.bool_], infos: dict[str, Any]
    ) -> FloatArray:
        """What each action led to, before any reset."""
        if self._mode is not AutoresetMode.SAME_STEP or not ended.any():
            return now
        last = now.copy()
        for index in np.flatnonzero(ended):
            final = infos["final_obs"][index] if "final_obs" in infos else None
            if final is None:
                raise UnsupportedEnvError(
                    self._name,
                    "resets in the same step but gives no infos['final_obs'] for environment "
                    f"{index}; expected a Gymnasium >= 1.1 vector environment",
                )
            last[index] = np.asarray(final, dtype=np.float32).ravel()
        return last

    def _next_obs(self, now: FloatArray, ended: NDArray[np.bool_]) -> FloatArray:
        """What the next actions answer to, after any reset."""
        if self._mode is not AutoresetMode.DISABLED or not ended.any():
            return now
        obs, _ = self._envs.reset(options={"reset_mask": ended.copy()})
        return self._flat(obs)

    def _flat(self, obs: NDArray[Any]) -> FloatArray:
        """A float32 copy (N, O): vector environments may reuse their arrays."""
        return np.array(obs, dtype=np.float32).reshape(self._envs.num_envs, -1)

    def _autoreset_mode(self) -> AutoresetMode:
        """The mode the environment states."""
        stated = self._envs.metadata.get("autoreset_mode")
        try:
            return AutoresetMode(stated)
        except ValueError:
            modes = ", ".join(mode.name for mode in AutoresetMode)
            raise UnsupportedEnvError(
                self._name,
                f"has autoreset_mode {stated!r} in its metadata; expected one of {modes}",
            ) from None
